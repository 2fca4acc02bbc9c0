"""Breadth first over all states of a tiny cluster; each new one is checked.

A state is: which node value each node has (`Values` gives each a number), which messages were ever
sent (bits of one number; none is ever taken away, so late and repeated delivery and loss need no
events of their own), what was chosen, and how much of the bounds is used. Since messages stay, they
are also the history: two leaders of one term, or two votes of one voter, show in what they sent.

States are kept under a hash of 64 bits that forgets the nodes' names (`Symmetry`), so what is
counted are states up to renaming, less those that a collision hid (of ten million states none, with
all likelihood). The core runs once for each pair of a node value and an input; all else is looking
up numbers.
"""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Iterator
from typing import NoReturn

from raftlog.core.messages import AppendRequest, Message, VoteRequest, VoteResponse
from raftlog.core.ready import Outgoing
from raftlog.core.trace import render_message
from raftlog.errors import RaftLogError
from raftlog.sim.exhaustive.nodes import Fingerprint, TinyNode, log_of, matters
from raftlog.sim.exhaustive.symmetry import Symmetry
from raftlog.types import NodeId, Role

State = tuple[tuple[int, ...], int, int, int, int]
"""Node values, messages sent, what is chosen, proposals made, crashes had."""
Chosen = tuple[int, tuple[int, ...]]
"""The newest term something was chosen in, and the chosen log."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a search goes."""

    nodes: int = 3
    terms: int = 2
    entries: int = 1
    crashes: int = 1
    states: int = 10_000_000
    seconds: float = 900.0


@dataclasses.dataclass(slots=True, kw_only=True)
class Found:
    """What a search did.

    `depth`: every order of so many events was tried. `is_complete`: longer ones add no state.
    """

    states: int = 0
    steps: int = 0
    values: int = 0
    core_steps: int = 0
    messages: int = 0
    depth: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    chosen: int = 0
    is_complete: bool = False
    violation: str | None = None
    path: tuple[str, ...] = ()


class Violation(Exception):
    """A property does not hold in a state just reached."""


@dataclasses.dataclass(slots=True)
class Value:
    """A node as it may be, and what the search needs to know of it."""

    node: TinyNode
    term: int
    is_leader: bool
    log: tuple[int, ...]
    disk: tuple[int, ...]
    commit: int
    idle: int = 0
    """Messages that are known to do nothing to it."""


Step = tuple[int, int]
"""The value a node has after an input, and the messages that left."""


class Values:
    """All node values and messages seen so far, and where each input leads."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.values: list[Value] = []
        self.nodes: list[TinyNode] = []
        self.messages: list[tuple[NodeId, NodeId, Message]] = []
        self.to: dict[NodeId, int] = {}
        self.conflicts: list[int] = []
        """For each message, those that must never be sent besides it."""
        self.core_steps = 0
        self._numbers: dict[Fingerprint, int] = {}
        self._message_numbers: dict[tuple[NodeId, NodeId, Message], int] = {}
        self._steps: dict[tuple[int, int], Step | None] = {}

    def number(self, node: TinyNode) -> int:
        """Return the number of a node's value."""
        fingerprint = node.fingerprint()
        known = self._numbers.get(fingerprint)
        if known is None:
            known = self._numbers[fingerprint] = len(self.values)
            state = node.state
            self.nodes.append(node)
            self.values.append(
                Value(
                    node,
                    state.term,
                    state.role is Role.LEADER,
                    log_of(state),
                    tuple(entry.checksum for entry in node.disk.entries_held),
                    state.commit_index,
                )
            )
        return known

    def bits(self, source: NodeId, sent: list[Outgoing]) -> int:
        """Return messages as bits, those that matter."""
        found = 0
        for target, message in sent:
            if matters(message):
                found |= 1 << self._message_number((source, target, message))
        return found

    def _message_number(self, key: tuple[NodeId, NodeId, Message]) -> int:
        known = self._message_numbers.get(key)
        if known is None:
            known = self._message_numbers[key] = len(self.messages)
            self.messages.append(key)
            self.to[key[1]] = self.to.get(key[1], 0) | 1 << known
            self.conflicts.append(0)
            for number, other in enumerate(self.messages):
                if _contradict(key, other):
                    self.conflicts[known] |= 1 << number
                    self.conflicts[number] |= 1 << known
        return known

    def delivered(self, value: int, message: int) -> Step | None:
        """Return what a message does to a node; None: nothing, or it leads out of bounds."""
        key = (value, message)
        if key in self._steps:
            return self._steps[key]
        source, _, content = self.messages[message]
        before = self.values[value].node
        node = before.copy()
        step = self._checked(value, node, node.deliver(source, content))
        if step == (value, 0):
            step = None
        if step is None:
            self.values[value].idle |= 1 << message
        self._steps[key] = step
        return step

    def _checked(self, value: int, node: TinyNode, sent: list[Outgoing]) -> Step | None:
        self.core_steps += 1
        if node.state.term > self._bounds.terms:
            return None
        self.values[value].node.is_followed_by(node)
        return self.number(node), self.bits(node.node_id, sent)

    def own(self, value: int, kind: str) -> Step | None:
        """Return what a node does of itself; None: nothing, or it leads out of bounds."""
        key = (value, _OWN[kind])
        if key in self._steps:
            return self._steps[key]
        step = self._steps[key] = self._own(value, kind)
        return step

    def _own(self, value: int, kind: str) -> Step | None:
        known = self.values[value]
        before = known.node
        state = before.state
        if kind == "crashes":
            node = before.restart()
            self.core_steps += 1
            number = self.number(node)
            return None if number == value else (number, self.bits(node.node_id, []))
        is_open = {
            "times out": state.role is not Role.LEADER and state.term < self._bounds.terms,
            "proposes": known.is_leader,
            "notifies": known.is_leader and _has_news(before),
            "completes": bool(before.rounds),
        }
        if not is_open[kind]:
            return None
        node = before.copy()
        act = {
            "times out": node.time_out,
            "proposes": node.propose,
            "notifies": node.notify,
            "completes": node.complete,
        }
        step = self._checked(value, node, act[kind]())
        return None if step == (value, 0) else step


_OWN = {"crashes": -1, "times out": -2, "proposes": -3, "notifies": -4, "completes": -5}


def _has_news(node: TinyNode) -> bool:
    leadership = node.state.leadership
    if leadership is None:
        return False
    commit = node.state.commit_index
    peers = leadership.progress.values()
    return any(peer.commit_sent < min(commit, peer.match_index) for peer in peers)


def _contradict(one: tuple[NodeId, NodeId, Message], two: tuple[NodeId, NodeId, Message]) -> bool:
    """Whether two messages prove two leaders of one term, or two votes of one voter."""
    (source, target, message), (other_source, other_target, other) = one, two
    if message.term != other.term:
        return False
    if isinstance(message, AppendRequest) and isinstance(other, AppendRequest):
        return source != other_source
    if source != other_source:
        return False
    vote, other_vote = _vote(source, target, message), _vote(other_source, other_target, other)
    return vote is not None and other_vote is not None and vote != other_vote


def _vote(source: NodeId, target: NodeId, message: Message) -> NodeId | None:
    if isinstance(message, VoteRequest):
        return source
    if isinstance(message, VoteResponse) and message.granted:
        return target
    return None


class Search:
    """One search. `run` once."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._values = Values(bounds)
        self._found = Found()
        self._chosen: list[Chosen] = [(0, ())]
        self._chosen_numbers: dict[Chosen, int] = {(0, ()): 0}
        self._settled: dict[tuple[int, int], int | None] = {}
        self._agreed: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
        nodes = TinyNode.cluster(bounds.nodes)
        self._names = [node.node_id for node in nodes]
        values = tuple(self._values.number(node) for node in nodes)
        self._start: State = (values, 0, 0, 0, 0)
        self._before: dict[State, State | None] = {self._start: None}
        self._symmetry = Symmetry(self._names, self._values.nodes, self._values.messages)
        self._seen: set[int] = {self._key(self._start)}

    def run(self) -> Found:
        """Search until all states are seen, the bounds are used up, or a property breaks."""
        started, cpu_started = time.monotonic(), time.process_time()
        found = self._found
        frontier: list[State] | None = [self._start]
        try:
            while frontier:
                frontier = self._next(frontier, started)
                found.depth += frontier is not None
            found.is_complete = frontier is not None
        except Violation as error:
            found.violation = str(error)
        found.seconds = time.monotonic() - started
        found.cpu_seconds = time.process_time() - cpu_started
        found.states = len(self._before)
        found.values = len(self._values.values)
        found.core_steps = self._values.core_steps
        found.messages = len(self._values.messages)
        found.chosen = max(len(log) for _, log in self._chosen)
        return found

    def _has_room(self, started: float) -> bool:
        is_within = len(self._before) < self._bounds.states
        return is_within and time.monotonic() - started < self._bounds.seconds

    def _next(self, frontier: list[State], started: float) -> list[State] | None:
        """Return the states that are one event behind those of `frontier`, and new.

        None: there was no room for all of them.
        """
        fresh: list[State] = []
        before, seen = self._before, self._seen
        for number, state in enumerate(frontier):
            for position, step, kind in self._events(state):
                self._found.steps += 1
                following = self._follow(state, position, step, kind)
                if following in before:
                    continue
                key = self._key(following)
                if key not in seen:
                    seen.add(key)
                    before[following] = state
                    fresh.append(following)
            if not number & 1023 and not self._has_room(started):
                return None
        return fresh

    def _key(self, state: State) -> int:
        """Return a hash of a state that is the same under all names of the nodes."""
        values, sent, *rest = state
        return hash((self._symmetry.key(values, sent), *rest))

    def _events(self, state: State) -> Iterator[tuple[int, Step, str]]:
        """Yield everything that may happen next: to which node, with what effect."""
        values, sent, *_ = state
        known = self._values
        for position, value in enumerate(values):
            if position and state is self._start:
                return  # all nodes are still alike
            pending = sent & known.to.get(self._names[position], 0) & ~known.values[value].idle
            while pending:
                lowest = pending & -pending
                pending ^= lowest
                number = lowest.bit_length() - 1
                try:
                    step = known.delivered(value, number)
                except RaftLogError as error:
                    self._blame(state, f"core: {error}", position, str(number))
                if step is not None and (step[0] != value or step[1] & ~sent):
                    yield position, step, str(number)
            for kind in self._own_kinds(state):
                try:
                    step = known.own(value, kind)
                except RaftLogError as error:
                    self._blame(state, f"core: {error}", position, kind)
                if step is not None:
                    yield position, step, kind

    def _own_kinds(self, state: State) -> Iterator[str]:
        """Yield what nodes do of themselves, as far as the bounds allow."""
        _, _, _, proposals, crashes = state
        yield from ("times out", "notifies", "completes")
        if proposals < self._bounds.entries:
            yield "proposes"
        if crashes < self._bounds.crashes:
            yield "crashes"

    def _follow(self, state: State, position: int, step: Step, kind: str) -> State:
        """Return the state that follows, checked."""
        values, sent, chosen, proposals, crashes = state
        value, leaving = step
        following = (*values[:position], value, *values[position + 1 :])
        fresh = leaving & ~sent
        sent |= leaving
        while fresh:
            lowest = fresh & -fresh
            fresh ^= lowest
            number = lowest.bit_length() - 1
            if self._values.conflicts[number] & sent:
                self._blame(state, f"{self._conflict(number, sent)}", position, kind)
        if value != values[position]:
            chosen = self._settle(state, chosen, following, position, kind)
        return (
            following,
            sent,
            chosen,
            proposals + (kind == "proposes"),
            crashes + (kind == "crashes"),
        )

    # ------------------------------------------------------------ properties

    def _settle(
        self, state: State, chosen: int, values: tuple[int, ...], position: int, kind: str
    ) -> int:
        """Check the node that moved against what is chosen and against the other logs."""
        key = (chosen, values[position])
        if key not in self._settled:
            try:
                self._settled[key] = self._compare(*key)
            except Violation as error:
                self._blame(state, str(error), position, kind)
        after = self._settled[key]
        if after is not None and after != chosen:
            self._check_durable(state, values, position, kind)
            chosen = after
        mine = self._values.values[values[position]].log
        for other in values:
            theirs = self._values.values[other].log
            if theirs is not mine and (mine, theirs) not in self._agreed:
                if not self._agree(mine, theirs):
                    self._blame(state, "log matching", position, kind)
                self._agreed.add((mine, theirs))
        return chosen

    def _compare(self, chosen: int, number: int) -> int:
        """Return what is chosen once this node value is reached."""
        value = self._values.values[number]
        name = value.node.node_id
        term, log = self._chosen[chosen]
        shared = min(value.commit, len(log))
        if value.log[:shared] != log[:shared]:
            raise Violation(f"state machine safety: {name} has another entry committed")
        if value.is_leader and value.term > term and value.log[: len(log)] != log:
            raise Violation(f"leader completeness: {name} leads without what is chosen")
        if value.commit <= len(log):
            return chosen
        if not value.is_leader:
            raise Violation(f"state machine safety: {name} commits what no leader has")
        after = (value.term, value.log[: value.commit])
        known = self._chosen_numbers.get(after)
        if known is None:
            known = self._chosen_numbers[after] = len(self._chosen)
            self._chosen.append(after)
        return known

    def _check_durable(
        self, state: State, values: tuple[int, ...], position: int, kind: str
    ) -> None:
        leader = self._values.values[values[position]]
        committed = leader.log[: leader.commit]
        holders = sum(
            self._values.values[value].disk[: leader.commit] == committed for value in values
        )
        if 2 * holders <= len(values):
            name = leader.node.node_id
            why = f"durable on a quorum: {name} commits what {holders} disks hold"
            self._blame(state, why, position, kind)

    def _agree(self, mine: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
        """Checksums are chained: logs that agree at an index agree below it."""
        for index in range(min(len(mine), len(theirs)) - 1, -1, -1):
            if mine[index] == theirs[index]:
                return mine[:index] == theirs[:index]
        return True

    def _conflict(self, number: int, sent: int) -> str:
        others = self._values.conflicts[number] & sent
        other = (others & -others).bit_length() - 1
        kind = self._values.messages[number][2]
        name = "election safety" if isinstance(kind, AppendRequest) else "one vote per term"
        return f"{name}: {self._message_text(number)} and {self._message_text(other)}"

    # ------------------------------------------------------------ telling

    def _blame(self, state: State, why: str, position: int, kind: str) -> NoReturn:
        """Report a broken property, with all that led to it."""
        path = collections.deque([self._event_text(position, kind)])
        after, before = state, self._before[state]
        while before is not None:
            path.appendleft(self._between(before, after))
            after, before = before, self._before[before]
        self._found.path = tuple(path)
        raise Violation(why)

    def _between(self, before: State, after: State) -> str:
        for position, step, kind in self._events(before):
            if self._follow(before, position, step, kind) == after:
                return self._event_text(position, kind)
        return "?"

    def _event_text(self, position: int, kind: str) -> str:
        name = self._names[position]
        if kind.isdigit():
            return f"{name} receives {self._message_text(int(kind))}"
        return f"{name} {kind}"

    def _message_text(self, number: int) -> str:
        source, target, message = self._values.messages[number]
        return f"{source}>{target} {render_message(message)}"
