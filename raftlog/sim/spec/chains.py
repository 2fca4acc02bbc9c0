"""Logs as values: a log is its last entry, which knows the one before it.

Two equal logs are the same object (`Chains` keeps one of each), so log matching is a comparison of
identities, a truncation is a step back, and remembering a log costs nothing. A log also knows the
configuration in force at its end: the latest one in it (thesis, §4.1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Set as AbstractSet

from raftlog.sim.spec.refusal import NotAllowed

Value = int | str
"""What tells entries of one index apart: a checksum over all before it, or such a label."""


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """Who votes, and who besides receives the log. Joint if there are outgoing voters (§4.3)."""

    voters: frozenset[str]
    outgoing: frozenset[str] = frozenset()
    learners: frozenset[str] = frozenset()

    def is_quorum(self, group: AbstractSet[str]) -> bool:
        """Whether a group of servers decides: a majority of each half there is."""
        halves = (self.voters, self.outgoing) if self.outgoing else (self.voters,)
        return all(2 * len(half & group) > len(half) for half in halves)

    def is_voter(self, server: str) -> bool:
        """Whether a server votes in either half."""
        return server in self.voters or server in self.outgoing

    def may_follow(self, before: Config) -> bool:
        """Whether one entry may lead from `before` to this (one server, or by joint consensus)."""
        if before.outgoing:
            return not self.outgoing and self.voters == before.voters
        if self.outgoing:
            return self.outgoing == before.voters
        return len(self.voters ^ before.voters) <= 1 and bool(self.voters)


class Log:
    """A log by its last entry; only `Chains` makes them."""

    __slots__ = ("config", "config_index", "index", "previous", "term", "value")

    def __init__(
        self, previous: Log | None, index: int, term: int, value: Value, config: Config | None
    ) -> None:
        self.previous = previous
        self.index = index
        self.term = term
        self.value = value
        self.config: Config | None = config
        self.config_index = index
        if config is None and previous is not None:
            self.config, self.config_index = previous.config, previous.config_index

    def __repr__(self) -> str:
        return f"{self.term}/{self.index}:{self.value}"

    @property
    def position(self) -> tuple[int, int]:
        """Return (term, index): elections compare it."""
        return self.term, self.index

    def at(self, index: int) -> Log:
        """Return the log up to `index`.

        Raises:
            NotAllowed: it does not reach there, or begins above.
        """
        log: Log | None = self
        while log is not None and log.index > index:
            log = log.previous
        if log is None or log.index != index:
            raise NotAllowed("Log", f"{self} does not hold index {index}")
        return log

    def holds(self, other: Log) -> bool:
        """Whether `other` is this log or an earlier part of it."""
        log: Log | None = self
        while log is not None and log.index > other.index:
            log = log.previous
        return log is other

    def shared(self, other: Log) -> Log | None:
        """Return the longest log that both begin with, or None."""
        one: Log | None = self
        two: Log | None = other
        while one is not two and one is not None and two is not None:
            if one.index >= two.index:
                one = one.previous
            else:
                two = two.previous
        return one if one is two else None


class Chains:
    """Every log there is, one object each, by index and value."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, Value], Log] = {}

    def root(self, term: int, index: int, value: Value, config: Config | None) -> Log:
        """Return the log of which nothing below `index` is known, unless more is known of it."""
        known = self._known.get((index, value))
        if known is None:
            known = self._known[index, value] = Log(None, index, term, value, config)
        elif known.config is None:
            known.config, known.config_index = config, index
        return known

    def extend(self, log: Log, term: int, value: Value, config: Config | None = None) -> Log:
        """Return `log` with one entry more."""
        key = (log.index + 1, value)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Log(log, log.index + 1, term, value, config)
        elif known.previous is None:
            known.previous = log
        if known.previous is not log or known.term != term:
            raise NotAllowed("Log", f"two logs end with {known}")
        return known

    def find(self, index: int, value: Value) -> Log | None:
        """Return a log that was seen before."""
        return self._known.get((index, value))
