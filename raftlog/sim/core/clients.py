"""Clients: proposals at a rate of their own, whatever becomes of them, and reads.

A proposal's payload names its client and number, opaque to the core, so that no two are alike. It
is acknowledged once the node that took it has applied it while it still leads; everything else is
an unknown outcome, and stays one: nobody retries it. Clients with sessions do (`sessions.py`).
Reads are asked of any node: a key, or the end of the log. All of it goes into one history, which is
checked when the run is over.
"""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING

from raftlog import groups
from raftlog.core.entries import Entry, EntryKind
from raftlog.core.ready import ReadOutcome
from raftlog.errors import Compacted, RaftLogError
from raftlog.history import (
    Append,
    Appended,
    Found,
    Get,
    LogItem,
    Operation,
    Outcome,
    Search,
    Seen,
    Tail,
    check_log,
    check_registers,
)
from raftlog.history.record import Call
from raftlog.sim.checker import CheckFailed, require
from raftlog.sim.core.knobs import Knobs
from raftlog.sim.core.machine import GROUP_BEGINS
from raftlog.sim.core.sessions import SessionClients, read_key
from raftlog.types import Index, Role

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.core.world import World

BACKLOG_MAX = 300
"""Entries without a commit beyond which clients wait, so that a run's end stays near."""
SEARCH_STEPS_MAX = 20_000
TAIL_ENTRIES = 4
TAIL_BYTES = 1 << 20


class Clients:
    """All clients of the world."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._world = world
        self._knobs = knobs
        self._dice = random.Random(f"{knobs.seed}:clients")
        self._number = 0
        self._context = 0
        self._asked: dict[int, tuple[int, Operation | None]] = {}
        self._plain: dict[tuple[Index, int], Operation] = {}
        """Proposals without a session, by their entry's index and checksum."""
        self._log: list[Entry] = []
        """What was chosen, as whoever applied it first saw it."""
        self.history: list[Operation] = []
        self.sessions = SessionClients(self, world, knobs)
        self.acked = 0
        self.refused = 0
        self.proposed = 0

    def begin(self) -> None:
        """Begin to ask."""
        self._world.scheduler.after(self._gap(), self._act)

    def _gap(self) -> float:
        return self._dice.expovariate(self._knobs.client_rate)

    def _act(self) -> None:
        if self._world.is_ending:
            return
        self._world.scheduler.after(self._gap(), self._act)
        if self._dice.random() < self._knobs.read_share:
            leaders = self._world.leaders() if self._dice.random() < 0.7 else []
            self.read(self._dice.choice(leaders or self._world.members))
            return
        target = self.target()
        if self.sessions.is_on and self._dice.random() < self.sessions.knobs.share:
            self.sessions.act(target)
            return
        for _ in range(self._dice.randint(1, self._knobs.burst_max)):
            self.propose(target)

    def target(self) -> Process:
        """Return a node to ask: mostly one that leads."""
        leaders = self._world.leaders()
        if leaders and self._dice.random() < 0.9:
            return self._dice.choice(leaders)
        return self._dice.choice(self._world.members)

    # ------------------------------------------------------------ the history

    def recorded(
        self, client: str, call: Call, item: str = "", session: int = 0, number: int = 0
    ) -> Operation:
        """Add an operation that begins now to the history."""
        operation = Operation(
            id=len(self.history) + 1,
            client=client,
            call=call,
            invoked=self._world.scheduler.now,
            item=item,
            session=session,
            number=number,
        )
        self.history.append(operation)
        return operation

    def grew(self, entry: Entry) -> None:
        """Take an entry that some node applies: the first to do so extends the log."""
        if entry.index == len(self._log) + 1:
            self._log.append(entry)

    def log_items(self) -> list[LogItem]:
        """Return the transactions of the log that was chosen."""
        return [
            LogItem(entry.first_sequence, entry.count, item_of(entry))
            for entry in self._log
            if entry.count
        ]

    def check_history(self) -> None:
        """Check what clients saw: against the log, and by a search for an order, key by key."""
        items = self.log_items()
        wrong = check_log(self.history, items)
        require(not wrong, "client history", "\n".join(wrong[:3]))
        verdict = check_registers(self.history, steps_max=SEARCH_STEPS_MAX)
        if verdict.search is Search.INVALID:
            raise CheckFailed(f"linearizability: of key {verdict.key}\n{verdict.explanation}")
        self._world.count("history_checked")
        if verdict.search is Search.UNKNOWN:
            self._world.count("history_given_up")
        happened = {item.item for item in items}
        for operation in self.history:
            if operation.session and operation.outcome is Outcome.UNKNOWN:
                is_there = operation.item in happened
                self._world.count("unknown_happened" if is_there else "unknown_had_not_happened")

    # ------------------------------------------------------------ proposals without a session

    def propose(self, target: Process) -> None:
        """Propose one group of transactions to a node."""
        state = target.state
        if state.log.last_index - state.commit_index > BACKLOG_MAX:
            return
        self._number += 1
        client = self._dice.randrange(4)
        filler = b"." * self._dice.randint(0, self._knobs.payload_max)
        payload = b"%d:%d:%s" % (client, self._number, filler)
        self._world.note("proposes", target, self._number)
        operation = self.recorded(str(client), Append(), f"{client}:{self._number}")
        target.input(self._propose, target, payload, self._dice.randint(1, 3), operation)

    def _propose(self, target: Process, payload: bytes, count: int, operation: Operation) -> None:
        if target.lacks_room_for(len(payload)):
            self.refused += 1
            return
        wall = int((self._world.scheduler.now + 10 * self._dice.random()) * 1e6)
        try:
            entry = target.raft.propose(
                EntryKind.TRANSACTIONS, payload, count, target.local(), wall
            )
        except RaftLogError as error:
            if not error.definite:
                raise
            self.refused += 1
            operation.fail(self._world.scheduler.now)
            return
        self.proposed += 1
        self._plain[entry.index, entry.checksum] = operation
        target.pending[entry.index] = entry.checksum

    def applied(self, process: Process, entry: Entry, checksum: int) -> None:
        """Acknowledge what this process had proposed."""
        if process.state.role is Role.LEADER and entry.checksum == checksum:
            self.acked += 1
            self._world.checker.acked(process, entry)
            operation = self._plain.pop((entry.index, checksum), None)
            if operation is not None:
                operation.ok(self._world.scheduler.now, Appended(entry.first_sequence))

    # ------------------------------------------------------------ reads

    def read(self, target: Process) -> None:
        """Ask a node for a read index."""
        if not target.is_up:
            return
        self._context += 1
        operation = None
        if self.sessions.is_on:
            is_tail = self._dice.random() < 0.3
            call: Call = Tail() if is_tail else Get(self.sessions.key())
            operation = Operation(0, "reader", call, self._world.scheduler.now)
        self._asked[self._context] = self._world.checker.chosen_index, operation
        self._world.note("is asked", target, self._context)
        target.input(self._read, target, self._context)

    @staticmethod
    def _read(target: Process, context: int) -> None:
        target.raft.read_index(context, target.local())

    def read_answered(self, process: Process, outcome: ReadOutcome) -> None:
        """Check an answer to a read, and let its reader look once that index is applied."""
        asked, operation = self._asked.pop(outcome.context)
        if outcome.index is None:
            self._world.count("read_unconfirmed")
            return
        is_leader = process.state.role is Role.LEADER
        self._world.count("read_on_leader" if is_leader else "read_forwarded")
        self._world.checker.read(process, asked, outcome.index)
        if operation is not None:
            process.desk.wait(outcome.index, functools.partial(self._look, operation))

    def _look(self, operation: Operation, process: Process) -> None:
        """Read what this node has applied; only a read that was answered is worth recording."""
        call = operation.call
        if isinstance(call, Tail):
            seen = self._tail(process)
            if seen is None:
                return
            operation.call, answer = seen
            operation.ok(self._world.scheduler.now, answer)
        elif isinstance(call, Get) and not process.machine.keeps_state:
            return  # a witness names another
        elif isinstance(call, Get):
            found = read_key(process, call.key)
            operation.ok(self._world.scheduler.now, found)
            if isinstance(found, Found):
                self.sessions.learnt(call.key, found.revision)
        operation.id = len(self.history) + 1
        self.history.append(operation)

    @staticmethod
    def _tail(process: Process) -> tuple[Tail, Seen] | None:
        """Return the end of the log as this node has applied it.

        None if it was purged, or is damaged and not whole again.
        """
        high = process.machine.index
        log = process.raft.log
        low = Index(max(log.boundary.index + 1, high - TAIL_ENTRIES + 1))
        if low > high or log.last_index < high:
            return None
        try:
            entries = log.entries(low, high, TAIL_BYTES)
        except Compacted:
            return None
        if not entries or entries[-1].index != high:
            return None
        items = tuple((e.first_sequence, item_of(e)) for e in entries if e.count)
        return Tail(entries[0].first_sequence), Seen(entries[-1].next_sequence - 1, items)


def item_of(entry: Entry) -> str:
    """Return the name of what a client put into the log; "" if no client did."""
    payload = entry.payload
    if payload[:1] == GROUP_BEGINS:
        _, session, number = groups.peek(payload)
        return f"{session}/{number}"
    client, colon, rest = payload.partition(b":")
    return f"{client.decode()}:{rest.partition(b':')[0].decode()}" if colon else ""
