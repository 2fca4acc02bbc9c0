"""The planted bugs: what is wrong, and the text that makes it so.

Each edit names a file below raftlog/, a piece of it that occurs exactly once, and what replaces it.
A patch that no longer fits its file is an error, so the catalogue cannot rot unseen. S1 to S45 are
bugs that other implementations had.
"""

from __future__ import annotations

import dataclasses

Edit = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug."""

    name: str
    why: str
    edits: tuple[Edit, ...]
    script: str = ""
    """A directed test that finds it where random seeds take too long: FILE::NAME below tests/."""
    engine: str = "core"
    """Which engine must find it."""


def plant(name: str, why: str, *edits: Edit, script: str = "", engine: str = "core") -> Mutant:
    """Return a planted bug."""
    return Mutant(name, why, edits, script, engine)


ELECTION, QUORUM, COMMIT = "core/election.py", "core/quorum.py", "core/commit.py"
FOLLOWER, PERSISTENCE, START = "core/follower.py", "core/persistence.py", "core/start.py"
READS, HEARTBEAT, TIMERS = "core/reads.py", "core/heartbeat.py", "core/timers.py"
PROGRESS, REPLICATION, SNAPSHOTS = "core/progress.py", "core/replication.py", "core/snapshots.py"
STATE, LOG, PROPOSALS, ROLES = "core/state.py", "core/log.py", "core/proposals.py", "core/roles.py"
FLOOR = "core/floor.py"
TERMS, TRANSFER, TRIAL = "core/terms.py", "core/transfer.py", "core/trial.py"
MEMORY, RULES = "storage/memory.py", "storage/rules.py"
ENROLMENT = "node/enrolment.py"
