"""`certs create`."""

from __future__ import annotations

import pathlib

from raftlog.cli.certs import certs


def test_certificates_are_made(raftlog, tmp_path):
    """Each node and the client get a certificate; the answer says where they are."""
    assert certs.name == "certs"
    result = raftlog("certs", "create", "--dir", tmp_path / "c", "n1", "n2", "-o", "json")
    assert result.code == 0
    rows = result.json["certificates"]
    assert [row["name"] for row in rows] == ["n1", "n2", "client"]
    for row in rows:
        assert all(pathlib.Path(row[part]).exists() for part in ("cacert", "cert", "key"))
    assert "n1" in raftlog("certs", "create", "--dir", tmp_path / "c", "n1").text


def test_a_role_is_for_the_clients(raftlog, tmp_path):
    """Of any number of clients, without a node too; one that is not known is wrong usage."""
    line = ("certs", "create", "--dir", tmp_path / "c", "--client", "a", "--client", "b")
    rows = raftlog(*line, "--role", "reader", "-o", "json").json["certificates"]
    assert [(row["name"], row["role"]) for row in rows] == [("a", "reader"), ("b", "reader")]
    found = raftlog("certs", "create", "--dir", tmp_path / "c", "n1", "-o", "json").json
    roles = [(row["name"], row["role"]) for row in found["certificates"]]
    assert roles == [("n1", "node"), ("client", "operator")]
    assert raftlog(*line, "--role", "root").code == 128
    told = raftlog("certs", "create", "--dir", tmp_path / "c")
    assert told.code == 128
    assert "name a NODE, or a client with --client" in told.err


def test_a_wrong_name_exits_3(raftlog, tmp_path):
    """A name that cannot be in a certificate is invalid input."""
    assert raftlog("certs", "create", "--dir", tmp_path, "n 1").code == 3
