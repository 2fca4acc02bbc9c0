"""One node in this process: the real one, with a real disk and a real port, and no peers.

It is composed as `raftlog serve` composes it, so what a program sees is what it will see later,
but for failover. It leads at once, as the only voter. Warnings and errors of the node go to the
standard logger ``raftlog.testing``, which pytest shows beside a test that failed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from raftlog.client.loop_thread import LoopThread
from raftlog.config.load import load
from raftlog.config.schema import Settings
from raftlog.errors import ConfigInvalid, invariant

if TYPE_CHECKING:
    from raftlog.server.compose import RunningNode

HOST = "127.0.0.1"
NODE_ID = "n1"
LOGGER = "raftlog.testing"
PORTS_TRIED_MAX = 5


def node(*assignments: str, machine: str = "kv") -> SingleNode:
    """Return a node to be started by `async with` on the running loop, or by `with` in a thread.

    Args:
        assignments: settings as `raftlog serve --set` takes them: ``limits.group_bytes_max=1MiB``.
        machine: ``kv``, ``log``, or one's own as ``module:Class``.

    Raises:
        ConfigInvalid: an assignment names no setting, or gives it a wrong value.
    """
    return SingleNode(dataclasses.replace(load(assignments=assignments).settings, machine=machine))


class SingleNode:
    """One node, for as long as a block lasts; the block's value is its address.

    The block of `with` runs it in a thread with a loop of its own. Its directory is temporary, and
    is removed when the block ends.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running: RunningNode | None = None
        self._thread: LoopThread | None = None
        self._place: tempfile.TemporaryDirectory[str] | None = None

    @property
    def endpoints(self) -> str:
        """Return its address, as `raftlog.connect` takes it."""
        return self._settings.listen

    async def __aenter__(self) -> str:
        invariant(self._running is None, "this node runs already; make another")
        self._place = tempfile.TemporaryDirectory(prefix="raftlog-")
        try:
            self._running = await self._start(Path(self._place.name))
        except BaseException:
            self._place.cleanup()
            raise
        return self.endpoints

    async def __aexit__(self, *_exception: object) -> None:
        running, self._running = self._running, None
        try:
            if running is not None:
                await running.stop(hand_over=False)
        finally:
            if self._place is not None:
                self._place.cleanup()

    def __enter__(self) -> str:
        thread = LoopThread()
        thread.start()
        try:
            endpoints = thread.call(self.__aenter__)
        except BaseException:
            thread.stop()
            raise
        self._thread = thread
        return endpoints

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.call(self.__aexit__, kind, error, trace)
            finally:
                thread.stop()

    async def _start(self, place: Path) -> RunningNode:
        """Start on a free port; one that another process takes in between is no one's mistake."""
        for attempt in range(PORTS_TRIED_MAX):
            self._settings = self._founding(place / str(attempt))
            try:
                return await _compose(self._settings)
            except ConfigInvalid as error:
                taken = "cannot listen on" in error.message
                if not taken or attempt == PORTS_TRIED_MAX - 1:
                    raise
        raise AssertionError  # the last attempt raised

    def _founding(self, data_dir: Path) -> Settings:
        """Return the settings with which it founds a cluster of itself alone."""
        address = f"{HOST}:{_free_port()}"
        return dataclasses.replace(
            self._settings,
            node_id=NODE_ID,
            data_dir=str(data_dir),
            listen=address,
            http="",
            bootstrap_token="testing",  # noqa: S106 - names a cluster of one; opens nothing
            initial_cluster=((NODE_ID, address),),
        )


async def _compose(settings: Settings) -> RunningNode:
    """Start the node as a guest of this process: the log of the process is left alone."""
    # The server's side takes a second to import, which only those who run it here shall pay.
    from raftlog.server.compose import compose  # noqa: PLC0415
    from raftlog.telemetry.logs import make_standard_logger  # noqa: PLC0415
    from raftlog.telemetry.metrics import PrometheusObserver  # noqa: PLC0415

    observer = PrometheusObserver(NODE_ID)
    observer.log_to(make_standard_logger(LOGGER, observer.context))
    return await compose(settings, observer=observer)


def _free_port() -> int:
    """Return a port of loopback that is free now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
