"""Ports to the surroundings: time, observation, credentials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from raftlog.interfaces.observation import Event, Measure
from raftlog.types import ClientRole, NodeId


class Clock(Protocol):
    """Time as the node sees it."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps and counts suspend (CLOCK_BOOTTIME)."""
        ...

    def wall_microseconds(self) -> int:
        """Return microseconds since 1970; may jump; for display only."""
        ...


class Switches(Protocol):
    """A few bytes that outlive a restart: what an operator has switched at this member."""

    def load(self) -> bytes:
        """Return what was saved last; b"" if nothing was."""
        ...

    def save(self, content: bytes) -> None:
        """Make `content` durable; a crash leaves the old or the new.

        Raises:
            StorageError: the disk said no.
        """
        ...


class Observer(Protocol):
    """Takes what the node measures; an adapter turns it into metrics and log lines."""

    def event(self, event: Event, **fields: str | float | bool | None) -> None:
        """Take one rare, typed event (role change, alarm, snapshot, refused peer)."""
        ...

    def count(self, measure: Measure, amount: int = 1) -> None:
        """Add to a counter."""
        ...

    def measure(self, measure: Measure, value: float) -> None:
        """Record one observation of a histogram, in the unit that its name ends with."""
        ...

    def gauge(self, measure: Measure, value: float) -> None:
        """Set a gauge."""
        ...


class Authenticator(Protocol):
    """Decides what a connection may do from what TLS proved about it."""

    def is_peer(self, uris: Iterable[bytes], node_id: NodeId) -> bool:
        """Whether a certificate with these URIs may speak as the member `node_id`."""
        ...

    def role(self, uris: Iterable[bytes]) -> ClientRole | None:
        """Return the highest role of a certificate with these URIs, or None."""
        ...
