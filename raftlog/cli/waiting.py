"""Waiting until a member is as it should be, while saying who or what holds it up.

A change of the membership goes on by itself once it is ordered, so to interrupt the wait changes
nothing. The wait ends with `--timeout` only where that was given: how long a member takes to catch
up depends on how much there is.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from raftlog.cli.options import Globals
from raftlog.cli.output import say
from raftlog.client.cluster import Cluster
from raftlog.errors import Indeterminate, RaftLogError, Unavailable
from raftlog.status import ClusterStatus, MemberStatus

LOOK_SECONDS = 0.3

IsDone = Callable[[MemberStatus | None], bool]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Whose status is looked at, when it is as it should be, and what is said if it is not in time.

    `ordered`: the change is made already, and goes on without whoever waits.
    """

    node_id: str
    is_done: IsDone
    ordered: bool
    advice: str

    def over(self, told: str) -> RaftLogError:
        """Return the error of a wait that took too long; it names what holds the member up."""
        if self.ordered:
            said = f"it is not done in time: {told}. It was ordered, and goes on by itself"
            error: RaftLogError = Indeterminate(f"{said}; {self.advice}")
        else:
            error = Unavailable(f"not in time: {told}. {self.advice}")
        error.is_explained = True
        return error


async def until(options: Globals, cluster: Cluster, wait: Wait) -> None:
    """Wait until a member is as it should be, and show on standard error what it waits for.

    Raises:
        Indeterminate, Unavailable: `--timeout` was given, and is over.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + options.timeout if options.timeout_given else None
    told = ""
    while True:
        found: ClusterStatus | None
        try:
            found = await cluster.status()
        except RaftLogError as error:
            found, now = None, f"no member answers ({error.message})"
        if found is not None:
            if not found.is_joint and wait.is_done(member_of(found, wait.node_id)):
                return
            now = held_up(found, wait.node_id)
        if now != told:
            told = now
            say(told)
        if until is not None and loop.time() >= until:
            raise wait.over(told)
        await asyncio.sleep(LOOK_SECONDS)


def member_of(found: ClusterStatus, node_id: str) -> MemberStatus | None:
    """Return that member's status, if it is one."""
    return next((each for each in found.members if each.node_id == node_id), None)


def held_up(found: ClusterStatus, node_id: str) -> str:
    """Return in one sentence who or what a change of that member waits for."""
    silent = [str(each.node_id) for each in found.members if not each.reachable]
    away = f"; {', '.join(silent)}: no answer" if silent else ""
    if found.leader is None or not found.has_quorum:
        return f"no quorum decides: {found.quorum} voters must answer{away}"
    each = member_of(found, node_id)
    if found.is_joint:
        return f"{node_id}: both majorities must decide{away}"
    if each is None:
        return f"{node_id} is no member as {found.served_by} sees it"
    lag = each.lag_transactions if each.reachable else None
    parts = [f"lacks {lag:,} transactions"] if lag else []
    if each.waits_for:
        parts.append(f"waits for {each.waits_for}")
    elif not each.reachable:
        parts.append("is not reached")  # a leader of an older version does not say more
    return f"{node_id} {' and '.join(parts) or 'waits for the leader'}"
