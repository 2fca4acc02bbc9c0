"""The same client without await: the async one on a loop of its own, in a thread of its own.

All threads of a process may share one client; their calls join the same groups. An interrupted
call (Ctrl-C) is cancelled on the loop as well. What each call does is the async client's; its twins
here are generated (`raftlog/_tools/gensync.py`), and `loop_thread` says what a fork does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from raftlog.client._sync.calls import (
    SyncBackup,
    SyncCluster,
    SyncKv,
    SyncLease,
    SyncLog,
    SyncLogSession,
    SyncMachine,
)
from raftlog.client.client import TIMEOUT_SECONDS, Client, Pem, tls_material
from raftlog.client.loop_thread import LoopThread
from raftlog.wire.channel import TlsMaterial

__all__ = [
    "SyncBackup",
    "SyncClient",
    "SyncCluster",
    "SyncKv",
    "SyncLease",
    "SyncLog",
    "SyncLogSession",
    "SyncMachine",
    "connect_sync",
]


class SyncClient:
    """A cluster in a program's hands, without await; `raftlog.connect_sync` makes one."""

    def __init__(
        self,
        endpoints: str | Iterable[str],
        *,
        timeout: float = TIMEOUT_SECONDS,
        tls: TlsMaterial | None = None,
    ) -> None:
        self._client = Client(endpoints, timeout=timeout, tls=tls)
        self._loop = LoopThread()
        self._is_open = False
        self.log = SyncLog(self._loop, self._client.log)
        self.kv = SyncKv(self._loop, self._client.kv)
        self.machine = SyncMachine(self._loop, self._client.machine)
        self.cluster = SyncCluster(self._loop, self._client.cluster)
        self.backup = SyncBackup(self._loop, self._client.backup)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Return the addresses given."""
        return self._client.endpoints

    def keep_to(self, cluster_id: str | None) -> Self:
        """Name the only cluster that is meant; before the client is opened. None: whichever."""
        self._client.keep_to(cluster_id)
        return self

    def open(self) -> Self:
        """Start the loop's thread; `with` does it. Connects at the first call."""
        if not self._is_open:
            self._loop.start()
            self._is_open = True
            self._loop.call(self._client.open)
        return self

    def close(self, *, timeout: float = 5.0) -> None:
        """Wait up to `timeout` for calls under way, then end. In a forked child: let go of it."""
        if self._is_open:
            self._is_open = False
            try:
                if not self._loop.is_foreign:
                    self._loop.call(self._client.close, timeout=timeout)
            finally:
                self._loop.stop()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_exception: object) -> None:
        self.close()


def connect_sync(
    endpoints: str | Iterable[str],
    *,
    timeout: float = TIMEOUT_SECONDS,
    cacert: Pem | None = None,
    cert: Pem | None = None,
    key: Pem | None = None,
    cluster_id: str | None = None,
) -> SyncClient:
    """Return a client without await; the arguments are those of `raftlog.connect`."""
    client = SyncClient(endpoints, timeout=timeout, tls=tls_material(cacert, cert, key))
    return client.keep_to(cluster_id)
