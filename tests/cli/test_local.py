"""`local start|status|stop`."""

from __future__ import annotations

import json

import pytest

from raftlog.cli.local import describe
from raftlog.local import LocalCluster, find_base_port
from raftlog.security.tls import create_certificates

MISTAKEN = (
    ("status",), ("leader", "show"), ("leader", "transfer"), ("log", "append", __file__),
    ("log", "info", "--member", "n1"), ("log", "tail", "--last", "1"), ("kv", "get", "k"),
    ("kv", "put", "k", "v"), ("kv", "lock", "l", "--", "true"),
    ("bench", "write", "--clients", "1", "--operations", "1"),
)  # fmt: skip
"""Commands that connect, one of each kind."""
SOON = "0.3"

FIELDS = {"id", "address", "http", "mysql", "mariadb", "pid", "running", "data_dir"}


@pytest.mark.integration
def test_start_status_stop(raftlog, tmp_path):
    """Start is idempotent, status says what runs, and stop leaves the files."""
    where = ("--dir", tmp_path / "c")
    base = find_base_port(2)
    try:
        made = raftlog("local", "start", *where, "--nodes", 2, "--base-port", base, "-o", "json")
        assert made.code == 0, made.err
        assert made.json["started"] == ["n1", "n2"]
        assert made.json["leader"] in {"n1", "n2"}
        again = raftlog("local", "start", *where, "--nodes", 3, "--base-port", 7900, "-o", "json")
        assert again.json["started"] == []
        assert again.err.count("it is kept as it is") == 2
        nodes = raftlog("local", "status", *where, "-o", "json").json["nodes"]
        assert [set(node) for node in nodes] == [FIELDS, FIELDS]
        assert nodes[0]["address"] == f"127.0.0.1:{base}"
        assert all(node["running"] for node in nodes)
        assert raftlog("--endpoints", nodes[0]["address"], "status").code == 0
        assert str(base) in raftlog("local", "status", *where).text
    finally:
        stopped = raftlog("local", "stop", *where, "-o", "json")
    assert stopped.code == 0
    assert stopped.json["clean"] is True
    assert not any(node["running"] for node in stopped.json["nodes"])
    assert (tmp_path / "c" / "n1" / "data").is_dir()
    assert raftlog("local", "stop", *where).code == 0


def test_a_directory_without_a_cluster(raftlog, tmp_path):
    """Status and stop of nothing fail, and start refuses a wrong setting."""
    where = ("--dir", tmp_path / "c")
    for verb in ("status", "stop"):
        result = raftlog("local", verb, *where)
        assert result.code == 1
        assert "no local cluster" in result.err
    assert raftlog("local", "start", *where, "--base-port", 0, "--set", "x=1").code == 3


def test_the_description_is_the_contracts(tmp_path):
    """Every field is there for a cluster that was never started, too."""
    found = describe(LocalCluster.create(tmp_path, nodes=1, base_port=0))
    assert set(found["nodes"][0]) == FIELDS
    assert (found["nodes"][0]["pid"], found["nodes"][0]["running"]) == (None, False)


def told(raftlog, wanted, *words):
    """Run a command that fails, with more time where it had too little to find out why."""
    result = raftlog(*words)
    if wanted not in result.err + result.text:
        result = raftlog(*("10" if word is SOON else word for word in words))
    assert result.code == 2, result.err
    return result


@pytest.mark.integration
def test_a_secured_cluster_says_what_a_client_passes(raftlog, tmp_path):
    """--tls makes certificates that every connection needs; mistakes are told with the remedy."""
    where = ("--dir", tmp_path / "c")
    try:
        made = raftlog("local", "start", *where, "--nodes", 2, "--base-port", 0, "--tls")
        assert made.code == 0, made.err
        assert f"export RAFTLOG_CACERT={tmp_path}/c/certs/ca.crt" in made.err
        found = raftlog("local", "status", *where, "-o", "json").json
        endpoints = ",".join(node["address"] for node in found["nodes"])
        passed = [f"--{name}={file}" for name, file in found["certificates"].items()]
        assert raftlog("--endpoints", endpoints, *passed, "status").code == 0
        for command in MISTAKEN:
            wanted = "it speaks TLS, and plain text was tried: pass --cacert"
            plain = told(raftlog, wanted, "--endpoints", endpoints, "--timeout", SOON, *command)
            assert wanted in plain.err
            assert "is a node running" not in plain.err
        wanted = "pass --cert and --key"
        words = ("--endpoints", endpoints, passed[0], "status", "--timeout", SOON, "-o", "json")
        nobody = told(raftlog, wanted, *words)
        assert nobody.json["error"]["definite"] is True
        assert wanted in nobody.json["error"]["message"]
        wanted, port = "give the node's gRPC port", found["nodes"][0]["http"]
        http = told(raftlog, wanted, "--endpoints", port, "--timeout", SOON, "status")
        assert wanted in http.err
        again = raftlog("local", "start", *where, "--nodes", 2, "-o", "json")
        assert again.json["certificates"] == found["certificates"]
    finally:
        assert raftlog("local", "stop", *where, "-o", "json").json["clean"] is True


def test_certificates_that_cannot_be_used_are_invalid_input(raftlog, tmp_path):
    """Files that are missing, garbage or another's key are named before anything is sent."""
    create_certificates(tmp_path, ["n1"])
    (tmp_path / "garbage").write_bytes(b"garbage")
    good = {"cacert": "ca.crt", "cert": "client.crt", "key": "client.key"}
    for change, why in (
        ({"cacert": "missing"}, "cannot read"),
        ({"cacert": "."}, "cannot read"),
        ({"cacert": "garbage"}, "is not a certificate in PEM"),
        ({"cert": "garbage"}, "is not a certificate in PEM"),
        ({"key": "garbage"}, "is not a private key in PEM"),
        ({"key": "n1.key"}, "is not the key of the certificate in"),
        ({"key": None}, "are needed together: --cert and --key"),
        ({"cacert": None}, "needs the authority's certificate as well: --cacert"),
    ):
        options = [
            part
            for name, file in {**good, **change}.items()
            if file is not None
            for part in (f"--{name}", tmp_path / file)
        ]
        result = raftlog("--endpoints", "127.0.0.1:1", *options, "status", "-o", "json")
        assert result.code == 3, (change, result.err)
        assert why in result.json["error"]["message"]
        assert result.json["error"]["definite"] is True


def test_a_cluster_of_before_is_opened(tmp_path):
    """A description that does not speak of TLS is one of plain text."""
    LocalCluster.create(tmp_path, nodes=1, base_port=0)
    file = tmp_path / "cluster.json"
    described = json.loads(file.read_text())
    del described["tls"]
    file.write_text(json.dumps(described))
    assert LocalCluster.open(tmp_path).credentials() == {}
    assert describe(LocalCluster.open(tmp_path))["certificates"] is None


def test_a_cluster_grows(raftlog, tmp_path):
    """New nodes join the one that is there, and become voters; fewer than there are is refused."""
    where = ("--dir", tmp_path / "c")
    try:
        made = raftlog("local", "start", *where, "--nodes", 1, "--base-port", 0, "-o", "json")
        assert made.code == 0, made.err
        grown = raftlog("local", "grow", *where, "--nodes", 2, "-o", "json")
        assert (grown.code, grown.json["started"]) == (0, ["n2"]), grown.err
        told = ("--endpoints", made.json["nodes"][0]["address"])
        added = raftlog(*told, "member", "add", "n2", grown.json["nodes"][1]["address"], "--wait")
        assert added.code == 0
        refused = raftlog("local", "grow", *where, "--nodes", 2)
        assert (refused.code, "has 2 nodes already" in refused.err) == (3, True)
        assert "it is kept as it is" in raftlog("local", "start", *where, "--nodes", 3).err
    finally:
        assert raftlog("local", "stop", *where).code == 0
