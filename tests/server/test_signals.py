"""The first signal asks, the second ends the process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from raftlog.server.signals import StopSignals

TWICE = """
import asyncio, os, signal
from raftlog.server.signals import StopSignals

async def main():
    signals = StopSignals(asyncio.get_running_loop())
    os.kill(os.getpid(), signal.SIGTERM)
    print((await signals.wait()).name, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(30)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_asks_for_a_stop(number):
    """Either signal ends the wait, and the process goes on."""
    signals = StopSignals(asyncio.get_running_loop())
    try:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            assert await signals.wait() is number
            assert await signals.wait() is number
    finally:
        signals.restore()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_second_signal_ends_the_process():
    """A second signal does not wait for anything."""
    done = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stdout == "SIGTERM\n"
    assert done.returncode == 128 + signal.SIGTERM
