"""`bench catch-up`: a wiped member is back under a new id, and what that costs is counted."""

from __future__ import annotations

import pytest

from raftlog.cli.catch_up import CatchUp, CatchUpPlan, Holding, Phase, assignments

MIB = 1 << 20


def plan_of(holding, size=32 * MIB):
    """Return a plan for so many bytes."""
    return CatchUpPlan(holding=holding, size_bytes=size, payload_bytes=4096, clients=4, seconds=1.0)


def phase_of(name, per_second):
    """Return a phase of that throughput."""
    return Phase(
        phase=name, seconds=2.0, operations=1, errors=0, per_second=per_second, p50_ms=1.0,
        p99_ms=1.0, stall_ms=1.0, cpu_seconds={},
    )  # fmt: skip


def test_what_is_kept_is_a_ratio_within_the_run():
    """Of the throughput with every member there."""
    found = CatchUp(
        plan=plan_of(Holding.KV),
        phases=(phase_of("before", 1000.0), phase_of("during", 850.0)),
        memory=(),
        elections=0,
        held_up_seconds=(),
    )
    assert found.kept == 0.85
    assert found.document()["throughput_kept"] == 0.85
    assert found.document()["bytes_per_second"] == 16 * MIB


def test_state_is_sent_as_a_snapshot_and_the_log_as_it_is():
    """The settings see to it: the log is purged behind the state, and else kept."""
    assert assignments(plan_of(Holding.LOG)) == ()
    assert assignments(plan_of(Holding.KV, 1 << 30)) == (
        f"retention.snapshot_log_bytes={512 * MIB}",
        f"retention.log_bytes_max={64 * MIB}",
    )


@pytest.mark.long
@pytest.mark.parametrize("kind", ["kv", "log"])
def test_a_wiped_member_is_caught_up_under_load(raftlog, kind):
    """No election, no write that failed, no loop held up, and less memory than what it is sent."""
    result = raftlog(
        "bench", "catch-up", "--kind", kind, "--size", "64MiB", "--seconds", 1, "--clients", 8,
        "-o", "json",
    )  # fmt: skip
    assert result.code == 0, result.err
    found = result.json
    assert [each["phase"] for each in found["phases"]] == ["before", "without", "during", "after"]
    assert all(each["errors"] == 0 and each["operations"] > 0 for each in found["phases"])
    assert (found["elections"], found["held_up_seconds"]) == (0, [])
    assert {each["part"] for each in found["memory"]} == {"leader", "follower", "joined"}
    assert all(each["extra_bytes"] < 150e6 for each in found["memory"])
    (joined,) = (each for each in found["memory"] if each["part"] == "joined")
    assert (joined["installing_bytes"] is not None) == (kind == "kv")
    if kind == "kv":
        assert joined["installing_bytes"] - joined["before_bytes"] < 100e6
