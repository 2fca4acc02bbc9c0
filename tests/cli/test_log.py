"""`log tail`, `get`, `info` and `verify`."""

from __future__ import annotations

import json
import signal

import pytest

from raftlog.cli.log import describe
from raftlog.client.values import Transaction
from raftlog.groups import TransactionKind
from raftlog.interfaces import Table
from raftlog.local import LocalCluster
from tests.storage.builders import Writer, lmdb_at, round_of

from .conftest import spawn

pytestmark = pytest.mark.integration
FIELDS = {"sequence", "index", "term", "timestamp", "stream", "gtid", "payload", "served_by"}


@pytest.fixture
def appended(ask, tmp_path):
    """Append three payloads to a stream of their own; return what the append said."""
    file = tmp_path / "in"
    file.write_bytes(b"one\0two\nlines\0\xff\0")
    stream = f"log-{tmp_path.name}"
    found = ask("log", "append", "--nul", file, "--stream", stream, "-o", "json").json
    return {**found, "stream": stream}


def test_json_lines(ask, appended):
    """By default each transaction is a JSON line with the fields of the contract."""
    lines = ask("log", "tail", "--stream", appended["stream"]).text.splitlines()
    found = [json.loads(line) for line in lines]
    assert [line["payload"] for line in found] == ["one", "two\nlines", {"base64": "/w=="}]
    assert all(set(line) == FIELDS for line in found)
    assert [line["sequence"] for line in found] == list(
        range(appended["first_sequence"], appended["last_sequence"] + 1)
    )
    assert found[0]["gtid"] == f"0-1-{found[0]['sequence']}"


def test_payloads_alone(ask, appended):
    """--raw ends each payload with a newline, --nul with a NUL."""
    stream = appended["stream"]
    assert ask("log", "tail", "--stream", stream, "--raw").out == b"one\ntwo\nlines\n\xff\n"
    assert ask("log", "tail", "--stream", stream, "--nul").out == b"one\0two\nlines\0\xff\0"


def test_a_tail_for_people(ask, appended):
    """-o table prints sequence, stream and payload."""
    text = ask("log", "tail", "--stream", appended["stream"], "-o", "table").text
    assert text.startswith(f"{appended['first_sequence']}\t{appended['stream']}\tone\n")


def test_after_a_sequence(ask, appended):
    """--after leaves out what was seen."""
    after = appended["last_sequence"] - 1
    result = ask("log", "tail", "--after", after, "--stream", appended["stream"], "--raw")
    assert result.out == b"\xff\n"


def test_every_member_answers_for_itself(ask, cluster, appended):
    """--member is the one that serves, for tail, get and info."""
    for node in cluster.nodes:
        ask("kv", "get", "barrier", "--member", node.id)
        line = ask("--member", node.id, "log", "tail", "--stream", appended["stream"]).text
        assert json.loads(line.splitlines()[0])["served_by"] == node.id
        sequence = appended["first_sequence"]
        assert ask("log", "get", sequence, "--member", node.id, "-o", "json").json["served_by"] == (
            node.id
        )
        info = ask("log", "info", "--member", node.id, "-o", "json").json
        assert info["served_by"] == node.id
        assert info["last_sequence"] >= appended["last_sequence"]


def test_an_unknown_member(ask):
    """A member that is not one is named, with those that are."""
    result = ask("log", "info", "--member", "n9")
    assert result.code == 1
    assert "n1, n2, n3" in result.err


def test_one_transaction(ask, appended):
    """get prints one transaction, and with --raw its bytes."""
    sequence = appended["first_sequence"] + 1
    assert ask("log", "get", sequence, "-o", "json").json["payload"] == "two\nlines"
    assert ask("log", "get", sequence, "--raw").out == b"two\nlines"
    assert str(sequence) in ask("log", "get", sequence).text
    result = ask("log", "get", 10**12)
    assert result.code == 1
    assert result.out == b""


def test_a_follower_of_the_log(cluster, ask, tmp_path):
    """--follow prints what comes while it comes, and ends quietly when interrupted."""
    after = ask("log", "info", "-o", "json").json["last_sequence"]
    stream = f"follow-{tmp_path.name}"
    with spawn(
        "--endpoints", cluster.endpoints, "log", "tail", "--follow", "--raw", "--after", after,
        "--stream", stream,
    ) as child:  # fmt: skip
        file = tmp_path / "in"
        for payload in (b"first\n", b"second\n"):
            file.write_bytes(payload)
            assert ask("log", "append", "--lines", file, "--stream", stream).code == 0
            assert child.stdout.readline() == payload
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 130
        assert child.stderr.read() == b""


def test_a_reader_that_goes_away(cluster, ask, tmp_path):
    """A tail into a closed pipe ends without a word."""
    file = tmp_path / "in"
    file.write_bytes(b"line of some length\n" * 20_000)
    assert ask("log", "append", "--lines", file).code == 0
    with spawn("--endpoints", cluster.endpoints, "log", "tail", "--raw") as child:
        assert child.stdout.readline()
        child.stdout.close()
        assert child.wait(30) == 141
        assert child.stderr.read() == b""


def test_a_transactions_json():
    """A payload that is not text survives as base64."""
    transaction = Transaction(7, 5, 2, 9, "s", b"\xff", TransactionKind.OPAQUE, "n1")
    assert describe(transaction) == {
        "sequence": 7, "index": 5, "term": 2, "timestamp": 9, "stream": "s", "gtid": "0-1-7",
        "payload": {"base64": "/w=="}, "served_by": "n1",
    }  # fmt: skip


# ---------------------------------------------------------------- verify


def test_verify(raftlog, tmp_path):
    """A stopped node's directory verifies; in use, missing or damaged it says so by its code."""
    cluster = LocalCluster.create(tmp_path / "c", nodes=1, base_port=0)
    cluster.start(timeout=60)
    file = tmp_path / "in"
    file.write_bytes(b"a payload that can be found again\n" * 100)
    endpoints = ("--endpoints", cluster.endpoints)
    assert raftlog(*endpoints, "log", "append", "--lines", file).code == 0
    where = cluster.nodes[0].data_dir
    assert raftlog("log", "verify", "--data-dir", where).code == 4
    cluster.stop()
    report = raftlog("log", "verify", "--data-dir", where, "-o", "json")
    assert report.code == 0
    assert report.json["ok"] is True
    assert report.json["last_sequence"] == 100
    assert raftlog("log", "verify", "--data-dir", tmp_path / "none").code == 3
    pages = where / "data.mdb"
    content = pages.read_bytes()
    assert b"found again" in content
    pages.write_bytes(content.replace(b"found again", b"FOUND again"))
    damaged = raftlog("log", "verify", "--data-dir", where)
    assert damaged.code == 6
    assert "damaged:" in damaged.text


def test_the_named_streams(ask):
    """Each with its own first and last transaction; the unnamed one is no stream."""
    names = ("streams-one", "streams-two")
    for name in names:
        assert ask("log", "append", "--stream", name, __file__).code == 0
    leader = ask("status", "-o", "json").json["leader"]  # another may not have the newest yet
    told = ask("log", "streams", "--member", leader, "-o", "json").json["streams"]
    found = {each["name"]: each for each in told}
    assert set(names) <= set(found)
    assert "" not in found
    first, second = (found[name] for name in names)
    assert first["first_sequence"] == first["last_sequence"] < second["first_sequence"]
    assert "streams-two" in ask("log", "streams", "--member", leader).text


def test_text_instead_of_a_file_is_told_apart(ask):
    """`log append hello` says how to append text."""
    wrong = ask("log", "append", "hello world")
    assert wrong.code == 3
    assert "echo 'hello world' | raftlog log append --lines -" in wrong.err


def test_compact_says_what_it_gave_back(raftlog, tmp_path):
    """In bytes; a dry run says it before; a directory that a process uses is refused."""
    path = tmp_path / "data"
    storage, writer = lmdb_at(path), Writer()
    state = {b"k%d" % number: bytes(4000) for number in range(200)}
    entries = writer.many(2)
    storage.commit(round_of(*entries, writes={Table.STATE: state}, applied=writer.boundary_at(1)))
    refused = raftlog("log", "compact", "--data-dir", path)
    assert refused.code == 4
    assert "in use" in refused.err
    storage.commit(
        round_of(writes={Table.STATE: dict.fromkeys(state)}, applied=writer.boundary_at(2))
    )
    storage.close()
    size = (path / "data.mdb").stat().st_size
    planned = raftlog("log", "compact", "--data-dir", path, "--dry-run", "-o", "json").json
    assert (planned["before_bytes"], planned["done"]) == (size, False)
    made = raftlog("log", "compact", "--data-dir", path, "-o", "json").json
    assert made == {
        "data_dir": str(path), "node_id": "n1", "before_bytes": size,
        "after_bytes": (path / "data.mdb").stat().st_size, "done": True,
    }  # fmt: skip
    assert made["after_bytes"] < size / 2
