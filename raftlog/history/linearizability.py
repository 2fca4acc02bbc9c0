"""A search for an order that explains a history (Wing and Gong 1993, Lowe 2017).

A history is linearizable if there is one order of its operations that respects real time (what was
completed before another was invoked comes first) and in which each answer is the one that a single
copy of the object would give. An unknown operation may stand anywhere after its invocation, or
nowhere. Objects are independent, so each key is searched by itself, which is what makes the search
feasible: it is exponential at worst.

The search goes forward in time and takes, at each point, only what may come next: operations
invoked before the earliest completion that is still open. Reads that fit are taken at once, for
they change nothing; acknowledged writes in the order of their ranks; unknown ones last, just in
time for somebody to see them. Points already visited (the set taken, the state) are not searched
again. After so many steps it gives up and says so.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from raftlog.history.record import (
    FOREVER,
    Append,
    Get,
    Operation,
    Outcome,
    Tail,
)
from raftlog.history.registers import Register, Registers, settled, told_by, value_of

S = TypeVar("S")
STEPS_MAX = 200_000
SHRINK_STEPS_MAX = 20_000


class Model(Protocol[S]):
    """What one copy of the object does, when it is used by one client at a time.

    The search relies on two properties. First: if an answered operation fits in some state and does
    not change it, then it changes no state in which it fits (it is a read). Second: operations that
    have ranks fit only in the order of their ranks.
    """

    @property
    def initial(self) -> S:
        """The state before anything happened."""
        ...

    def rank(self, operation: Operation) -> int:
        """Return the place of the operation among those with ranks; 0: it has none."""
        ...

    def alike(self, operation: Operation) -> Hashable:
        """Return what unknown operations share of which any may stand for another."""
        ...

    def step(self, state: S, operation: Operation) -> S | None:
        """Return the state after the operation, or None if it cannot stand here."""
        ...


class Search(enum.Enum):
    """What a search found: an order, that there is none, or nothing within its budget."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The word on a history; `explanation` says why there is no order, `key` where."""

    search: Search
    key: str = ""
    explanation: str = ""
    steps: int = 0


def check_registers(
    operations: Iterable[Operation], *, steps_max: int = STEPS_MAX, explain: bool = True
) -> Verdict:
    """Search each key's operations for an order; the first key that has none is explained."""
    steps, given_up = 0, ""
    for key, history in sorted(by_key(operations).items()):
        result = find_register_order(history, steps_max)
        steps += result.steps
        if result.search is Search.INVALID:
            text = explanation(history) if explain else ""
            return Verdict(Search.INVALID, key, text, steps)
        if result.search is Search.UNKNOWN:
            given_up = given_up or key
    return Verdict(Search.UNKNOWN if given_up else Search.VALID, given_up, "", steps)


def by_key(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """Return what constrains each key: failures did not happen, unanswered reads say nothing."""
    found: dict[str, list[Operation]] = {}
    for operation in operations:
        call = operation.call
        if isinstance(call, Append | Tail) or operation.outcome is Outcome.FAIL:
            continue
        if isinstance(call, Get) and operation.outcome is Outcome.UNKNOWN:
            continue
        found.setdefault(call.key, []).append(operation)
    return found


@dataclasses.dataclass(slots=True)
class Result(Generic[S]):
    """What a search came to.

    `order` is the one found, or the longest there was; `state` is the one at its end, and `stuck`
    what may come next there and does not fit.
    """

    search: Search
    steps: int
    order: list[Operation]
    state: S
    stuck: list[Operation]


def find_register_order(operations: Sequence[Operation], steps_max: int) -> Result[Register]:
    """Search for an order of the operations of one key."""
    known = settled(operations)
    return find_order(Registers(known), known, steps_max)


def find_order(model: Model[S], operations: Sequence[Operation], steps_max: int) -> Result[S]:
    """Search for an order of `operations`, those of one object."""
    return _Searching(model, operations, steps_max).run()


@dataclasses.dataclass(slots=True)
class _Point(Generic[S]):
    """A point of the search: what is taken, in which state, and what may be tried from here."""

    taken: int
    state: S
    order_length: int
    untried: list[tuple[int, S]]


class _Searching(Generic[S]):
    def __init__(self, model: Model[S], operations: Sequence[Operation], steps_max: int) -> None:
        self._model = model
        known = [o for o in operations if o.outcome is Outcome.OK]
        known.sort(key=lambda o: (o.invoked, o.completed, o.id))
        unknown = [o for o in operations if o.outcome is Outcome.UNKNOWN]
        unknown.sort(key=lambda o: (o.invoked, o.id))
        self._known_count = len(known)
        self._all = known + unknown
        self._alike = [model.alike(operation) for operation in unknown]
        self._ranks = [model.rank(operation) for operation in self._all]
        self._by_completion = sorted(range(len(known)), key=lambda i: known[i].completed)
        self._goal = (1 << len(known)) - 1
        self._steps_max = steps_max
        self._steps = 0
        self._seen: set[tuple[int, S]] = set()
        self._order: list[int] = []
        self._most = -1
        self._longest: list[int] = []
        self._stuck: list[int] = []
        self._state_there: S = model.initial

    def run(self) -> Result[S]:
        start = self._enter(0, self._model.initial)
        if start is None:
            return self._result(Search.VALID)
        path = [start]
        while path:
            point = path[-1]
            del self._order[point.order_length :]
            if self._steps > self._steps_max:
                return self._result(Search.UNKNOWN)
            if not point.untried:
                path.pop()
                continue
            number, state = point.untried.pop()
            taken = point.taken | 1 << number
            if (taken, state) in self._seen:
                continue
            self._seen.add((taken, state))
            self._order.append(number)
            following = self._enter(taken, state)
            if following is None:
                return self._result(Search.VALID)
            path.append(following)
        return self._result(Search.INVALID)

    def _enter(self, taken: int, state: S) -> _Point[S] | None:
        """Take what changes nothing, then see what may follow; None if all known are taken."""
        step, all_ = self._model.step, self._all
        while True:
            if taken & self._goal == self._goal:
                return None
            fitting: list[tuple[int, S]] = []
            stuck: list[int] = []
            took = False
            for number in self._candidates(taken):
                self._steps += 1
                after = step(state, all_[number])
                if after is None:
                    stuck.append(number)
                elif after == state and number < self._known_count:
                    taken |= 1 << number
                    self._order.append(number)
                    took = True
                else:
                    fitting.append((number, after))
            if not took:
                break
        count = (taken & self._goal).bit_count()
        if count > self._most:
            self._most, self._longest, self._state_there = count, list(self._order), state
            self._stuck = stuck
        return _Point(taken, state, len(self._order), self._preferred(fitting))

    def _preferred(self, fitting: list[tuple[int, S]]) -> list[tuple[int, S]]:
        """Return what to try, the last one first: of those with ranks only the lowest."""
        ranked = [pair for pair in fitting if self._ranks[pair[0]]]
        others = [pair for pair in fitting if not self._ranks[pair[0]]]
        others.reverse()
        if ranked:
            others.append(min(ranked, key=lambda pair: self._ranks[pair[0]]))
        return others

    def _candidates(self, taken: int) -> Iterator[int]:
        """Yield what may come next: invoked before anything not taken was completed."""
        limit = FOREVER
        for number in self._by_completion:
            if not taken >> number & 1:
                limit = self._all[number].completed
                break
        rest = self._goal & ~taken
        first = (rest & -rest).bit_length() - 1
        for number in range(first, self._known_count):
            if self._all[number].invoked > limit:
                break
            if not taken >> number & 1:
                yield number
        offered: set[Hashable] = set()
        for number in range(self._known_count, len(self._all)):
            if self._all[number].invoked > limit:
                break
            kind = self._alike[number - self._known_count]
            if not taken >> number & 1 and kind not in offered:
                offered.add(kind)
                yield number

    def _result(self, search: Search) -> Result[S]:
        numbers = self._order if search is Search.VALID else self._longest
        return Result(
            search=search,
            steps=self._steps,
            order=[self._all[number] for number in numbers],
            state=self._state_there,
            stuck=[self._all[number] for number in self._stuck],
        )


# ---------------------------------------------------------------- explaining


def explanation(operations: Sequence[Operation]) -> str:
    """Return why there is no order, for a person: as few operations as still show it."""
    history = shrunk(operations)
    result = find_register_order(history, SHRINK_STEPS_MAX)
    told = {value for operation in history for value, _ in told_by(operation)}
    shown = [o for o in history if o.outcome is Outcome.OK or value_of(o) in told]
    rows = ["No order explains these answers:"]
    whole = {operation.id: operation for operation in operations}
    rows += [f"  {whole[o.id]}" for o in sorted(shown, key=lambda o: (o.invoked, o.id))]
    if len(shown) < len(history):
        rows.append(f"  (and {len(history) - len(shown)} writes whose effect none of them saw)")
    rows.append("One gets as far as: " + (_names(result.order) or "nothing"))
    rows.append(f"then there is {_describe(result.state.value, result.state.revision)}, and next")
    rows += [f"  does not fit: {o}" for o in result.stuck if o.outcome is Outcome.OK]
    return "\n".join(rows)


def shrunk(operations: Sequence[Operation]) -> list[Operation]:
    """Return a smaller history that has no order either, and none only if `operations` has none.

    It is cut off at the first time at which it is wrong; then reads are left out, and answers to
    writes are forgotten, as long as it stays wrong: each of that only permits more.
    """
    times = sorted({o.completed for o in operations if o.outcome is Outcome.OK})
    low, high = 0, len(times) - 1
    while low < high:
        middle = (low + high) // 2
        if _is_wrong(_until(operations, times[middle])):
            high = middle
        else:
            low = middle + 1
    history = _until(operations, times[low]) if times else list(operations)
    answered = [o for o in history if o.outcome is Outcome.OK]
    answered.sort(key=lambda o: not isinstance(o.call, Get))
    for operation in answered:
        rest = [o for o in history if o is not operation]
        if not isinstance(operation.call, Get):
            rest.append(_forgotten(operation))
        if _is_wrong(rest):
            history = rest
    return history


def _is_wrong(operations: Sequence[Operation]) -> bool:
    return find_register_order(operations, SHRINK_STEPS_MAX).search is Search.INVALID


def _until(operations: Sequence[Operation], time: float) -> list[Operation]:
    begun = [o for o in operations if o.invoked <= time]
    open_ = [o for o in begun if o.completed > time and o.outcome is Outcome.OK]
    kept = [o for o in begun if o not in open_]
    return kept + [_forgotten(o) for o in open_ if not isinstance(o.call, Get)]


def _forgotten(operation: Operation) -> Operation:
    return dataclasses.replace(operation, outcome=Outcome.UNKNOWN, completed=FOREVER, answer=None)


def _names(operations: Sequence[Operation]) -> str:
    names = [operation.item or f"{operation.client}'s read" for operation in operations]
    return ", ".join(names[-12:]) if len(names) <= 12 else f"..., {', '.join(names[-12:])}"


def _describe(value: str | None, revision: int | None) -> str:
    if value is None:
        return "nothing"
    return f"{value!r} of revision {'unknown' if revision is None else revision}"
