"""A benchmark process counts what it did, and how long each took."""

from __future__ import annotations

from array import array

import pytest

from raftlog.cli.options import Globals
from raftlog.cli.workload import Row, Sample, Work, WorkKind, key_of, measure, percentile
from raftlog.errors import RaftLogError


def sample(latencies, seconds, errors=0):
    """Return a sample with these latencies in seconds."""
    return Sample(
        operations=len(latencies),
        seconds=seconds,
        errors=errors,
        latencies=array("d", latencies).tobytes(),
    )


def test_a_row_sums_up_its_processes():
    """Operations add up, the slowest process sets the time, latencies are one distribution."""
    row = Row.of(
        [sample([0.001] * 98, 1.0), sample([0.002, 0.5], 2.0, errors=1)], clients=4, payload_bytes=9
    )
    assert (row.operations, row.seconds, row.per_second, row.errors) == (100, 2.0, 50.0, 1)
    assert (row.clients, row.processes, row.payload_bytes) == (4, 2, 9)
    assert (row.p50_ms, row.p99_ms) == (1.0, 500.0)


def test_a_row_of_nothing():
    """A row in which nothing was done is zeros, not an error."""
    row = Row.of([sample([], 0.0)], clients=1, payload_bytes=0)
    assert (row.operations, row.per_second, row.p99_ms) == (0, 0.0, 0.0)


@pytest.mark.parametrize(("fraction", "value"), [(0, 1), (0.5, 3), (0.99, 4), (1, 4)])
def test_percentiles(fraction, value):
    """A percentile is one of the values."""
    assert percentile([1, 2, 3, 4], fraction) == value


def test_keys_repeat():
    """The benchmark's keys are few enough to be there for reads."""
    assert key_of(3) == key_of(1003) == b"bench/3"


def test_a_process_that_fails_is_an_error():
    """What a process could not do is raised where the rows are made, by all or by one."""
    work = Work(
        kind=WorkKind.WRITE,
        options=Globals(endpoints="127.0.0.1:1", timeout=0.2),
        clients=1,
        payload_bytes=1,
        operations=1,
        seconds=None,
    )
    with pytest.raises(RaftLogError, match=r"127\.0\.0\.1:1"):
        measure([work])
