"""Who may speak as a member, and where a node may listen."""

from __future__ import annotations

import pytest

from raftlog.errors import ConfigInvalid
from raftlog.security.policy import CertificateNames, check_listen, is_loopback
from raftlog.types import NodeId


@pytest.mark.parametrize(
    "names",
    [
        [b"n1"],
        [b"someone", b"raftlog://node/n1"],
        [b"raftlog-peer"],
        [b"raftlog-peer.example.org"],
    ],
)
def test_a_members_certificate_is_accepted(names: list[bytes]) -> None:
    """Its own id, its URI, or the name all members share will do."""
    assert CertificateNames().is_peer(names, NodeId("n1"))


@pytest.mark.parametrize(
    "names",
    [
        [],
        [b"client"],
        [b"n2"],
        [b"n11"],
        [b"raftlog://node/n2", b"localhost"],
        [b"raftlog://node/n1/x"],
        [b"my-raftlog-peer"],
        [b""],
    ],
)
def test_other_certificates_are_not(names: list[bytes]) -> None:
    """A client's certificate, or another member's, does not speak as n1."""
    assert not CertificateNames().is_peer(names, NodeId("n1"))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:7101", "localhost:7101"])
def test_loopback_needs_nothing(address: str) -> None:
    """A port that only this host reaches is open without TLS."""
    assert is_loopback(address)
    check_listen(address, secured=False, insecure_allowed=False)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:7101", "n1:7101", "localhost.evil.org:1", ":1"]
)
def test_an_open_port_needs_tls_or_a_word(address: str) -> None:
    """Anything else is refused unless TLS guards it or the operator insists."""
    assert not is_loopback(address)
    with pytest.raises(ConfigInvalid, match="--insecure"):
        check_listen(address, secured=False, insecure_allowed=False)
    check_listen(address, secured=True, insecure_allowed=False)
    check_listen(address, secured=False, insecure_allowed=True)
