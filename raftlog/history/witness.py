"""The index-witness check: a history against the log that the cluster ended up with.

Every acknowledged write names the sequence it got, so the order of the log is the witness, and no
search is needed: the check is a sort and a sweep. What must hold:

- an item is in the log at most once, and only if somebody asked for it;
- an acknowledged write is there, at the sequence that its client was told;
- a write that definitely failed is not there; an unknown one may be;
- a write completed before another was invoked has the lower sequence (linearizability);
- the groups of a session are there in the order of their numbers, without a gap;
- a tail saw exactly what the log holds, and everything acknowledged before it was asked.
"""

from __future__ import annotations

import bisect
import dataclasses
import operator
from collections.abc import Iterable, Iterator, Sequence

from raftlog.history.record import Appended, Operation, Outcome, Seen, Tail, Written


@dataclasses.dataclass(frozen=True, slots=True)
class LogItem:
    """One group of the final log: its first sequence, how many it spans, and its name.

    One without a name is not of the history's clients.
    """

    sequence: int
    count: int
    item: str


def check_log(operations: Iterable[Operation], log: Sequence[LogItem]) -> list[str]:
    """Return what is wrong, a sentence each; nothing if the log explains the history."""
    history = list(operations)
    writes = [operation for operation in history if operation.item]
    places: dict[str, LogItem] = {}
    wrong = list(_check_once(log, places))
    wrong += _check_asked(writes, log)
    wrong += _check_outcomes(writes, places)
    wrong += _check_time(writes, places)
    wrong += _check_sessions(writes, places)
    wrong += _check_tails(history, log, places)
    return wrong


def _sequence(operation: Operation) -> int | None:
    answer = operation.answer
    return answer.sequence if isinstance(answer, Appended | Written) else None


def _check_once(log: Sequence[LogItem], places: dict[str, LogItem]) -> Iterator[str]:
    expected = log[0].sequence if log else 1
    for place in log:
        if place.sequence != expected:
            yield f"the log goes on at sequence {place.sequence}, not at {expected}"
        expected = place.sequence + place.count
        first = places.setdefault(place.item, place) if place.item else place
        if first is not place:
            yield (
                f"exactly once: {place.item} is in the log at sequence {first.sequence} and again "
                f"at {place.sequence}"
            )


def _check_asked(writes: list[Operation], log: Sequence[LogItem]) -> Iterator[str]:
    asked: dict[str, Operation] = {}
    for operation in writes:
        if asked.setdefault(operation.item, operation) is not operation:
            yield f"the history names {operation.item} twice"
    for place in log:
        if place.item and place.item not in asked:
            yield f"nobody asked for {place.item}, which the log holds at {place.sequence}"


def _check_outcomes(writes: list[Operation], places: dict[str, LogItem]) -> Iterator[str]:
    for operation in writes:
        place = places.get(operation.item)
        if operation.outcome is Outcome.FAIL and place is not None:
            yield (
                f"a definite failure happened: the log holds it at sequence {place.sequence}: "
                f"{operation}"
            )
        if operation.outcome is not Outcome.OK:
            continue
        if place is None:
            yield f"an acknowledged write is lost: {operation}"
        elif place.sequence != _sequence(operation):
            yield f"a write is at sequence {place.sequence}, not where it was told: {operation}"


def _check_time(writes: list[Operation], places: dict[str, LogItem]) -> Iterator[str]:
    """Sweep the log backwards: nothing before an entry may have begun after that entry was told.

    `earliest` is the first completion among the entries behind. An operation in the log that was
    invoked after it comes too early in the log.
    """
    found = [(places[o.item].sequence, o) for o in writes if o.item in places]
    found.sort(key=operator.itemgetter(0), reverse=True)
    earliest: Operation | None = None
    for _, operation in found:
        if earliest is not None and earliest.completed < operation.invoked:
            yield f"real-time order: {operation}\n  is in the log before {earliest}"
        if earliest is None or operation.completed < earliest.completed:
            earliest = operation


def _check_sessions(writes: list[Operation], places: dict[str, LogItem]) -> Iterator[str]:
    found: dict[int, list[tuple[int, int]]] = {}
    for operation in writes:
        if operation.session and operation.item in places:
            sequence = places[operation.item].sequence
            found.setdefault(operation.session, []).append((sequence, operation.number))
    for session, groups in found.items():
        numbers = [number for _, number in sorted(groups)]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"session {session}'s groups are in the log in the order {numbers}"


def _check_tails(
    history: list[Operation], log: Sequence[LogItem], places: dict[str, LogItem]
) -> Iterator[str]:
    tails = [o for o in history if isinstance(o.call, Tail) and isinstance(o.answer, Seen)]
    if not tails:
        return
    told = sorted(
        (o.completed, places[o.item].sequence)
        for o in history
        if o.outcome is Outcome.OK and o.item in places
    )
    tails.sort(key=lambda o: o.invoked)
    starts = [place.sequence for place in log]
    at = known = 0
    for operation in tails:
        while at < len(told) and told[at][0] < operation.invoked:
            known = max(known, told[at][1])
            at += 1
        call, answer = operation.call, operation.answer
        if not (isinstance(call, Tail) and isinstance(answer, Seen)):
            continue
        if answer.upto < known:
            yield f"a stale tail: {known} was acknowledged before it was asked: {operation}"
        first = bisect.bisect_left(starts, call.start)
        behind = bisect.bisect_right(starts, answer.upto)
        seen = [(place.sequence, place.item) for place in log[first:behind]]
        if seen != list(answer.items):
            yield f"a tail saw what the log does not hold ({seen}): {operation}"
