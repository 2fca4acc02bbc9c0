"""One key of a key-value machine with revisions, as the linearizability search sees it.

A write's revision is the sequence that it was told, so acknowledged writes come in the order of
their sequences (`rank`); where one without effect stands is for the log to witness. An unknown
write has a revision that nobody knows until somebody sees it: such a state is `is_unseen`, and
nothing but an observation may follow there. An unknown write that is overwritten unseen explains
nothing that its absence does not explain as well.

Two more rules keep the search small. An unknown write whose value was told to somebody did happen,
at the revision that was told (`settled`). Those whose values were told to nobody are as good as one
another wherever one of them is needed (`alike`).
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from raftlog.history.record import (
    Absent,
    Answer,
    CompareAndSet,
    Delete,
    Found,
    Get,
    Operation,
    Outcome,
    Put,
    Written,
)


class Register(NamedTuple):
    """A key's state.

    `value` is None if there is none. `revision`: 0 if there is no value, None if nobody knows it.
    Any later write has a sequence above `floor`.
    """

    value: str | None = None
    revision: int | None = 0
    floor: int = 0
    is_unseen: bool = False


class Registers:
    """The sequential specification of a key: `linearizability.Model`."""

    initial = Register()

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._told = {value for operation in operations for value, _ in told_by(operation)}

    def alike(self, operation: Operation) -> Hashable:
        """Return what unknown operations have in common of which any may stand for another."""
        call, value = operation.call, value_of(operation)
        revision = call.revision if isinstance(call, CompareAndSet) else None
        return type(call), revision, value if value in self._told else None

    @staticmethod
    def rank(operation: Operation) -> int:
        """Return the place among writes that the operation's client was told; 0: none."""
        answer = operation.answer
        return answer.sequence if isinstance(answer, Written) and answer.changed else 0

    @staticmethod
    def step(state: Register, operation: Operation) -> Register | None:
        """Return the state after the operation, or None if its answer does not fit here.

        An operation without an answer is taken only where it has an effect.
        """
        call, answer = operation.call, operation.answer
        match call:
            case Get():
                return _read(state, answer)
            case Put(value=value):
                return _put(state, value, answer)
            case Delete():
                return _delete(state, answer)
            case CompareAndSet():
                return _compare(state, call, answer)
            case _:
                return None


def settled(operations: Sequence[Operation]) -> list[Operation]:
    """Return the same history, in which unknown writes that were seen are known to have happened.

    Only a value that one operation alone writes proves it.
    """
    writers = collections.Counter(value_of(operation) for operation in operations)
    told = {value: revision for o in operations for value, revision in told_by(o) if revision}
    found: list[Operation] = []
    for operation in operations:
        value = value_of(operation)
        if operation.outcome is Outcome.UNKNOWN and value in told and writers[value] == 1:
            found.append(
                dataclasses.replace(
                    operation, outcome=Outcome.OK, answer=Written(sequence=told[value])
                )
            )
        else:
            found.append(operation)
    return found


def value_of(operation: Operation) -> str | None:
    """Return what an operation writes under its key, if it does."""
    call = operation.call
    return call.value if isinstance(call, Put | CompareAndSet) else None


def told_by(operation: Operation) -> Iterator[tuple[str | None, int]]:
    """Yield the value that an operation's client was told, and its revision."""
    answer = operation.answer
    if isinstance(answer, Found) or (isinstance(answer, Written) and answer.revision):
        yield answer.value, answer.revision


def _put(state: Register, value: str, answer: Answer | None) -> Register | None:
    if state.is_unseen:
        return None
    return _write(state, value, answer)


def _write(state: Register, value: str | None, answer: Answer | None) -> Register | None:
    revision = None if value is not None else 0
    if not isinstance(answer, Written):
        return Register(value, revision, state.floor + 1, is_unseen=True)
    if not answer.sequence:
        return Register(value, revision, state.floor + 1)
    if answer.sequence <= state.floor:
        return None
    return Register(value, answer.sequence if value is not None else 0, answer.sequence)


def _seen(state: Register, value: str, revision: int) -> Register | None:
    """Return the state once this value was seen in it; a revision of 0 was not told."""
    if state.value != value:
        return None
    if not revision:
        return state._replace(is_unseen=False)
    if state.revision is None:
        if revision < state.floor:
            return None
        return Register(value, revision, revision)
    return state if state.revision == revision else None


def _seen_absent(state: Register) -> Register | None:
    return state._replace(is_unseen=False) if state.value is None else None


def _read(state: Register, answer: Answer | None) -> Register | None:
    match answer:
        case Found(value=value, revision=revision):
            return _seen(state, value, revision)
        case Absent():
            return _seen_absent(state)
        case _:
            return None


def _delete(state: Register, answer: Answer | None) -> Register | None:
    if not isinstance(answer, Written):
        if state.is_unseen or state.value is None:
            return None
        return _write(state, None, None)
    if answer.changed:
        return _write(state, None, answer) if state.value is not None else None
    if answer.sequence and answer.sequence <= state.floor:
        return None
    return _seen_absent(state)


def _compare(state: Register, call: CompareAndSet, answer: Answer | None) -> Register | None:
    wanted = call.revision
    if isinstance(answer, Written) and not answer.changed:
        if answer.sequence and answer.sequence <= state.floor:
            return None
        if not answer.revision:
            return _seen_absent(state) if wanted else None
        return _seen(state, answer.value, answer.revision) if answer.revision != wanted else None
    if wanted == 0:
        return _write(state, call.value, answer) if state.value is None else None
    if state.value is None:
        return None
    if state.revision is None:
        if wanted < state.floor:
            return None
        return _write(state._replace(floor=wanted), call.value, answer)
    return _write(state, call.value, answer) if state.revision == wanted else None
