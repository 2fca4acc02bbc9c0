"""What applying an entry means, as pure functions: of the machine, the session table, the entry.

The same entry gives the same results and the same writes on every member, so nothing here may look
at a clock, at this member's role, or at how the entries came in batches.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from raftlog.core.entries import Entry
from raftlog.errors import Rejected
from raftlog.groups import Group, TransactionKind
from raftlog.interfaces import (
    ApplyContext,
    GroupReceipt,
    Result,
    StateMachine,
    rejection_text,
)
from raftlog.node.sessions import SessionChange, SessionTable, SessionWrites, decode_change

_DONE = Result()


class CommandContext(ApplyContext, Protocol):
    """What a command is applied to (`node/workbench.py`)."""

    sequence: int
    timestamp: int

    def accept(self) -> None:
        """Keep the command's effects."""
        ...

    def discard(self) -> None:
        """Drop the command's effects."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class AppliedEntry:
    """What applying one entry came to; `receipt` and `group` are set for transactions."""

    entry: Entry
    group: Group | None = None
    receipt: GroupReceipt | None = None


def apply_commands(
    context: CommandContext,
    machine: StateMachine,
    entry: Entry,
    group: Group,
    skip_sequence: int = 0,
) -> tuple[Result, ...]:
    """Hand a group's commands to the machine; what it does gathers in `context`.

    `skip_sequence`: commands up to there are in state that the machine keeps elsewhere.
    """
    context.timestamp = entry.timestamp
    table, tags = group.tag_table, group.tags
    apply = machine.apply
    results: list[Result] = []
    last = _DONE
    for offset, command in enumerate(group.payloads()):
        context.sequence = entry.first_sequence + offset
        is_command = table[tags[offset] if tags else 0][0] is TransactionKind.COMMAND
        if not is_command or context.sequence <= skip_sequence:
            results.append(_DONE)  # opaque, or state kept elsewhere already holds it
            continue
        try:
            value = apply(command, context)
        except Rejected as rejection:
            context.discard()
            results.append(Result(rejected=rejection_text(rejection.message)))
            continue
        if not isinstance(value, bytes):
            raise TypeError(f"apply must return bytes, not {type(value).__name__}")
        context.accept()
        if value != last.value:
            last = Result(value=value)
        results.append(last)
    return tuple(results)


def apply_group(
    sessions: SessionTable, entry: Entry, group: Group, results: tuple[Result, ...]
) -> tuple[AppliedEntry, SessionWrites]:
    """Return what a group whose commands are applied came to, and what its session keeps of it."""
    receipt = GroupReceipt(
        number=group.number,
        first_sequence=entry.first_sequence,
        count=entry.count,
        term=entry.term,
        index=entry.index,
        results=results,
    )
    writes = sessions.record(group, receipt) if group.session else {}
    return AppliedEntry(entry, group, receipt), writes


def apply_session_change(sessions: SessionTable, entry: Entry) -> SessionWrites:
    """Open or expire sessions, as a SESSION entry says."""
    change, expired = decode_change(entry.payload)
    if change is SessionChange.OPEN:
        return sessions.open(entry.index)
    return sessions.expire(expired)
