"""GTIDs name a transaction the same way everywhere."""

from __future__ import annotations

from raftlog.mysql.gtid import native_gtid


def test_gtids_are_the_same_on_every_member() -> None:
    """A native GTID depends on the sequence alone."""
    assert [native_gtid(sequence) for sequence in (1, 2**40)] == ["0-1-1", "0-1-1099511627776"]
