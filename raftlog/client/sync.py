"""The same client without await: the async one on a loop of its own, in a thread of its own.

All threads of a process may share one client; their calls join the same groups. An interrupted
call (Ctrl-C) is cancelled on the loop as well.

Threads and sockets do not survive a fork, and gRPC cannot start again in the child of a process in
which it ran. So a call in such a child raises instead of hanging, and so does opening a client
there; a server that forks its workers opens clients in the workers only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import ClassVar, ParamSpec, Self, TypeVar

from raftlog import kv as words
from raftlog.client.client import TIMEOUT_SECONDS, Client, Pem, tls_material
from raftlog.client.context import Payload
from raftlog.client.kv import Kv
from raftlog.client.lease import Lease
from raftlog.client.log import Log, LogSession, SessionState
from raftlog.client.machine import Machine
from raftlog.client.values import (
    Applied,
    Change,
    DeleteResult,
    KeyValue,
    LeaseStatus,
    LogInfo,
    Outcome,
    PutResult,
    Receipt,
    SwapResult,
    Transaction,
    Transfer,
)
from raftlog.errors import InvalidInput, LeaderHint, Unavailable
from raftlog.status import ClusterStatus
from raftlog.types import Consistency
from raftlog.wire.channel import TlsMaterial

P = ParamSpec("P")
T = TypeVar("T")

ACLOSE_ATTEMPTS = 100


class LoopThread:
    """A running event loop in a thread of its own, and calls into it from others."""

    _home: ClassVar[int | None] = None
    """The process in which gRPC was first used; not so in children forked before that."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    @property
    def is_foreign(self) -> bool:
        """Whether this process is a fork of the one that started the thread."""
        return os.getpid() != self._pid

    def start(self) -> None:
        """Start the thread; returns when the loop runs."""
        home = LoopThread._home
        if home is not None and home != os.getpid():
            raise InvalidInput(
                f"process {os.getpid()} was forked from {home} after that had opened a client; "
                "open clients after the fork only, or start a new process"
            )
        LoopThread._home = os.getpid()
        loop = _new_loop()
        running = threading.Event()
        loop.call_soon(running.set)
        self._pid = os.getpid()
        self._loop = loop
        self._thread = threading.Thread(target=loop.run_forever, name="raftlog", daemon=True)
        self._thread.start()
        running.wait()

    def call(
        self, function: Callable[P, Coroutine[object, object, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a coroutine function on the loop and return its result.

        Raises:
            InvalidInput: this process is a fork of the one that opened the client.
            Unavailable: the client is not open.
        """
        if self.is_foreign:
            raise InvalidInput(
                f"this client belongs to process {self._pid}, of which process {os.getpid()} is a "
                "fork; open clients after the fork only"
            )
        if self._loop is None:
            raise Unavailable("the client is not open; use it as a context manager")
        if threading.current_thread() is self._thread:
            raise InvalidInput("a blocking call from the client's own loop would wait for ever")
        future = asyncio.run_coroutine_threadsafe(function(*args, **kwargs), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, start: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """Yield what an async iterator yields; ends it when the caller stops."""

        async def begin() -> AsyncIterator[T]:
            return start()

        source = self.call(begin)
        try:
            while True:
                item = self.call(_next, source)
                if item is None:
                    return
                yield item[0]
        finally:
            if not self.is_foreign and self._loop is not None:
                self.call(_close_iterator, source)

    def stop(self) -> None:
        """End the loop and the thread. In a forked child it only lets go of them."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None or self.is_foreign:
            return
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _next(source: AsyncIterator[T]) -> tuple[T] | None:
    # StopAsyncIteration cannot leave a coroutine that a future stands for.
    async for item in source:
        return (item,)
    return None


async def _close_iterator(source: AsyncIterator[T]) -> None:
    close = getattr(source, "aclose", None)
    if close is None:
        return
    for _ in range(ACLOSE_ATTEMPTS):
        # After an interrupt the iterator may still be on its way out of its last step.
        with contextlib.suppress(RuntimeError):
            await close()
            return
        await asyncio.sleep(0)


class SyncLog:
    """`raftlog.client.log.Log` without await; the contracts are the same."""

    def __init__(self, loop: LoopThread, log: Log) -> None:
        self._loop = loop
        self._log = log

    def append(
        self, payload: Payload, *, stream: str = "", timeout: float | None = None
    ) -> Receipt:
        """Append one opaque transaction, exactly once, and return its place in the log."""
        return self._loop.call(self._log.append, payload, stream=stream, timeout=timeout)

    def append_many(
        self, payloads: Sequence[Payload], *, stream: str = "", timeout: float | None = None
    ) -> list[Receipt]:
        """Append transactions in order, in as few groups as their sizes allow."""
        return self._loop.call(self._log.append_many, payloads, stream=stream, timeout=timeout)

    def tail(
        self,
        after: int = 0,
        *,
        stream: str | None = None,
        follow: bool = True,
        commands: bool = False,
        member: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[Transaction]:
        """Yield committed transactions after sequence `after`, across failovers, without gap."""
        batches = self._loop.iterate(
            lambda: self._log.tail_batches(
                after,
                stream=stream,
                follow=follow,
                commands=commands,
                member=member,
                timeout=timeout,
            )
        )
        try:
            for batch in batches:
                yield from batch
        finally:
            _close_generator(batches)

    def get(
        self, sequence: int, *, member: str | None = None, timeout: float | None = None
    ) -> Transaction:
        """Return one committed transaction."""
        return self._loop.call(self._log.get, sequence, member=member, timeout=timeout)

    def info(self, *, member: str | None = None, timeout: float | None = None) -> LogInfo:
        """Return the extent of the log, as the member that answers knows it."""
        return self._loop.call(self._log.info, member=member, timeout=timeout)

    def open_session(self, *, timeout: float | None = None) -> SyncLogSession:
        """Open a session that a later process can take up again."""
        session = self._loop.call(self._log.open_session, timeout=timeout)
        return SyncLogSession(self._loop, session)

    def resume_session(self, state: SessionState) -> SyncLogSession:
        """Take up a session where it stood."""

        async def resume() -> LogSession:
            return self._log.resume_session(state)

        return SyncLogSession(self._loop, self._loop.call(resume))


class SyncLogSession:
    """`raftlog.client.log.LogSession` without await."""

    def __init__(self, loop: LoopThread, session: LogSession) -> None:
        self._loop = loop
        self._session = session

    @property
    def state(self) -> SessionState:
        """Return where the session stands."""
        return self._session.state

    def append(
        self, payloads: Sequence[Payload], *, stream: str = "", timeout: float | None = None
    ) -> list[Receipt]:
        """Append one group, exactly once also across processes."""
        return self._loop.call(self._session.append, payloads, stream=stream, timeout=timeout)

    def close(self) -> None:
        """Stop sending; the session itself stays until it expires."""
        self._loop.call(self._session.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class SyncLease:
    """`raftlog.client.lease.Lease` without await."""

    def __init__(self, loop: LoopThread, lease: Lease) -> None:
        self._loop = loop
        self._lease = lease

    @property
    def lease_id(self) -> int:
        """Return the lease's id."""
        return self._lease.lease_id

    @property
    def ttl_seconds(self) -> float:
        """Return how long it lives without a refresh."""
        return self._lease.ttl_seconds

    @property
    def token(self) -> int:
        """Return the fencing token."""
        return self._lease.token

    @property
    def is_lost(self) -> bool:
        """Whether a refresh found that the lease has ended."""
        return self._lease.is_lost

    def __int__(self) -> int:
        return self._lease.lease_id

    def refresh(self, *, timeout: float | None = None) -> None:
        """Start the lease's time anew."""
        self._loop.call(self._lease.refresh, timeout=timeout)

    def revoke(self, *, timeout: float | None = None) -> None:
        """End the lease now; the keys put with it vanish."""
        self._loop.call(self._lease.revoke, timeout=timeout)

    def keep_alive(self) -> None:
        """Refresh in the background from now on, until it is revoked or lost."""
        self._loop.call(self._lease.__aenter__)

    def __enter__(self) -> Self:
        self.keep_alive()
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call(self._lease.__aexit__, *exception)


class SyncKv:
    """`raftlog.client.kv.Kv` without await; the contracts are the same."""

    def __init__(self, loop: LoopThread, kv: Kv) -> None:
        self._loop = loop
        self._kv = kv

    def put(
        self,
        key: bytes,
        value: bytes,
        *,
        lease: SyncLease | int = 0,
        timeout: float | None = None,
    ) -> PutResult:
        """Set a key. With a lease, it vanishes when the lease ends."""
        return self._loop.call(self._kv.put, key, value, lease=int(lease), timeout=timeout)

    def delete(
        self, key: bytes, *, end: bytes | None = None, timeout: float | None = None
    ) -> DeleteResult:
        """Remove a key, or with `end` every key from `key` up to but without `end`."""
        return self._loop.call(self._kv.delete, key, end=end, timeout=timeout)

    def compare_and_swap(
        self,
        key: bytes,
        value: bytes,
        *,
        revision: int,
        lease: SyncLease | int = 0,
        timeout: float | None = None,
    ) -> SwapResult:
        """Set a key if its revision is exactly `revision`; 0: if it does not exist."""
        return self._loop.call(
            self._kv.compare_and_swap,
            key,
            value,
            revision=revision,
            lease=int(lease),
            timeout=timeout,
        )

    def transaction(
        self,
        *,
        when: Sequence[words.Condition] = (),
        then: Sequence[words.Operation] = (),
        otherwise: Sequence[words.Operation] = (),
        timeout: float | None = None,
    ) -> Outcome:
        """Do `then` if all of `when` hold, else `otherwise`, at one revision."""
        return self._loop.call(
            self._kv.transaction, when=when, then=then, otherwise=otherwise, timeout=timeout
        )

    def lease(self, *, ttl_seconds: float, timeout: float | None = None) -> SyncLease:
        """Grant a lease: keys put with it vanish when it ends; its token fences."""
        lease = self._loop.call(self._kv.lease, ttl_seconds=ttl_seconds, timeout=timeout)
        return SyncLease(self._loop, lease)

    def attach_lease(self, lease_id: int, *, ttl_seconds: float) -> SyncLease:
        """Return a handle on a lease that is already there, say one granted elsewhere."""
        return SyncLease(self._loop, self._kv.attach_lease(lease_id, ttl_seconds=ttl_seconds))

    def get(
        self,
        key: bytes,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """Return a key as it stands, or None."""
        return self._loop.call(
            self._kv.get, key, consistency=consistency, member=member, timeout=timeout
        )

    def range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes = b"",
        end: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
        keys_only: bool = False,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[KeyValue]:
        """Yield the keys with a prefix, or from `start` up to but without `end`, in key order."""
        return self._loop.iterate(
            lambda: self._kv.range(
                prefix=prefix,
                start=start,
                end=end,
                limit=limit,
                reverse=reverse,
                keys_only=keys_only,
                consistency=consistency,
                member=member,
                timeout=timeout,
            )
        )

    def count(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes = b"",
        end: bytes | None = None,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Return how many keys there are in a range."""
        return self._loop.call(
            self._kv.count,
            prefix=prefix,
            start=start,
            end=end,
            consistency=consistency,
            member=member,
            timeout=timeout,
        )

    def lease_status(
        self,
        lease: SyncLease | int,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> LeaseStatus:
        """Return what is left of a lease and the keys put with it."""
        return self._loop.call(
            self._kv.lease_status,
            int(lease),
            consistency=consistency,
            member=member,
            timeout=timeout,
        )

    def watch(
        self,
        key: bytes | None = None,
        *,
        prefix: bytes | None = None,
        start: bytes = b"",
        end: bytes | None = None,
        after_revision: int | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[Change]:
        """Yield every change of a key, a prefix or a range, in order, across failovers."""
        return self._loop.iterate(
            lambda: self._kv.watch(
                key,
                prefix=prefix,
                start=start,
                end=end,
                after_revision=after_revision,
                member=member,
                timeout=timeout,
            )
        )


class SyncMachine:
    """`raftlog.client.machine.Machine` without await."""

    def __init__(self, loop: LoopThread, machine: Machine) -> None:
        self._loop = loop
        self._machine = machine

    def execute(self, command: Payload, *, timeout: float | None = None) -> bytes:
        """Replicate and apply a command, exactly once, and return the machine's answer."""
        return self._loop.call(self._machine.execute, command, timeout=timeout)

    def submit(self, command: Payload, *, timeout: float | None = None) -> Applied:
        """Do what `execute` does, and return the command's place in the log as well."""
        return self._loop.call(self._machine.submit, command, timeout=timeout)

    def query(
        self,
        request: Payload,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Ask the machine; linearizable unless `consistency` asks for less."""
        return self._loop.call(
            self._machine.query, request, consistency=consistency, member=member, timeout=timeout
        )


class SyncCluster:
    """`raftlog.client.cluster.Cluster` without await."""

    def __init__(self, loop: LoopThread, client: Client) -> None:
        self._loop = loop
        self._cluster = client.cluster

    def status(self, *, member: str | None = None, timeout: float | None = None) -> ClusterStatus:
        """Return the cluster as the leader knows it, or without one any live node."""
        return self._loop.call(self._cluster.status, member=member, timeout=timeout)

    def leader(self, *, timeout: float | None = None) -> LeaderHint:
        """Return who leads and takes writes."""
        return self._loop.call(self._cluster.leader, timeout=timeout)

    def transfer(self, to: str | None = None, *, timeout: float | None = None) -> Transfer:
        """Hand leadership to a member, by default to the most caught-up one."""
        return self._loop.call(self._cluster.transfer, to, timeout=timeout)

    def step_down(self, *, timeout: float | None = None) -> None:
        """Make the leader stop leading, without choosing a successor."""
        self._loop.call(self._cluster.step_down, timeout=timeout)


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
        self.cluster = SyncCluster(self._loop, self._client)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Return the addresses given."""
        return self._client.endpoints

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
            if not self._loop.is_foreign:
                self._loop.call(self._client.close, timeout=timeout)
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
) -> SyncClient:
    """Return a client without await; the arguments are those of `raftlog.connect`."""
    return SyncClient(endpoints, timeout=timeout, tls=tls_material(cacert, cert, key))


def _close_generator(generator: Iterator[T]) -> None:
    close = getattr(generator, "close", None)
    if close is not None:
        close()
