"""The trace file: whole lines, appended, in the data directory or where it was told."""

from __future__ import annotations

import asyncio
import json
import resource

import pytest

import raftlog
from raftlog.config.schema import DebugSection, Settings
from raftlog.errors import ConfigInvalid, InvariantBroken
from raftlog.local.layout import find_base_port
from raftlog.server.compose import compose
from raftlog.server.traces import TraceFile, open_watch
from raftlog.sim.spec.cli import read_lines
from raftlog.sim.spec.merging import validate


def test_nothing_is_watched_unless_asked(tmp_path):
    """With both settings at their defaults the node runs a plain core."""
    assert open_watch(DebugSection(), str(tmp_path), print) == (None, None)


def test_checks_need_no_file(tmp_path):
    """Invariants alone write nothing."""
    watch, trace = open_watch(DebugSection(check_invariants=True), str(tmp_path), print)
    assert watch is not None
    assert (watch.checks, watch.line, trace) == (True, None, None)
    assert list(tmp_path.iterdir()) == []


def test_lines_are_appended_to_what_is_there(tmp_path):
    """A relative path begins in the data directory; a restarted node goes on in the same file."""
    for number in range(2):
        watch, trace = open_watch(DebugSection(trace_file="t.ndjson"), str(tmp_path), print)
        assert watch is not None
        assert watch.line is not None
        assert trace is not None
        assert not watch.checks
        watch.line({"number": number, "text": "ä"})
        trace.close()
    lines = (tmp_path / "t.ndjson").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1]


def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path):
    """A path that cannot be opened is a configuration error that names it."""
    with pytest.raises(ConfigInvalid, match=r"debug.trace_file .*missing/t: No such file"):
        TraceFile(str(tmp_path / "missing" / "t"), print)


def test_a_full_disk_ends_the_trace_and_nothing_else(tmp_path):
    """The node goes on; what was written before is whole, and why it ended is said once."""
    said = []
    trace = TraceFile("/dev/full", said.append)
    trace.write({"number": 0})
    trace.write({"number": 1})
    trace.close()
    assert said == ["No space left on device"]

    said.clear()
    trace = TraceFile(str(tmp_path / "t"), said.append)
    trace.write({"number": 0})
    size = (tmp_path / "t").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, before[1]))
    try:
        trace.write({"number": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    trace.write({"number": 2})
    assert said == ["no room for a whole line"]
    assert (tmp_path / "t").stat().st_size == size


async def test_a_broken_invariant_stops_a_real_node(tmp_path):
    """With checks on, a node whose state breaks a rule stops with the rule's own words."""
    address = f"127.0.0.1:{find_base_port(1)}"
    running = await compose(
        Settings(
            node_id="n1",
            data_dir=str(tmp_path / "data"),
            listen=address,
            http="",
            bootstrap_token="token",
            initial_cluster=(("n1", address),),
            debug=DebugSection(check_invariants=True, trace_file="t.ndjson"),
        )
    )
    try:
        async with raftlog.connect(address, timeout=20) as client:
            assert (await client.log.append(b"while all is well")).sequence == 1
        assert not running.node.failed.done()
        running.node._parts.inputs._raft.observe().durable_term += 1
        error = await asyncio.wait_for(running.node.failed, timeout=10)
    finally:
        await running.stop(hand_over=False)
    assert isinstance(error, InvariantBroken)
    assert "durable term is above the term" in str(error)
    lines = list(read_lines(tmp_path / "data" / "t.ndjson"))
    assert validate(lines[:-1]).lines == len(lines) - 1
