"""GTIDs: how MySQL and MariaDB name a transaction.

Rule: pure. Text and numbers; no core, no asyncio. Sets of GTIDs belong here as well.
"""

from __future__ import annotations

import re

GTID_DOMAIN = 0
GTID_SERVER_ID = 1
"""Of a cluster that was founded by a bootstrap token."""
GTID_SERVER_ID_MAX = (1 << 32) - 1
_RECOVERED = re.compile(r"[0-9a-f]{32}-([0-9a-f]{8})")


def native_gtid(sequence: int, server_id: int = GTID_SERVER_ID) -> str:
    """Return the MariaDB GTID (``domain-server-sequence``) of a transaction that raftlog numbered.

    Domain and server id are constants of the cluster, never the leader's, so that every member
    names a transaction the same way.
    """
    return f"{GTID_DOMAIN}-{server_id}-{sequence}"


def recovered_cluster_id(unique: str, server_id: int) -> str:
    """Return the id of a cluster that goes on with another one's log under its own lineage."""
    return f"{unique}-{server_id:08x}"


def wire_server_id(cluster_id: str) -> int:
    """Return the lineage as it travels: 0 for that of a cluster that was never recovered."""
    server_id = server_id_of(cluster_id)
    return 0 if server_id == GTID_SERVER_ID else server_id


def server_id_of(cluster_id: str) -> int:
    """Return the server id in the GTIDs of a cluster: its lineage.

    A cluster that was recovered or restored numbers on from what it came from, so its server id is
    another one: the same sequence may be another transaction there.
    """
    recovered = _RECOVERED.fullmatch(cluster_id)
    return int(recovered[1], 16) if recovered else GTID_SERVER_ID
