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


def test_a_wrong_name_exits_3(raftlog, tmp_path):
    """A name that cannot be in a certificate is invalid input."""
    assert raftlog("certs", "create", "--dir", tmp_path, "n 1").code == 3
