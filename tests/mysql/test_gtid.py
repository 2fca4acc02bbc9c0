"""GTIDs name a transaction the same way everywhere."""

from __future__ import annotations

from raftlog.mysql.gtid import (
    native_gtid,
    recovered_cluster_id,
    server_id_of,
    wire_server_id,
)


def test_gtids_are_the_same_on_every_member() -> None:
    """A native GTID depends on the sequence alone."""
    assert [native_gtid(sequence) for sequence in (1, 2**40)] == ["0-1-1", "0-1-1099511627776"]


def test_the_lineage_is_in_the_cluster_id() -> None:
    """A founded cluster's server id is 1; a recovered one's stands in its id, and travels."""
    founded, recovered = "ab" * 16, recovered_cluster_id("cd" * 16, 0xDEADBEEF)
    assert (server_id_of(founded), wire_server_id(founded)) == (1, 0)
    assert (server_id_of(recovered), wire_server_id(recovered)) == (0xDEADBEEF, 0xDEADBEEF)
    assert native_gtid(5, server_id_of(recovered)) == "0-3735928559-5"
