"""Locks and elections: one holder at a time, a token that fences, and a holder that is told.

A lock is a key put with a lease. Its token is the revision at which the key was won: every later
holder's is higher, whoever asked for a lease first, so a resource that refuses tokens below the
highest it has seen admits no holder that was paused while another took over. (A lease's id grows by
grant and not by who won the key; it does not fence.) Inside the key-value machine the condition
`Lock.held` does the same: it holds exactly while the key is as this holder won it.

Who waits, waits for the key's deletion on a watch; nobody polls. The holder's lease is refreshed in
the background. By the holder's own clock the lock is lost, at the latest, when the time to live has
passed since the last refresh that succeeded was *sent*: the cluster ends the lease no earlier.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from typing import Protocol, Self

from raftlog import kv as words
from raftlog.client.context import Context, check_seconds
from raftlog.client.feed import Feed
from raftlog.client.lease import Lease
from raftlog.client.values import Change, ChangeKind, KeyValue, Outcome
from raftlog.errors import InvalidInput, Rejected, Unavailable

PREFIX = b"locks/"
NAME_BYTES_MAX = 200


class Keys(Protocol):
    """What a lock needs of the key-value machine (`raftlog/client/kv.py`)."""

    async def lease(self, *, ttl_seconds: float) -> Lease:
        """Grant a lease."""
        ...

    async def transaction(
        self,
        *,
        when: Sequence[words.Condition],
        then: Sequence[words.Operation],
    ) -> Outcome:
        """Do `then` if all of `when` hold."""
        ...

    def watch(self, key: bytes, *, after_revision: int) -> Feed[Change]:
        """Watch a key."""
        ...

    async def get(self, key: bytes, *, timeout: float | None) -> KeyValue | None:
        """Read a key."""
        ...


class Lock:
    """A named lock of the cluster. Use it as a context manager, or `acquire` and `release`.

    ::

        async with client.kv.lock("jobs", ttl_seconds=10) as lock:
            resource.write(..., fence=lock.token)
            if lock.is_lost: ...     # somebody else may hold it by now
    """

    def __init__(
        self,
        context: Context,
        kv: Keys,
        name: str,
        *,
        ttl_seconds: float,
        value: bytes | None = None,
    ) -> None:
        self.name = name
        """the lock's name."""
        self._context = context
        self._kv = kv
        self._key = lock_key(name)
        self._ttl_seconds = check_seconds("ttl", ttl_seconds)
        self._value = secrets.token_hex(8).encode() if value is None else value
        self._lease: Lease | None = None
        self._token = 0

    @property
    def token(self) -> int:
        """Return the fencing token: the revision at which the lock was won.

        Raises:
            InvalidInput: it is not held.
        """
        if not self._token:
            raise InvalidInput(f"lock {self.name!r} is not held")
        return self._token

    @property
    def held(self) -> words.Revision:
        """Return the condition, for a kv transaction, that this holder still has the lock."""
        return words.Revision(self._key, self.token)

    @property
    def is_held(self) -> bool:
        """Whether it was won and is not lost, by this machine's clock."""
        return bool(self._token) and not self.is_lost

    @property
    def is_lost(self) -> bool:
        """Whether it was held and may be somebody else's by now."""
        return self._lease is not None and self._lease.is_lost

    async def wait_lost(self) -> None:
        """Wait until the lock is lost or released."""
        if self._lease is not None:
            await self._lease.wait_lost()

    async def acquire(self, *, timeout: float | None = None) -> int:
        """Wait until the lock is won; return its token. Without `timeout` it waits for ever.

        Raises:
            Unavailable: somebody held it for the whole time.
            InvalidInput: it is held by this object already.
        """
        if self._lease is not None:
            raise InvalidInput(f"lock {self.name!r} is held, or being waited for, by this object")
        deadline = float("inf") if timeout is None else self._context.deadline(timeout)
        try:
            async with asyncio.timeout_at(None if timeout is None else deadline):
                while not self._token:
                    await self._try()
        except TimeoutError:
            await self.release()
            raise Unavailable(f"lock {self.name!r} was held by others for {timeout:g} s") from None
        except BaseException:
            await self.release()
            raise
        return self._token

    async def release(self) -> None:
        """Give the lock up. Takes no longer than its time to live: then it ends by itself."""
        lease, self._lease, self._token = self._lease, None, 0
        if lease is not None:
            await lease.end()

    async def _try(self) -> None:
        """Win the lock, or wait until it is free."""
        if self._lease is None or self._lease.is_lost:
            self._lease = await self._kv.lease(ttl_seconds=self._ttl_seconds)
            self._lease.keep_alive()
        try:
            outcome = await self._kv.transaction(
                when=[words.Missing(self._key)],
                then=[words.Put(self._key, self._value, self._lease.lease_id)],
            )
        except Rejected:
            self._lease = None  # it ended while this waited
            return
        if outcome:
            self._token = outcome.revision
            return
        async with contextlib.aclosing(
            self._kv.watch(self._key, after_revision=outcome.revision)
        ) as changes:
            async for change in changes:
                if change.kind is ChangeKind.DELETE:
                    return

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.release()


class Election(Lock):
    """A lock whose holder is the leader of something, and says who it is.

    ::

        async with client.kv.election("scheduler", value=b"host-7", ttl_seconds=10) as mine:
            ...                                  # leads while `mine.is_held`
        entry = await client.kv.election("scheduler").leader()
    """

    async def leader(self, *, timeout: float | None = None) -> KeyValue | None:
        """Return the leader: its value, and as `revision` its token; None if there is none."""
        return await self._kv.get(self._key, timeout=timeout)


def lock_key(name: str) -> bytes:
    """Return the key under which a lock lies.

    Raises:
        InvalidInput: that is no name of a lock.
    """
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidInput(f"{name!r} is no name of a lock: it takes printable text")
    encoded = name.encode("utf-8", "replace")
    if len(encoded) > NAME_BYTES_MAX:
        raise InvalidInput(f"a lock's name has at most {NAME_BYTES_MAX} bytes, not {len(encoded)}")
    return PREFIX + encoded
