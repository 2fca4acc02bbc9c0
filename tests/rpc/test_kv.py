"""The Kv service: commands, queries, watch."""

from __future__ import annotations

import asyncio

import pytest

from raftlog import groups
from raftlog.errors import Compacted, InvalidInput, Rejected, Unavailable
from raftlog.interfaces import RowChange
from raftlog.types import Consistency
from raftlog.wire.pb import kv_pb2 as pb
from raftlog.wire.pb import types_pb2
from tests.rpc.doubles import Serving, failure, until


def row(
    key: bytes, value: bytes, revision: int, *, created: int = 1, version: int = 1, lease: int = 0
):
    """Return a row of the kv machine's table."""
    return {
        "key": key,
        "value": value,
        "revision": revision,
        "created": created,
        "version": version,
        "lease": lease,
    }


ROW = row(b"k", b"v", 5, created=3, version=2)
OLD = row(b"k", b"u", 3, created=3, version=1, lease=9)
VALUE = pb.KeyValue(key=b"k", value=b"v", revision=5, created=3, version=2, lease=0)
OLD_VALUE = pb.KeyValue(key=b"k", value=b"u", revision=3, created=3, version=1, lease=9)


async def test_execute_sends_the_command_and_returns_its_result(serving: Serving) -> None:
    """A command travels as one COMMAND transaction outside any session."""
    serving.node.result = pb.KvResult(succeeded=True, lease=4).SerializeToString()
    command = pb.KvCommand(put=pb.Put(key=b"k", value=b"v"))
    assert await serving.kv.Execute(command) == pb.KvResult(succeeded=True, lease=4)
    group = groups.parse(serving.node.entries[0].payload)
    assert (group.session, group.count, group.tag_table) == (0, 1, (groups.KV_COMMAND_TAG,))
    assert pb.KvCommand.FromString(group.payloads()[0]) == command


async def test_a_rejected_command_is_an_error(serving: Serving) -> None:
    """The machine's refusal reaches the caller with its reason."""
    serving.node.rejected = "no such lease"
    command = pb.KvCommand(lease_revoke=pb.LeaseRevoke(lease=5))
    error = await failure(serving.kv.Execute(command))
    assert isinstance(error, Rejected)
    assert error.message == "no such lease"


async def test_an_empty_command_is_refused(serving: Serving) -> None:
    """A command of a kind not known here must not become an entry."""
    error = await failure(serving.kv.Execute(pb.KvCommand()))
    assert isinstance(error, InvalidInput)
    assert serving.node.submitted == 0


@pytest.mark.parametrize("consistency", Consistency, ids=lambda one: one.value)
async def test_query_asks_at_the_consistency_wanted(
    serving: Serving, consistency: Consistency
) -> None:
    """The four consistencies reach the node as they were asked for."""
    serving.node.answer = pb.KvAnswer(found=True, key_values=[VALUE]).SerializeToString()
    query = pb.KvQuery(get=pb.Get(key=b"k"))
    wanted = types_pb2.Consistency.Value(consistency.name)
    reply = await serving.kv.Query(pb.KvQueryRequest(query=query, consistency=wanted))
    assert reply == pb.KvQueryReply(
        answer=pb.KvAnswer(found=True, key_values=[VALUE]), served_by="n1"
    )
    assert serving.node.queried == [(query.SerializeToString(), consistency)]


async def test_an_unknown_consistency_is_refused(serving: Serving) -> None:
    """A number of a later version is not read as the default."""
    error = await failure(serving.kv.Query(pb.KvQueryRequest(consistency=17)))
    assert isinstance(error, InvalidInput)
    assert "17" in error.message


async def test_a_failed_query_is_an_error(serving: Serving) -> None:
    """No quorum, no answer."""
    serving.node.refusal = Unavailable("no quorum")
    assert isinstance(await failure(serving.kv.Query(pb.KvQueryRequest())), Unavailable)


async def events_of(serving: Serving, request: pb.KvWatchRequest, count: int) -> list[pb.KvEvent]:
    call = serving.kv.Watch(request)
    found: list[pb.KvEvent] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found.extend((await call.read()).events)
    call.cancel()
    await until(lambda: serving.node.tails_open == 0)
    return found


async def test_watch_shows_puts_and_deletes_with_what_was_before(serving: Serving) -> None:
    """An insert, an update and a delete become events whose revision is their sequence."""
    serving.node.all_changes = [
        RowChange(sequence=3, table="kv", before=None, after=OLD),
        RowChange(sequence=4, table="other", before=None, after={"key": b"k"}),
        RowChange(sequence=5, table="kv", before=OLD, after=ROW),
        RowChange(sequence=6, table="kv", before=ROW, after=None),
    ]
    events = await events_of(serving, pb.KvWatchRequest(), 3)
    assert events == [
        pb.KvEvent(kind=pb.KvEvent.PUT, key=b"k", value=b"u", revision=3),
        pb.KvEvent(kind=pb.KvEvent.PUT, key=b"k", value=b"v", revision=5, previous=OLD_VALUE),
        pb.KvEvent(kind=pb.KvEvent.DELETE, key=b"k", revision=6, previous=VALUE),
    ]


@pytest.mark.parametrize(
    ("start", "end", "keys"),
    [
        (b"", b"", [b"a", b"b", b"c"]),
        (b"b", b"", [b"b", b"c"]),
        (b"", b"b", [b"a"]),
        (b"b", b"c", [b"b"]),
        (b"b", b"b\0", [b"b"]),
    ],
)
async def test_watch_keeps_to_its_range(
    serving: Serving, start: bytes, end: bytes, keys: list[bytes]
) -> None:
    """Only keys in [start, end) are shown; an empty end has no bound."""
    serving.node.all_changes = [
        RowChange(
            sequence=at, table="kv", before=None, after=row(key, b"", at, created=at, version=1)
        )
        for at, key in enumerate([b"a", b"b", b"c"], 1)
    ]
    events = await events_of(serving, pb.KvWatchRequest(start=start, end=end), len(keys))
    assert [event.key for event in events] == keys


async def test_watch_after_a_revision_and_from_now(serving: Serving) -> None:
    """A watch resumes after a revision, or begins at this member's newest."""
    serving.node.all_changes = [
        RowChange(
            sequence=at, table="kv", before=None, after=row(b"k", b"", at, created=at, version=1)
        )
        for at in (1, 2, 3)
    ]
    events = await events_of(serving, pb.KvWatchRequest(after_revision=1), 2)
    assert [event.revision for event in events] == [2, 3]
    serving.node.commit(groups.pack([b"1", b"2"]))
    events = await events_of(serving, pb.KvWatchRequest(from_now=True, after_revision=1), 1)
    assert [event.revision for event in events] == [3]


async def test_watch_tells_its_position_and_purge(serving: Serving) -> None:
    """Without events the position still advances; a purged one is refused."""
    call = serving.kv.Watch(pb.KvWatchRequest(after_revision=4))
    message = await call.read()
    assert (list(message.events), message.position, message.served_by) == ([], 4, "n1")
    call.cancel()
    serving.node.refusal = Compacted("oldest kept is 9")
    error = await failure(serving.kv.Watch(pb.KvWatchRequest()).read())
    assert isinstance(error, Compacted)
