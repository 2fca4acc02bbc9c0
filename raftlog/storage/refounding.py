"""What a member's log comes to as the first of a new cluster: the rules, over any storage.

The log is kept as it is. What was not known to be committed is committed by what is appended, for
nobody is left to say otherwise. `raftlog.storage.lmdb.refounding` carries it out on a directory.
"""

from __future__ import annotations

import dataclasses
import pathlib

from raftlog.checksum import chain
from raftlog.core.entries import Boundary, Entry, EntryKind, HardState
from raftlog.core.membership import Membership
from raftlog.errors import SafetyRefused
from raftlog.interfaces import Identity, Storage
from raftlog.types import Index, NodeId, Term

SCAN_BYTES = 4 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a stopped member's directory holds.

    `last`: the newest entry that verifies, as a boundary behind it. `commit`: the newest one that
    it knows to be committed; what lies between may never have been acknowledged. `damage`: why the
    log may end too early, or "".
    """

    path: pathlib.Path
    identity: Identity
    term: Term
    first_sequence: int
    commit_index: Index
    commit_sequence: int
    last: Boundary
    damage: str


def holding(storage: Storage, path: pathlib.Path) -> Holding:
    """Return what the storage of a stopped member holds, which is at `path`.

    Raises:
        StorageError: it cannot be read.
    """
    recovered = storage.recovered()
    last = _last(storage, recovered.applied)
    known = max(recovered.hard_state.commit, recovered.applied.index, storage.boundary.index)
    commit = Index(min(known, last.index))
    sequence = storage.boundary.next_sequence - 1
    if commit > storage.boundary.index:
        sequence = storage.entry(commit).next_sequence - 1
    return Holding(
        path=path,
        identity=storage.identity,
        term=recovered.hard_state.term,
        first_sequence=storage.boundary.next_sequence,
        commit_index=commit,
        commit_sequence=sequence,
        last=last,
        damage=recovered.damage,
    )


def sole_voter(held: Holding, instance_id: str, address: str | None) -> Membership:
    """Return the membership of that one member, voting, in the directory of that instance.

    Raises:
        SafetyRefused: it has no state machine, or the membership does not know it.
    """
    node_id = NodeId(held.identity.node_id)
    member = held.last.membership.member(node_id)
    if member is None:
        raise SafetyRefused(
            f"{held.path} is of {node_id}, which was removed from the cluster: it may lack what "
            "came after; recover from a member's directory, or restore a backup"
        )
    if not (member.has_machine and held.identity.has_machine):
        raise SafetyRefused(
            f"{held.path} is of the witness {node_id}, which has the log but no state: recover "
            "from another member's directory, or restore a backup"
        )
    alone = dataclasses.replace(member, instance_id=instance_id, address=address or member.address)
    return Membership.of_voters([alone])


def founding(
    held: Holding, identity: Identity, membership: Membership, timestamp: int
) -> tuple[Entry, HardState]:
    """Return the entry that follows the last one, of a term that nobody else can have led.

    With it comes the hard state by which it is committed, with all before it.
    """
    term, index = Term(held.term + 1), Index(held.last.index + 1)
    timestamp, payload = max(timestamp, held.last.timestamp), membership.encode()
    kind, sequence = EntryKind.MEMBERSHIP, held.last.next_sequence
    checksum = chain(held.last.checksum, term, index, kind, 0, sequence, 0, timestamp, payload)
    entry = Entry(
        term=term,
        index=index,
        kind=kind,
        first_sequence=sequence,
        count=0,
        timestamp=timestamp,
        payload=payload,
        checksum=checksum,
    )
    return entry, HardState(term=term, vote=identity.node_id, commit=index)


def _last(storage: Storage, applied: Boundary) -> Boundary:
    """Return the boundary behind the last entry; what is known applied is not read again."""
    end = applied if applied.index <= storage.last_index else storage.boundary
    while end.index < storage.last_index:
        for entry in storage.entries(Index(end.index + 1), storage.last_index, SCAN_BYTES):
            end = end.after(entry)
    return end
