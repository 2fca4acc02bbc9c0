"""Tables: aligned, folded, and free of anything that a terminal would obey."""

from __future__ import annotations

import dataclasses
import enum
import os
import re
import sys
from datetime import UTC, datetime

import click
import pytest
from rich.cells import cell_len

from raftlog.cli import output, tables
from raftlog.cli.output import OutputFormat
from raftlog.cli.tables import fields, show, table
from raftlog.status import ClusterStatus, MemberStatus


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Pair:
    left: object
    right: object


def test_tables_are_aligned():
    """Numbers stand to the right, text to the left, and no line ends in blanks."""
    text = click.unstyle(table(["id", "lag"], [["n1", 5], ["node2", 1234], ["n3", None]]))
    assert text.splitlines() == ["id      lag", "n1        5", "node2  1234", "n3        -"]
    assert table(["id"], []) == "id"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (1.5, "1.5"),
        (1234.0, "1,234"),
        (b"\xff", "\\xff"),
        ("a\x1b[31m\x9b\u202e\n", "a\\x1b[31m\\x9b\\u202e\\n"),
        ("\udcff", "\\udcff"),
        (Colour.RED, "red"),
        ([b"a", 1, None], "a, 1, -"),
        ((), ""),
        ({"base64": "/wA="}, "\\xff\\x00"),
        ({"a": b"b", "c": [1]}, "a=b, c=1"),
        (Pair(b"x", Colour.RED), "left=x, right=red"),
        (datetime(2026, 1, 31, 8, tzinfo=UTC), "2026-01-31 08:00:00+00:00"),
    ],
)
def test_cells(value, cell):
    """A cell is short and printable, whatever it holds, and never how Python writes a value."""
    assert show(value) == cell


HOSTILE = [
    b"\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b31m",
    "\u202etxt",
    "line\nline\r\ttab",
    b"\xff\xfe",
    "\udc80",
    ["\x1b[1m"],
    {"\x07": b"\x00"},
]
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ud800-\udfff]")
REPR = re.compile(r"b'|\bNone\b|<[A-Z]\w*[.:]|datetime\(")


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_nothing_stored_reaches_a_terminal_as_it_is(value, capsys):
    """Not in a table, a line of fields, a document or a message."""
    texts = [
        click.unstyle(table(["value"], [[value]])),
        fields({"name": value}),
        output.to_json(value),
        output.to_json({"name": show(value)}, indent=2),
    ]
    output.say(f"error: {show(value)}")
    output.emit(OutputFormat.TABLE, {"name": value})
    output.emit(OutputFormat.TABLE, value)
    captured = capsys.readouterr()
    for text in (*texts, captured.out, captured.err):
        assert not OBEYED.search(text), text
        assert not REPR.search(text), text


def test_what_is_long_or_wide_is_folded_to_the_terminal(monkeypatch):
    """Letters of two cells count as two; nothing is cut off."""
    monkeypatch.setattr(tables, "width", lambda: 40)
    rows = [["key", "v" * 100], ["\u6f22\u5b57" * 20, "\U0001f600" * 30]]
    text = click.unstyle(table(["key", "value"], rows))
    assert all(cell_len(line) <= 40 for line in text.splitlines())
    assert text.count("v") == 101
    assert text.count("\u6f22") == 20
    assert text.count("\U0001f600") == 30


def test_a_pipe_gets_a_row_per_line(monkeypatch):
    """Where no terminal folds, nothing is folded."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert table(["v"], [["x" * 500]]).splitlines() == ["v", "x" * 500]


def test_a_terminal_says_how_wide_it_is(monkeypatch):
    """A table is as wide as the terminal at most."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "33")
    assert tables.width() == 33
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert tables.width() == tables.UNBOUNDED
    assert os.environ["COLUMNS"] == "33"


def member(name: str, **more: object) -> MemberStatus:
    """Return a member with numbers as they are after years."""
    known: dict[str, object] = {
        "node_id": name, "address": f"10.20.30.{name[1:]}:7101", "role": "follower",
        "kind": "voter", "has_machine": True, "region": "", "instance_id": "i",
        "match_index": 123_456_789, "applied_index": 123_456_789, "lag_transactions": 10_000,
        "last_contact_ms": 1234.5, "reachable": True, "healthy": True,
    }  # fmt: skip
    return MemberStatus(**(known | more))


def test_a_status_fits_a_terminal_and_shows_the_quorum():
    """80 columns, without folding; what is wrong with a member is one word."""
    from raftlog.cli.status import _human, describe  # noqa: PLC0415

    found = ClusterStatus(
        cluster_id="c" * 32, served_by="n1", leader="n1", leader_address="a:1", term=3,
        commit_index=1, commit_sequence=0, applied_index=1, first_sequence=1, quorum=2,
        has_quorum=True, fault_tolerance=1, feature_level=1, machine="kv 1", version="0",
        members=(
            member("n1", role="leader", last_contact_ms=None),
            member("n2", healthy=False),
            member("n3", reachable=False, healthy=False, applied_index=None),
        ),
        alarms=(),
    )  # fmt: skip
    text = click.unstyle(_human(found, describe(found)))
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "2 of 3 voters; 1 more may fail" in text
    assert [line.split()[-1] for line in text.splitlines()[-3:]] == [
        "healthy", "unhealthy", "unreachable",
    ]  # fmt: skip
    learner, witness = member("n4", kind="learner"), member("n5", kind="witness")
    more = dataclasses.replace(found, quorum=3, members=(*found.members, learner, witness))
    assert "3 of 4 voters; 1 more may fail" in _human(more, describe(more))  # a witness votes
    lost = dataclasses.replace(found, has_quorum=False, alarms=("\x1b[2J",))
    assert "LOST" in _human(lost, describe(lost))
    assert "\x1b[2J" not in _human(lost, describe(lost))
