"""A cluster that goes on with another's log is another cluster, and names its transactions so."""

from __future__ import annotations

from raftlog.mysql.gtid import native_gtid, server_id_of
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
