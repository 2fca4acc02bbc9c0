"""Faults: their vocabulary, and the pace, dice and victims of the nemesis that does them.

One fault follows another, each with dice of its own: fault number n of a seed draws from
``{seed}:fault:{n}``, so leaving one out (the shrinker does) changes no other fault's draws. Each
engine's nemesis says what a fault does there.
"""

from __future__ import annotations

import dataclasses
import enum
import random
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from raftlog.sim.stage import Stage

CRASH_FUSES = (1, 1, 2, 2, 3, 4, 6, 9)
"""After how many effects of a turn a process dies whose fuse was lit."""


class Fault(enum.Enum):
    """What a nemesis may do; not every engine can do all of it."""

    CRASH = "crash"
    CRASH_AT_BOUNDARY = "crash_at_boundary"
    CRASH_ALL = "crash_all"
    STOP = "stop"
    PAUSE = "pause"
    CLIENT_CRASH = "client_crash"
    PARTITION = "partition"
    ISOLATE_LEADER = "isolate_leader"
    ONE_WAY = "one_way"
    CLOG = "clog"
    RESET = "reset"
    COMMIT_ERROR = "commit_error"
    SLOW_DISK = "slow_disk"
    HUNG_DISK = "hung_disk"
    FULL_DISK = "full_disk"
    ROT = "rot"
    ROT_OF_SNAPSHOT = "rot_of_snapshot"
    ROT_OF_STATE = "rot_of_state"
    WIPE = "wipe"
    WALL_CLOCK = "wall_clock"
    TRANSFER = "transfer"
    STEP_DOWN = "step_down"
    MEMBERSHIP = "membership"
    ORDER = "order"
    MOVE = "move"
    BROKEN_INSTALL = "broken_install"
    MISLEAD = "mislead"

    __hash__ = object.__hash__


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often faults come in a seed's world, which, whom they like, how long they last.

    `fault_seconds` is the mean gap. A fault that lasts does so for a tenth of an election timeout
    up to `spread` times that.
    """

    seed: int
    faults: tuple[Fault, ...]
    fault_seconds: float
    leader_bias: float
    election_timeout_seconds: float
    spread: float
    longest_pause: float
    """In election timeouts."""


Player = TypeVar("Player")


class Nemesis(Generic[Player]):
    """Does the faults that the seed enables. An engine's subclass says what each comes to."""

    def __init__(self, stage: Stage[Player], pace: Pace, kept: frozenset[int] | None) -> None:
        self._stage = stage
        self._pace = pace
        self._kept = kept
        self._number = 0
        self._is_over = False
        self._dice = random.Random(f"{pace.seed}:nemesis")
        self.done: list[int] = []
        """The numbers of the faults that were done."""
        self._actions = self._known()

    def _known(self) -> Mapping[Fault, Callable[[], None]]:
        """Return what this engine does for each fault that it can do."""
        raise TypeError("an engine's nemesis names its faults")

    def begin(self) -> None:
        """Begin, if this seed has faults."""
        if self._pace.faults:
            self._stage.scheduler.after(self._gap(), self._act)

    def stop(self) -> None:
        """Do nothing more."""
        self._is_over = True

    def _gap(self) -> float:
        return random.Random(f"{self._pace.seed}:gap:{self._number}").expovariate(
            1 / self._pace.fault_seconds
        )

    def _act(self) -> None:
        if self._is_over:
            return
        self._number += 1
        self._stage.scheduler.after(self._gap(), self._act)
        if self._kept is not None and self._number not in self._kept:
            return
        self._dice = random.Random(f"{self._pace.seed}:fault:{self._number}")
        self.done.append(self._number)
        fault = self._dice.choice(self._pace.faults)
        self._stage.note("fault", None, (self._number, fault.value))
        self._stage.count(f"fault_{fault.value}")
        self._actions[fault]()

    # ------------------------------------------------------------ dice

    def _victim(self) -> Player:
        """Return whom to strike: a leader more often than chance would have it."""
        leaders = self._stage.leaders()
        if leaders and self._dice.random() < self._pace.leader_bias:
            return self._dice.choice(leaders)
        return self._dice.choice(self._stage.members)

    def _leading_victim(self) -> Player:
        """Return a leader, or anybody where there is none."""
        return self._dice.choice(self._stage.leaders() or self._stage.members)

    def _while(self) -> float:
        """Return for how long something lasts, short more often than long."""
        share = float(self._pace.spread ** self._dice.random())
        return self._pace.election_timeout_seconds * 0.1 * share

    def _pause_seconds(self) -> float:
        """Return for how long a process is frozen."""
        longest = self._pace.longest_pause * self._pace.election_timeout_seconds
        return longest * self._dice.random() ** 2
