"""A process that uses the SDK: it opens a client, and closes it without leaving anything behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, cast

import grpc

from raftlog.client.client import Client
from raftlog.sim.shell.channel import SimChannel
from raftlog.sim.shell.host import Host
from raftlog.wire.channel import Options, TlsMaterial

if TYPE_CHECKING:
    from raftlog.sim.shell.world import ShellWorld

SLACK_SECONDS = 0.5
"""How late a call may end: the SDK looks at deadlines now and then, not by a timer each."""
CLOSE_SECONDS = 2.0


class UserHost(Host):
    """One process with a client. Subclasses say what is done with it in `_run`."""

    def __init__(self, world: ShellWorld, number: int, name: str, endpoints: str) -> None:
        super().__init__(world, number, name)
        self._endpoints = endpoints
        self.client: Client
        self.cluster_id: str | None = None
        """The only cluster that is meant; None: the one that answers."""
        self.is_done = False
        """Every caller has ended; only what follows the log goes on."""

    def begin(self) -> None:
        """Begin a process: it asks at once."""
        super().begin()
        self.is_done = False
        self.post(self._launch)

    def _launch(self) -> None:
        self.loop.create_task(self._guarded(self._run()), name="client")

    async def _run(self) -> None:
        raise TypeError("a user says what it does")

    def open_channel(
        self, address: str, tls: TlsMaterial | None, options: Options
    ) -> grpc.aio.Channel:
        """Return a channel from this machine."""
        del tls, options
        return cast(grpc.aio.Channel, SimChannel(self, address))

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed that found it is kept
            self.world.fail(f"client: {self.name} raised {error!r}", error)

    async def _may_close(self) -> None:
        """Wait until the world has converged."""
        while not self.world.ending.may_close:  # noqa: ASYNC110 - it is set outside this loop
            await asyncio.sleep(0.1)

    async def _close(self) -> None:
        begun = self.loop.time()
        await self.client.close(timeout=CLOSE_SECONDS)
        if self.loop.time() - begun > CLOSE_SECONDS + SLACK_SECONDS:
            self.world.fail(f"client close: {self.name} took {self.loop.time() - begun:.1f} s")
        await asyncio.sleep(0)
        me = asyncio.current_task()
        left = [task.get_name() for task in self.loop.pending_tasks() if task is not me]
        if left:
            self.world.fail(f"client close: {self.name} left tasks behind: {left}")
        self.loop.call_soon(self._exit)

    def _exit(self) -> None:
        self.is_up = False
        self.past_loops.append(self.loop)
        self.world.network.host_died(self)

    def dispose(self) -> None:
        """Let go of the client too."""
        super().dispose()
        self.__dict__.pop("client", None)
