"""The table of progress states, and the window."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.core.progress import PROGRESS_TRANSITIONS, Inflights, Progress, ProgressState
from raftlog.core.settings import CoreSettings
from raftlog.errors import InvariantBroken
from raftlog.types import Index


def in_state(state: ProgressState) -> Progress:
    """Return a progress that got there by the front door."""
    progress = Progress(Index(5), CoreSettings(), 0.0)
    if state is ProgressState.REPLICATE:
        progress.acked(Index(4), 0.0)
        progress.become_replicate(0.0)
    elif state is ProgressState.SNAPSHOT:
        progress.become_snapshot()
    return progress


def enter(progress: Progress, state: ProgressState) -> None:
    """Ask for a transition."""
    match state:
        case ProgressState.PROBE:
            progress.become_probe(Index(3))
        case ProgressState.REPLICATE:
            progress.become_replicate(0.0)
        case ProgressState.SNAPSHOT:
            progress.become_snapshot()


@pytest.mark.parametrize(("before", "after"), list(itertools.product(ProgressState, repeat=2)))
def test_only_transitions_of_the_table_happen(before, after) -> None:
    """A transition outside the table stops the node; one inside frees the window and unpauses."""
    progress = in_state(before)
    progress.is_paused = True
    if after not in PROGRESS_TRANSITIONS[before]:
        with pytest.raises(InvariantBroken):
            enter(progress, after)
        return
    enter(progress, after)
    assert progress.state is after
    assert not progress.is_paused
    assert not progress.inflights
    assert progress.next_index > progress.match_index


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.booleans()), max_size=60))
def test_s23_window_counts_exactly_what_is_in_it(steps) -> None:
    """Whatever is added and freed, the byte count is the sum of the window."""
    window = Inflights(4, 20)
    naive: list[tuple[int, int]] = []
    last = 0
    for delta, size, adds in steps:
        if adds and not window.is_full:
            last += delta
            window.add(Index(last), size)
            naive.append((last, size))
        else:
            window.free_to(Index(last - delta))
            naive = [(index, size) for index, size in naive if index > last - delta]
        assert window.bytes == window.total() == sum(size for _, size in naive)
        assert len(window) == len(naive)
        assert window.is_full == (len(naive) >= 4 or window.bytes >= 20)


def test_s23_next_stays_above_match() -> None:
    """Neither a late ack nor a low probe brings next to or below match."""
    progress = in_state(ProgressState.REPLICATE)
    assert not progress.acked(Index(2), 1.0)
    assert progress.acked(Index(9), 1.0)
    assert progress.next_index == 10
    progress.become_probe(Index(1))
    assert progress.next_index == 10


def test_forgotten_match_probes_again_but_not_during_a_snapshot() -> None:
    """A reconnected peer is probed from where it was; a snapshot under way is left alone."""
    progress = in_state(ProgressState.REPLICATE)
    progress.forget_match()
    assert (progress.state, progress.match_index, progress.next_index) == (
        ProgressState.PROBE, 0, 5,
    )  # fmt: skip
    sending = in_state(ProgressState.SNAPSHOT)
    sending.forget_match()
    assert sending.state is ProgressState.SNAPSHOT
