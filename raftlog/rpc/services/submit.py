"""One group in, one answer out: what the unary methods share."""

from __future__ import annotations

import asyncio

from raftlog import groups
from raftlog.errors import Indeterminate, InvalidInput, Overloaded, RaftLogError, Rejected, TooLarge
from raftlog.groups import Tag
from raftlog.interfaces import GroupReceipt, NodePort, Result
from raftlog.rpc.settings import ServerSettings
from raftlog.types import Consistency
from raftlog.wire.pb import types_pb2

GROUP_OVERHEAD_BYTES = groups.HEADER_BYTES + 512
"""More than the framing of a group of one transaction takes besides its payload."""

_CONSISTENCIES: dict[int, Consistency] = {
    types_pb2.LINEARIZABLE: Consistency.LINEARIZABLE,
    types_pb2.LEASE: Consistency.LEASE,
    types_pb2.FOLLOWER: Consistency.FOLLOWER,
    types_pb2.STALE: Consistency.STALE,
}


def consistency_of(value: int) -> Consistency:
    """Return the consistency asked for. Raises `InvalidInput` for a number not known here."""
    known = _CONSISTENCIES.get(value)
    if known is None:
        raise InvalidInput(f"consistency {value} is not known here")
    return known


def check_size(group: bytes, count: int, settings: ServerSettings) -> None:
    """Refuse a group over its limit: that of one transaction where it holds only one.

    Raises:
        TooLarge: it is over.
    """
    size = len(group)
    if size <= settings.group_bytes_max:
        return
    if count > 1:
        raise TooLarge(
            f"group of {size} bytes is over the limit of {settings.group_bytes_max} bytes"
        )
    if size > settings.transaction_bytes_max + GROUP_OVERHEAD_BYTES:
        raise TooLarge(
            f"transaction of about {size} bytes is over the limit of "
            f"{settings.transaction_bytes_max} bytes"
        )


async def submit_one(
    node: NodePort, payload: bytes, tag: Tag, settings: ServerSettings, timeout_seconds: float
) -> GroupReceipt:
    """Append one transaction outside any session and wait until it is applied.

    Raises:
        Indeterminate: no answer came in time.
        RaftLogError: the node's refusal.
    """
    if len(payload) > settings.transaction_bytes_max:
        raise TooLarge(
            f"transaction of {len(payload)} bytes is over the limit of "
            f"{settings.transaction_bytes_max} bytes"
        )
    answer: asyncio.Future[GroupReceipt | RaftLogError]
    answer = asyncio.get_running_loop().create_future()

    def respond(outcome: GroupReceipt | RaftLogError) -> None:
        if not answer.done():
            answer.set_result(outcome)

    node.submit(groups.pack([payload], tag), respond)
    try:
        async with asyncio.timeout(timeout_seconds):
            outcome = await answer
    except TimeoutError:
        raise Indeterminate("no answer in time; it may still be committed") from None
    if isinstance(outcome, RaftLogError):
        raise outcome
    return outcome


def only_result(receipt: GroupReceipt) -> bytes:
    """Return the result of a group of one command. Raises `Rejected` if the machine refused it."""
    result = receipt.results[0] if receipt.results else Result()
    if result.rejected is not None:
        raise Rejected(result.rejected)
    if result.deferred:
        raise Overloaded("the command had no effect: its entry did as much as one may; try again")
    return result.value
