"""Whether those that would remain could elect a leader, though some of them are damaged.

A member that lost part of its log answers its leader, and casts no vote until it is repaired. While
there is a leader that costs nothing. Once it is gone, a majority must be able to vote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from raftlog.errors import Unavailable
from raftlog.node.ports import CoreView
from raftlog.types import NodeId

TOLD_SECONDS_MAX = 1.0
"""Whoever is connected has answered a heartbeat long before."""
LOOK_SECONDS = 0.01


async def wait_told(core: CoreView, is_healthy: Callable[[NodeId], bool], deadline: float) -> None:
    """Let members that have just connected say how their logs are."""
    loop = asyncio.get_running_loop()
    until = min(deadline, loop.time() + TOLD_SECONDS_MAX)
    while loop.time() < until:
        members = core.membership.node_ids
        if not any(is_healthy(each) and is_silent(core, each) for each in members):
            return
        await asyncio.sleep(LOOK_SECONDS)


def is_silent(core: CoreView, node_id: NodeId) -> bool:
    """Whether a member has not told its leader how its log is, since it connected."""
    known = core.progress_of(node_id)
    return known is not None and known.is_damaged is None


def lost_votes(core: CoreView, voters: Collection[NodeId], quorum: int) -> str:
    """Return why too few of these voters, which all answer, could vote; or "".

    Raises:
        Unavailable: it hangs on one that has not said yet how its log is.
    """
    told = {voter: core.progress_of(voter) for voter in sorted(voters)}
    broken = [voter for voter, known in told.items() if known and known.is_damaged]
    silent = [voter for voter in told if is_silent(core, voter)]
    if len(voters) - len(broken) < quorum:
        return (
            f"nobody could be elected: {quorum} voters must be able to vote, and "
            f"{', '.join(broken)} would be among them, which lost part of its log and does not "
            "vote until it is repaired: wait for that (raftlog alarm list)"
        )
    if len(voters) - len(broken) - len(silent) < quorum:
        raise Unavailable(
            f"{', '.join(silent)} has not said yet whether its log is whole; nothing was changed; "
            "ask again"
        )
    return ""
