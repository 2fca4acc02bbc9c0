"""Beside each rule's test: the change of raftlog's own sources that breaks the rule.

`test_breaks.py` makes each change in a copy and sees the test fail there, so that no test of this
directory is one that cannot fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., object])
Edit = tuple[str, str, str]
"""A file below raftlog/, a piece of it that occurs once, and what replaces it."""

COMMIT, ELECTION, FOLLOWER = "core/commit.py", "core/election.py", "core/follower.py"
HEARTBEAT, LOG, PERSISTENCE = "core/heartbeat.py", "core/log.py", "core/persistence.py"
PROPOSALS, QUORUM, READS = "core/proposals.py", "core/quorum.py", "core/reads.py"
REPLICATION, ROLES, SETTINGS = "core/replication.py", "core/roles.py", "core/settings.py"
SNAPSHOTS, START, STATE = "core/snapshots.py", "core/start.py", "core/state.py"
TERMS, TIMERS, TRANSFER = "core/terms.py", "core/timers.py", "core/transfer.py"
CHANGE, GATE = "core/membership_change.py", "node/sessions.py"


def broken_by(*edits: Edit) -> Callable[[Test], Test]:
    """Note what breaks the rule that the test is for."""

    def note(test: Test) -> Test:
        test.edits = edits  # type: ignore[attr-defined]
        return test

    return note
