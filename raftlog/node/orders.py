"""What can be said of orders to change the membership before it is looked at what they come to."""

from __future__ import annotations

from collections.abc import Sequence

from raftlog.core.membership import Membership
from raftlog.errors import InvalidInput
from raftlog.interfaces import ORDERS_MAX, MemberOrder, MemberVerb
from raftlog.types import NODE_ID_BYTES_MAX, NODE_ID_PATTERN, PRIORITY_MAX

ADDRESS_CHARACTERS_MAX = 255


def check_orders(orders: Sequence[MemberOrder]) -> None:
    """Refuse what no membership could take.

    Raises:
        InvalidInput: too many, two of one member, or a field that is not what it should be.
    """
    if not 1 <= len(orders) <= ORDERS_MAX:
        raise InvalidInput(f"{len(orders)} orders at once: 1 to {ORDERS_MAX}")
    ids = [order.node_id for order in orders]
    if len(set(ids)) != len(ids):
        raise InvalidInput("two orders for one member at once: give one after the other")
    for order in orders:
        size = len(order.node_id.encode())
        if not 1 <= size <= NODE_ID_BYTES_MAX or not order.node_id.isprintable():
            raise InvalidInput(f"{order.node_id!r} cannot be a node's id")
        if order.verb is MemberVerb.ADD and not NODE_ID_PATTERN.fullmatch(order.node_id):
            raise InvalidInput(f"no node can have the id {order.node_id!r}: letters, digits, . - _")
        if order.address is not None:
            _check_address(order.address)
        elif order.verb is MemberVerb.ADD:
            raise InvalidInput(f"the address of {order.node_id} is needed: HOST:PORT")
        region = order.region or ""
        if len(region) > ADDRESS_CHARACTERS_MAX or not (region.isprintable() or not region):
            raise InvalidInput(f"{region[:40]!r} cannot be a region")
        if order.priority is not None and not 1 <= order.priority <= PRIORITY_MAX:
            raise InvalidInput(f"{order.priority} is no priority: 1 to {PRIORITY_MAX}")


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdigit() and 1 <= int(port) <= 65535
    if not host or not is_port or len(address) > ADDRESS_CHARACTERS_MAX or " " in address:
        raise InvalidInput(f"{address[:80]!r} is no address: HOST:PORT")


def flipped(current: Membership, orders: Sequence[MemberOrder]) -> str:
    """Return which order would give a member a machine, or take its, or "".

    A data directory is a witness' or it is not, from the first (decision 40).
    """
    for order in orders:
        member, node_id = current.member(order.node_id), order.node_id
        if member is None or order.has_machine in {None, member.has_machine}:
            continue
        is_so, flag = ("a witness", "") if order.has_machine else ("no witness", " --witness")
        return (
            f"{node_id} is {is_so}, and a data directory stays what it was made as: "
            f"`raftlog member remove {node_id}`, `raftlog member add {node_id} "
            f"{order.address or member.address}{flag}`, and start it with --join and an empty "
            "directory"
        )
    return ""
