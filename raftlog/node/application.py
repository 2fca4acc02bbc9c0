"""What applying an entry means, as pure functions: of the machine, the session table, the entry.

The same entry gives the same results and the same writes on every member, so nothing here may look
at a clock, at this member's role, or at how the entries came in batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from typing import Protocol, TypeVar

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
from raftlog.node.consumer_table import decode_consumers
from raftlog.node.sessions import SessionChange, SessionTable, SessionWrites, decode_change

_DONE = Result()
_DEFERRED = Result(deferred=True)

T = TypeVar("T")


class BudgetExceeded(Exception):
    """What a command does is too much for what is left of its entry's budget."""


class CommandContext(ApplyContext, Protocol):
    """What a command is applied to (`node/workbench.py`)."""

    sequence: int
    timestamp: int

    @property
    def is_half_spent(self) -> bool:
        """Return whether less than half of the entry's budget is left."""
        ...

    def answer(self, size: int) -> None:
        """Count a result of that size; raises `BudgetExceeded`."""
        ...

    def accept(self) -> None:
        """Keep the command's effects."""
        ...

    def discard(self) -> str | None:
        """Drop the command's effects; return in words what of them was too much even alone."""
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
    is_due: Callable[[], bool] = lambda: False,
) -> Generator[None, None, tuple[Result, ...]]:
    """Hand a group's commands to the machine; what it does gathers in `context`.

    Yields before a command whenever `is_due`. `skip_sequence`: commands up to there are in
    state that the machine keeps elsewhere. What such a machine did cannot be taken back, so its
    commands are deferred before they are applied: each may do up to half of what an entry may.
    """
    is_external = type(machine).external
    context.timestamp = entry.timestamp
    table, tags = group.tag_table, group.tags
    results: list[Result] = []
    last = _DONE
    for offset, command in enumerate(group.payloads()):
        if is_due():
            yield
        context.sequence = entry.first_sequence + offset
        is_command = table[tags[offset] if tags else 0][0] is TransactionKind.COMMAND
        if not is_command or context.sequence <= skip_sequence:
            results.append(_DONE)  # opaque, or state kept elsewhere already holds it
            continue
        if is_external and context.is_half_spent:
            last = _DEFERRED
        if last is not _DEFERRED:
            last = _apply_command(context, machine, command, last)
        # Once one is deferred, so is every one after it: commands of one caller keep their order.
        results.append(last)
    return tuple(results)


def _apply_command(
    context: CommandContext, machine: StateMachine, command: bytes, last: Result
) -> Result:
    """Return what became of one command; `last` itself where it came to the same as before."""
    try:
        value = machine.apply(command, context)
        if not isinstance(value, bytes):
            raise TypeError(f"apply must return bytes, not {type(value).__name__}")
        context.answer(len(value))
    except BudgetExceeded:
        return _too_much(context, machine)
    except Rejected as rejection:
        context.discard()
        why = rejection_text(rejection.message)
        try:
            context.answer(len(why))
        except BudgetExceeded:
            return _too_much(context, machine)
        context.accept()
        return Result(rejected=why)
    context.accept()
    return last if last.rejected is None and value == last.value else Result(value=value)


def _too_much(context: CommandContext, machine: StateMachine) -> Result:
    why = context.discard()
    if type(machine).external:
        raise OverflowError(why or "a command did more than half of what an entry may")
    return _DEFERRED if why is None else Result(rejected=why)


def finish(running: Generator[None, None, T]) -> T:
    """Run a generator to its end and return what it returns."""
    while True:
        try:
            next(running)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the generator's own type


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
    """Open or expire sessions, or change consumers, as a SESSION entry says."""
    consumers = decode_consumers(entry.payload)
    if consumers is not None:
        return sessions.consumers.apply(consumers, entry.index, entry.timestamp)
    change, expired = decode_change(entry.payload)
    if change is SessionChange.OPEN:
        return sessions.open(entry.index)
    return sessions.expire(expired)
