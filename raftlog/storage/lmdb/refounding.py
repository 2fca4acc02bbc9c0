"""Makes a stopped member's directory the only voter of a new cluster, in one transaction.

Identity, membership, term and commit change together or not at all: a crash at any moment leaves
the directory of the old cluster or that of the new one. What they change to is said by
`raftlog.storage.refounding`. Snapshot files name the old cluster, so whoever opens the directory
next drops them (`snapshots`).
"""

from __future__ import annotations

import contextlib
import os
import pathlib

import lmdb

from raftlog.checksum import chain
from raftlog.core.entries import EntryKind
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
from raftlog.storage.refounding import Holding, founding, holding
from raftlog.types import Index


def survey(path: str | os.PathLike[str]) -> Holding:
    """Return what a directory holds; nothing is written.

    Raises:
        ConfigInvalid: there is no data directory at `path`.
        SafetyRefused: a running process uses it.
        StorageError: it cannot be read.
    """
    storage = LmdbStorage.open(path, read_only=True)
    try:
        return holding(storage, pathlib.Path(path))
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
                entry, hard_state = founding(held, identity, membership, timestamp)
                txn.put(encode_index(entry.index), encode_entry(entry), db=databases.log)
                meta.write_log_bytes(txn, shape.payload_bytes + len(entry.payload))
                meta.write_hard_state(txn, hard_state)
                meta.write_identity(txn, identity)
        except (lmdb.Error, OSError) as error:
            raise StorageError(map_error(error, f"cannot change {held.path}").message) from None
        finally:
            environment.close()
    finally:
        lock.release()
    return entry.index
