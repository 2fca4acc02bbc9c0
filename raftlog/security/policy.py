"""Who may speak, and where a node may listen.

Without TLS a node listens on loopback only, unless told that the open port is wanted. With TLS
every connection shows a certificate of the cluster's authority; which of them may speak as a member
is decided here from the URIs in it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from raftlog.errors import ConfigInvalid
from raftlog.types import ClientRole, NodeId

NODE_URI_PREFIX = b"raftlog://node/"
ROLE_URI_PREFIX = b"raftlog://role/"
_ROLES = {ROLE_URI_PREFIX + role.word.encode(): role for role in ClientRole}


class CertificateUris:
    """Implements `interfaces.Authenticator` by the URIs in a certificate.

    A certificate may speak as node X if the URI ``raftlog://node/X`` is among its subject
    alternative names. Nothing else makes it a node's: a common name or a host name that equals a
    node's id may be any client's, which could then speak as a node of its own choosing.
    """

    def is_peer(self, uris: Iterable[bytes], node_id: NodeId) -> bool:
        """Whether a certificate with these URIs may speak as the member `node_id`."""
        return NODE_URI_PREFIX + node_id.encode() in uris

    def role(self, uris: Iterable[bytes]) -> ClientRole | None:
        """Return the highest role that these URIs name. Any node's certificate reads, no more.

        A node holds the whole log, so its certificate opens nothing to a reader that its disk does
        not; what else nodes need of each other is the peers' service, which has its own handshake.
        """
        found = [_ROLES[uri] for uri in uris if uri in _ROLES]
        if any(uri.startswith(NODE_URI_PREFIX) for uri in uris):
            found.append(ClientRole.READER)
        return max(found, default=None)


def role_uri(role: ClientRole) -> str:
    """Return the URI that gives a certificate that role."""
    return ROLE_URI_PREFIX.decode() + role.word


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
