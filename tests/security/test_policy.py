"""Who may speak as a member, and where a node may listen."""

from __future__ import annotations

import pytest

from raftlog.errors import ConfigInvalid
from raftlog.security.policy import CertificateUris, check_listen, is_loopback, role_uri
from raftlog.types import ClientRole, NodeId


@pytest.mark.parametrize(
    "uris", [[b"raftlog://node/n1"], [b"spiffe://somewhere/else", b"raftlog://node/n1"]]
)
def test_a_members_certificate_is_accepted(uris: list[bytes]) -> None:
    """The URI of its id makes a certificate a node's."""
    assert CertificateUris().is_peer(uris, NodeId("n1"))


@pytest.mark.parametrize(
    "uris",
    [
        [],
        [b"n1"],
        [b"raftlog-peer"],
        [b"raftlog://node/n2"],
        [b"raftlog://node/n11"],
        [b"raftlog://node/n1/x"],
        [b"raftlog://node/N1"],
        [b"raftlog://client/n1"],
        [b""],
    ],
)
def test_other_certificates_are_not(uris: list[bytes]) -> None:
    """A bare id, another member's URI, or one that only looks alike does not speak as n1."""
    assert not CertificateUris().is_peer(uris, NodeId("n1"))


@pytest.mark.parametrize(
    ("uris", "role"),
    [
        ([b"raftlog://role/reader"], ClientRole.READER),
        ([b"raftlog://role/writer"], ClientRole.WRITER),
        ([b"raftlog://role/reader", b"x", b"raftlog://role/operator"], ClientRole.OPERATOR),
        ([b"raftlog://node/n1"], ClientRole.READER),
        ([b"raftlog://node/n1", b"raftlog://role/writer"], ClientRole.WRITER),
        ([], None),
        ([b"raftlog://role/"], None),
        ([b"raftlog://role/Operator"], None),
        ([b"raftlog://role/operator/"], None),
        ([b"raftlog://roles/operator"], None),
        ([b"operator"], None),
    ],
)
def test_the_highest_role_counts(uris: list[bytes], role: ClientRole | None) -> None:
    """A role is a URI to the letter; a node reads; what only looks alike is nothing."""
    assert CertificateUris().role(uris) is role


@pytest.mark.parametrize("role", ClientRole)
def test_the_uri_of_a_role_gives_it(role: ClientRole) -> None:
    """What certificates are made with is what is read."""
    assert CertificateUris().role([role_uri(role).encode()]) is role


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
