"""What clients saw, and whether one service could have answered them so.

A history is what clients asked, when, and what they were told, their doubts included. It is written
by whoever drives clients (the simulator, a fault harness over a real cluster) and knows neither.
Two checks read it: `witness` compares it with the log that the cluster ended up with, in time
n log n, for every acknowledged write names its place there; `linearizability` searches for an order
that explains the answers alone, key by key.
"""

from raftlog.history.linearizability import Search, Verdict, check_registers
from raftlog.history.record import (
    Absent,
    Answer,
    Append,
    Appended,
    Call,
    CompareAndSet,
    Delete,
    Found,
    Get,
    Operation,
    Outcome,
    Put,
    Seen,
    Tail,
    Written,
    read_lines,
    write_lines,
)
from raftlog.history.witness import LogItem, check_log

__all__ = [
    "Absent",
    "Answer",
    "Append",
    "Appended",
    "Call",
    "CompareAndSet",
    "Delete",
    "Found",
    "Get",
    "LogItem",
    "Operation",
    "Outcome",
    "Put",
    "Search",
    "Seen",
    "Tail",
    "Verdict",
    "Written",
    "check_log",
    "check_registers",
    "read_lines",
    "write_lines",
]
