"""What lies where in a data directory, and the version of that arrangement.

::

    FORMAT              the format version, as text; written before data.mdb appears
    LOCK                flock'ed by the running process, holds its pid
    data.mdb lock.mdb   LMDB: sub-databases meta, log, stream, and one for each `interfaces.Table`
    RESERVE             preallocated bytes, given back so that a vote can be saved on a full disk
    snapshots/          <id>.snap, and while they are incomplete writing-* and staging-*

Keys: the log and the change records are under their entry's index (8 bytes, big-endian, so that
LMDB's order is the log's); the stream index has the stream's name, its length in front, and the
index. A directory is created in CREATING/ and data.mdb is moved into place last, so a directory
either holds all of a member or is not one.
"""

from __future__ import annotations

import pathlib
import struct

from raftlog.errors import StorageCorrupt
from raftlog.interfaces import Table
from raftlog.types import Index

FORMAT_VERSION = 1

FORMAT_FILE = "FORMAT"
LOCK_FILE = "LOCK"
DATA_FILE = "data.mdb"
LMDB_LOCK_FILE = "lock.mdb"
RESERVE_FILE = "RESERVE"
SNAPSHOT_DIRECTORY = "snapshots"
CREATING_DIRECTORY = "CREATING"

META_DATABASE = b"meta"
LOG_DATABASE = b"log"
STREAM_DATABASE = b"stream"
TABLE_DATABASES = {table: table.value.encode() for table in Table}
DATABASES = (META_DATABASE, LOG_DATABASE, STREAM_DATABASE, *TABLE_DATABASES.values())

IDENTITY_KEY = b"identity"
HARD_STATE_KEY = b"hard_state"
BOUNDARY_KEY = b"boundary"
APPLIED_KEY = b"applied"
ORIGIN_KEY = b"origin"
LOG_BYTES_KEY = b"log_bytes"
DAMAGE_KEY = b"damage"

_INDEX = struct.Struct(">Q")
INDEX_BYTES = _INDEX.size
INDEX_MAX = (1 << 64) - 1
"""Above every index that is ever given out."""
encode_index = _INDEX.pack


def decode_index(key: bytes | memoryview) -> Index:
    """Return the index a key of the log or of the change records stands for.

    Raises:
        StorageCorrupt: no key that was ever written has that length.
    """
    if len(key) != INDEX_BYTES:
        raise StorageCorrupt(f"a key of {len(key)} bytes lies among the log's")
    return Index(_INDEX.unpack(key)[0])


def stream_key(name: bytes, index: int) -> bytes:
    """Return the stream index's key; the length in front keeps one name from another's prefix."""
    return bytes((len(name),)) + name + _INDEX.pack(index)


def format_text() -> str:
    """Return the content of a FORMAT file of this version."""
    return f"raftlog data directory, format {FORMAT_VERSION}\n"


def parse_format(text: str) -> int | None:
    """Return the version a FORMAT file names, or None if it is not one."""
    head, _, version = text.strip().rpartition(" ")
    if head != "raftlog data directory, format" or not version.isdecimal():
        return None
    return int(version)


def data_path(path: pathlib.Path) -> pathlib.Path:
    """Return where the LMDB file of a data directory is."""
    return path / DATA_FILE
