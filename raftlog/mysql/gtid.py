"""GTIDs: how MySQL and MariaDB name a transaction.

Rule: pure. Text and numbers; no core, no asyncio. Sets of GTIDs belong here as well.
"""

from __future__ import annotations

GTID_DOMAIN = 0
GTID_SERVER_ID = 1


def native_gtid(sequence: int) -> str:
    """Return the MariaDB GTID (``domain-server-sequence``) of a transaction that raftlog numbered.

    Domain and server id are constants of the cluster, never the leader's, so that every member
    names a transaction the same way.
    """
    return f"{GTID_DOMAIN}-{GTID_SERVER_ID}-{sequence}"
