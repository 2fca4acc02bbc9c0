"""Sans-IO Raft: one node's consensus as a function of its inputs.

Theory of operation
-------------------

`Raft` takes inputs, each with `now`: messages from peers, proposals, completed disk writes,
connections that came and went, time that passed. After any of them the node asks `take_ready` what
to do: what to send, what to make durable and what to send only after that, what is committed, which
reads are answered, who needs a snapshot. Nothing in this package blocks, sleeps, logs, reads a
clock or rolls dice, so the simulator and the tests run the very code that runs in production.

**Durability.** Term and vote are durable before anyone is told; an entry is durable before it is
acked. `persistence` keeps that order: a message that promises something waits for the round that
writes it. Rounds are handed out one after another and may overlap; each vouches only for entries
that no later truncation has taken back. The one thing that leaves before its own write is the
leader's AppendRequest (§10.2.1), because the leader counts itself only when its write is done.

**The log** (`log`) is an in-memory tail over the durable log of the storage. Entries carry chained
checksums, so "the same entry" is one comparison, and it means "the same log up to here". What fails
its checksum on the way is refused and sent again; two verified logs that differ at a committed
index stop the node (`InvariantBroken`).

**Terms and roles.** One rule settles the term of every message (`terms`), one table says which role
may follow which (`roles`). Elections always begin with a pre-vote that disturbs nobody; voters that
hear a leader withhold their votes; a leader that hears no quorum steps down. A broken connection to
the leader is a hint that lets its followers look for a new one within milliseconds, by asking,
never by acting.

**Replication.** For each peer the leader keeps a `Progress`: PROBE finds where the logs part,
REPLICATE pipelines within a window, SNAPSHOT waits for a stream. Commit, election and purge rules
are pure functions in `quorum`. A leader commits by counting entries of its own term only.

**Reads** are answered after a heartbeat round of their own has been confirmed by a quorum; a lease
may replace the round where it is asked for.

**Membership** is in force from append to truncation. Joint memberships are left by the leader
itself once they are committed.

**Damage.** A member that lost part of its log to rot neither votes nor campaigns until a leader has
matched its log as far as that leader's own reached at first contact.

`invariants` has the thesis's Figure 3.2 as code; tests run it after every single input.
"""

from __future__ import annotations

from raftlog.core.entries import Boundary, Entry, EntryKind, HardState, Seal
from raftlog.core.log import LogReader, RaftLog
from raftlog.core.membership import Member, Membership
from raftlog.core.membership_change import (
    MemberChange,
    MemberChangeKind,
    enter_joint,
    leave_joint,
    simple,
)
from raftlog.core.messages import Message
from raftlog.core.progress import PeerProgress, ProgressState
from raftlog.core.quorum import PurgeMarks, VoteResult, purge_index, quorum_of
from raftlog.core.raft import Raft
from raftlog.core.ready import Install, Persist, ReadOutcome, Ready, SnapshotNeeded, Standing
from raftlog.core.settings import CoreSettings
from raftlog.core.state import RandomSource

__all__ = [
    "Boundary",
    "CoreSettings",
    "Entry",
    "EntryKind",
    "HardState",
    "Install",
    "LogReader",
    "Member",
    "MemberChange",
    "MemberChangeKind",
    "Membership",
    "Message",
    "PeerProgress",
    "Persist",
    "ProgressState",
    "PurgeMarks",
    "Raft",
    "RaftLog",
    "RandomSource",
    "ReadOutcome",
    "Ready",
    "Seal",
    "SnapshotNeeded",
    "Standing",
    "VoteResult",
    "enter_joint",
    "leave_joint",
    "purge_index",
    "quorum_of",
    "simple",
]
