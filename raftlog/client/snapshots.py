"""Taking a snapshot on a member, and hearing meanwhile how far it is.

A member goes on with what it began, whoever waits for it: to ask again joins what is under way.
"""

from __future__ import annotations

import asyncio
from typing import cast

from raftlog.client.connections import Peer
from raftlog.client.context import Context, loop_time
from raftlog.client.telling import tell_member
from raftlog.client.values import Snapshot, SnapshotProgress
from raftlog.errors import Indeterminate, RaftLogError
from raftlog.wire.pb import admin_pb2, types_pb2

LOOK_SECONDS = 0.5


async def take(
    context: Context, member: str, deadline: float, progress: SnapshotProgress | None
) -> Snapshot:
    """Take one on that member. Raises as `Cluster.take_snapshot`."""

    async def call(peer: Peer, seconds: float) -> admin_pb2.SnapshotsReply:
        reply = await peer.admin.TakeSnapshot(types_pb2.Empty(), timeout=seconds)
        return cast("admin_pb2.SnapshotsReply", reply)

    looking = None
    if progress is not None:
        looking = asyncio.create_task(_look(context, member, deadline, progress))
    try:
        reply = await tell_member(context.connections, member, call, deadline)
    except Indeterminate as error:
        unsure = Indeterminate(
            f"the snapshot of {member} is not done in time, and perhaps goes on: `raftlog snapshot "
            f"list --member {member}` shows it once it is whole, and to ask again, with more "
            f"--timeout, joins it ({error.message})"
        )
        unsure.is_explained = True
        raise unsure from None
    finally:
        if looking is not None:
            looking.cancel()
            await asyncio.wait({looking})
    return snapshots_of(reply)[0]


async def held(context: Context, member: str | None, deadline: float) -> admin_pb2.SnapshotsReply:
    """Return what a member holds, any one unless it is named, and what it is writing."""

    async def call(peer: Peer, seconds: float) -> admin_pb2.SnapshotsReply:
        reply = await peer.admin.Snapshots(types_pb2.Empty(), timeout=seconds)
        return cast("admin_pb2.SnapshotsReply", reply)

    return await context.connections.ask(member, call, deadline)


async def _look(context: Context, member: str, deadline: float, told: SnapshotProgress) -> None:
    while loop_time() < deadline:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            reply = await held(context, member, loop_time() + LOOK_SECONDS)
        except RaftLogError:
            continue  # who takes the snapshot hears what is wrong
        if reply.HasField("taking_bytes"):
            told(reply.taking_bytes)


def snapshots_of(reply: admin_pb2.SnapshotsReply) -> tuple[Snapshot, ...]:
    """Return the snapshots that an answer tells of."""
    return tuple(
        Snapshot(
            served_by=reply.served_by,
            snapshot_id=each.snapshot_id,
            index=each.index,
            term=each.term,
            last_sequence=each.last_sequence,
            size_bytes=each.size_bytes,
            created=each.created,
        )
        for each in reply.snapshots
    )
