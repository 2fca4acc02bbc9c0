"""The reads of the key-value machine: one key, a page of a range, a lease.

Queries run on the event loop, so each answers a bounded page; `more` says that the range goes on
after the last key of the answer.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError

from raftlog.errors import InvalidInput
from raftlog.interfaces import ReadState
from raftlog.machines.kv import layout
from raftlog.machines.kv.commands import key_value
from raftlog.machines.kv.layout import BOUND_BYTES_MAX, KEY_BYTES_MAX, Lease
from raftlog.wire.pb import kv_pb2 as pb

PAGE_KEYS_MAX = 1_000
PAGE_BYTES_MAX = 1024 * 1024
COUNT_KEYS_MAX = 4_000
SCAN_BYTES_MAX = 16 * 1024 * 1024
"""What a query that answers without values may read past."""


LeftSeconds = Callable[[int, Lease], float]


def query(request: bytes, state: ReadState, left: LeftSeconds | None = None) -> bytes:
    """Answer a KvQuery with a KvAnswer. `left`: how long a lease has left, where it is measured.

    Raises:
        InvalidInput: it does not parse, asks nothing, or names a key of an impossible size.
    """
    try:
        parsed = pb.KvQuery.FromString(request)
    except DecodeError:
        raise InvalidInput("malformed query") from None
    match parsed.WhichOneof("body"):
        case "get":
            answer = _get(parsed.get, state)
        case "range":
            answer = _range(parsed.range, state)
        case "lease":
            answer = _lease(parsed.lease, state, left)
        case "leases":
            answer = _leases(parsed.leases, state, left)
        case _:
            raise InvalidInput("malformed query")
    return answer.SerializeToString()


def _get(body: pb.Get, state: ReadState) -> pb.KvAnswer:
    key = body.key
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        raise InvalidInput(f"a key is 1 to {KEY_BYTES_MAX} bytes long, not {len(key)}")
    record = layout.find(state, key)
    if record is None:
        return pb.KvAnswer(found=False)
    return pb.KvAnswer(found=True, key_values=[key_value(key, record)], count=1)


def _range(body: pb.Range, state: ReadState) -> pb.KvAnswer:
    """Answer one page.

    With `count_only` it holds no keys, save the last one counted when there are more: counting goes
    on from there.
    """
    if max(len(body.start), len(body.end)) > BOUND_BYTES_MAX:
        raise InvalidInput(f"a bound of a range is over the limit of {BOUND_BYTES_MAX} bytes")
    start = layout.KEY + body.start
    end = layout.KEY + body.end if body.end else layout.KEY_END
    if start >= end:
        return pb.KvAnswer()
    page = COUNT_KEYS_MAX if body.count_only else PAGE_KEYS_MAX
    keys_max = min(body.limit or page, page)
    with_value = not (body.keys_only or body.count_only)
    bytes_max = PAGE_BYTES_MAX if with_value else SCAN_BYTES_MAX
    found: list[pb.KeyValue] = []
    last: tuple[bytes, bytes] | None = None
    more = False
    count = size = 0
    for state_key, stored in state.range(start, end, limit=keys_max + 1, reverse=body.reverse):
        size += len(state_key) + len(stored)
        if count == keys_max or (count and size > bytes_max):
            more = True
            break
        count += 1
        if body.count_only:
            last = state_key, stored
        else:
            found.append(key_value(state_key[1:], layout.unpack(stored), with_value=with_value))
    if more and last is not None:
        found.append(key_value(last[0][1:], layout.unpack(last[1]), with_value=False))
    return pb.KvAnswer(found=count > 0, key_values=found, more=more, count=count)


def _lease(body: pb.LeaseInfo, state: ReadState, left: LeftSeconds | None) -> pb.KvAnswer:
    record = layout.find_lease(state, body.lease)
    if record is None:
        return pb.KvAnswer(found=False)
    return pb.KvAnswer(
        found=True,
        ttl_seconds=record.ttl_seconds,
        lease_keys=layout.lease_keys(state, body.lease),
        count=record.key_count,
        leases=[_lease_status(body.lease, record, left)],
    )


def _leases(body: pb.LeaseList, state: ReadState, left: LeftSeconds | None) -> pb.KvAnswer:
    """Answer one page of leases, in the order of their ids."""
    count_max = min(body.limit or PAGE_KEYS_MAX, PAGE_KEYS_MAX)
    start = layout.lease_key(body.after) + b"\x00" if body.after else layout.LEASE
    page = list(state.range(start, layout.LEASE_END, limit=count_max + 1))
    found = [
        _lease_status(layout.lease_id(key), layout.unpack_lease(stored), left)
        for key, stored in page[:count_max]
    ]
    return pb.KvAnswer(
        found=bool(found), leases=found, more=len(page) > count_max, count=len(found)
    )


def _lease_status(lease: int, record: Lease, left: LeftSeconds | None) -> pb.LeaseStatus:
    status = pb.LeaseStatus(lease=lease, ttl_seconds=record.ttl_seconds, key_count=record.key_count)
    if left is not None:
        status.left_seconds = left(lease, record)
    return status
