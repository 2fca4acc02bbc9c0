"""The key-value machine: put, get, delete, range, compare-and-swap, transaction, watch, lease."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import cast

from raftlog import kv as words
from raftlog.client.connections import Peer
from raftlog.client.context import (
    Context,
    check_number,
    check_seconds,
    check_timeout,
    goes_anywhere,
    parse_consistency,
)
from raftlog.client.feed import Feed
from raftlog.client.lease import Lease
from raftlog.client.lock import Election, Lock
from raftlog.client.machine import submit_command
from raftlog.client.values import (
    Applied,
    Change,
    DeleteResult,
    KeyValue,
    LeaseStatus,
    OperationResult,
    Outcome,
    PutResult,
    SwapResult,
)
from raftlog.client.watch import Watch
from raftlog.errors import InvalidInput, NotFound
from raftlog.groups import KV_COMMAND_TAG
from raftlog.types import Consistency
from raftlog.wire.pb import kv_pb2

KEY_BYTES_MAX = 400
BOUND_BYTES_MAX = KEY_BYTES_MAX + 1
"""A range may end just above the longest key."""

PAGE_COUNT = 1000

LeaseRef = Lease | int


class Kv:
    """The keys and their values. A revision is the sequence of the transaction that made it.

    Reads are linearizable unless `consistency` asks for less; with `member` that member answers, by
    default after asking the leader for a read index.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    # ---------------------------------------------------------------- writes

    async def put(
        self, key: bytes, value: bytes, *, lease: LeaseRef = 0, timeout: float | None = None
    ) -> PutResult:
        """Set a key. With a lease, it vanishes when the lease ends.

        Raises:
            Rejected: there is no such lease.
        """
        deadline = self._context.deadline(timeout)
        put = kv_pb2.Put(key=_key(key), value=_value(value), lease=lease_id(lease))
        command = kv_pb2.KvCommand(put=put).SerializeToString()
        applied = await submit_command(self._context, command, deadline, KV_COMMAND_TAG)
        # The answer to a put says nothing more; it is not parsed.
        return PutResult(applied.sequence, applied.receipt)

    async def delete(
        self, key: bytes, *, end: bytes | None = None, timeout: float | None = None
    ) -> DeleteResult:
        """Remove a key, or with `end` every key from `key` up to but without `end`."""
        body = kv_pb2.Delete(
            key=_key(key), range_end=b"" if end is None else _key(end, BOUND_BYTES_MAX)
        )
        applied, result = await self._execute(kv_pb2.KvCommand(delete=body), timeout)
        return DeleteResult(result.deleted, applied.sequence, applied.receipt)

    async def compare_and_swap(
        self,
        key: bytes,
        value: bytes,
        *,
        revision: int,
        lease: LeaseRef = 0,
        timeout: float | None = None,
    ) -> SwapResult:
        """Set a key if its revision is exactly `revision`; 0: if it does not exist."""
        body = kv_pb2.CompareAndSwap(
            key=_key(key),
            value=_value(value),
            revision=check_number("revision", revision),
            lease=lease_id(lease),
        )
        applied, result = await self._execute(kv_pb2.KvCommand(compare_and_swap=body), timeout)
        current = _entry(result.current) if result.HasField("current") else None
        if result.succeeded:
            standing, current = applied.sequence, None
        else:
            standing = current.revision if current is not None else 0
        return SwapResult(
            succeeded=result.succeeded,
            revision=standing,
            current=current,
            receipt=applied.receipt,
        )

    async def transaction(
        self,
        *,
        when: Sequence[words.Condition] = (),
        then: Sequence[words.Operation] = (),
        otherwise: Sequence[words.Operation] = (),
        timeout: float | None = None,
    ) -> Outcome:
        """Do `then` if all of `when` hold, else `otherwise`, at one revision.

        The words are in `raftlog.kv`.
        """
        body = kv_pb2.Transaction(
            when=[_condition(each) for each in when],
            then=[_operation(each) for each in then],
            otherwise=[_operation(each) for each in otherwise],
        )
        applied, result = await self._execute(kv_pb2.KvCommand(transaction=body), timeout)
        results = tuple(
            OperationResult(
                deleted=each.deleted, entry=_entry(each.key_value) if each.found else None
            )
            for each in result.results
        )
        return Outcome(
            succeeded=result.succeeded,
            revision=applied.sequence,
            results=results,
            receipt=applied.receipt,
        )

    async def lease(self, *, ttl_seconds: float, timeout: float | None = None) -> Lease:
        """Grant a lease: keys put with it vanish when it ends.

        It lives `ttl_seconds` from the last refresh. As an async context manager it refreshes
        itself and is revoked at the end.
        """
        ttl_seconds = check_seconds("ttl", ttl_seconds)
        command = kv_pb2.KvCommand(lease_grant=kv_pb2.LeaseGrant(ttl_seconds=ttl_seconds))
        sent_at = self._context.now()
        _, result = await self._execute(command, timeout)
        return Lease(self._context, result.lease, result.ttl_seconds or ttl_seconds, sent_at)

    def attach_lease(self, lease_id: int, *, ttl_seconds: float) -> Lease:
        """Return a handle on a lease that is already there, say one granted elsewhere."""
        check_number("lease", lease_id, low=1)
        return Lease(self._context, lease_id, check_seconds("ttl", ttl_seconds))

    def lock(self, name: str, *, ttl_seconds: float = 10.0) -> Lock:
        """Return a named lock, which its context manager or `acquire` wins.

        `lock.token` is the revision at which it was won: this fences. A holder that is cut off
        loses it `ttl_seconds` after its last refresh, and knows so by then.
        """
        return Lock(self._context, self, name, ttl_seconds=ttl_seconds)

    def election(self, name: str, *, value: bytes = b"", ttl_seconds: float = 10.0) -> Election:
        """Return a lock whose holder leads something, and shows `value` to those who ask."""
        return Election(self._context, self, name, ttl_seconds=ttl_seconds, value=_value(value))

    # ---------------------------------------------------------------- reads

    async def get(
        self,
        key: bytes,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """Return a key as it stands, or None."""
        query = kv_pb2.KvQuery(get=kv_pb2.Get(key=_key(key)))
        answer = await self._query(query, consistency, member, self._context.deadline(timeout))
        return _entry(answer.key_values[0]) if answer.found else None

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
    ) -> AsyncIterator[KeyValue]:
        """Yield the keys with a prefix, or from `start` up to but without `end`, in key order.

        Long ranges are read page by page; each page is consistent in itself. `timeout` is for each
        page.
        """
        low, high = bounds(prefix, start, end)
        left = None if limit is None else check_number("limit", limit)
        parse_consistency(consistency, member)
        check_timeout(self._context.timeout_seconds if timeout is None else timeout)

        async def ask(query: kv_pb2.KvQuery) -> kv_pb2.KvAnswer:
            return await self._query(query, consistency, member, self._context.deadline(timeout))

        return self._pages(low, high, left, ask, reverse=reverse, keys_only=keys_only)

    @staticmethod
    async def _pages(
        low: bytes,
        high: bytes,
        left: int | None,
        ask: Callable[[kv_pb2.KvQuery], Awaitable[kv_pb2.KvAnswer]],
        *,
        reverse: bool,
        keys_only: bool,
    ) -> AsyncIterator[KeyValue]:
        while left is None or left > 0:
            count = PAGE_COUNT if left is None else min(left, PAGE_COUNT)
            body = kv_pb2.Range(
                start=low, end=high, limit=count, reverse=reverse, keys_only=keys_only
            )
            answer = await ask(kv_pb2.KvQuery(range=body))
            for key_value in answer.key_values:
                yield _entry(key_value)
            if not answer.more or not answer.key_values:
                return
            if left is not None:
                left -= len(answer.key_values)
            last = answer.key_values[-1].key
            if reverse:
                high = last
            else:
                low = last + b"\0"

    async def count(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes = b"",
        end: bytes | None = None,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Return how many keys there are in a range.

        Many keys are counted page by page; each page is consistent in itself. `timeout` is for the
        whole count.
        """
        low, high = bounds(prefix, start, end)
        deadline = self._context.deadline(timeout)
        total = 0
        while True:
            query = kv_pb2.KvQuery(range=kv_pb2.Range(start=low, end=high, count_only=True))
            answer = await self._query(query, consistency, member, deadline)
            total += answer.count
            if not answer.more or not answer.key_values:
                return total
            low = answer.key_values[-1].key + b"\0"  # the page's last key goes on the count

    async def lease_status(
        self,
        lease: LeaseRef,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> LeaseStatus:
        """Return what is left of a lease and the keys put with it.

        Raises:
            NotFound: it has ended, or never was.
        """
        number = lease_id(lease)
        query = kv_pb2.KvQuery(lease=kv_pb2.LeaseInfo(lease=number))
        answer = await self._query(query, consistency, member, self._context.deadline(timeout))
        if not answer.found:
            raise NotFound(f"no lease {number}")
        return _lease_status(answer.leases[0], tuple(answer.lease_keys))

    def leases(
        self,
        *,
        consistency: Consistency | str | None = None,
        member: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[LeaseStatus]:
        """Yield all leases by their ids, without their keys.

        They are read page by page; `timeout` is for each page.
        """
        parse_consistency(consistency, member)
        check_timeout(self._context.timeout_seconds if timeout is None else timeout)

        async def ask(query: kv_pb2.KvQuery) -> kv_pb2.KvAnswer:
            return await self._query(query, consistency, member, self._context.deadline(timeout))

        return _lease_pages(ask)

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
    ) -> Feed[Change]:
        """Yield every change of a key, a prefix or a range, in order, across failovers.

        Args:
            key: This key alone.
            prefix: Keys with this prefix.
            start: With `end`, keys from `start` up to but without `end`.
            end: See `start`.
            after_revision: Changes after it; 0: from the beginning; None: from now on (what this
                client writes later is seen; `Feed.begun` tells when others may write).
            member: Ask this member alone.
            timeout: How long all members may be away before it raises `Unavailable`.

        Raises:
            Compacted: every member purged changes after `after_revision`, or `member` did.
        """
        if after_revision is not None:
            check_number("revision", after_revision)
        if key is not None:
            low, high = bounds(None, _key(key), key + b"\0")
        else:
            low, high = bounds(prefix, start, end)
        return Watch(
            self._context, low, high, after_revision=after_revision, member=member, timeout=timeout
        ).feed()

    # ---------------------------------------------------------------- the wire

    async def _execute(
        self, command: kv_pb2.KvCommand, timeout: float | None
    ) -> tuple[Applied, kv_pb2.KvResult]:
        deadline = self._context.deadline(timeout)
        applied = await submit_command(
            self._context, command.SerializeToString(), deadline, KV_COMMAND_TAG
        )
        return applied, kv_pb2.KvResult.FromString(applied.result)

    async def _query(
        self,
        query: kv_pb2.KvQuery,
        consistency: Consistency | str | None,
        member: str | None,
        deadline: float,
    ) -> kv_pb2.KvAnswer:
        wire = parse_consistency(consistency, member)
        request = kv_pb2.KvQueryRequest(query=query, consistency=wire)

        async def call(peer: Peer, seconds: float) -> kv_pb2.KvQueryReply:
            return cast("kv_pb2.KvQueryReply", await peer.kv.Query(request, timeout=seconds))

        connections = self._context.connections
        if member is not None:
            return (await connections.ask_member(member, call, deadline)).answer
        if goes_anywhere(wire):
            return (await connections.ask_anyone(call, deadline)).answer
        return (await connections.ask_leader(call, deadline)).answer


def bounds(prefix: bytes | None, start: bytes, end: bytes | None) -> tuple[bytes, bytes]:
    """Return start and end of a range; an empty end is after the last key.

    Raises:
        InvalidInput: both a prefix and a range are given.
    """
    if prefix is None:
        return _bound(start), b"" if end is None else _bound(end)
    if start or end is not None:
        raise InvalidInput("give either a prefix, or start and end")
    return prefix, words.prefix_end(_bound(prefix))


async def _lease_pages(
    ask: Callable[[kv_pb2.KvQuery], Awaitable[kv_pb2.KvAnswer]],
) -> AsyncIterator[LeaseStatus]:
    after, more = 0, True
    while more:
        answer = await ask(kv_pb2.KvQuery(leases=kv_pb2.LeaseList(after=after)))
        for wire in answer.leases:
            yield _lease_status(wire)
            after = wire.lease
        more = answer.more


def _lease_status(wire: kv_pb2.LeaseStatus, keys: tuple[bytes, ...] = ()) -> LeaseStatus:
    return LeaseStatus(
        lease_id=wire.lease,
        ttl_seconds=wire.ttl_seconds,
        left_seconds=wire.left_seconds if wire.HasField("left_seconds") else None,
        key_count=wire.key_count,
        keys=keys,
    )


def _bound(bound: bytes) -> bytes:
    if type(bound) is not bytes:
        raise InvalidInput(f"a bound of a range is {type(bound).__name__}, expected bytes")
    if len(bound) > BOUND_BYTES_MAX:
        raise InvalidInput(f"a bound of {len(bound)} bytes; at most {BOUND_BYTES_MAX} are legal")
    return bound


def lease_id(lease: LeaseRef) -> int:
    """Return the lease's number; 0 is none.

    Raises:
        InvalidInput: it is no lease, and no number of one.
    """
    return check_number("lease", lease.lease_id if isinstance(lease, Lease) else lease)


def _key(key: bytes, size_max: int = KEY_BYTES_MAX) -> bytes:
    if type(key) is not bytes:
        raise InvalidInput(f"key is {type(key).__name__}, expected bytes")
    if not 0 < len(key) <= size_max:
        raise InvalidInput(f"key of {len(key)} bytes; 1 to {size_max} are legal")
    return key


def _value(value: bytes) -> bytes:
    if type(value) is not bytes:
        raise InvalidInput(f"value is {type(value).__name__}, expected bytes")
    return value


def _entry(wire: kv_pb2.KeyValue) -> KeyValue:
    return KeyValue(wire.key, wire.value, wire.revision, wire.created, wire.version, wire.lease)


def _condition(condition: words.Condition) -> kv_pb2.Condition:
    if not isinstance(condition, words.Condition):
        raise InvalidInput(f"{condition!r} is no condition of raftlog.kv")
    key = _key(condition.key)
    match condition:
        case words.Revision(revision=revision):
            return kv_pb2.Condition(key=key, revision=check_number("revision", revision))
        case words.RevisionBelow(revision=revision):
            return kv_pb2.Condition(key=key, revision_below=check_number("revision", revision))
        case words.Value(value=value):
            return kv_pb2.Condition(key=key, value=_value(value))
        case words.Exists():
            return kv_pb2.Condition(key=key, exists=True)
        case words.Missing():
            return kv_pb2.Condition(key=key, exists=False)


def _operation(operation: words.Operation) -> kv_pb2.Operation:
    if not isinstance(operation, words.Operation):
        raise InvalidInput(f"{operation!r} is no operation of raftlog.kv")
    key = _key(operation.key)
    match operation:
        case words.Put(value=value, lease=lease):
            put = kv_pb2.Put(key=key, value=_value(value), lease=lease_id(lease))
            return kv_pb2.Operation(put=put)
        case words.Delete(end=end):
            return kv_pb2.Operation(delete=kv_pb2.Delete(key=key, range_end=_bound(end)))
        case words.Get():
            return kv_pb2.Operation(get=kv_pb2.Get(key=key))
