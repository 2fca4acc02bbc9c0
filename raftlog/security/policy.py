"""Who may speak, and where a node may listen.

Without TLS a node listens on loopback only, unless told that the open port is wanted. With TLS
every connection shows a certificate of the cluster's authority; which of them may speak as a member
is decided here from the names in it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from raftlog.errors import ConfigInvalid
from raftlog.types import NodeId

NODE_NAME_PREFIX = b"raftlog://node/"
PEER_NAME_PREFIX = b"raftlog-peer"


class CertificateNames:
    """Implements `interfaces.Authenticator` by the names in a certificate.

    A certificate may speak as node X if one of its names (common name, or subject alternative
    name of any type) is ``X`` or ``raftlog://node/X``, or begins with ``raftlog-peer``, which is
    for one certificate shared by all members. Certificates of clients have none of these.
    """

    def is_peer(self, identity_names: Iterable[bytes], node_id: NodeId) -> bool:
        """Whether a certificate with these names may speak as the member `node_id`."""
        own = node_id.encode()
        return any(
            name in {own, NODE_NAME_PREFIX + own} or name.startswith(PEER_NAME_PREFIX)
            for name in identity_names
        )


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT can be reached from this host only. A name other than localhost is not."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_listen(address: str, *, secured: bool, insecure_allowed: bool) -> None:
    """Refuse an open port that nothing guards.

    Raises:
        ConfigInvalid: `address` is not loopback, there is no TLS, and nobody said ``--insecure``.
    """
    if secured or insecure_allowed or is_loopback(address):
        return
    raise ConfigInvalid(
        f"{address} can be reached from other hosts, and without certificates anyone there could "
        "write: configure TLS (`raftlog certs create` makes a development CA), listen on "
        "loopback, or say --insecure"
    )
