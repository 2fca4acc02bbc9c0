"""A cluster that goes on with another one's log: an id of its own, and GTIDs of its own.

Members of the old cluster are refused by the new id in every handshake. The lineage is in the id
(`mysql.gtid.server_id_of`), so one GTID never means two transactions: not even where the old
cluster committed, unseen from here, something else under the same sequence.
"""

from __future__ import annotations

import random

from raftlog.interfaces import Identity
from raftlog.mysql.gtid import (
    GTID_SERVER_ID,
    GTID_SERVER_ID_MAX,
    recovered_cluster_id,
    server_id_of,
)
from raftlog.types import NodeId

SECRETS = random.SystemRandom()
"""What ids are drawn from, but in a simulated world, which repeats itself."""


def successor(
    cluster_id: str,
    predecessors: tuple[str, ...],
    node_id: str,
    dice: random.Random = SECRETS,
) -> Identity:
    """Return the identity of the first member of a new cluster that descends from `cluster_id`."""
    line = (*predecessors, cluster_id)
    taken = {GTID_SERVER_ID, *map(server_id_of, line)}
    server_id = 0
    while server_id == 0 or server_id in taken:
        server_id = dice.randrange(GTID_SERVER_ID_MAX + 1)
    return Identity(
        cluster_id=recovered_cluster_id(dice.randbytes(16).hex(), server_id),
        node_id=NodeId(node_id),
        instance_id=dice.randbytes(8).hex(),
        predecessors=line,
    )
