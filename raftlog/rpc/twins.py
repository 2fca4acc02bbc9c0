"""One data directory that runs twice: noticed, told, and counted for nothing until one is gone.

A directory that was copied, or a virtual machine that was cloned, makes two processes that speak as
one member: each votes and acks as if the other were not there. Every process draws an incarnation
when it starts and shows it in its Hello. A restart is a new one that the old one never follows; two
that come by turns are twins, and neither is heard before only one of them has come for a while.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from raftlog.errors import IdentityMismatch
from raftlog.types import NodeId

COMES_BACK_SECONDS = 1.5
"""A Hello of a process that has ended may still be on its way for a moment."""

QUIET_SECONDS = 5.0
"""So long only one of two must have come, before it is taken for the only one."""

RETIRED_MAX = 8


class TwinsFound(IdentityMismatch):
    """Two processes run on one data directory."""


@dataclasses.dataclass(slots=True)
class _Seen:
    current: str
    retired: dict[str, float] = dataclasses.field(default_factory=dict)
    """Incarnations that another took the place of, and when."""
    until: float = 0.0
    last: str = ""


class Twins:
    """What is known of the incarnations of each peer."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: dict[NodeId, _Seen] = {}

    def check(self, peer: NodeId, incarnation: str) -> None:
        """Take note of a Hello.

        Raises:
            TwinsFound: two processes run on the peer's data directory.
        """
        if not incarnation:
            return
        now = self._now()
        seen = self._seen.get(peer)
        if seen is None:
            self._seen[peer] = _Seen(incarnation)
            return
        if seen.until:
            if incarnation != seen.last:
                seen.last, seen.until = incarnation, now + QUIET_SECONDS
            if now < seen.until:
                raise TwinsFound(_why(peer))
            self._seen[peer] = _Seen(incarnation)
        elif incarnation in seen.retired:
            if now - seen.retired[incarnation] < COMES_BACK_SECONDS:
                raise IdentityMismatch(f"node {peer} was started anew meanwhile")
            seen.last, seen.until = incarnation, now + QUIET_SECONDS
            raise TwinsFound(_why(peer))
        elif incarnation != seen.current:
            seen.retired[seen.current] = now
            while len(seen.retired) > RETIRED_MAX:
                del seen.retired[next(iter(seen.retired))]
            seen.current = incarnation


def _why(peer: NodeId) -> str:
    return (
        f"two processes run on the data directory of node {peer}, which was copied: neither counts "
        "until one of them is stopped for good"
    )
