"""What calls return says by which lineage its cluster names transactions."""

from __future__ import annotations

import pickle

from raftlog.client.values import Receipt
from raftlog.groups import COMMAND_TAG
from tests.client.test_session import batch_of


def test_receipts_of_a_recovered_cluster_are_of_its_lineage() -> None:
    """Their GTIDs have its server id; they are the tuples that they were before."""
    batch = batch_of(b"a", b"b")
    batch.settle(40, 3, 9, 77)
    receipt = batch.waiters[1].result
    assert (receipt, receipt.gtid) == (Receipt(41, 3, 9), "0-77-41")
    assert "gtid='0-77-41'" in repr(receipt)
    assert pickle.loads(pickle.dumps(receipt)).gtid == receipt.gtid
    commands = batch_of(b"a", tag=COMMAND_TAG)
    commands.settle_commands(receipt, [b"x"], {})
    applied = commands.waiters[0].result
    assert (applied.gtid, applied.receipt.gtid) == ("0-77-41", "0-77-41")
    assert Receipt(41, 3, 9).gtid == "0-1-41"
