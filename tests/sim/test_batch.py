"""Batches, their command line, and the shrinker."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import pytest

from raftlog.errors import InvalidInput
from raftlog.sim.outcome import Outcome
from raftlog.sim.runs import cli, shrinker
from raftlog.sim.runs.batch import run_batch
from raftlog.sim.runs.coverage import SEEDS_WANTED, SOMETIMES, missing
from raftlog.sim.runs.shrinker import minimize, property_of, shrink
from raftlog.sim.runs.summary import Summary, restored, spans, spans_text

from .seen import seen


def failing(outcome: Outcome, text: str = "some property: it broke") -> Outcome:
    """Return the outcome as if it had failed."""
    return dataclasses.replace(outcome, failure=text, transcript=("what happened last",))


def test_a_summary_depends_on_the_seeds_not_on_the_workers() -> None:
    """Two processes sum up to what one does."""
    one, two = run_batch(range(6), run=seen), run_batch(range(6), workers=2)
    assert (one.seeds, one.events, one.digests) == (two.seeds, two.events, two.digests)
    assert one.counters == two.counters
    assert one.is_green
    assert one.events_per_second > 0


def test_a_batch_ends_with_its_time_or_its_first_failure() -> None:
    """Seeds without an end are run until there is a reason to stop."""
    assert run_batch(range(10**9), seconds_max=0.01).seeds >= 1
    good = seen(0)
    third = failing(dataclasses.replace(good, seed=2))
    outcomes = iter([good, dataclasses.replace(good, seed=1), third, good])
    found = run_batch(range(100), until_failure=True, run=lambda _: next(outcomes))
    assert (found.seeds, len(found.failures), found.is_green) == (3, 1, False)


def test_a_large_batch_owes_what_must_sometimes_happen() -> None:
    """A batch of enough seeds that never truncated anything is not green, a small one may be."""
    reached = dict.fromkeys(SOMETIMES, 1)
    assert missing(reached, SEEDS_WANTED) == []
    del reached["truncation_of_two"]
    assert missing(reached, SEEDS_WANTED) == ["truncation_of_two"]
    assert missing(reached, SEEDS_WANTED - 1) == []
    summary = Summary(done=set(range(SEEDS_WANTED)))
    summary.counters.update(reached)
    assert not summary.is_green


def test_a_batch_goes_on_after_a_failure_and_keeps_its_seed() -> None:
    """A failing seed is in the sum, and in what a file gives back, and the rest was run too."""
    good = seen(0)

    def run(seed: int) -> Outcome:
        outcome = dataclasses.replace(good, seed=seed)
        return failing(outcome, f"p: {seed}") if seed in {2, 5} else outcome

    found = run_batch(range(8), run=run)
    assert (found.seeds, found.failed) == (8, {2: "p: 2", 5: "p: 5"})
    again = restored(json.dumps(found.record()))
    assert (again.failed, again.is_green, again.failures) == (found.failed, False, [])
    assert found.record()["failure"] == "p: 2"


def test_sums_of_parts_are_the_sum_of_the_whole() -> None:
    """Ranges run apart, kept as text and added in any order are what one run is."""
    whole = run_batch(range(4), run=seen)
    parts = [
        restored(json.dumps(run_batch(part, run=seen).record())) for part in ((3,), (0, 1), (2,))
    ]
    total = Summary()
    for part in parts:
        total.merge(part)
    for name in ("seeds", "spans", "events", "digests", "counters", "leader_changes", "failed"):
        assert total.record()[name] == whole.record()[name]
    assert total.virtual_seconds == pytest.approx(whole.virtual_seconds, abs=0.2)
    with pytest.raises(InvalidInput, match=r"more than one summary: 0\.\.1"):
        total.merge(parts[1])
    assert total.digests == whole.digests


def test_seeds_are_told_as_ranges() -> None:
    """Neighbours come together, whatever their order."""
    assert spans([]) == []
    assert spans([9, 2, 3, 1, 7, 8]) == [(1, 3), (7, 9)]
    assert spans_text(spans([5, 1, 2])) == "1..2, 5"


def test_a_run_with_a_file_goes_on_where_it_was(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seeds in the file are not run again, and several files give one table."""
    whole, tail = tmp_path / "whole.json", tmp_path / "tail.json"
    assert cli.main(["--seeds", "0..1", "--summary", str(whole)]) == 0
    ran: list[int] = []

    def run(seed: int) -> Outcome:
        ran.append(seed)
        return seen(seed)

    monkeypatch.setattr(cli, "run_seed", run)
    monkeypatch.setattr(cli, "SAVE_SECONDS", 0.0)
    assert cli.main(["--seeds", "0..3", "--summary", str(whole)]) == 0
    assert ran == [2, 3]
    kept = restored(whole.read_text())
    assert (kept.seeds, kept.digests) == (4, run_batch(range(4), run=seen).digests)
    assert cli.main(["--seeds", "4", "--summary", str(tail)]) == 0
    capsys.readouterr()
    assert cli.main(["--sum", str(tail), str(whole)]) == 0
    assert "5 seeds (0..4)" in capsys.readouterr().out
    for files in ([whole, whole], [tmp_path / "none"], [tmp_path]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["--sum", *map(str, files)])
    tail.write_text("{}")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["--seeds", "4..5", "--summary", str(tail)])
    assert "not a summary" in capsys.readouterr().err


def test_minimize_finds_what_it_takes() -> None:
    """Of many items the two that matter are left, whatever their order."""
    calls = 0

    def fails(kept: Sequence[int]) -> bool:
        nonlocal calls
        calls += 1
        return {17, 42} <= set(kept)

    assert minimize(range(100), fails) == [17, 42]
    assert calls < 150
    assert minimize(range(4), lambda _: True) == []
    assert minimize([1], bool) == [1]


def test_shrinking_keeps_the_property(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another failure on the way is not taken for the one that is looked for."""
    good = seen(3)

    def run(seed: int, *, kept: frozenset[int] | None = None) -> Outcome:
        faults = tuple(range(1, 11)) if kept is None else tuple(sorted(kept))
        text = "wanted: yes" if {2, 9} <= set(faults) else "other: no"
        return dataclasses.replace(failing(good, text), faults=faults, seed=seed)

    found = shrink(3, run=run)
    assert (property_of(found), found.faults) == ("wanted", (2, 9))
    assert shrink(0).failure is None
    assert property_of(good) is None


def test_the_command_line_prints_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The record has what the mutants' runner reads."""
    assert cli.main(["--seeds", "0..2", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["seeds"], record["failed"], record["failure"]) == (3, [], None)


def test_the_command_line_reports_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    """A green batch says so, with volumes and everything that sometimes happens."""
    assert cli.main(["--seeds", "4", "--progress"]) == 0
    text = capsys.readouterr().out
    assert "no property was broken" in text
    assert all(name in text for name in SOMETIMES)


def test_a_failure_prints_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, the transcript of the last events, the property, and one command."""
    outcome = failing(seen(5))
    monkeypatch.setattr(cli, "run_seed", lambda _, **__: outcome)
    assert cli.main(["--seeds", "5"]) == 1
    text = capsys.readouterr().out
    assert "what happened last" in text
    assert "BROKEN: some property: it broke" in text
    assert "python -m raftlog.sim --seeds 5 --trace" in text
    monkeypatch.setattr(cli, "shrink", lambda _, **__: dataclasses.replace(outcome, faults=(7,)))
    assert cli.main(["--seeds", "5", "--shrink"]) == 1
    assert "with these faults alone: 7" in capsys.readouterr().out


def test_one_seed_is_traced_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """A green seed's transcript runs from the first event to the last."""
    assert cli.main(["--seeds", "3", "--trace", "--keep", "1,2"]) == 0
    text = capsys.readouterr().out
    assert "every property held" in text
    assert "stands leader" in text
    assert "2 faults" in text


def test_seeds_are_read_in_three_forms() -> None:
    """One seed, a range, and a range without an end."""
    assert cli._seeds("7") == (7, 7)
    assert cli._seeds("1..9") == (1, 9)
    assert cli._seeds("5..") == (5, None)
    assert shrinker.property_of(failing(seen(0))) == "some property"
