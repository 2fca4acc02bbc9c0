"""`debug bundle`: one file of what each member says of itself."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from raftlog.cli.debug import _component, debug
from raftlog.errors import ConnectFailed
from raftlog.local import LocalCluster

pytestmark = pytest.mark.integration
FILES = {
    "status.json", "settings.json", "metrics.txt", "events.jsonl", "tasks.txt", "threads.txt",
    "versions.json",
}  # fmt: skip


def contents(path):
    """Return the files of an archive without its one directory: name to text."""
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r:gz") as archive:
        names = archive.getnames()
        (top,) = {name.split("/")[0] for name in names}
        return {
            name.removeprefix(f"{top}/"): archive.extractfile(name).read().decode()
            for name in names
        }


def test_a_bundle_of_all_members(ask, cluster, tmp_path):
    """Each member's files are there, JSON names them all, and only the owner may read the file."""
    assert set(debug.commands) == {"bundle"}
    path = tmp_path / "bundle.tar.gz"
    told = ask("debug", "bundle", "--file", path, "-o", "json")
    assert (told.code, told.err) == (0, "")
    assert told.json["file"] == str(path)
    assert told.json["bytes"] == path.stat().st_size
    assert path.stat().st_mode & 0o077 == 0
    found = contents(path)
    members = [node.id for node in cluster.nodes]
    wanted = {f"{member}/{name}" for member in members for name in FILES}
    assert set(found) == wanted | {"manifest.json", "status.json"}
    for member in told.json["members"]:
        assert member["error"] is None
        for file in member["files"]:
            assert file["bytes"] == len(found[f"{member['id']}/{file['name']}"].encode())
    assert json.loads(found["n2/status.json"])["status"]["served_by"] == "n2"
    assert json.loads(found["status.json"])["cluster_id"] == told.json["cluster_id"]
    assert json.loads(found["manifest.json"])["members"] == told.json["members"]
    assert cluster.token not in "".join(found.values())


def test_one_member_and_a_name_of_its_own(ask, tmp_path, monkeypatch):
    """With --member that one alone; without --file a new file here, however often it is asked."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        told = ask("--member", "n2", "debug", "bundle")
        assert told.code == 0
        assert "n2: 7 files" in told.err
    made = sorted(tmp_path.glob("raftlog-debug-*.tar.gz"))
    assert len(made) == 2
    names = {name.split("/")[0] for name in contents(made[0])}
    assert names == {"n2", "manifest.json", "status.json"}


def test_a_file_that_is_there_is_kept(ask, tmp_path):
    """It is refused before anybody is asked, and one that cannot be written is exit code 6."""
    path = tmp_path / "precious"
    path.write_text("precious")
    told = ask("debug", "bundle", "--file", path, "-o", "json")
    assert (told.code, told.json["error"]["definite"]) == (3, True)
    assert "name another" in told.err
    assert path.read_text() == "precious"
    assert ask("debug", "bundle", "--file", tmp_path / "no" / "such").code == 6


def test_a_member_that_does_not_answer_is_an_error_file(raftlog, tmp_path):
    """The others are there, and the command was carried out; alone, it is an error."""
    own = LocalCluster.create(tmp_path / "own", nodes=2, base_port=0)
    own.start(timeout=60)
    try:
        own.kill("n2")
        line = ("--endpoints", own.endpoints, "--timeout", "1s", "debug", "bundle", "--file")
        told = raftlog(*line, tmp_path / "b", "-o", "json")
        assert told.code == 0
        assert [member["error"] is None for member in told.json["members"]] == [True, False]
        found = contents(tmp_path / "b")
        assert "n1/status.json" in found
        assert [name for name in found if name.startswith("n2/")] == ["n2/error.json"]
        assert json.loads(found["n2/error.json"])["code"] == ConnectFailed.code
        shown = raftlog(*line, tmp_path / "c")
        assert "n2: no answer: " in shown.err
        alone = raftlog("--member", "n2", *line, tmp_path / "d")
        assert alone.code == 2
        assert not (tmp_path / "d").exists()
    finally:
        own.stop()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("n1", "n1"),
        ("..", "_.."),
        (".", "_."),
        ("", "_"),
        ("a/../b", "a_.._b"),
        ("\x1b\u202e", "__"),
    ],
)
def test_no_name_leads_out_of_the_archive(name, part):
    """A member's id, and what a node calls its files, is one harmless part of a path."""
    assert _component(name) == part
