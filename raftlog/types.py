"""The words every layer shares: ids, positions, sequences, column types.

Nothing here knows about Raft's rules, disks or networks. `Text`, `Int64` and their kin describe how
a state machine's rows look to MySQL (``StateMachine.tables``); they carry no behaviour.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import NewType

NodeId = NewType("NodeId", str)
Term = NewType("Term", int)
Index = NewType("Index", int)
Sequence = NewType("Sequence", int)

NODE_ID_BYTES_MAX = 64
NODE_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
STREAM_NAME_BYTES_MAX = 200
PRIORITY_DEFAULT = 100
PRIORITY_MAX = 1000
"""Members have priorities from 1 on; leadership goes to a higher one."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Position:
    """Orders logs: a later term wins, then a longer log (§3.6.1)."""

    term: Term
    index: Index


ZERO = Position(Term(0), Index(0))


class Role(enum.Enum):
    """What a node is doing now."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"

    __hash__ = object.__hash__  # roles are looked up with every message; Enum's own hash is slow


class ClientRole(enum.IntEnum):
    """What a certificate lets its owner do; each role includes the ones before it."""

    READER = 1
    WRITER = 2
    OPERATOR = 3

    @property
    def word(self) -> str:
        """Return the role's name as certificates and messages have it."""
        return self.name.lower()


class Consistency(enum.Enum):
    """How fresh a read must be.

    LINEARIZABLE: ReadIndex, never relies on a clock. LEASE: the leader answers alone while its
    lease holds (falls back to ReadIndex when leases are off). FOLLOWER: the member asked serves it
    after asking the leader for a read index. STALE: what the member asked has applied, at once,
    without a quorum.
    """

    LINEARIZABLE = "linearizable"
    LEASE = "lease"
    FOLLOWER = "follower"
    STALE = "stale"


class ColumnType(enum.Enum):
    """The type of one column of a state machine's table, as MySQL will show it."""

    TEXT = "text"
    BLOB = "blob"
    INT64 = "int64"
    FLOAT64 = "float64"
    BOOLEAN = "boolean"


Text = ColumnType.TEXT
Blob = ColumnType.BLOB
Int64 = ColumnType.INT64
Float64 = ColumnType.FLOAT64
Boolean = ColumnType.BOOLEAN
