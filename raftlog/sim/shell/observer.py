"""What a node measures, counted for the world and kept for its transcript."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftlog.interfaces import Event, Measure

if TYPE_CHECKING:
    from raftlog.sim.shell.host import Host


class SimObserver:
    """Implements `interfaces.Observer`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def event(self, event: Event, **fields: str | float | bool | None) -> None:
        """Count and note one event."""
        self._host.world.count(f"event_{event}")
        self._host.world.note(event, self._host, fields)

    def count(self, measure: Measure, amount: int = 1) -> None:
        """Add to a counter."""
        del amount
        self._host.world.count(f"count_{measure}")

    def measure(self, measure: Measure, value: float) -> None:
        """Take no note."""

    def gauge(self, measure: Measure, value: float) -> None:
        """Take no note."""
