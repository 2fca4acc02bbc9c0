"""The key-value machine: parses commands and hands each to its handler."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from raftlog.interfaces import ApplyContext, ReadState, RoleContext, StateMachine
from raftlog.machines.kv import queries
from raftlog.machines.kv.commands import DONE, HANDLERS, check_key, reject_malformed
from raftlog.machines.kv.layout import KEY_BYTES_MAX, TABLE, store
from raftlog.machines.kv.leases import LeaseKeeper
from raftlog.types import Blob, Int64
from raftlog.wire.pb import kv_pb2 as pb

_parse = pb.KvCommand.FromString


class KvMachine(StateMachine):
    """Keys with revisions, transactions with conditions, and leases, as `kv.proto` describes.

    A revision is the sequence of the transaction that made it. The order of `tables`' columns is
    the order of a change record's fields on the disk: it belongs to the version.
    """

    name = "kv"
    version = 1
    inline = True
    tables = {  # noqa: RUF012 - declared ClassVar by the base class
        TABLE: {
            "key": Blob,
            "value": Blob,
            "revision": Int64,
            "created": Int64,
            "version": Int64,
            "lease": Int64,
        }
    }

    def __init__(self) -> None:
        self._keeper: LeaseKeeper | None = None
        self._keeping: asyncio.Task[None] | None = None

    def apply(self, command: bytes, context: ApplyContext) -> bytes:
        """Apply one KvCommand and return its KvResult; bytes that do not parse are rejected."""
        try:
            parsed = _parse(command)
        except DecodeError:
            reject_malformed(context)
        body = parsed.WhichOneof("body")
        if body == "put":
            put = parsed.put
            key = put.key
            if not 0 < len(key) <= KEY_BYTES_MAX:
                check_key(context, key)
            store(context, key, put.value, put.lease)
            return DONE
        if body is None:
            reject_malformed(context)
        return HANDLERS[body](getattr(parsed, body), context)

    def query(self, request: bytes, state: ReadState) -> bytes:
        """Answer a KvQuery with a KvAnswer; see `queries`."""
        left = None if self._keeper is None else self._keeper.left_seconds
        return queries.query(request, state, left)

    def gauges(self) -> Mapping[str, float]:
        """Return how many leases there are; the leader alone counts them."""
        return {"leases": float(self._keeper.count)} if self._keeper is not None else {}

    async def on_promote(self, context: RoleContext) -> None:
        """Start to expire leases; each gets its full time from now."""
        await self._stop_keeper()
        # Not in a TaskGroup: it outlives this call, and on_demote ends it.
        self._keeper = LeaseKeeper(context)
        self._keeping = asyncio.create_task(self._keeper.run(), name="kv-leases")

    async def on_demote(self, context: RoleContext) -> None:  # noqa: ARG002
        """Stop expiring leases; the next leader does."""
        await self._stop_keeper()

    async def _stop_keeper(self) -> None:
        keeping, self._keeping, self._keeper = self._keeping, None, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait((keeping,))
