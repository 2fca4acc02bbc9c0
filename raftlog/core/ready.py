"""What the core asks its node to do, and in which order.

The one legal order of a round:

1. send `Ready.messages` (none of them promises anything that is not durable; the leader's own
   AppendRequests are here, because it counts itself only when its write is durable, §10.2.1);
2. make `Ready.persist` durable, all of it in one transaction, in the order truncate, install,
   append;
3. call `Raft.persisted(persist.token)`, then send `persist.messages` (votes and acks);
4. apply what `Ready.commit_index` covers.

Rounds are persisted one after another in token order; steps 3 and 4 of one round may come while the
core already takes new input for the next. A failed persist stops the node: the outcome is unknown.
"""

from __future__ import annotations

import dataclasses

from raftlog.core.entries import Boundary, Entry, HardState
from raftlog.core.messages import Message
from raftlog.types import Index, NodeId, Role, Term

Outgoing = tuple[NodeId, Message]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """Replace log and state by a staged snapshot, in the round's transaction."""

    boundary: Boundary
    snapshot_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Persist:
    """What one round must make durable, and the messages that wait for it.

    `hard_state` is None when unchanged. `truncate_from`: drop the log from this index up, first.
    `entries` are contiguous. `needs_sync` is False only for a round that carries a new commit hint
    and nothing else.
    """

    token: int
    hard_state: HardState | None = None
    truncate_from: Index | None = None
    install: Install | None = None
    entries: tuple[Entry, ...] = ()
    messages: tuple[Outgoing, ...] = ()
    needs_sync: bool = True
    repaired: bool = False
    """A damaged member now holds everything it must: clear the durable damage mark (decision 8)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReadOutcome:
    """The answer to `Raft.read_index(context)`.

    `index` is None if leadership could not be confirmed.
    """

    context: int
    index: Index | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotNeeded:
    """The log no longer reaches back to what `peer` needs; stream it the newest snapshot."""

    peer: NodeId
    term: Term


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where this node stands; a change of it is what roles, hints and metrics follow."""

    role: Role
    term: Term
    leader: NodeId | None


@dataclasses.dataclass(slots=True, kw_only=True)
class Ready:
    """One turn's output. See the module's text for the order."""

    messages: list[Outgoing] = dataclasses.field(default_factory=list)
    persist: Persist | None = None
    commit_index: Index = Index(0)
    reads: list[ReadOutcome] = dataclasses.field(default_factory=list)
    snapshots: list[SnapshotNeeded] = dataclasses.field(default_factory=list)
    standing: Standing | None = None
    """Set when role, term or leader changed since the last Ready."""
