"""`recover`: what is left is ranked, and nothing is changed that was not confirmed."""

from __future__ import annotations

import io
import pathlib

import pytest

from raftlog.cli.recover import _advice, moment
from raftlog.local.layout import find_base_port
from raftlog.recovery.survivors import inspect
from raftlog.storage.lmdb.refounding import survey
from tests.recovery.test_repair import rot
from tests.recovery.test_survivors import make, quiet
from tests.recovery.test_survivors import told as end_told
from tests.storage.builders import Writer, lmdb_at


@pytest.fixture
def path(tmp_path):
    """Return the directory of n2 of a cluster of three, stopped."""
    return make(tmp_path / "data", "n2", *Writer().many(4, [b"a", b"b"]))


def cluster_of(path):
    """Return whose directory it is."""
    return survey(path).identity.cluster_id


def test_inspect_ranks_and_says_what_may_be_lost(raftlog, path, tmp_path):
    """As a table for people, as one document for programs."""
    other = make(tmp_path / "other", "n3", *Writer().many(2))
    told = raftlog("recover", "inspect", "--data-dir", path)
    assert told.code == 0
    assert "may be lost with n1, n3" in told.text
    found = raftlog("recover", "inspect", "--data-dir", path, "--data-dir", other, "-o", "json")
    document = found.json
    assert [each["node_id"] for each in document["survivors"]] == ["n2", "n3"]
    assert document["survivors"][0] == {
        "rank": 1, "data_dir": path, "address": None, "running": False, "node_id": "n2",
        "kind": "voter", "last_term": 1, "last_index": 4, "last_sequence": 8, "last_timestamp": 40,
        "commit_index": 1, "commit_sequence": 2, "problems": [],
    }  # fmt: skip
    assert (document["missing"], document["is_quorum"], document["may_be_lost"]) == (
        ["n1"], True, False,
    )  # fmt: skip
    assert "start them as they are" in document["advice"]


def test_nodes_that_run_are_asked_and_ranked(ask, cluster):
    """Without any directory: they are a quorum, so nothing is lost."""
    told = ask("recover", "inspect", "-o", "json")
    assert told.code == 0
    document = told.json
    assert {each["address"] for each in document["survivors"]} == set(cluster.endpoints.split(","))
    assert all(each["running"] and each["data_dir"] is None for each in document["survivors"])
    assert document["survivors"][0]["last_term"] >= 1
    assert (document["missing"], document["unheard"], document["is_quorum"]) == ([], [], True)
    assert "let them run" in document["advice"]
    assert "running" in ask("recover", "inspect").text


def test_directories_of_another_cluster_do_not_go_with_nodes_that_run(ask, path):
    """A directory and what runs are looked at together, and these do not belong together."""
    told = ask("recover", "inspect", "--data-dir", path)
    assert told.code == 3
    assert "look at one cluster's members at a time" in told.err


def test_endpoints_where_nobody_answers_keep_no_directory_back(raftlog, path):
    """They are told as silent beside the ranking; alone they are an error, exit 5."""
    nobody = f"127.0.0.1:{find_base_port(1)}"
    asked = ("recover", "inspect", "--endpoints", nobody, "--timeout", "3")
    told = raftlog(*asked, "--data-dir", path, "-o", "json")
    assert told.code == 0
    assert [each["node_id"] for each in told.json["survivors"]] == ["n2"]
    assert [each["member"] for each in told.json["unheard"]] == [nobody]
    assert told.json["may_be_lost"] is True
    assert raftlog(*asked).code == 5


def test_something_has_to_be_looked_at(raftlog):
    """Neither a directory nor endpoints: a usage error, not a question to a port by default."""
    told = raftlog("recover", "inspect")
    assert (told.code, told.out) == (128, b"")
    assert "--data-dir" in told.err


@pytest.mark.parametrize(
    ("running", "stopped", "wanted"),
    [
        ("n1 n2 n3", "", "let them run"),
        ("n1", "n2", "start those that are stopped as they are"),
        ("", "n1 n2", "start them as they are; no acknowledged write is lost"),
        ("n1", "", "stop n1, and look again at their directories with --data-dir"),
        ("", "n1", "n2, n3 cannot be brought back: `raftlog recover force-new-cluster --data-dir"),
    ],
)
def test_the_advice_is_for_what_is_left(tmp_path, running, stopped, wanted):
    """What runs is not to be touched by a command on directories; what is a quorum, by none."""
    paths = [make(tmp_path / name, name, *Writer().many(2)) for name in stopped.split()]
    ends = {f"h:{name}": end_told(name, 1, 3) for name in running.split()}
    assert wanted in _advice(inspect(paths, quiet, ends))


def test_what_runs_is_stopped_before_a_directory_becomes_a_cluster(tmp_path):
    """Of four voters two are no quorum; the one that runs could still take part in one."""
    voters = ("n1", "n2", "n3", "n4")
    path = make(tmp_path / "n2", "n2", *Writer().many(4))
    ends = {"h:1": end_told("n4", 1, 1, voters=voters)}
    told = _advice(inspect([path], quiet, ends))
    assert f"stop n4, then `raftlog recover force-new-cluster --data-dir {path}`" in told


def test_a_directory_that_cannot_be_read_exits_6(raftlog, path, tmp_path):
    """The others are ranked all the same."""
    bad = make(tmp_path / "bad", "n1", *Writer().many(2))
    (tmp_path / "bad" / "data.mdb").write_bytes(b"\0" * 8192)
    told = raftlog("recover", "inspect", "--data-dir", bad, "--data-dir", path, "-o", "json")
    assert told.code == 6
    assert [each["data_dir"] for each in told.json["unreadable"]] == [bad]
    assert [each["node_id"] for each in told.json["survivors"]] == ["n2"]


def test_a_dry_run_says_what_would_be(raftlog, path):
    """Quorum before and after, what is kept, what may be lost; and nothing is done."""
    told = raftlog("recover", "force-new-cluster", "--data-dir", path, "--dry-run", "-o", "json")
    document = told.json
    new = document["after"].pop("cluster_id")
    assert document == {
        "data_dir": path, "node_id": "n2",
        "before": {
            "cluster_id": "cluster", "voters": ["n1", "n2", "n3"], "quorum": 2,
            "fault_tolerance": 1,
        },
        "after": {"voters": ["n2"], "quorum": 1, "fault_tolerance": 0},
        "first_sequence": 1, "last_sequence": 8, "uncommitted": 6, "may_be_lost": True,
        "done": False,
    }  # fmt: skip
    assert new != "cluster"
    assert cluster_of(path) == "cluster"
    plain = raftlog("recover", "force-new-cluster", "--data-dir", path, "--dry-run")
    assert "the last 6 of them may never have been acknowledged" in plain.text
    assert "what only n1, n3 acknowledged after that" in plain.text


@pytest.mark.parametrize("answer", ["", "yes\n", "clustery\n"])
def test_what_is_not_confirmed_is_not_done(raftlog, path, monkeypatch, answer):
    """The cluster's id has to be typed; anything else exits 4 and changes nothing."""
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    told = raftlog("recover", "force-new-cluster", "--data-dir", path)
    assert (told.code, told.out) == (4, b"")
    assert "type cluster:" in told.err
    assert "nothing was changed" in told.err
    assert cluster_of(path) == "cluster"


def test_the_typed_id_and_yes_do_it(raftlog, path, monkeypatch):
    """Once; then it is the only voter, and there is nothing more to recover."""
    monkeypatch.setattr("sys.stdin", io.StringIO("cluster\n"))
    told = raftlog("recover", "force-new-cluster", "--data-dir", path, "--address", "a:9")
    assert told.code == 0
    held = survey(path)
    assert held.identity.cluster_id in told.text
    assert held.last.membership.members[0].address == "a:9"
    again = raftlog("recover", "force-new-cluster", "--data-dir", path, "--yes", "-o", "json")
    assert again.code == 4
    assert "the only voter" in again.json["error"]["message"]
    assert survey(path) == held


def test_a_running_node_and_a_wrong_address_are_refused(raftlog, path):
    """Exit 4 for the one, exit 3 for the other, before anything is read."""
    storage = lmdb_at(path)
    told = raftlog("recover", "force-new-cluster", "--data-dir", path, "--yes")
    storage.close()
    assert told.code == 4
    assert "in use by the running process" in told.err
    wrong = raftlog("recover", "force-new-cluster", "--data-dir", path, "--address", "nowhere")
    assert wrong.code == 3
    assert cluster_of(path) == "cluster"


def test_a_time_is_shown_in_utc():
    """And an entry that has none shows none."""
    assert moment(1_700_000_000_999_999) == "2023-11-14T22:13:20+00:00"
    assert moment(0) == "-"


def test_repair_says_what_it_would_do_and_does_it_when_confirmed(raftlog, path, monkeypatch):
    """A sound directory is told to be; one with a rotten entry is marked, once it was confirmed."""
    sound = raftlog("recover", "repair", "--data-dir", path, "--yes")
    assert (sound.code, "is sound" in sound.text) == (0, True)
    rot(pathlib.Path(path), "log", (3).to_bytes(8, "big"))
    dry = raftlog("recover", "repair", "--data-dir", path, "--dry-run", "-o", "json").json
    assert (dry["damaged_entries"], dry["done"]) == ([3], False)
    assert "3" in dry["mark"]
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    refused = raftlog("recover", "repair", "--data-dir", path)
    assert refused.code == 4
    assert "damaged: the payload of record 3" in refused.err
    told = raftlog("recover", "repair", "--data-dir", path, "--yes")
    assert (told.code, "until a leader has repaired it" in told.text) == (0, True)
    storage = lmdb_at(pathlib.Path(path))
    assert storage.recovered().damaged
    storage.close()
