"""The async client: one object, one loop, any number of concurrent callers."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Iterable
from typing import Self

from raftlog.client.backup import Backup
from raftlog.client.cluster import Cluster
from raftlog.client.context import Context
from raftlog.client.kv import Kv
from raftlog.client.log import Log
from raftlog.client.machine import Machine
from raftlog.client.routing import Dice, parse_endpoints
from raftlog.client.write_stream import WriterSettings
from raftlog.errors import ConfigInvalid
from raftlog.wire.channel import OpenChannel, TlsMaterial, open_channel

TIMEOUT_SECONDS = 10.0
Pem = bytes | str | pathlib.Path


class Client:
    """A cluster in a program's hands; `raftlog.connect` makes one. Use it as a context manager.

    `log`, `kv`, `machine`, `cluster` and `backup` hold the calls. Every call takes `timeout=` in
    seconds; all errors derive from `RaftLogError` and say by `definite` whether the call certainly
    did not happen.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str],
        *,
        timeout: float = TIMEOUT_SECONDS,
        tls: TlsMaterial | None = None,
        writer_settings: WriterSettings | None = None,
        open_channel: OpenChannel = open_channel,
        dice: Dice = random.random,
    ) -> None:
        self._context = Context(
            parse_endpoints(endpoints),
            tls=tls,
            timeout_seconds=timeout,
            writer_settings=writer_settings,
            open_channel=open_channel,
            dice=dice,
        )
        self.log = Log(self._context)
        self.kv = Kv(self._context)
        self.machine = Machine(self._context)
        self.cluster = Cluster(self._context)
        self.backup = Backup(self._context, self.cluster)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Return the addresses given."""
        return self._context.endpoints

    def keep_to(self, cluster_id: str | None) -> Self:
        """Name the only cluster that is meant; before the client is opened. None: whichever."""
        self._context.cluster_id = cluster_id
        return self

    async def open(self) -> Self:
        """Bind to the running loop; `async with` does it. Connects at the first call."""
        self._context.open()
        return self

    async def close(self, *, timeout: float = 5.0) -> None:
        """Wait up to `timeout` for calls under way, then end; calls left over fail truthfully."""
        await self._context.close(timeout)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()


def connect(
    endpoints: str | Iterable[str],
    *,
    timeout: float = TIMEOUT_SECONDS,
    cacert: Pem | None = None,
    cert: Pem | None = None,
    key: Pem | None = None,
    cluster_id: str | None = None,
) -> Client:
    """Return a client of the cluster behind `endpoints`, HOST:PORT,HOST:PORT,...

    Args:
        endpoints: Some of the members; the others are learned.
        timeout: Seconds for every call that names none itself.
        cacert: The authority that signed the members' certificates: PEM bytes, or a file's path.
            Without it the connection is in plain text.
        cert: The client's own certificate, where the cluster asks for one.
        key: Its key.
        cluster_id: Keep to this cluster only; by default to the one that answers first.

    Raises:
        InvalidInput: an endpoint is not HOST:PORT.
        ConfigInvalid: a file cannot be read, is not PEM, or the key is not the certificate's.
    """
    tls = tls_material(cacert, cert, key)
    return Client(endpoints, timeout=timeout, tls=tls).keep_to(cluster_id)


def tls_material(cacert: Pem | None, cert: Pem | None, key: Pem | None) -> TlsMaterial | None:
    """Return the credentials, or None for plain text."""
    if cacert is None:
        if cert is not None or key is not None:
            raise ConfigInvalid(
                "a client certificate needs the authority's certificate as well: --cacert, cacert="
            )
        return None
    from raftlog.wire.material import check_material  # noqa: PLC0415 - spares plain text

    material = TlsMaterial(
        ca=_read(cacert),
        cert=None if cert is None else _read(cert),
        key=None if key is None else _read(key),
    )
    names = ("cacert", cacert), ("cert", cert), ("key", key)
    check_material(material, *(_shown(name, given) for name, given in names))
    return material


def _shown(name: str, given: Pem | None) -> str:
    return f"{name}=" if given is None or isinstance(given, bytes) else f"{name} {given}"


def _read(pem: Pem) -> bytes:
    if isinstance(pem, bytes):
        return pem
    try:
        return pathlib.Path(pem).read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"cannot read {pem}: {error.strerror}") from None
