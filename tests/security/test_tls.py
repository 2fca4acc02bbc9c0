"""The development authority, and credentials from PEM files."""

from __future__ import annotations

import datetime as dt
import ipaddress
import pathlib
import stat

import pytest
from cryptography import x509

from raftlog.errors import ConfigInvalid
from raftlog.security.policy import CertificateUris
from raftlog.security.tls import CertificateFiles, create_certificates, load_tls
from raftlog.types import ClientRole, NodeId
from tests.syncs import Syncs


def names_in(files: CertificateFiles) -> tuple[list[str], list[str], list[str]]:
    """The DNS, IP and URI names of a certificate."""
    cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        names.get_values_for_type(x509.DNSName),
        [str(one) for one in names.get_values_for_type(x509.IPAddress)],
        names.get_values_for_type(x509.UniformResourceIdentifier),
    )


def test_what_is_made(tmp_path: pathlib.Path) -> None:
    """Each node's certificate serves its names, and says as which member it may speak."""
    made = create_certificates(
        tmp_path / "new", ["n1", "n2"], hosts=["db.example.org", "10.0.0.7", "n1"]
    )
    assert set(made) == {"n1", "n2", "client"}
    hosts, addresses, uris = names_in(made["n1"])
    assert hosts == ["n1", "localhost", "db.example.org"]
    assert addresses == ["127.0.0.1", "::1", str(ipaddress.ip_address("10.0.0.7"))]
    assert uris == ["raftlog://node/n1"]
    assert names_in(made["client"]) == (["client"], [], ["raftlog://role/operator"])
    ca = x509.load_pem_x509_certificate(made["n1"].cacert.read_bytes())
    for files in made.values():
        cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
        cert.verify_directly_issued_by(ca)
        assert cert.not_valid_before_utc < dt.datetime.now(dt.UTC) < cert.not_valid_after_utc
        assert stat.S_IMODE(files.key.stat().st_mode) == 0o600


@pytest.mark.parametrize("role", [None, *ClientRole])
def test_a_client_has_the_role_that_it_was_made_for(
    tmp_path: pathlib.Path, role: ClientRole | None
) -> None:
    """The URI that is made is the one that the policy reads; a node's certificate has no role's."""
    made = create_certificates(tmp_path, ["n1"], clients=["alice"], role=role)
    uris = [uri.encode() for uri in names_in(made["alice"])[2]]
    assert CertificateUris().role(uris) == role
    assert not any("role" in uri for uri in names_in(made["n1"])[2])


def test_what_is_made_survives(tmp_path: pathlib.Path, syncs: Syncs) -> None:
    """A power cut after the call loses no key and no certificate."""
    made = create_certificates(tmp_path / "new" / "below", ["n1"])
    for files in made.values():
        for path in (files.key, files.cert, files.cacert, files.cacert.with_suffix(".key")):
            assert syncs.at_risk(path) == []
        assert stat.S_IMODE(files.cert.stat().st_mode) == 0o644


def test_only_nodes_certificates_speak_as_members(tmp_path: pathlib.Path) -> None:
    """The URIs that are made are the ones the policy reads."""
    made = create_certificates(tmp_path, ["n1", "n2"])

    def is_peer(name: str, node: str) -> bool:
        found = [uri.encode() for uri in names_in(made[name])[2]]
        return CertificateUris().is_peer(found, NodeId(node))

    assert is_peer("n1", "n1")
    assert not is_peer("n1", "n2")
    assert not is_peer("client", "n1")


def test_nodes_can_be_added_later(tmp_path: pathlib.Path) -> None:
    """A second run signs with the same authority and leaves the others' certificates alone."""
    first = create_certificates(tmp_path, ["n1"])["n1"]
    before = (first.cacert.read_bytes(), first.cert.read_bytes(), first.key.read_bytes())
    later = create_certificates(tmp_path, ["n4"], clients=[])["n4"]
    assert (first.cacert.read_bytes(), first.cert.read_bytes(), first.key.read_bytes()) == before
    ca = x509.load_pem_x509_certificate(later.cacert.read_bytes())
    x509.load_pem_x509_certificate(later.cert.read_bytes()).verify_directly_issued_by(ca)


@pytest.mark.parametrize("name", ["", "ca", "a/b", "../n1", "n 1", "-n1", "n1\n", "x" * 64])
def test_names_that_cannot_be_files_are_refused(tmp_path: pathlib.Path, name: str) -> None:
    """A name becomes a file name and a host name, so it must be able to."""
    with pytest.raises(ConfigInvalid):
        create_certificates(tmp_path, [name])
    assert list(tmp_path.iterdir()) == []


def test_names_must_differ(tmp_path: pathlib.Path) -> None:
    """No certificate silently replaces another."""
    with pytest.raises(ConfigInvalid, match="differ"):
        create_certificates(tmp_path, ["n1", "n1"])
    with pytest.raises(ConfigInvalid, match="differ"):
        create_certificates(tmp_path, ["client"])


def test_a_directory_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    """The refusal names the directory."""
    blocker = tmp_path / "file"
    blocker.write_text("not a directory")
    with pytest.raises(ConfigInvalid, match="file"):
        create_certificates(blocker / "below", ["n1"])


def test_an_authority_of_another_make_is_not_used(tmp_path: pathlib.Path) -> None:
    """A broken or foreign authority is a clear error, not a traceback."""
    create_certificates(tmp_path, ["n1"])
    (tmp_path / "ca.crt").write_text("garbage")
    with pytest.raises(ConfigInvalid, match="authority"):
        create_certificates(tmp_path, ["n2"])


def paths(files: CertificateFiles) -> tuple[str, str, str]:
    return str(files.cacert), str(files.cert), str(files.key)


def test_load(tmp_path: pathlib.Path) -> None:
    """What the files hold comes out; a bare client needs the authority alone."""
    files = create_certificates(tmp_path, ["n1"])["n1"]
    tls = load_tls(*paths(files))
    assert (tls.ca, tls.cert, tls.key) == (
        files.cacert.read_bytes(),
        files.cert.read_bytes(),
        files.key.read_bytes(),
    )
    bare = load_tls(str(files.cacert))
    assert (bare.cert, bare.key) == (None, None)


def test_load_refuses_what_does_not_fit(tmp_path: pathlib.Path) -> None:
    """A missing file, garbage, half a pair or another's key are told apart by name."""
    made = create_certificates(tmp_path, ["n1", "n2"])
    ca, cert, key = paths(made["n1"])
    garbage = str(tmp_path / "garbage.pem")
    pathlib.Path(garbage).write_text("garbage")
    empty = str(tmp_path / "empty.pem")
    pathlib.Path(empty).write_text("")
    for bad, words in [
        ((str(tmp_path / "missing"), cert, key), "missing"),
        ((ca, str(tmp_path / "missing"), key), "missing"),
        ((garbage, cert, key), "garbage.pem is not a certificate"),
        ((empty, cert, key), "empty.pem is not a certificate"),
        ((ca, garbage, key), "garbage.pem is not a certificate"),
        ((ca, cert, garbage), "garbage.pem is not a private key"),
        ((ca, cert, cert), "is not a private key"),
        ((ca, cert, ""), "together"),
        ((ca, cert, str(made["n2"].key)), "not the key of"),
    ]:
        with pytest.raises(ConfigInvalid, match=words):
            load_tls(*bad)


def test_an_unreadable_key_is_named(tmp_path: pathlib.Path) -> None:
    """A directory in place of a file is an error of configuration."""
    files = create_certificates(tmp_path, ["n1"])["n1"]
    (tmp_path / "n9.key").mkdir()
    with pytest.raises(ConfigInvalid, match=r"n9\.key"):
        load_tls(str(files.cacert), str(files.cert), str(tmp_path / "n9.key"))
