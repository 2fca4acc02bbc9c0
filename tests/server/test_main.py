"""One node in the foreground: signals stop it, a failure ends it with its reason."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from raftlog.config.schema import Settings
from raftlog.errors import ConfigInvalid, MembershipRejected, StorageCorrupt, StorageError
from raftlog.server import main
from raftlog.telemetry.metrics import PrometheusObserver


class FakeNode:
    """A node that can only fail."""

    def __init__(self):
        self.failed = asyncio.get_running_loop().create_future()


class FakeRunning:
    """What compose returns, without anything behind it."""

    def __init__(self):
        self.node = FakeNode()
        self.observer = PrometheusObserver("n1")
        self.stopped_with = None
        self.stop_takes = 0.0
        self.is_stuck = False
        self.refused = asyncio.get_running_loop().create_future()
        self.endings = [self.node.failed, self.refused]

    async def stop(self, *, hand_over):
        """Note how it was stopped."""
        self.stopped_with = hand_over
        while self.stop_takes:
            await asyncio.sleep(self.stop_takes)


@pytest.fixture
def running(monkeypatch):
    """Put a fake where compose's result would be, and leave the interpreter alone."""
    made = []

    async def compose(_settings, _sources):
        made.append(FakeRunning())
        return made[0]

    monkeypatch.setattr(main, "compose", compose)
    monkeypatch.setattr(main, "tune_interpreter", lambda: None)
    return made


async def until_composed(running):
    """Wait until the fake is there."""
    async with asyncio.timeout(5):
        while not running:
            await asyncio.sleep(0)
    return running[0]


async def test_a_signal_hands_over_and_stops(running):
    """SIGTERM stops the node with a hand-over, and serve returns."""
    serving = asyncio.create_task(main.serve(Settings(), {}))
    fake = await until_composed(running)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 5)
    assert fake.stopped_with is True


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(StorageCorrupt("bad page"), StorageCorrupt), (KeyError(1), StorageError)],
)
async def test_a_node_that_stopped_itself_ends_the_process(running, failure, raised):
    """The node's own reason is what serve raises, and nothing is handed over."""
    serving = asyncio.create_task(main.serve(Settings(), {}))
    fake = await until_composed(running)
    fake.node.failed.set_result(failure)
    with pytest.raises(raised):
        await asyncio.wait_for(serving, 5)
    assert fake.stopped_with is False


async def test_a_node_that_is_refused_by_its_cluster_ends_with_those_words(running):
    """They name what helps, and the exit code is that of the refusal."""
    serving = asyncio.ensure_future(main.serve(Settings(), {}))
    fake = await until_composed(running)
    fake.refused.set_result(MembershipRejected("known by another directory"))
    with pytest.raises(MembershipRejected, match="another directory"):
        await serving
    assert fake.stopped_with is False


async def test_a_stop_that_hangs_is_given_up(running, monkeypatch):
    """A clean stop has a deadline; nothing acknowledged depends on it."""
    monkeypatch.setattr(main, "STOP_SECONDS", 0.05)
    ended = []
    monkeypatch.setattr(main.os, "_exit", ended.append)
    serving = asyncio.create_task(main.serve(Settings(), {}))
    fake = await until_composed(running)
    fake.stop_takes = 60.0
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 5)
    assert ended == [0]  # threads that never come back would hold the interpreter


async def test_a_thread_that_never_comes_back_does_not_hold_the_process(running, monkeypatch):
    """A machine that hangs keeps its thread; the process ends all the same, and cleanly."""
    ended = []
    monkeypatch.setattr(main.os, "_exit", ended.append)
    serving = asyncio.create_task(main.serve(Settings(), {}))
    fake = await until_composed(running)
    fake.is_stuck = True
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 5)
    assert ended == [0]


def test_a_node_that_cannot_start_says_why():
    """An error of composition comes out of run, and the loop is closed."""
    with pytest.raises(ConfigInvalid, match="node_id is needed"):
        main.run(Settings())
