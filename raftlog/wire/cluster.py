"""`raftlog.status` to and from the wire, field by field of the same name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from raftlog.status import ClusterStatus, ConsumerStatus, LogEnd, MemberStatus
from raftlog.types import NodeId
from raftlog.wire.pb import admin_pb2 as pb
from raftlog.wire.pb import types_pb2


def status_to_pb(status: ClusterStatus) -> pb.StatusReply:
    """Return the answer that carries a status. What is None stays unset."""
    return pb.StatusReply(
        **_set_fields(status, without={"members", "consumers"}),
        members=[pb.MemberStatus(**_set_fields(member)) for member in status.members],
        consumers=[consumer_to_pb(consumer) for consumer in status.consumers],
    )


def consumer_to_pb(consumer: ConsumerStatus) -> types_pb2.ConsumerStatus:
    """Return the message that carries a consumer."""
    return types_pb2.ConsumerStatus(**_set_fields(consumer))


def consumer_from_pb(message: types_pb2.ConsumerStatus) -> ConsumerStatus:
    """Return the consumer that a message carries."""
    return ConsumerStatus(**_fields(ConsumerStatus, message))


def status_from_pb(reply: pb.StatusReply, applied: Mapping[str, int] = {}) -> ClusterStatus:
    """Return the status that an answer carries.

    `applied`: the applied indexes that other members told of themselves. A member knows its own
    only, so what was heard from each is put together here.
    """
    members = [MemberStatus(**_fields(MemberStatus, member)) for member in reply.members]
    members = [
        dataclasses.replace(member, applied_index=applied.get(member.node_id, member.applied_index))
        for member in members
    ]
    fields = _fields(ClusterStatus, reply)
    fields.update(
        leader=NodeId(reply.leader) if reply.leader else None,
        leader_address=reply.leader_address or None,
        members=tuple(members),
        alarms=tuple(reply.alarms),
        consumers=tuple(consumer_from_pb(each) for each in reply.consumers),
    )
    return ClusterStatus(**fields)


def log_end_to_pb(end: LogEnd) -> pb.LogEndReply:
    """Return the answer that carries where a log ends."""
    return pb.LogEndReply(**_set_fields(end))


def log_end_from_pb(reply: pb.LogEndReply) -> LogEnd:
    """Return where a log ends, as an answer carries it."""
    fields = _fields(LogEnd, reply)
    for name in ("voters", "outgoing", "problems"):
        fields[name] = tuple(fields[name])
    return LogEnd(**fields)


def _set_fields(value: Any, without: frozenset[str] | set[str] = frozenset()) -> dict[str, Any]:
    found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: it for name, it in found.items() if it is not None and name not in without}


def _fields(kind: type, message: Message) -> dict[str, Any]:
    """Return what a message says of a value's fields; None for an optional one that is unset."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        described = message.DESCRIPTOR.fields_by_name[field.name]
        is_unset = described.has_presence and not message.HasField(field.name)
        found[field.name] = None if is_unset else getattr(message, field.name)
    return found
