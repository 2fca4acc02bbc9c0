"""Clients with sessions: groups of commands in an open loop, and retries until they are told.

A client numbers its groups, keeps a few of them in flight, and sends the same bytes again, to
whichever node leads by then, until it is answered or gives up; a copy that got lost on the way may
arrive much later. What it is told goes into a history: acknowledged at a sequence, definitely
failed, or unknown for good. The history is checked when the run is over.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftlog import groups
from raftlog.errors import RaftLogError, SessionExpired, SessionMismatch
from raftlog.history import (
    Absent,
    Append,
    Appended,
    CompareAndSet,
    Delete,
    Found,
    Operation,
    Put,
    Written,
)
from raftlog.history.record import Answer, Call
from raftlog.interfaces import GroupReceipt
from raftlog.node.settings import NodeSettings
from raftlog.sim.checker import CheckFailed
from raftlog.sim.core.knobs import Knobs
from raftlog.wire.pb import kv_pb2 as pb

if TYPE_CHECKING:
    from raftlog.sim.core.clients import Clients
    from raftlog.sim.core.process import Process
    from raftlog.sim.core.world import World

STALE_COPY_CHANCE = 0.03
LOST_ANSWER_CHANCE = 0.1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SessionKnobs:
    """What a seed decides about its sessions. `share`: of all that clients do."""

    clients: int
    share: float
    window: int
    keys: int
    retry_seconds: float
    attempts_max: int
    expiry_seconds: float


def draw_session_knobs(knobs: Knobs) -> SessionKnobs:
    """Return what the seed decides, by dice of its own."""
    dice = random.Random(f"{knobs.seed}:sessions")
    timeout = knobs.core.election_timeout_seconds
    return SessionKnobs(
        clients=dice.choice((0, 1, 2, 4)),
        share=dice.choice((0.2, 0.5, 0.8)),
        window=dice.choice((1, 2, 5, 16)),
        keys=dice.choice((1, 3)),
        retry_seconds=timeout * dice.choice((0.3, 1.0, 3.0)),
        attempts_max=dice.choice((4, 12, 40)),
        expiry_seconds=timeout * dice.choice((0.5, 5.0, 1e6)),
    )


@dataclasses.dataclass(slots=True)
class _Unanswered:
    """A group that its client waits for.

    `may_have_happened`: an attempt's outcome is unknown, or a copy of it is still on its way.
    """

    operation: Operation
    data: bytes
    attempts: int = 0
    may_have_happened: bool = False
    first_term: int = 0


class SessionClients:
    """All clients with sessions, and what they share: keys, and what they know of them."""

    def __init__(self, clients: Clients, world: World, knobs: Knobs) -> None:
        self.world = world
        self.owner = clients
        self.knobs = draw_session_knobs(knobs)
        self.dice = random.Random(f"{knobs.seed}:session-clients")
        self.settings = NodeSettings(
            session_groups_max=self.knobs.window, session_expiry_seconds=self.knobs.expiry_seconds
        )
        self.revisions: dict[str, int] = {}
        """The newest revision that any client was told, by key."""
        self._clients = [SessionClient(self, f"c{n + 1}") for n in range(self.knobs.clients)]

    @property
    def is_on(self) -> bool:
        """Whether this world has any."""
        return bool(self._clients)

    def act(self, target: Process) -> None:
        """Let one of them do something; at times the leader looks for idle sessions."""
        if self.dice.random() < 0.05:
            target.input(target.desk.writes.expire_sessions)
        self.dice.choice(self._clients).act(target)

    def key(self) -> str:
        """Return one of the keys."""
        return f"k{self.dice.randrange(self.knobs.keys)}"

    def learnt(self, key: str, revision: int) -> None:
        """Remember a revision that somebody was told."""
        self.revisions[key] = max(revision, self.revisions.get(key, 0))

    def new_call(self, name: str) -> tuple[Call, bytes]:
        """Return a call, and the command that says it."""
        draw, key = self.dice.random(), self.key()
        if draw < 0.2:
            return Append(), b"." * self.dice.randint(0, 40)
        if draw < 0.3:
            body = pb.KvCommand(delete=pb.Delete(key=key.encode()))
            return Delete(key), body.SerializeToString()
        if draw < 0.65:
            put = pb.Put(key=key.encode(), value=name.encode())
            return Put(key, name), pb.KvCommand(put=put).SerializeToString()
        newest = self.revisions.get(key, 0)
        revision = self.dice.choice((newest, newest, newest, max(newest - 1, 0), 0))
        swap = pb.CompareAndSwap(key=key.encode(), value=name.encode(), revision=revision)
        command = pb.KvCommand(compare_and_swap=swap)
        return CompareAndSet(key, name, revision), command.SerializeToString()


class SessionClient:
    """One client: at most one session at a time, and its groups in flight."""

    def __init__(self, shared: SessionClients, name: str) -> None:
        self._shared = shared
        self._world = shared.world
        self._dice = shared.dice
        self._name = name
        self._session = 0
        self._number = 0
        self._opening = 0
        self._opening_until = 0.0
        self._unanswered: dict[int, _Unanswered] = {}
        self._is_timed = False

    def act(self, target: Process) -> None:
        """Open a session, or ask for something more if the window has room."""
        if not self._session:
            self._open(target)
            return
        window = self._shared.knobs.window
        for _ in range(self._dice.randint(1, window)):
            following = self._number + 1
            oldest = min(self._unanswered, default=following)
            if following - oldest >= window or not self._session:
                break
            self._ask(target)

    # ------------------------------------------------------------ the session

    def _open(self, target: Process) -> None:
        now = self._world.scheduler.now
        if now < self._opening_until or not target.is_up:
            return
        self._opening_until = now + 4 * self._shared.knobs.retry_seconds
        self._opening += 1
        opened = functools.partial(self._opened, self._opening)
        target.input(lambda: target.desk.writes.propose_session(opened))

    def _opened(self, opening: int, outcome: GroupReceipt | RaftLogError) -> None:
        if opening != self._opening:
            return  # of another attempt: that session stays unused, and expires
        self._opening += 1
        self._opening_until = 0.0
        if isinstance(outcome, GroupReceipt):
            self._session, self._number = outcome.index, 0
            self._world.count("session_opened")

    def _abandon(self) -> None:
        """Give up the session: what may have happened stays unknown, the rest did not happen."""
        for unanswered in self._unanswered.values():
            if not unanswered.may_have_happened:
                unanswered.operation.fail(self._world.scheduler.now)
        self._unanswered.clear()
        self._session = 0
        self._world.count("session_abandoned")

    # ------------------------------------------------------------ groups

    def _ask(self, target: Process) -> None:
        self._number += 1
        session, number = self._session, self._number
        item = f"{session}/{number}"
        call, command = self._shared.new_call(f"{self._name}:{item}")
        data = groups.pack(
            [command],
            groups.OPAQUE_TAG if isinstance(call, Append) else groups.KV_COMMAND_TAG,
            session=session,
            number=number,
            lowest_unanswered=min(self._unanswered, default=number),
        )
        operation = self._shared.owner.recorded(self._name, call, item, session, number)
        self._unanswered[number] = unanswered = _Unanswered(operation, data)
        self._send(target, unanswered)
        if not self._is_timed:
            self._is_timed = True
            self._retry_later(session)

    def _send(self, target: Process, unanswered: _Unanswered) -> None:
        unanswered.attempts += 1
        if not target.is_up:
            return  # the connection is refused: nothing happened
        # From here on the answer may get lost, so only a definite one takes the doubt away.
        operation = unanswered.operation
        self._world.note("is sent", target, (operation.item, f"attempt {unanswered.attempts}"))
        has_copy = self._dice.random() < STALE_COPY_CHANCE
        doubt = unanswered.may_have_happened or has_copy
        respond = functools.partial(self._told, target, unanswered, unanswered.attempts, doubt)
        if not self._world.is_calm and self._dice.random() < LOST_ANSWER_CHANCE:
            respond = functools.partial(_lost, self._world)
        unanswered.may_have_happened = True
        target.input(self._submit, target, unanswered, respond)
        if has_copy:
            late = 4 * self._shared.knobs.retry_seconds * self._dice.random()
            self._world.scheduler.after(late, self._stale_copy, target, unanswered.data)

    def _submit(
        self,
        target: Process,
        unanswered: _Unanswered,
        respond: Callable[[GroupReceipt | RaftLogError], None],
    ) -> None:
        writes, log = target.desk.writes, target.state.log
        waiting, last = len(writes), log.last_index
        is_retry = unanswered.attempts > 1
        was_told = unanswered.operation.answer is not None
        writes.submit(unanswered.data, respond)
        if was_told or not target.desk.is_open:
            return
        term = target.state.term
        if not is_retry:
            unanswered.first_term = term
            return
        if unanswered.first_term and term != unanswered.first_term:
            self._world.count("retry_to_another_leader")
        if unanswered.operation.answer is not None:
            self._world.count("retry_answered_from_kept_reply")
        elif len(writes) == waiting and log.last_index == last and waiting:
            self._world.count("retry_joined")

    def _stale_copy(self, target: Process, data: bytes) -> None:
        target.input(lambda: target.desk.writes.submit(data, _ignore))

    # ------------------------------------------------------------ answers

    def _told(
        self,
        process: Process,
        unanswered: _Unanswered,
        attempt: int,
        doubt: bool,  # noqa: FBT001, bound by position
        outcome: GroupReceipt | RaftLogError,
    ) -> None:
        """Take an answer to one attempt; called from within a node's turn, so it asks nothing."""
        operation = unanswered.operation
        if operation.session != self._session or operation.number not in self._unanswered:
            return  # it was answered before, or its client has given up
        if isinstance(outcome, GroupReceipt):
            self._acknowledged(process, unanswered, outcome)
            return
        if isinstance(outcome, SessionMismatch):
            self._complain(f"a retry of the same bytes was refused: {outcome.message}: {operation}")
        if outcome.definite and attempt == unanswered.attempts:
            unanswered.may_have_happened = doubt
        if isinstance(outcome, SessionExpired):
            self._world.count("session_expired")
            self._abandon()

    def _acknowledged(
        self, process: Process, unanswered: _Unanswered, receipt: GroupReceipt
    ) -> None:
        operation = unanswered.operation
        del self._unanswered[operation.number]
        answer = _answer_of(operation, receipt)
        if answer is None:
            self._complain(f"it was answered with another's receipt, {receipt}: {operation}")
            return
        operation.ok(self._world.scheduler.now, answer)
        self._shared.owner.acked += 1
        self._world.note("is told", process, operation)
        if isinstance(answer, Written) and isinstance(operation.call, Put | CompareAndSet):
            newest = answer.sequence if answer.changed else answer.revision
            self._shared.learnt(operation.call.key, newest)

    def _complain(self, text: str) -> None:
        """Fail the run at the next event: an answer must not raise where a node gives it."""
        self._world.scheduler.after(0.0, _fail, f"exactly once: {text}")

    # ------------------------------------------------------------ retries

    def _retry_later(self, session: int) -> None:
        seconds = self._shared.knobs.retry_seconds * (0.5 + self._dice.random())
        self._world.scheduler.after(seconds, self._retry, session)

    def _retry(self, session: int) -> None:
        if session != self._session or not self._unanswered or self._world.is_ending:
            self._is_timed = False
            return
        oldest = next(iter(self._unanswered.values()))
        if oldest.attempts >= self._shared.knobs.attempts_max:
            self._is_timed = False
            self._abandon()
            return
        target = self._shared.owner.target()
        for unanswered in list(self._unanswered.values()):
            if self._session == session and unanswered.operation.number in self._unanswered:
                self._send(target, unanswered)
        self._retry_later(session)


def _ignore(_outcome: GroupReceipt | RaftLogError) -> None:
    """Nobody waits for the answer to a copy."""


def _lost(world: World, _outcome: GroupReceipt | RaftLogError) -> None:
    world.count("answer_lost")


def _fail(text: str) -> None:
    raise CheckFailed(text)


def _answer_of(operation: Operation, receipt: GroupReceipt) -> Answer | None:
    """Return what a receipt says; None if it is not of that operation's group."""
    call = operation.call
    if receipt.number != operation.number or receipt.count != 1:
        return None
    if isinstance(call, Append):
        return Appended(receipt.first_sequence)
    if len(receipt.results) != 1 or receipt.results[0].rejected is not None:
        return None
    said = pb.KvResult.FromString(receipt.results[0].value)
    changed = said.deleted > 0 if isinstance(call, Delete) else said.succeeded
    current = said.current
    return Written(receipt.first_sequence, changed, current.value.decode(), current.revision)


def read_key(process: Process, key: str) -> Found | Absent:
    """Return what a node's state holds under a key now."""
    record = process.machine.find(key.encode())
    return Absent() if record is None else Found(record.value.decode(), record.revision)
