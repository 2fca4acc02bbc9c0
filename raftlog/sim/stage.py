"""What a part may ask of its world, whichever engine's it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from raftlog.sim.scheduler import Scheduler

Player_co = TypeVar("Player_co", covariant=True)


class Stage(Protocol[Player_co]):
    """A world with members (`Player_co`), a clock, a transcript and counters."""

    scheduler: Scheduler

    @property
    def members(self) -> Sequence[Player_co]:
        """Return all members, up or not."""
        ...

    def leaders(self) -> Sequence[Player_co]:
        """Return the members that are up and think they lead."""
        ...

    def note(self, kind: str, actor: None, content: object, /) -> None:
        """Write a line of the transcript that is nobody's."""
        ...

    def count(self, name: str) -> None:
        """Count that something happened in this world."""
        ...
