"""A status survives the wire, and neither side has a word that the other lacks."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.status import ClusterStatus, LogEnd, MemberStatus
from raftlog.wire.cluster import log_end_from_pb, log_end_to_pb, status_from_pb, status_to_pb
from raftlog.wire.pb import admin_pb2 as pb

names = st.text(min_size=1, max_size=8)
numbers = st.integers(0, 2**31 - 1)
members = st.builds(
    MemberStatus,
    **{field.name: names for field in dataclasses.fields(MemberStatus) if field.type == "str"},
    node_id=names,
    has_machine=st.booleans(),
    match_index=st.none() | numbers,
    applied_index=st.none() | numbers,
    lag_transactions=st.none() | numbers,
    last_contact_ms=st.none() | st.floats(0, 1e9),
    reachable=st.booleans(),
    healthy=st.booleans(),
)
statuses = st.builds(
    ClusterStatus,
    **{field.name: numbers for field in dataclasses.fields(ClusterStatus) if field.type == "int"},
    cluster_id=names,
    served_by=names,
    leader=st.none() | names,
    leader_address=st.none() | names,
    has_quorum=st.booleans(),
    machine=names,
    members=st.lists(members, max_size=3).map(tuple),
    alarms=st.lists(names, max_size=3).map(tuple),
    version=names,
)


log_ends = st.builds(
    LogEnd,
    **{field.name: numbers for field in dataclasses.fields(LogEnd) if field.type == "int"},
    cluster_id=names,
    served_by=names,
    kind=names,
    **{name: st.lists(names).map(tuple) for name in ("voters", "outgoing", "problems")},
)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ClusterStatus, pb.StatusReply),
        (MemberStatus, pb.MemberStatus),
        (LogEnd, pb.LogEndReply),
    ],
)
def test_both_sides_have_the_same_words(kind, message) -> None:
    """A field added on one side and forgotten on the other is found here."""
    assert [field.name for field in dataclasses.fields(kind)] == [
        field.name for field in message.DESCRIPTOR.fields
    ]


@given(statuses)
def test_a_status_survives_the_wire(status) -> None:
    """What one node knows is what the client reads, None for what it cannot know."""
    assert status_from_pb(pb.StatusReply.FromString(status_to_pb(status).SerializeToString())) == (
        status
    )


def test_what_members_told_of_themselves_is_put_together() -> None:
    """Only a member knows how far it has applied."""
    reply = pb.StatusReply(members=[pb.MemberStatus(node_id=n) for n in ("n1", "n2", "n3")])
    reply.members.add(node_id="n4", applied_index=9)
    found = status_from_pb(reply, {"n1": 7, "n3": 5})
    assert [member.applied_index for member in found.members] == [7, None, 5, 9]


@given(log_ends)
def test_a_log_s_end_survives_the_wire(end) -> None:
    """What a survivor says of its log is what it is ranked by."""
    carried = log_end_to_pb(end).SerializeToString()
    assert log_end_from_pb(pb.LogEndReply.FromString(carried)) == end
