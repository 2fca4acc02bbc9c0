"""`log append`: everything in order, exactly once, whatever happens to the process."""

from __future__ import annotations

import json
import signal
import time

import pytest

from raftlog.cli import append, records
from raftlog.cli.append import Report
from raftlog.cli.journal import Journal

from .conftest import spawn

pytestmark = pytest.mark.integration


@pytest.fixture
def stream(request):
    """Return a stream name of this test's own, because the cluster is shared."""
    return request.node.name[:150]


@pytest.fixture
def stored(ask, stream):
    """Return a function that returns the stream's payloads as the cluster holds them."""

    def read():
        return ask("log", "tail", "--stream", stream, "--nul").out.split(b"\0")[:-1]

    return read


def test_lines_of_a_file(ask, stream, stored, tmp_path):
    """A transaction per line, blank ones too, and the answer says how many and where."""
    file = tmp_path / "in"
    file.write_bytes(b"a\n\nb\xff\nlast")
    result = ask("log", "append", "--lines", file, "--stream", stream, "-o", "json")
    assert result.code == 0
    assert result.json["appended"] == 4
    assert result.json["last_sequence"] - result.json["first_sequence"] == 3
    assert stored() == [b"a", b"", b"b\xff", b"last"]


def test_an_empty_input_appends_nothing(ask, stream, stored, tmp_path):
    """No lines, no transactions, and no error."""
    file = tmp_path / "in"
    file.write_bytes(b"")
    result = ask("log", "append", "--lines", file, "--stream", stream, "-o", "json")
    assert result.code == 0
    assert result.json == {"appended": 0, "first_sequence": None, "last_sequence": None}
    assert stored() == []


def test_records_ended_by_nul(ask, stream, stored, tmp_path):
    """With --nul newlines belong to the payload."""
    file = tmp_path / "in"
    file.write_bytes(b"a\nb\0c\0")
    assert ask("log", "append", "--nul", file, "--stream", stream).code == 0
    assert stored() == [b"a\nb", b"c"]


@pytest.mark.parametrize("content", [b"", b"a\nb\n"])
def test_a_whole_input(ask, stream, stored, tmp_path, content):
    """Without --lines the input is one transaction, empty or not."""
    file = tmp_path / "in"
    file.write_bytes(content)
    result = ask("log", "append", file, "--stream", stream, "-o", "json")
    assert result.json["appended"] == 1
    assert stored() == [content]


def test_wrong_input_exits_3(ask, stream, stored, tmp_path, monkeypatch):
    """A missing file, a bad stream name and a line over the limit are invalid input."""
    assert ask("log", "append", tmp_path / "none").code == 3
    assert ask("log", "append", tmp_path).code == 3
    file = tmp_path / "in"
    file.write_bytes(b"a\nb\n")
    assert ask("log", "append", "--lines", file, "--stream", "x\ny").code == 3
    assert ask("log", "append", "--lines", file, "--session", "../x").code == 3
    monkeypatch.setattr(records.Splitter.__init__, "__defaults__", (10,))
    file.write_bytes(b"a\n" * 100 + b"x" * 11 + b"\n")
    monkeypatch.setattr(records, "CHUNK_BYTES", 20)
    result = ask("log", "append", "--lines", file, "--stream", stream, "-o", "json")
    assert result.code == 3
    assert "record 101 is over 10 bytes" in result.err
    assert result.json["error"]["definite"] is True
    assert stored() == [b"a"] * result.json["last_acknowledged_line"]


def test_nobody_there_appends_nothing(raftlog, tmp_path):
    """Without a cluster the answer is definite, and no line is acknowledged."""
    file = tmp_path / "in"
    file.write_bytes(b"a\n")
    result = raftlog(
        "--endpoints", "127.0.0.1:1", "--timeout", "0.3", "log", "append", "--lines", file,
        "-o", "json",
    )  # fmt: skip
    assert result.code == 2
    assert result.json["last_acknowledged_line"] == 0
    assert "last acknowledged line: 0" in result.err


def test_a_pipe_is_appended_as_it_comes_and_ctrl_c_loses_nothing(cluster, stream, stored):
    """Lines arrive while the pipe is open; an interrupt ends after what was acknowledged."""
    with spawn(
        "--endpoints", cluster.endpoints, "log", "append", "--lines", "-", "--stream", stream,
        "-o", "json",
    ) as child:  # fmt: skip
        child.stdin.write(b"one\n\ntwo\nunfinished")
        child.stdin.flush()
        deadline = time.monotonic() + 30
        while len(stored()) < 3:
            assert time.monotonic() < deadline
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
        out, err = child.stdout.read(), child.stderr.read()
    assert json.loads(out)["appended"] == 3
    assert b"last acknowledged line: 3" in err
    assert stored() == [b"one", b"", b"two"]


# ---------------------------------------------------------------- named sessions


def journaled(name):
    """Return what the session's journal holds."""
    return Journal(name).load()


def test_a_rerun_repeats_nothing(ask, stream, stored, tmp_path):
    """The same input again appends nothing, and a longer one only what is new."""
    file = tmp_path / "in"
    file.write_bytes(b"a\nb\n\n")
    line = ("log", "append", "--lines", file, "--stream", stream, "--session", "s", "-o", "json")
    assert ask(*line).json["appended"] == 3
    again = ask(*line).json
    assert (again["appended"], again["skipped"]) == (0, 3)
    file.write_bytes(b"a\nb\n\nc\n")
    assert ask(*line).json["appended"] == 1
    assert stored() == [b"a", b"b", b"", b"c"]
    assert journaled("s").records == 4


@pytest.mark.parametrize("content", [b"a\nX\n\n", b"a\n", b""])
def test_another_input_under_the_same_name_is_refused(ask, stream, stored, tmp_path, content):
    """What was acknowledged must be what the input begins with."""
    file = tmp_path / "in"
    file.write_bytes(b"a\nb\n\n")
    line = ("log", "append", "--lines", file, "--stream", stream, "--session", "s")
    assert ask(*line).code == 0
    file.write_bytes(content)
    result = ask(*line)
    assert result.code == 3
    assert "are not those that session 's' has appended" in result.err
    assert ask(*line[:-2], "--session", "other").code == 0
    assert stored()[:3] == [b"a", b"b", b""]


def test_another_stream_or_cluster_under_the_same_name_is_refused(ask, stream, tmp_path):
    """A session belongs to the stream and the cluster that it began with."""
    file = tmp_path / "in"
    file.write_bytes(b"a\n")
    line = ("log", "append", "--lines", file, "--session", "s", "--stream")
    assert ask(*line, stream).code == 0
    result = ask(*line, "other")
    assert result.code == 3
    assert "began with stream" in result.err


class Killed(BaseException):
    """Stands for a process that ends between two instructions."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_was_killed_goes_on_without_a_gap_or_a_repeat(
    ask, stream, stored, tmp_path, monkeypatch, moment
):
    """Killed before or after a group is sent, the next run sends that very group again."""
    monkeypatch.setattr(records, "GROUP_RECORDS_MAX", 10)
    monkeypatch.setattr(records, "CHUNK_BYTES", 30)
    lines = [b"line %d" % number for number in range(100)]
    file = tmp_path / "in"
    file.write_bytes(b"\n".join(lines) + b"\n")
    line = ("log", "append", "--lines", file, "--stream", stream, "--session", "s", "-o", "json")
    send = append.LogSession.append
    sent = []

    async def dying(self, payloads, **settings):
        sent.append(payloads)
        if len(sent) == 4 and moment == "before":
            raise Killed
        receipts = await send(self, payloads, **settings)
        if len(sent) == 4:
            raise Killed
        return receipts

    with monkeypatch.context() as patched:
        patched.setattr(append.LogSession, "append", dying)
        assert ask(*line).code == 1
    assert list(journaled("s").pending) == list(sent[3])
    result = ask(*line)
    assert result.code == 0
    assert "sending the unanswered group" in result.err
    assert stored() == lines
    assert journaled("s").pending == ()


def test_an_expired_session_goes_on_in_a_new_one(ask, stream, stored, tmp_path):
    """With nothing under way, a session that is gone is replaced; nothing is repeated."""
    file = tmp_path / "in"
    file.write_bytes(b"a\n")
    line = ("log", "append", "--lines", file, "--stream", stream, "--session", "s")
    assert ask(*line).code == 0
    forget_session("s")
    file.write_bytes(b"a\nb\n")
    result = ask(*line)
    assert result.code == 0, result.err
    assert stored() == [b"a", b"b"]


def test_an_expired_session_with_a_group_under_way_is_unknown(ask, stream, stored, tmp_path):
    """Whether that group is in the log cannot be asked any more, and the message says where."""
    file = tmp_path / "in"
    file.write_bytes(b"a\n")
    line = ("log", "append", "--lines", file, "--stream", stream, "--session", "s")
    assert ask(*line).code == 0
    forget_session("s", pending=(b"b",))
    file.write_bytes(b"a\nb\n")
    result = ask(*line)
    assert result.code == 7
    assert "records 2 to 2" in result.err
    assert "raftlog log tail --after" in result.err
    assert stored() == [b"a"]


def forget_session(name, pending=()):
    """Make the journal speak of a session that the cluster does not know."""
    progress = append.dataclasses.replace(journaled(name), session=2**40, pending=pending)
    Journal(name).save(progress)


def test_a_report_counts_lines_from_one():
    """The last acknowledged line is what was skipped and what was appended."""
    report = Report(skipped=5)
    report.note(3, 10, 12)
    report.note(1, 20, 20)
    assert (report.last_acknowledged, report.first_sequence, report.last_sequence) == (9, 10, 20)
