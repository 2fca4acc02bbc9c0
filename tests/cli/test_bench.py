"""`bench`: rows of numbers that add up."""

from __future__ import annotations

import click
import pytest

from raftlog.cli.bench import parse_clients

FIELDS = {
    "clients", "processes", "payload_bytes", "operations", "seconds", "per_second", "p50_ms",
    "p99_ms", "errors",
}  # fmt: skip


def test_clients_are_a_list():
    """Numbers apart by commas, and nothing else."""
    assert parse_clients("1, 16,64") == [1, 16, 64]
    for wrong in ("", "0", "1,,2", "x", "-1", "1000000"):
        with pytest.raises(click.BadParameter):
            parse_clients(wrong)


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["write", "kv", "read", "tail"])
def test_every_kind_gives_its_rows(ask, kind):
    """A row for each number of callers, with every field of the contract."""
    result = ask("bench", kind, "--clients", "1,4", "--operations", 40, "-o", "json")
    assert result.code == 0, result.err
    rows = result.json["rows"]
    assert [row["clients"] for row in rows] == [1, 4]
    assert all(set(row) == FIELDS for row in rows)
    assert all(row["errors"] == 0 and row["per_second"] > 0 for row in rows)
    expected = [40, 160] if kind == "tail" else [40, 40]
    assert [row["operations"] for row in rows] == expected


@pytest.mark.integration
def test_processes_share_callers_and_operations(ask):
    """With two processes the callers and operations are divided, and add up again."""
    result = ask(
        "bench", "write", "--clients", "3", "--processes", 2, "--operations", 101, "--payload", 0,
        "-o", "json",
    )  # fmt: skip
    (row,) = result.json["rows"]
    assert (row["processes"], row["clients"], row["operations"]) == (2, 3, 101)


@pytest.mark.integration
def test_a_throw_away_cluster(raftlog):
    """--local measures a cluster of its own, and time ends a row where operations do not."""
    result = raftlog("bench", "write", "--local", 1, "--clients", "2", "--seconds", 0.3)
    assert result.code == 0, result.err
    assert "per_second" in result.text
