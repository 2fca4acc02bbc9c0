"""What each command of the key-value machine does; `proto/raftlog/v1/kv.proto` is the reference.

A command is checked as a whole before it writes, save for what only its work can tell (a lease that
does not exist, too much to delete); the node takes writes back when a command is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn

from raftlog.interfaces import ApplyContext
from raftlog.machines.kv import layout
from raftlog.machines.kv.layout import BOUND_BYTES_MAX, KEY_BYTES_MAX, Lease, Record, Work
from raftlog.text import shown
from raftlog.wire.pb import kv_pb2 as pb

CONDITIONS_MAX = 128
OPERATIONS_MAX = 128
READ_BYTES_MAX = 4 * 1024 * 1024
"""What the gets of one transaction may return together: results are kept for retries."""

TTL_SECONDS_MIN = 1.0
TTL_SECONDS_MAX = 86_400.0

DONE = pb.KvResult(succeeded=True).SerializeToString()
"""The result of a put, made once."""

_NOT_DONE = pb.KvResult(succeeded=False).SerializeToString()


def reject_malformed(context: ApplyContext) -> NoReturn:
    """Reject a command that does not parse, or says nothing this version knows."""
    context.reject("malformed command")


def check_key(context: ApplyContext, key: bytes) -> None:
    """Reject a key of an impossible size."""
    if not key:
        context.reject("a key must not be empty")
    if len(key) > KEY_BYTES_MAX:
        context.reject(f"a key of {len(key)} bytes is over the limit of {KEY_BYTES_MAX}")


def delete(body: pb.Delete, context: ApplyContext) -> bytes:
    """Delete a key or a range; deleting nothing succeeds too."""
    _check_delete(context, body)
    return pb.KvResult(
        succeeded=True, deleted=_delete(body, context, Work(context))
    ).SerializeToString()


def compare_and_swap(body: pb.CompareAndSwap, context: ApplyContext) -> bytes:
    """Set the key if its revision is the one named; otherwise answer with what is there."""
    check_key(context, body.key)
    record = layout.find(context.state, body.key)
    if (0 if record is None else record.revision) == body.revision:
        layout.store(context, body.key, body.value, body.lease)
        return DONE
    if record is None:
        return _NOT_DONE
    return pb.KvResult(succeeded=False, current=key_value(body.key, record)).SerializeToString()


def transaction(body: pb.Transaction, context: ApplyContext) -> bytes:
    """Take `then` if all of `when` hold, else `otherwise`; operations see earlier writes."""
    if len(body.when) > CONDITIONS_MAX:
        context.reject(f"a transaction takes at most {CONDITIONS_MAX} conditions")
    for condition in body.when:
        check_key(context, condition.key)
        if condition.WhichOneof("test") is None:
            reject_malformed(context)
    _check_branch(context, body.then)
    _check_branch(context, body.otherwise)
    succeeded = all(_holds(condition, context) for condition in body.when)
    work = Work(context)
    results: list[pb.OperationResult] = []
    read_count = read_bytes = 0
    for operation in body.then if succeeded else body.otherwise:
        result = _operate(operation, context, work)
        results.append(result)
        if result.found:
            read_count += 1
            read_bytes += len(result.key_value.value)
            if read_count > 1 and read_bytes > READ_BYTES_MAX:
                context.reject(f"the transaction reads over {READ_BYTES_MAX} bytes of values")
    return pb.KvResult(succeeded=succeeded, results=results).SerializeToString()


def lease_grant(body: pb.LeaseGrant, context: ApplyContext) -> bytes:
    """Make a lease. Its id is the command's sequence, so no two are the same."""
    ttl = body.ttl_seconds
    if not TTL_SECONDS_MIN <= ttl <= TTL_SECONDS_MAX:  # NaN fails it too
        context.reject(
            f"a lease lasts {TTL_SECONDS_MIN:g} to {TTL_SECONDS_MAX:g} seconds, not {ttl:g}"
        )
    lease = context.sequence
    layout.store_lease(context, lease, Lease(context.sequence, ttl, 0, 0))
    return pb.KvResult(succeeded=True, lease=lease, ttl_seconds=ttl).SerializeToString()


def lease_refresh(body: pb.LeaseRefresh, context: ApplyContext) -> bytes:
    """Start a lease's time anew."""
    record = _lease(context, body.lease)
    layout.store_lease(context, body.lease, record._replace(refreshed=context.sequence))
    return pb.KvResult(
        succeeded=True, lease=body.lease, ttl_seconds=record.ttl_seconds
    ).SerializeToString()


def lease_revoke(body: pb.LeaseRevoke, context: ApplyContext) -> bytes:
    """End a lease and delete its keys."""
    _lease(context, body.lease)
    return _end_lease(context, body.lease)


def lease_expire(body: pb.LeaseExpire, context: ApplyContext) -> bytes:
    """End a lease unless it was refreshed since: a refresh that came first in the log wins."""
    record = layout.find_lease(context.state, body.lease)
    if record is None or record.refreshed != body.refreshed:
        return _NOT_DONE
    return _end_lease(context, body.lease)


def key_value(key: bytes, record: Record, *, with_value: bool = True) -> pb.KeyValue:
    """Return a key as commands and queries answer with it."""
    return pb.KeyValue(
        key=key,
        value=record.value if with_value else b"",
        revision=record.revision,
        created=record.created,
        version=record.version,
        lease=record.lease,
    )


def _check_delete(context: ApplyContext, body: pb.Delete) -> None:
    if not body.range_end:
        check_key(context, body.key)
    elif max(len(body.key), len(body.range_end)) > BOUND_BYTES_MAX:
        context.reject(f"a bound of a range is over the limit of {BOUND_BYTES_MAX} bytes")


def _check_branch(context: ApplyContext, branch: Iterable[pb.Operation]) -> None:
    keys: set[bytes] = set()
    for count, operation in enumerate(branch, 1):
        if count > OPERATIONS_MAX:
            context.reject(f"a branch of a transaction takes at most {OPERATIONS_MAX} operations")
        match operation.WhichOneof("body"):
            case "put":
                key = operation.put.key
                check_key(context, key)
                if key in keys:
                    context.reject(f"a branch of a transaction puts key {shown(key[:40])} twice")
                keys.add(key)
            case "delete":
                _check_delete(context, operation.delete)
            case "get":
                check_key(context, operation.get.key)
            case _:
                reject_malformed(context)


def _holds(condition: pb.Condition, context: ApplyContext) -> bool:
    record = layout.find(context.state, condition.key)
    revision = 0 if record is None else record.revision
    match condition.WhichOneof("test"):
        case "revision":
            return bool(revision == condition.revision)
        case "value":
            return record is not None and bool(record.value == condition.value)
        case "exists":
            return bool((record is not None) == condition.exists)
        case _:
            return bool(revision < condition.revision_below)


def _operate(operation: pb.Operation, context: ApplyContext, work: Work) -> pb.OperationResult:
    match operation.WhichOneof("body"):
        case "put":
            put = operation.put
            replaced = layout.store(context, put.key, put.value, put.lease)
            if replaced:
                work.add(replaced)
            return pb.OperationResult()
        case "delete":
            return pb.OperationResult(deleted=_delete(operation.delete, context, work))
        case _:
            key = operation.get.key
            record = layout.find(context.state, key)
            if record is None:
                return pb.OperationResult(found=False)
            return pb.OperationResult(found=True, key_value=key_value(key, record))


def _delete(body: pb.Delete, context: ApplyContext, work: Work) -> int:
    state = context.state
    if not body.range_end:
        stored = state.get(layout.KEY + body.key)
        if stored is None:
            return 0
        work.add(len(stored))
        layout.remove(context, body.key, stored)
        return 1
    doomed: list[tuple[bytes, bytes]] = []
    if body.key < body.range_end:
        for state_key, stored in state.range(layout.KEY + body.key, layout.KEY + body.range_end):
            work.add(len(stored))
            doomed.append((state_key[1:], stored))
    for key, stored in doomed:
        layout.remove(context, key, stored)
    return len(doomed)


def _lease(context: ApplyContext, lease: int) -> Lease:
    record = layout.find_lease(context.state, lease)
    if record is None:
        context.reject(f"lease {lease} does not exist")
    return record


def _end_lease(context: ApplyContext, lease: int) -> bytes:
    state = context.state
    keys = layout.lease_keys(state, lease)
    for key in keys:
        stored = state.get(layout.KEY + key)
        if stored is not None:
            layout.remove(context, key, stored)
    state.delete(layout.lease_key(lease))
    return pb.KvResult(succeeded=True, deleted=len(keys), lease=lease).SerializeToString()


HANDLERS: dict[str, Callable[..., bytes]] = {
    "delete": delete,
    "compare_and_swap": compare_and_swap,
    "transaction": transaction,
    "lease_grant": lease_grant,
    "lease_refresh": lease_refresh,
    "lease_revoke": lease_revoke,
    "lease_expire": lease_expire,
}
"""Every command but put, which `KvMachine.apply` handles itself."""
