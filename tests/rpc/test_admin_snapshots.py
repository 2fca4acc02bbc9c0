"""The Admin service's verbs about snapshots."""

from __future__ import annotations

from raftlog.rpc.services.snapshots import Snapshots
from raftlog.wire.pb import types_pb2
from tests.rpc.doubles import Serving

EMPTY = types_pb2.Empty()


async def test_snapshots_are_taken_and_listed(serving: Serving) -> None:
    """What the node holds travels whole: what it covers, how large it is, when it was made."""
    assert Snapshots.__module__ == "raftlog.rpc.services.snapshots"
    taken = await serving.admin.TakeSnapshot(EMPTY)
    assert (taken.served_by, [each.index for each in taken.snapshots]) == ("n1", [5])
    listed = await serving.admin.Snapshots(EMPTY)
    found = [(each.snapshot_id, each.term, each.size_bytes) for each in listed.snapshots]
    assert found == [("3-4-1", 4, 7), ("5-4-1", 4, 10)]
