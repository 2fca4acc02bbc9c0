"""An order that no membership could take is refused before anything is asked."""

from __future__ import annotations

import pytest

from raftlog.errors import InvalidInput
from raftlog.interfaces import MemberOrder, MemberVerb
from raftlog.node.orders import ADDRESS_CHARACTERS_MAX, check_orders
from raftlog.types import NodeId

LONG = "h" * (ADDRESS_CHARACTERS_MAX - 2)


def add(address: str | None) -> MemberOrder:
    """Return an order to add n4 there."""
    return MemberOrder(verb=MemberVerb.ADD, node_id=NodeId("n4"), address=address)


@pytest.mark.parametrize("address", ["h:1", "[::1]:65535", f"{LONG}:1"])
def test_an_address_is_taken(address: str) -> None:
    """A host and a port, of a bounded length."""
    check_orders([add(address)])


@pytest.mark.parametrize("address", [None, "h", ":1", "h:0", "h:65536", "h h:1", f"{LONG}h:1"])
def test_what_is_no_address_is_refused(address: str | None) -> None:
    """Whoever is added has one."""
    with pytest.raises(InvalidInput, match="address"):
        check_orders([add(address)])
