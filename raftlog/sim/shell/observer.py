"""What a node measures, counted for the world and kept for its transcript."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raftlog.sim.shell.host import Host


class SimObserver:
    """Implements `interfaces.Observer`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def event(self, name: str, **fields: str | float | bool | None) -> None:
        """Count and note one event."""
        self._host.world.count(f"event_{name}")
        self._host.world.note(name, self._host, fields)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        del amount
        self._host.world.count(f"count_{name}")

    def measure(self, name: str, value: float) -> None:
        """Take no note."""

    def gauge(self, name: str, value: float) -> None:
        """Take no note."""
