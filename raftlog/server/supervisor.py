"""What systemd is told of this process, where it started it (`Type=notify`): sd_notify(3).

READY=1 once the node serves, WATCHDOG=1 from the event loop, so that a loop that stands still ends
the process, STATUS= with the role when it changes, and STOPPING=1. One datagram each, sent to the
socket that the environment names; it never blocks, and what cannot be sent is left out. A node
that was not started by systemd tells nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping

SOCKET = "NOTIFY_SOCKET"
PERIOD_SECONDS = 1.0


class Supervisor:
    """Speaks to whoever started this process. Loop-bound.

    Args:
        environment: Names the socket and the watchdog's patience, as systemd sets them.
        describe: Returns what the node does now, in a few words.
    """

    def __init__(self, environment: Mapping[str, str], describe: Callable[[], str]) -> None:
        self._address = environment.get(SOCKET, "")
        self._patience = _patience(environment)
        self._describe = describe
        self._described = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def period_seconds(self) -> float:
        """Return how often the loop shows that it runs: at least twice within the patience."""
        if self._patience is None:
            return PERIOD_SECONDS
        return min(PERIOD_SECONDS, self._patience / 2)

    def ready(self) -> None:
        """Say that the node serves, and go on showing that the loop runs until `end`."""
        if not self._address:
            return
        self._tell("READY=1")
        self._task = asyncio.create_task(self._show(), name="supervisor")

    def stopping(self) -> None:
        """Say that the node stops; the loop goes on being watched."""
        self._tell("STOPPING=1")

    async def end(self) -> None:
        """Show nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _show(self) -> None:
        while True:
            lines = [] if self._patience is None else ["WATCHDOG=1"]
            described = self._describe()
            if described != self._described:
                self._described = described
                lines.append(f"STATUS={described}")
            self._tell(*lines)
            await asyncio.sleep(self.period_seconds)

    def _tell(self, *lines: str) -> None:
        if not self._address or not lines:
            return
        address = self._address
        if address.startswith("@"):  # an abstract socket
            address = "\0" + address[1:]
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), address)


def _patience(environment: Mapping[str, str]) -> float | None:
    """Return after how many silent seconds this process is ended, or None if it never is."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    whose = environment.get("WATCHDOG_PID", "") or str(os.getpid())
    if not microseconds.isdecimal() or not int(microseconds) or whose != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000
