"""A cluster that goes on with another's log is another cluster, and names its transactions so."""

from __future__ import annotations

import random

from raftlog.mysql.gtid import (
    GTID_SERVER_ID,
    GTID_SERVER_ID_MAX,
    native_gtid,
    server_id_of,
)
from raftlog.recovery.lineage import successor


def test_each_descendant_has_an_id_and_a_lineage_of_its_own():
    """No two of a family share a cluster id, an instance or a GTID."""
    line = [successor("ab" * 16, (), "n1")]
    for _ in range(5):
        line.append(successor(line[-1].cluster_id, line[-1].predecessors, "n1"))
    ids = ["ab" * 16, *(each.cluster_id for each in line)]
    assert line[-1].predecessors == tuple(ids[:-1])
    assert len({each.instance_id for each in line}) == len(line)
    gtids = {native_gtid(7, server_id_of(each)) for each in ids}
    assert len(gtids) == len(ids)
    assert "0-1-7" in gtids


class Loaded(random.Random):
    """Dice that fall as they are told to, and then as they like."""

    def __init__(self, *falls: int) -> None:
        super().__init__(1)
        self.falls = list(falls)

    def randrange(self, *given):
        return self.falls.pop(0) if self.falls else super().randrange(*given)


def test_a_lineage_that_is_taken_is_not_taken_again():
    """Neither the first cluster's, nor that of any it descends from, nor none at all."""
    first = successor("ab" * 16, (), "n1", Loaded(77))
    assert server_id_of(first.cluster_id) == 77
    second = successor(first.cluster_id, first.predecessors, "n1", Loaded(0, GTID_SERVER_ID, 77, 5))
    assert server_id_of(second.cluster_id) == 5
    third = successor(second.cluster_id, second.predecessors, "n1", Loaded(77, 5, 6))
    assert server_id_of(third.cluster_id) == 6
    largest = successor("ab" * 16, (), "n1", Loaded(GTID_SERVER_ID_MAX))
    assert server_id_of(largest.cluster_id) == GTID_SERVER_ID_MAX


def test_all_that_can_be_drawn_are_server_ids():
    """The dice are asked for every one of them, up to the last that MySQL knows."""

    class Asked(random.Random):
        def randrange(self, *given):
            asked.append(given)
            return 9

    asked: list = []
    successor("ab" * 16, (), "n1", Asked(1))
    assert asked == [(GTID_SERVER_ID_MAX + 1,)]
