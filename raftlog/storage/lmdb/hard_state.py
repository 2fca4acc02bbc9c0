"""The small records of a data directory: hard state, boundaries, identity, counters, damage mark.

Each is protected by a checksum that covers its name as well. Hard state is written in most rounds,
so it is a fixed structure: term, commit, and the vote behind them.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import struct

import lmdb

from raftlog.core.entries import Boundary, HardState
from raftlog.errors import RaftLogError, SafetyRefused, StorageCorrupt
from raftlog.interfaces import Identity
from raftlog.storage.boundary import decode_boundary, encode_boundary
from raftlog.storage.lmdb import layout
from raftlog.storage.lmdb.environment import (
    Databases,
    DirectoryLock,
    StorageSettings,
    check_format,
    open_environment,
)
from raftlog.storage.records import protect, unprotect
from raftlog.types import Index, NodeId, Term

_HARD_STATE = struct.Struct("<QQB")
_COUNTER = struct.Struct("<Q")


def encode_hard_state(hard_state: HardState) -> bytes:
    """Return the bytes of `hard_state`."""
    vote = b"" if hard_state.vote is None else hard_state.vote.encode()
    return _HARD_STATE.pack(hard_state.term, hard_state.commit, hard_state.vote is not None) + vote


def decode_hard_state(data: bytes) -> HardState:
    """Return the hard state in `data`; raises `StorageCorrupt`."""
    try:
        term, commit, voted = _HARD_STATE.unpack_from(data)
        vote = NodeId(data[_HARD_STATE.size :].decode()) if voted else None
    except (struct.error, UnicodeDecodeError) as error:
        raise StorageCorrupt(f"the hard state does not parse: {error}") from None
    return HardState(term=Term(term), vote=vote, commit=Index(commit))


class MetaStore:
    """Reads and writes the small records inside a transaction."""

    def __init__(self, databases: Databases) -> None:
        self._database = databases.meta

    def read_identity(self, txn: lmdb.Transaction[memoryview]) -> Identity:
        """Return whose directory this is."""
        try:
            fields = json.loads(self._read(txn, layout.IDENTITY_KEY, "the identity"))
            return Identity(
                cluster_id=str(fields["cluster_id"]),
                node_id=NodeId(str(fields["node_id"])),
                instance_id=str(fields["instance_id"]),
                joined=bool(fields.get("joined", False)),
                predecessors=tuple(map(str, fields.get("predecessors", ()))),
                has_machine=bool(fields.get("has_machine", True)),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StorageCorrupt(f"the identity does not parse: {error}") from None

    def write_identity(self, txn: lmdb.Transaction[memoryview], identity: Identity) -> None:
        """Record whose directory this is."""
        fields: dict[str, object] = {
            "cluster_id": identity.cluster_id,
            "node_id": identity.node_id,
            "instance_id": identity.instance_id,
        }
        if identity.joined:
            fields["joined"] = True
        if identity.predecessors:
            fields["predecessors"] = identity.predecessors
        if not identity.has_machine:
            fields["has_machine"] = False
        self._write(txn, layout.IDENTITY_KEY, json.dumps(fields).encode())

    def read_origin(self, txn: lmdb.Transaction[memoryview]) -> Boundary | None:
        """Return the boundary the directory was made with; None in one made before it was kept."""
        if txn.get(layout.ORIGIN_KEY, db=self._database) is None:
            return None
        return decode_boundary(self._read(txn, layout.ORIGIN_KEY, "the origin"))

    def write_origin(self, txn: lmdb.Transaction[memoryview], origin: Boundary) -> None:
        """Record the boundary the directory was made with."""
        self._write(txn, layout.ORIGIN_KEY, encode_boundary(origin))

    def read_hard_state(self, txn: lmdb.Transaction[memoryview]) -> HardState:
        """Return term, vote and commit hint."""
        return decode_hard_state(self._read(txn, layout.HARD_STATE_KEY, "the hard state"))

    def write_hard_state(self, txn: lmdb.Transaction[memoryview], hard_state: HardState) -> None:
        """Record term, vote and commit hint."""
        self._write(txn, layout.HARD_STATE_KEY, encode_hard_state(hard_state))

    def read_boundary(self, txn: lmdb.Transaction[memoryview]) -> Boundary:
        """Return what lies below the log."""
        return decode_boundary(self._read(txn, layout.BOUNDARY_KEY, "the log's boundary"))

    def write_boundary(self, txn: lmdb.Transaction[memoryview], boundary: Boundary) -> None:
        """Record what lies below the log."""
        self._write(txn, layout.BOUNDARY_KEY, encode_boundary(boundary))

    def read_applied(self, txn: lmdb.Transaction[memoryview]) -> Boundary:
        """Return where the tables stand."""
        return decode_boundary(self._read(txn, layout.APPLIED_KEY, "the applied position"))

    def write_applied(self, txn: lmdb.Transaction[memoryview], applied: Boundary) -> None:
        """Record where the tables stand."""
        self._write(txn, layout.APPLIED_KEY, encode_boundary(applied))

    def read_log_bytes(self, txn: lmdb.Transaction[memoryview]) -> int | None:
        """Return the payload bytes of all records of the log, or None if that must be counted."""
        try:
            data = self._read(txn, layout.LOG_BYTES_KEY, "the size of the log")
            return int(_COUNTER.unpack(data)[0])
        except (StorageCorrupt, struct.error):
            return None

    def write_log_bytes(self, txn: lmdb.Transaction[memoryview], size: int) -> None:
        """Record the payload bytes of all records of the log."""
        self._write(txn, layout.LOG_BYTES_KEY, _COUNTER.pack(size))

    def read_damage(self, txn: lmdb.Transaction[memoryview]) -> str:
        """Return the damage mark, or "". A mark that is itself damaged still is one."""
        if txn.get(layout.DAMAGE_KEY, db=self._database) is None:
            return ""
        try:
            return self._read(txn, layout.DAMAGE_KEY, "the damage mark").decode()
        except StorageCorrupt as error:
            return error.message

    def write_damage(self, txn: lmdb.Transaction[memoryview], why: str) -> None:
        """Set the damage mark; "" clears it."""
        if why:
            self._write(txn, layout.DAMAGE_KEY, why.encode())
        else:
            txn.delete(layout.DAMAGE_KEY, db=self._database)

    def _read(self, txn: lmdb.Transaction[memoryview], key: bytes, what: str) -> bytes:
        stored = txn.get(key, db=self._database)
        if stored is None:
            raise StorageCorrupt(f"{what} is missing")
        return unprotect(key, bytes(stored), what)

    def _write(self, txn: lmdb.Transaction[memoryview], key: bytes, value: bytes) -> None:
        txn.put(key, protect(key, value), db=self._database)


def identity_at(path: pathlib.Path) -> Identity | None:
    """Return whose a data directory is, without a look at its log; None where that cannot be told.

    Whoever opens it for good finds out why. One that a running process uses is read beside it.
    """
    lock = None
    try:
        check_format(path)
        with contextlib.suppress(SafetyRefused):
            lock = DirectoryLock(path, shared=True)
        environment, databases = open_environment(
            path, StorageSettings(), read_only=True, beside_writer=lock is None
        )
        try:
            with environment.begin(buffers=True) as txn:
                return MetaStore(databases).read_identity(txn)
        finally:
            environment.close()
    except RaftLogError:
        return None
    finally:
        if lock is not None:
            lock.release()
