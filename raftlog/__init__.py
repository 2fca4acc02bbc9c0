"""raftlog: a replicated log."""

from __future__ import annotations

from raftlog import errors, types
from raftlog.errors import RaftLogError, Rejected
from raftlog.interfaces import ApplyContext, ReadState, RoleContext, StateMachine

__all__ = [
    "ApplyContext",
    "RaftLogError",
    "ReadState",
    "Rejected",
    "RoleContext",
    "StateMachine",
    "errors",
    "types",
]
