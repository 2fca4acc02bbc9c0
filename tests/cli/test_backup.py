"""`backup`: made on a cluster that runs, read without one."""

from __future__ import annotations

import os
import pathlib
import shlex
import signal
import subprocess
import sys

import click
import pytest

from raftlog.backup.catalog import verify as verify_file
from raftlog.cli.backup import Rate
from raftlog.client.client import connect
from raftlog.local.layout import find_base_port
from raftlog.storage.lmdb import verify as verify_directory
from tests.backup.builders import COVERED, LAST, backup_of, fill, transactions
from tests.cli.conftest import spawn
from tests.test_docs import TOP, shell_lines

PAGE = TOP / "docs/runbook/restore.md"


@pytest.mark.parametrize(
    ("text", "rate"), [("500000", 5e5), ("10MiB", 10 << 20), ("1 KiB/s", 1024), ("0", 0)]
)
def test_a_rate_takes_units(text, rate):
    """Bytes a second, with or without saying so."""
    assert Rate().convert(text, None, None) == rate
    with pytest.raises(click.BadParameter, match="is no rate"):
        Rate().convert("fast", None, None)


@pytest.fixture
def file(tmp_path):
    """Return a backup made without a cluster."""
    storage = fill(tmp_path / "data")
    path = backup_of(storage, tmp_path / "one.rlbackup")
    storage.close()
    return path


def test_create_verifies_what_it_made(ask, tmp_path):
    """On a follower unless a member is named; the answer tells what is in it."""
    ask("kv", "put", "k", "v")
    made = ask("backup", "create", tmp_path / "one", "-o", "json")
    leader = ask("leader", "show", "-o", "json").json["leader"]
    document = made.json
    assert made.code == 0
    assert document["served_by"] in {"n1", "n2", "n3"} - {leader}
    assert document["ok"] is True
    assert document["machine"] == "kv 1"
    assert document["members"] == ["n1", "n2", "n3"]
    assert document["last_sequence"] >= 1
    named = ask("backup", "create", tmp_path / "two", "--member", leader, "--rate", "50MiB/s")
    assert f"served_by          {leader}" in named.text
    again = ask("backup", "create", tmp_path / "two")
    assert (again.code, "is there already" in again.err) == (3, True)


def test_verify_and_list_exit_6_where_a_byte_has_changed(raftlog, file):
    """`verify` wherever it is, `list` in what it reads: the head and the end."""
    assert raftlog("backup", "verify", file).code == 0
    listed = raftlog("backup", "list", file.parent, "-o", "json")
    [document] = listed.json["backups"]
    assert (listed.code, document["path"], document["ok"]) == (0, str(file), True)
    assert document["snapshot_sequence"] == 2 * COVERED
    assert (document["first_sequence"], document["last_sequence"]) == (7, 2 * LAST)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    told = raftlog("backup", "verify", file, "-o", "json")
    assert (told.code, told.json["error"]["code"]) == (6, "storage_corrupt")
    file.write_bytes(bytes(content)[:-1])
    listed = raftlog("backup", "list", file.parent)
    assert listed.code == 6
    assert "footer" in listed.text


def test_restore_says_what_it_made_and_how_to_start_it(raftlog, file, tmp_path):
    """Once; a directory that is not empty is refused, exit 4; a point out of reach, exit 3."""
    line = ("backup", "restore", file, "--data-dir", tmp_path / "new", "--node-id", "m1")
    told = raftlog(*line, "--address", "127.0.0.1:1", "--to-sequence", 30, "-o", "json")
    document = told.json
    assert told.code == 0
    assert document["from_cluster_id"] == "cluster"
    assert document["cluster_id"] != "cluster"
    assert (document["first_sequence"], document["last_sequence"]) == (7, 30)
    assert verify_directory(tmp_path / "new").ok
    assert transactions(tmp_path / "new")[-1] == b"15.1"
    assert raftlog(*line, "--address", "127.0.0.1:1").code == 4
    other = (*line[:4], tmp_path / "other", *line[5:])
    assert raftlog(*other, "--address", "127.0.0.1:1", "--to-sequence", 99).code == 3
    for year in ("0202-01-31", "2926-01-31"):
        wrong = raftlog(*other, "--address", "127.0.0.1:1", "--to-time", year)
        assert (wrong.code, "can stop at any time from 1970" in wrong.err) == (3, True)
    both = raftlog(*other, "--address", "a:1", "--to-sequence", 30, "--to-time", "1h")
    assert (both.code, "exclude each other" in both.err) == (3, True)
    assert raftlog(*other, "--address", "nowhere").code == 3
    assert raftlog(*other[:-1], "a b", "--address", "127.0.0.1:1").code == 3
    plain = raftlog(*other, "--address", "127.0.0.1:1")
    assert f"raftlog serve --node-id m1 --data-dir {tmp_path / 'other'}" in plain.text
    assert "--listen 127.0.0.1:1 --http 127.0.0.1:101 " in plain.text


def test_an_interrupted_backup_leaves_nothing(cluster, tmp_path):
    """Ctrl-C half-way: no file of that name, and none beside it."""
    process = spawn(
        "--endpoints", cluster.endpoints, "backup", "create", tmp_path / "one", "--rate", "1"
    )  # fmt: skip
    try:
        while not list(tmp_path.iterdir()):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_follow_goes_on_after_kill_9(cluster, ask, tmp_path):
    """What was shipped is there, torn or not; the second run brings the rest, and no more."""
    directory = tmp_path / "shipped"
    assert ask("backup", "follow", directory, "--once").code == 0
    process = spawn("--endpoints", cluster.endpoints, "backup", "follow", directory)
    try:
        (tmp_path / "lines").write_text("".join(f"followed {i}\n" for i in range(50)))
        ask("log", "append", "--lines", tmp_path / "lines")
        while not list(directory.glob("*.rlopen")):
            assert process.poll() is None
    finally:
        process.kill()
        process.communicate(timeout=20)
    more = ask("log", "append", "--lines", tmp_path / "lines", "-o", "json").json
    done = ask("backup", "follow", directory, "--once", "-o", "json")
    assert done.json["last_sequence"] >= more["last_sequence"]
    new = tmp_path / "new"
    told = ask(
        "backup", "restore", directory, "--data-dir", new, "--node-id", "n1", "--address", "a:1",
        "--to-sequence", more["last_sequence"] - 20,
    )  # fmt: skip
    assert told.code == 0
    found = transactions(new)
    wanted = [b"followed %d" % i for i in range(50)]
    assert found[-80:] == wanted + wanted[:30]


def typed(line: str, place: pathlib.Path, endpoints: str) -> str:
    """Run a line of the page where its paths are; return what it printed."""
    environment = os.environ | {
        "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAFTLOG_ENDPOINTS": endpoints,
    }
    done = subprocess.run(
        ["bash", "-c", line], cwd=place, env=environment, capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout.decode()


async def test_the_page_as_written(cluster, tmp_path, free_port):
    """Yesterday's backup runs beside the cluster, and neither touches the other."""
    async with connect(cluster.endpoints, timeout=20) as client:
        start = (await client.log.append_many([b"%d" % i for i in range(1200)]))[0].sequence
        await client.kv.put(b"page", b"old")
        lines = [
            line.replace("127.0.0.1:7401", f"127.0.0.1:{free_port}") for line in shell_lines(PAGE)
        ]
        said = [typed(line, tmp_path, cluster.endpoints) for line in lines]
        later = await client.kv.put(b"page", b"new")
    restored = next(text for text in said if "--data-dir restored/n1" in text)
    command = shlex.split(restored.splitlines()[-1].removeprefix("start it: raftlog "))
    assert command[command.index("--http") + 1] == f"127.0.0.1:{free_port + 100}", "its own"
    process = spawn(*command, "--set", "logging.level=error", cwd=tmp_path)
    try:
        async with connect(f"127.0.0.1:{free_port}", timeout=30) as beside:
            value = await beside.kv.get(b"page")
            written = await beside.log.append(b"beside")
            status = await beside.cluster.status()
            payloads = [each.payload async for each in beside.log.tail(start - 1, follow=False)]
        assert value is not None
        assert value.value == b"old"
        assert written.sequence == later.revision, "the same number, and another transaction"
        assert written.gtid != f"0-1-{written.sequence}"
        assert payloads[:1200] == [b"%d" % i for i in range(1200)]
        assert payloads[-1] == b"beside"
        async with connect(cluster.endpoints, timeout=20) as client:
            whole = await client.cluster.status()
            value = await client.kv.get(b"page")
            assert value is not None
            assert value.value == b"new"
            assert (await client.log.append(b"go on")).sequence == later.revision + 1
        assert whole.cluster_id != status.cluster_id
        assert [each.node_id for each in whole.members] == ["n1", "n2", "n3"]
        assert [each.node_id for each in status.members] == ["n1"]
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert transactions(tmp_path / "earlier" / "n1")[-1] is not None
    assert verify_file(tmp_path / "backups" / "monday.rlbackup", lambda *_: None).end is not None


@pytest.fixture
def free_port():
    """Return a port that is nobody else's."""
    return find_base_port(1)
