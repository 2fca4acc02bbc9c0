"""raftlog: a replicated log.

::

    async with raftlog.connect("127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103") as client:
        receipt = await client.log.append(b"payload")

Importing this package is cheap: what needs gRPC is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from raftlog import errors, kv, types
from raftlog.errors import (
    Compacted,
    ConnectFailed,
    DiskFull,
    IdentityMismatch,
    Indeterminate,
    InvalidGroup,
    InvalidInput,
    LeaderHint,
    LeadershipLost,
    MachineHalted,
    MachineMismatch,
    MembershipRejected,
    NotFound,
    NotLeader,
    Overloaded,
    ProposalDropped,
    RaftLogError,
    Rejected,
    SafetyRefused,
    SessionExpired,
    SessionMismatch,
    StorageCorrupt,
    StorageError,
    TooLarge,
    Unauthorized,
    Unavailable,
    VersionTooOld,
)
from raftlog.status import ClusterStatus, MemberStatus
from raftlog.types import Consistency

# gRPC's core writes lines of its own to standard error (each GOAWAY, each refused connection);
# raftlog reports what matters of that itself. Read when gRPC is loaded; an operator's setting wins.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Since 1.80 gRPC's event engine costs 4 to 11 % of the writes (docs/evidence.md has the figures).
os.environ.setdefault(
    "GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener,-event_engine_callback_cq"
)

if TYPE_CHECKING:
    from raftlog.client.client import Client, connect
    from raftlog.client.lease import Lease
    from raftlog.client.log import LogSession, SessionState
    from raftlog.client.sync import SyncClient, connect_sync
    from raftlog.client.values import (
        Applied,
        Campaigning,
        Change,
        ChangeKind,
        DeleteResult,
        Drained,
        KeyValue,
        LeaseStatus,
        LevelRaise,
        LogInfo,
        MachineUpgrade,
        OperationResult,
        Outcome,
        Paused,
        PutResult,
        Receipt,
        Reign,
        SwapResult,
        Transaction,
        Transfer,
    )
    from raftlog.interfaces import ApplyContext, ReadState, RoleContext, StateMachine

__version__ = "0.2.0"

_LAZY: dict[str, str] = {
    **dict.fromkeys(("Client", "connect"), "raftlog.client.client"),
    "Lease": "raftlog.client.lease",
    **dict.fromkeys(("LogSession", "SessionState"), "raftlog.client.log"),
    **dict.fromkeys(("SyncClient", "connect_sync"), "raftlog.client.sync"),
    **dict.fromkeys(
        (
            "Applied",
            "Campaigning",
            "Change",
            "ChangeKind",
            "DeleteResult",
            "Drained",
            "KeyValue",
            "LeaseStatus",
            "LevelRaise",
            "LogInfo",
            "MachineUpgrade",
            "OperationResult",
            "Outcome",
            "Paused",
            "PutResult",
            "Receipt",
            "Reign",
            "SwapResult",
            "Transaction",
            "Transfer",
        ),
        "raftlog.client.values",
    ),
    **dict.fromkeys(
        ("ApplyContext", "ReadState", "RoleContext", "StateMachine"), "raftlog.interfaces"
    ),
}
"""Public names, and the module that is imported when one of them is first used."""

__all__ = [
    "Applied",
    "ApplyContext",
    "Campaigning",
    "Change",
    "ChangeKind",
    "Client",
    "ClusterStatus",
    "Compacted",
    "ConnectFailed",
    "Consistency",
    "DeleteResult",
    "DiskFull",
    "Drained",
    "IdentityMismatch",
    "Indeterminate",
    "InvalidGroup",
    "InvalidInput",
    "KeyValue",
    "LeaderHint",
    "LeadershipLost",
    "Lease",
    "LeaseStatus",
    "LevelRaise",
    "LogInfo",
    "LogSession",
    "MachineHalted",
    "MachineMismatch",
    "MachineUpgrade",
    "MemberStatus",
    "MembershipRejected",
    "NotFound",
    "NotLeader",
    "OperationResult",
    "Outcome",
    "Overloaded",
    "Paused",
    "ProposalDropped",
    "PutResult",
    "RaftLogError",
    "ReadState",
    "Receipt",
    "Reign",
    "Rejected",
    "RoleContext",
    "SafetyRefused",
    "SessionExpired",
    "SessionMismatch",
    "SessionState",
    "StateMachine",
    "StorageCorrupt",
    "StorageError",
    "SwapResult",
    "SyncClient",
    "TooLarge",
    "Transaction",
    "Transfer",
    "Unauthorized",
    "Unavailable",
    "VersionTooOld",
    "connect",
    "connect_sync",
    "errors",
    "kv",
    "types",
]


def __getattr__(name: str) -> object:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'raftlog' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
