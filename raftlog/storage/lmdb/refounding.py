"""Makes a stopped member's directory the only voter of a new cluster, in one transaction.

Identity, membership, term and commit change together or not at all: a crash at any moment leaves
the directory of the old cluster or that of the new one. The log is kept as it is. What was not
known to be committed is committed by it, for nobody is left to say otherwise. Snapshot files name
the old cluster, so whoever opens the directory next drops them (`snapshots`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib

import lmdb

from raftlog.checksum import chain
from raftlog.core.entries import Boundary, Entry, EntryKind, HardState
from raftlog.core.membership import Membership
from raftlog.errors import SafetyRefused, StorageError
from raftlog.interfaces import Identity
from raftlog.storage.lmdb.environment import (
    DirectoryLock,
    StorageSettings,
    check_format,
    map_error,
    open_environment,
)
from raftlog.storage.lmdb.hard_state import MetaStore
from raftlog.storage.lmdb.layout import decode_index, encode_index
from raftlog.storage.lmdb.recovery import recover
from raftlog.storage.lmdb.store import LmdbStorage
from raftlog.storage.records import decode_entry, decode_header, encode_entry
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


def survey(path: str | os.PathLike[str]) -> Holding:
    """Return what a directory holds; nothing is written.

    Raises:
        ConfigInvalid: there is no data directory at `path`.
        SafetyRefused: a running process uses it.
        StorageError: it cannot be read.
    """
    storage = LmdbStorage.open(path, read_only=True)
    try:
        recovered = storage.recovered()
        last = _last(storage, recovered.applied)
        known = max(recovered.hard_state.commit, recovered.applied.index, storage.boundary.index)
        commit = Index(min(known, last.index))
        sequence = storage.boundary.next_sequence - 1
        if commit > storage.boundary.index:
            sequence = storage.entry(commit).next_sequence - 1
        return Holding(
            path=pathlib.Path(path),
            identity=storage.identity,
            term=recovered.hard_state.term,
            first_sequence=storage.boundary.next_sequence,
            commit_index=commit,
            commit_sequence=sequence,
            last=last,
            damage=recovered.damage,
        )
    finally:
        storage.close()


def newest_membership(held: Holding) -> Membership:
    """Return the newest membership in a log, also behind records that have rotted.

    Raises:
        SafetyRefused: a running process uses the directory.
        StorageError: it cannot be read.
    """
    lock = DirectoryLock(held.path, shared=True)
    try:
        environment, databases = open_environment(held.path, StorageSettings(), read_only=True)
        try:
            with environment.begin(buffers=True) as txn:
                for key, record in txn.cursor(databases.log).iterprev():
                    with contextlib.suppress(StorageError):
                        index = decode_index(key)
                        if decode_header(index, record).kind is EntryKind.MEMBERSHIP:
                            return Membership.decode(decode_entry(index, record).payload)
        finally:
            environment.close()
    finally:
        lock.release()
    return held.last.membership


def refound(held: Holding, identity: Identity, membership: Membership, timestamp: int) -> Index:
    """Make the directory that `held` tells of a cluster of its own; return its last index.

    Raises:
        SafetyRefused: a running process uses it, or it is not any more what `held` says.
        StorageError: the disk said no; the directory is the old or the new one, whole.
    """
    check_format(held.path)
    lock = DirectoryLock(held.path)
    try:
        environment, databases = open_environment(held.path, StorageSettings())
        try:
            with environment.begin(write=True, buffers=True) as txn:
                meta = MetaStore(databases)
                recovery = recover(txn, databases, StorageSettings(), chain)
                shape = recovery.shape
                now = (meta.read_identity(txn), shape.last_index, shape.last_checksum)
                if now != (held.identity, held.last.index, held.last.checksum):
                    raise SafetyRefused(f"{held.path} has changed since the plan was made")
                if recovery.recovered.damaged:
                    raise SafetyRefused(f"{held.path} is damaged: {recovery.recovered.damage}")
                entry = _membership_entry(held, membership, timestamp)
                txn.put(encode_index(entry.index), encode_entry(entry), db=databases.log)
                meta.write_log_bytes(txn, shape.payload_bytes + len(entry.payload))
                meta.write_hard_state(
                    txn, HardState(term=entry.term, vote=identity.node_id, commit=entry.index)
                )
                meta.write_identity(txn, identity)
        except (lmdb.Error, OSError) as error:
            raise StorageError(map_error(error, f"cannot change {held.path}").message) from None
        finally:
            environment.close()
    finally:
        lock.release()
    return entry.index


def _last(storage: LmdbStorage, applied: Boundary) -> Boundary:
    """Return the boundary behind the last entry; what is known applied is not read again."""
    end = applied if applied.index <= storage.last_index else storage.boundary
    while end.index < storage.last_index:
        for entry in storage.entries(Index(end.index + 1), storage.last_index, SCAN_BYTES):
            end = end.after(entry)
    return end


def _membership_entry(held: Holding, membership: Membership, timestamp: int) -> Entry:
    """Return the entry that follows the last one, of a term that nobody else can have led."""
    term, index = Term(held.term + 1), Index(held.last.index + 1)
    timestamp, payload = max(timestamp, held.last.timestamp), membership.encode()
    kind, sequence = EntryKind.MEMBERSHIP, held.last.next_sequence
    checksum = chain(held.last.checksum, term, index, kind, 0, sequence, 0, timestamp, payload)
    return Entry(
        term=term,
        index=index,
        kind=kind,
        first_sequence=sequence,
        count=0,
        timestamp=timestamp,
        payload=payload,
        checksum=checksum,
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
