"""How kv lies in the state: a golden, so that the format cannot change unnoticed."""

from __future__ import annotations

import pytest

from raftlog.errors import InvariantBroken
from raftlog.machines.kv import layout

from .words import KvHarness, put


def test_the_layout_is_what_version_1_wrote() -> None:
    """The bytes of a key, a lease and its index are those of version 1."""
    kv = KvHarness()
    kv.run(put(b"plain", b"value"))
    lease = kv.grant(10.0)
    kv.run(put(b"held", b"x", lease))
    assert dict(kv.state.pairs) == {
        b"kplain": bytes.fromhex("01" + "00" * 7) * 3 + bytes(8) + b"value",
        b"l" + (2).to_bytes(8, "big"): bytes.fromhex(
            "0200000000000000" + "0000000000002440" + "0100000000000000" + "0500000000000000"
        ),
        b"kheld": bytes.fromhex("03" + "00" * 7) * 2
        + bytes.fromhex("0100000000000000" + "0200000000000000")
        + b"x",
        b"i" + (2).to_bytes(8, "big") + b"held": b"",
    }


def test_leases_do_not_see_each_others_keys() -> None:
    """The index of one lease ends where the next one's begins, up to the last number."""
    kv = KvHarness()
    for lease in (1, 2, 2**64 - 2, 2**64 - 1):
        kv.state.put(b"i" + lease.to_bytes(8, "big") + b"key %d" % lease, b"")
    for lease in (1, 2, 2**64 - 2, 2**64 - 1):
        assert layout.lease_keys(kv.state, lease) == [b"key %d" % lease]
    for lease in (1, 2**40, 2**64 - 1):
        assert layout.lease_id(layout.lease_key(lease)) == lease


def test_a_key_that_names_a_lost_lease_stops_the_machine() -> None:
    """State that breaks the invariant is never guessed at."""
    kv = KvHarness()
    lease = kv.grant()
    kv.run(put(b"k", b"v", lease))
    kv.state.delete(layout.lease_key(lease))
    kv.state.keep()
    with pytest.raises(InvariantBroken, match="names lease"):
        kv.run(put(b"k", b"w"))
