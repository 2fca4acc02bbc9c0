"""A world for tests of engine 2's parts: some machines, a network, and no node."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from types import SimpleNamespace

from raftlog.sim.scheduler import Scheduler
from raftlog.sim.shell.host import Host
from raftlog.sim.shell.knobs import draw_shell_knobs
from raftlog.sim.shell.network import Network

CALM = {"delay_seconds": 0.01, "tail_chance": 0.0, "window_bytes": 1000, "silent_deaths": 0.0}


async def pass_time(seconds) -> None:
    """Let the world's time pass."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)


class LonelyWorld:
    """Stands where a `ShellWorld` would."""

    def __init__(self, names=("a", "b"), **network) -> None:
        knobs = draw_shell_knobs(1)
        settings = dataclasses.replace(knobs.network, **{**CALM, **network})
        self.knobs = dataclasses.replace(knobs, network=settings, pass_seconds=1e-5)
        self.scheduler = Scheduler()
        self.counters = collections.Counter()
        self.failures = []
        self.network = Network(self, settings)
        self.hosts = {name: Host(self, at, name) for at, name in enumerate(names)}
        for host in self.hosts.values():
            host.begin()

    def count(self, name) -> None:
        self.counters[name] += 1

    def note(self, kind, host, content) -> None:
        pass

    def passed(self, host) -> None:
        pass

    def unhandled(self, host, context) -> None:
        self.failures.append(context["message"])

    def handler_failed(self, host, method, error) -> None:
        self.failures.append(repr(error))

    def machine_of(self, address):
        return self.hosts[address]

    def spawn(self, name, work):
        """Run a coroutine on a machine; its task says what became of it."""
        host = self.hosts[name]
        found = SimpleNamespace(task=None)

        def begin() -> None:
            found.task = host.loop.create_task(work)

        host.post(begin)
        self.until(lambda: found.task is not None)
        return found.task

    def until(self, condition, seconds=60.0) -> None:
        """Let the world go on until something is so."""
        end = self.scheduler.now + seconds
        while not condition():
            assert self.scheduler.step(), "nothing is scheduled, and it is not so"
            assert self.scheduler.now <= end, "it is not so in time"

    def result(self, name, work, seconds=60.0):
        """Run a coroutine to its end and return its result."""
        task = self.spawn(name, work)
        self.until(task.done, seconds)
        return task.result()

    def dispose(self) -> None:
        for host in self.hosts.values():
            host.is_up = False
            host.loop.abandon()
            host.dispose()
