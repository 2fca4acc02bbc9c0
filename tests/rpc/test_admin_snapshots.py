"""The Admin service's verbs about snapshots."""

from __future__ import annotations

import dataclasses

from raftlog.rpc.services.snapshots import Snapshots
from raftlog.wire.pb import types_pb2
from tests.rpc.doubles import Serving
from tests.rpc.memory_snapshots import snapshot_info

EMPTY = types_pb2.Empty()


async def test_snapshots_are_taken_and_listed(serving: Serving) -> None:
    """What the node holds travels whole: what it covers, how large it is, when it was made."""
    assert Snapshots.__module__ == "raftlog.rpc.services.snapshots"
    taken = await serving.admin.TakeSnapshot(EMPTY)
    assert (taken.served_by, [each.index for each in taken.snapshots]) == ("n1", [5])
    listed = await serving.admin.Snapshots(EMPTY)
    found = [(each.snapshot_id, each.term, each.size_bytes) for each in listed.snapshots]
    assert found == [("3-4-1", 4, 7), ("5-4-1", 4, 10)]


async def test_a_snapshot_tells_the_last_transaction_that_it_covers(serving: Serving) -> None:
    """From there a reader goes on; one of a log without transactions covers none."""
    empty = snapshot_info("3-4-1", 7)
    begun = dataclasses.replace(empty.boundary, next_sequence=9)
    full = dataclasses.replace(empty, boundary=begun, created_microseconds=77)
    serving.node.snapshots = lambda: [empty, full]
    listed = await serving.admin.Snapshots(EMPTY)
    assert [(each.last_sequence, each.created) for each in listed.snapshots] == [(0, 0), (8, 77)]


async def test_how_much_is_written_is_told_while_one_is_taken(serving: Serving) -> None:
    """Nothing is said of it while none is."""
    assert not (await serving.admin.Snapshots(EMPTY)).HasField("taking_bytes")
    serving.node.snapshot_written = 0
    assert (await serving.admin.Snapshots(EMPTY)).taking_bytes == 0
    serving.node.snapshot_written = 5
    assert (await serving.admin.Snapshots(EMPTY)).taking_bytes == 5
