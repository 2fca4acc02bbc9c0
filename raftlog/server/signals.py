"""SIGTERM and SIGINT: the first asks for a clean stop, the second ends the process at once.

Ending at once is safe at any moment: whatever was acknowledged is on the disks of a quorum, so a
killed node loses nothing. A clean stop only spares the others an election.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Waits for a signal to stop. Loop-bound; `restore` puts the default handlers back."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: asyncio.Future[signal.Signals] = loop.create_future()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._received, number)

    async def wait(self) -> signal.Signals:
        """Return the first signal that asked for a stop."""
        return await asyncio.shield(self._asked)

    def restore(self) -> None:
        """Stop handling signals."""
        for number in STOP_SIGNALS:
            self._loop.remove_signal_handler(number)

    def _received(self, number: signal.Signals) -> None:
        if not self._asked.done():
            self._asked.set_result(number)
            return
        sys.stderr.flush()
        os._exit(128 + number)
