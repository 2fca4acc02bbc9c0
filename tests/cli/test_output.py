"""What commands print, and with which code they exit."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import click
import pytest

from raftlog import errors
from raftlog.cli import output
from raftlog.cli.output import ExitCode, OutputFormat, exit_code, hint

from .conftest import spawn

TABLE = [
    (errors.ConnectFailed("x"), 2),
    (errors.InvalidInput("x"), 3),
    (errors.ConfigInvalid("x"), 3),
    (errors.TooLarge("x"), 3),
    (errors.SessionMismatch("x"), 3),
    (errors.SafetyRefused("x"), 4),
    (errors.IdentityMismatch("x"), 4),
    (errors.MembershipRejected("x"), 4),
    (errors.Unavailable("x"), 5),
    (errors.NotLeader("x"), 5),
    (errors.ProposalDropped("x"), 5),
    (errors.Overloaded("x"), 5),
    (errors.DiskFull("x"), 5),
    (errors.StorageError("x"), 6),
    (errors.StorageCorrupt("x"), 6),
    (OSError("x"), 6),
    (errors.Indeterminate("x"), 7),
    (errors.LeadershipLost("x"), 7),
    (errors.MachineHalted("x"), 7),
    (errors.Unavailable("x", definite=False), 7),
    (errors.ConnectFailed("x", definite=False), 7),
    (errors.SessionExpired("x", definite=False), 7),
    (errors.InvalidGroup("x", definite=False), 7),
    (errors.Rejected("x"), 3),
    (errors.NotFound("x"), 1),
    (errors.Compacted("x"), 1),
    (errors.InvariantBroken("x"), 1),
    (ValueError("x"), 1),
    (click.UsageError("x"), 128),
    (click.BadParameter("x"), 128),
    (KeyboardInterrupt(), 130),
    (BrokenPipeError(), 141),
]


@pytest.mark.parametrize(("error", "code"), TABLE, ids=lambda value: repr(value)[:50])
def test_exit_codes_follow_from_the_error(error, code):
    """Every error has the exit code of the contract, and definite decides between 5 and 7."""
    assert exit_code(error) == code


def test_every_error_class_has_a_code():
    """No error of ours falls through to a surprising code, definite or not."""
    for kind in errors.ERROR_BY_CODE.values():
        assert exit_code(kind("x", definite=True)) in set(ExitCode) - {ExitCode.OUTCOME_UNKNOWN}
        indefinite = exit_code(kind("x", definite=False))
        assert indefinite in {ExitCode.OUTCOME_UNKNOWN, ExitCode.IO_OR_CORRUPTION, ExitCode.FAILED}


def test_an_unknown_outcome_says_what_to_do():
    """Whatever the class, an indefinite error warns before repeating."""
    assert "may have happened" in hint(errors.Unavailable("x", definite=False))
    assert "raftlog status" in hint(errors.Unavailable("x"))
    assert "backup" in hint(errors.StorageCorrupt("x"))  # not every rotten file is a node's
    assert "--member" in hint(errors.NotLeader("x"))  # a witness never answers: no use to wait
    assert hint(errors.Rejected("x")) is None
    assert hint(ValueError("x")) is None


def test_errors_go_to_standard_error(capsys):
    """An error is said with its leader and the next step, and standard output stays empty."""
    leader = errors.LeaderHint("n2", "b:2", 7)
    output.show_error(errors.NotLeader("n1 does not lead", leader=leader))
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: n1 does not lead" in err
    assert "the leader is n2 at b:2" in err
    assert "raftlog leader show" in err


def test_our_error_is_found_inside_groups():
    """A task group's error counts as the error of ours within it."""
    inner = errors.Unavailable("x")
    group = BaseExceptionGroup("g", [ValueError(), ExceptionGroup("h", [inner])])
    assert output.first_error(group) is inner
    assert output.first_error(inner) is inner
    broken = BrokenPipeError()
    assert output.first_error(ExceptionGroup("g", [broken])) is broken


def test_bytes_are_text_or_base64():
    """Bytes that are UTF-8 are text, and all others survive JSON."""
    document = {"a": "ü".encode(), "b": b"\xff\x00", "c": [b""], "d": OutputFormat.JSON}
    assert json.loads(output.to_json(document)) == {
        "a": "ü", "b": {"base64": "/wA="}, "c": [""], "d": "json",
    }  # fmt: skip


def test_arguments_come_back_as_they_were_typed():
    """An argument that was not UTF-8 is the same bytes again."""
    assert output.bytes_of("k\udcff") == b"k\xff"
    assert output.bytes_of("ü") == "ü".encode()


def test_emit_writes_one_document_or_its_table(capsys):
    """JSON is one document; a table is what the command makes of it."""
    output.emit(OutputFormat.JSON, {"a": 1}, lambda: "never")
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    output.emit(OutputFormat.TABLE, {"a": 1}, lambda: "shown")
    output.emit(OutputFormat.TABLE, {"name": "x", "n": 2})
    output.emit(OutputFormat.TABLE, {}, lambda: "")
    assert capsys.readouterr().out == "shown\nname  x\nn     2\n"


PROGRAM = """
import sys
from raftlog.cli import output
output.prepare_streams()
{}
"""


def test_a_large_write_to_an_unbuffered_pipe_is_whole():
    """With PYTHONUNBUFFERED a bare file would take what the pipe takes, and drop the rest."""
    size = 1 << 20
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            PROGRAM.format(
                f"sys.stdout.buffer.write(bytes({size})); sys.stdout.buffer.flush()\n"
                "print(type(sys.stdout.buffer).__name__, file=sys.stderr)"
            ),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as child:
        out, err = child.communicate(timeout=30)
    assert len(out) == size
    assert err.strip() == b"BufferedWriter"


def test_a_closed_standard_output_is_given_to_nothing_else():
    """Whatever is opened next does not become standard output, and printing does no harm."""
    script = PROGRAM.format(
        "print('lost'); sys.stdout.flush(); sys.exit(open('/dev/null').fileno() < 3)"
    )
    child = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, script], check=False, timeout=30
    )
    assert child.returncode == 0


DEVICE = [("version",), ("log", "tail"), ("kv", "put", "full", "v"), ("--help",)]


@pytest.mark.integration
def test_an_output_that_is_full_exits_6(cluster):
    """Also at the end of the process; and what was carried out is said to be."""
    with spawn("--endpoints", cluster.endpoints, "log", "append", "--lines", "-") as child:
        child.communicate(b"one\n", timeout=30)
    for line in DEVICE:
        with pathlib.Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "raftlog", "--endpoints", cluster.endpoints, *line],
                stdout=full, stderr=subprocess.PIPE, check=False, timeout=60,
            )  # fmt: skip
        assert done.returncode == 6, line
        assert b"No space left" in done.stderr, line
        assert b"Traceback" not in done.stderr, line
        assert b"Exception ignored" not in done.stderr, line
        assert line[:2] != ("kv", "put") or b"was carried out" in done.stderr
