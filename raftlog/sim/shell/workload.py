"""Clients: the real SDK in processes of its own, and the history of what it was told.

Each caller asks one thing after the other. Whatever becomes of a call, it must end by its timeout;
what it said is in the history, which `raftlog.history` compares with the log at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from raftlog.client.client import Client
from raftlog.client.log import SessionState
from raftlog.client.values import Change, Receipt, Transaction
from raftlog.client.write_stream import WriterSettings
from raftlog.errors import Compacted, NotFound, RaftLogError, SessionExpired
from raftlog.history import (
    Absent,
    Answer,
    Append,
    Appended,
    CompareAndSet,
    Delete,
    Found,
    Get,
    Operation,
    Put,
    Written,
)
from raftlog.sim.shell.user import SLACK_SECONDS, UserHost

if TYPE_CHECKING:
    from raftlog.history import Call
    from raftlog.sim.shell.world import ShellWorld

T = TypeVar("T")
LONG_PAUSE_SECONDS = 4.0
LONG_PAUSE_CHANCE = 0.05
LATE_SECONDS_MAX = 4.0
ALL, STREAM = "", "s1"
"""What appends name as their stream: none, or one that some tails follow."""


class Saved:
    """What a user of a session keeps in a file of its own: it outlives the client's process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: SessionState | None = None
        self.payloads: list[bytes] = []
        self.operations: list[Operation] = []
        self.groups = 0


class ClientHost(UserHost):
    """One client process with some callers."""

    def __init__(self, world: ShellWorld, number: int, name: str, endpoints: str) -> None:
        super().__init__(world, number, name, endpoints)
        self._work = world.knobs.work
        self._count = 0
        self.saved = [Saved(f"{name}.s{i}") for i in range(self._work.sessions)]
        self.streams = [ALL] * self._work.tails + [STREAM] * self._work.streams
        """What each tail follows."""
        self.seen: list[list[Transaction]] = [[] for _ in self.streams]
        self.starts: list[int] = [0] * len(self.streams)
        self._places = random.Random(f"{world.knobs.seed}:{name}:witness")
        """Rolled only where some founders are witnesses."""
        self.watched: list[list[Change]] = [[] for _ in range(self._work.watches)]
        self.watch_starts: list[int] = [0] * self._work.watches
        self.asked = 0

    # ------------------------------------------------------------ life

    async def _run(self) -> None:
        work = self._work
        settings = WriterSettings(
            in_flight_max=work.in_flight_max, pending_count_max=work.pending_max
        )
        self.client = Client(
            self._endpoints,
            timeout=work.timeout_seconds,
            writer_settings=settings,
            open_channel=self.open_channel,
            dice=self.dice.random,
        )
        await self.client.keep_to(self.cluster_id).open()
        spawn = self.loop.create_task
        callers = [
            *(self._append_on(f"{self.name}.a{i}") for i in range(work.appenders)),
            *(self._use_session(saved) for saved in self.saved),
            *(self._use_keys(f"{self.name}.k{i}") for i in range(work.kv_callers)),
        ]
        readers = [
            *(self._follow(number) for number in range(len(self.streams))),
            *(self._watch(number) for number in range(work.watches)),
        ]
        tails = [spawn(self._guarded(each), name=f"reader-{i}") for i, each in enumerate(readers)]
        await asyncio.gather(*(spawn(self._guarded(caller)) for caller in callers))
        self.is_done = True
        await self._may_close()
        for tail in tails:
            tail.cancel()
        if tails:
            await asyncio.wait(tails)
        await self._close()

    # ------------------------------------------------------------ asking

    async def _pause(self) -> None:
        await asyncio.sleep(self.dice.expovariate(1 / self._work.pace_seconds))

    def _timeout(self) -> float:
        return self._work.timeout_seconds * self.dice.choice((0.3, 1.0, 1.0))

    def _payload(self, caller: str) -> bytes:
        self._count += 1
        filler = "." * self.dice.randint(0, self._work.payload_max)
        return f"{caller}/{self.life}/{self._count}/{filler}".encode()

    async def _ask(
        self,
        operations: list[Operation],
        seconds_max: float,
        call: Awaitable[T],
        answer: Callable[[T, int], Answer],
    ) -> T | RaftLogError:
        """Make a call; note its outcome in each of its operations, and that it ended in time."""
        begun = self.loop.time()
        self.asked += 1
        try:
            result = await call
        except RaftLogError as error:
            self.world.count("call_refused" if error.definite else "call_unknown")
            if error.definite:
                for operation in operations:
                    operation.fail(self.now())
            outcome: T | RaftLogError = error
        else:
            self.world.count("call_answered")
            for at, operation in enumerate(operations):
                operation.ok(self.now(), answer(result, at))
            outcome = result
        seconds = self.loop.time() - begun
        if seconds > seconds_max + SLACK_SECONDS:
            self.world.fail(
                f"a call hangs: {self.name} waited {seconds:.2f} s with a timeout of "
                f"{seconds_max:g} s: {operations[0] if operations else outcome!r}"
            )
        return outcome

    def _operation(self, caller: str, call: Call, item: str = "") -> Operation:
        operation = self.world.new_operation(f"{caller}/{self.life}", call, self.now())
        operation.item = item
        return operation

    # ------------------------------------------------------------ the log

    async def _append_on(self, caller: str) -> None:
        client = self.client
        while not self.world.is_ending:
            await self._pause()
            timeout = self._timeout()
            payloads = [self._payload(caller)]
            if self.dice.random() < 0.2:
                payloads += [self._payload(caller) for _ in range(self.dice.randint(1, 4))]
            operations = [self._operation(caller, Append(), each.decode()) for each in payloads]
            stream = self.dice.choice((ALL, ALL, STREAM))
            if len(payloads) == 1:
                receipt = await self._ask(
                    operations,
                    timeout,
                    client.log.append(payloads[0], stream=stream, timeout=timeout),
                    lambda receipt, _: Appended(receipt.sequence),
                )
                if isinstance(receipt, Receipt):
                    self._check_committed("a receipt names", receipt.index)
                if isinstance(receipt, Receipt) and self.dice.random() < 0.2:
                    await self._get_back(receipt.sequence, payloads[0], timeout)
            else:
                await self._ask(
                    operations,
                    timeout,
                    client.log.append_many(payloads, stream=stream, timeout=timeout),
                    _sequence_at,
                )

    def _check_committed(self, what: str, index: int) -> None:
        last = self.world.record.last_index
        if index > last:
            self.world.fail(f"told when committed: {what} index {index}; committed is {last}")

    async def _get_back(self, sequence: int, payload: bytes, seconds_max: float) -> None:
        """Ask for what was acknowledged: it is there, unless nobody answers or it was purged."""
        call = self.client.log.get(sequence, timeout=seconds_max)
        found = await self._ask([], seconds_max, call, _no_answer)
        if isinstance(found, NotFound):
            self.world.fail(f"read your writes: {sequence} was acknowledged, and {found}")
        elif isinstance(found, Transaction) and found.payload != payload:
            self.world.fail(
                f"read your writes: {sequence} holds {found.payload!r}, not {payload!r}"
            )
        else:
            self.world.count("got_back")

    async def _use_session(self, saved: Saved) -> None:
        """Append groups in a session that outlives this process, each until it is answered."""
        client = self.client
        while not (self.world.is_ending and not saved.payloads):
            await self._pause()
            if self.dice.random() < LONG_PAUSE_CHANCE and not self.world.is_ending:
                await asyncio.sleep(LONG_PAUSE_SECONDS)  # others' sessions go on; this one may end
            timeout = self._timeout()
            if saved.state is None:
                opened = await self._ask(
                    [], timeout, client.log.open_session(timeout=timeout), _no_answer
                )
                if isinstance(opened, RaftLogError):
                    if self.world.is_ending:
                        return
                    continue
                saved.state, saved.groups = opened.state, 0
                await opened.close()
            await self._append_once(saved, timeout)

    async def _append_once(self, saved: Saved, seconds_max: float) -> None:
        state = saved.state
        if state is None:
            return
        if not saved.payloads:
            saved.payloads = [self._payload(saved.name) for _ in range(self.dice.randint(1, 3))]
            saved.operations = [
                self._operation(saved.name, Append(), each.decode()) for each in saved.payloads
            ]
            saved.operations[0].session, saved.operations[0].number = state.session, state.number
        else:
            self.world.count("session_resumed")
        async with self.client.log.resume_session(state) as session:
            outcome = await self._ask(
                [], seconds_max, session.append(saved.payloads, timeout=seconds_max), _no_answer
            )
            if isinstance(outcome, SessionExpired):
                self.world.count("session_expired")
                saved.state, saved.payloads = None, []
            elif not isinstance(outcome, RaftLogError):
                for operation, receipt in zip(saved.operations, outcome, strict=True):
                    operation.ok(self.now(), Appended(receipt.sequence))
                saved.state, saved.payloads = session.state, []

    async def _follow(self, number: int) -> None:
        seen, stream = self.seen[number], self.streams[number]
        if stream:
            await self._be_late()
        while True:
            after = seen[-1].sequence if seen else self.starts[number]
            tail = self.client.log.tail(
                after,
                stream=stream or None,
                commands=True,
                follow=True,
                member=self._witness(),
                timeout=60.0,
            )
            try:
                async with contextlib.aclosing(tail) as transactions:
                    async for transaction in transactions:
                        self._check_committed("a tail showed", transaction.index)
                        seen.append(transaction)
            except Compacted:
                self.world.count("subscriber_compacted")
                seen.clear()
                self.starts[number] = self.world.newest_boundary() - 1
            except RaftLogError:
                self.world.count("tail_interrupted")
            await asyncio.sleep(0.05)

    def _witness(self) -> str | None:
        """Return a witness for a tail to ask alone, now and then, where it stays one for good."""
        knobs = self.world.knobs
        if not knobs.witnesses or knobs.operators or self._places.random() < 0.5:
            return None
        self.world.count("tail_at_witness")
        founders = self.world.members[: knobs.voters]
        return self._places.choice(founders[-knobs.witnesses :]).name

    async def _watch(self, number: int) -> None:
        seen = self.watched[number]
        await self._be_late()
        while True:
            after = seen[-1].revision if seen else self.watch_starts[number]
            watch = self.client.kv.watch(prefix=b"k", after_revision=after, timeout=60.0)
            try:
                async with contextlib.aclosing(watch) as changes:
                    async for change in changes:
                        seen.append(change)
            except Compacted:
                self.world.count("watch_compacted")
                seen.clear()
                self.watch_starts[number] = self.world.newest_boundary() - 1
            except RaftLogError:
                self.world.count("watch_interrupted")
            await asyncio.sleep(0.05)

    async def _be_late(self) -> None:
        """Let entries gather, so that a reader has whole pages of them before it."""
        await asyncio.sleep(self.dice.uniform(0.0, LATE_SECONDS_MAX))

    # ------------------------------------------------------------ keys

    def _consistency(self) -> dict[str, str]:
        """Return how to read; each of these ways is linearizable."""
        match self.dice.choice(("leader", "lease", "follower", "member")):
            case "lease":
                return {"consistency": "lease"}
            case "follower":
                return {"consistency": "follower"}
            case "member":
                return {"member": self.dice.choice(self.world.members).name}
            case _:
                return {}

    async def _use_keys(self, caller: str) -> None:
        kv = self.client.kv
        revisions: dict[str, int] = {}
        while not self.world.is_ending:
            await self._pause()
            timeout, key = self._timeout(), f"k{self.dice.randrange(self._work.keys)}"
            value = self._payload(caller)
            name, item = key.encode(), value.decode()
            match self.dice.choice(("put", "get", "get", "swap", "swap", "delete")):
                case "put":
                    await self._ask(
                        [self._operation(caller, Put(key, item), item)],
                        timeout,
                        kv.put(name, value, timeout=timeout),
                        lambda result, _: Written(result.revision),
                    )
                case "get":
                    found = await self._ask(
                        [self._operation(caller, Get(key))],
                        timeout,
                        kv.get(name, timeout=timeout, **self._consistency()),
                        lambda entry, _: (
                            Absent()
                            if entry is None
                            else Found(entry.value.decode(), entry.revision)
                        ),
                    )
                    if not isinstance(found, RaftLogError):
                        revisions[key] = 0 if found is None else found.revision
                case "swap":
                    revision = revisions.get(key, 0)
                    await self._ask(
                        [self._operation(caller, CompareAndSet(key, item, revision), item)],
                        timeout,
                        kv.compare_and_swap(name, value, revision=revision, timeout=timeout),
                        lambda result, _: Written(
                            result.receipt.sequence,
                            result.succeeded,
                            "" if result.current is None else result.current.value.decode(),
                            0 if result.current is None else result.current.revision,
                        ),
                    )
                case _:
                    await self._ask(
                        [self._operation(caller, Delete(key))],
                        timeout,
                        kv.delete(name, timeout=timeout),
                        lambda result, _: Written(result.receipt.sequence, result.deleted > 0),
                    )


def _sequence_at(receipts: list[Receipt], at: int) -> Answer:
    return Appended(receipts[at].sequence)


def _no_answer(_result: object, _at: int) -> Answer:
    return Absent()
