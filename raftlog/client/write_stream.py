"""The write path: many awaiting callers, one group at a time, one stream to the leader.

Theory of operation. `submit` puts a transaction at the end of the pending batches and returns a
future; nothing else happens per transaction. One sender coroutine owns the stream's `write`: it
wakes once per loop iteration, so all callers that were woken by one answer and call again are
packed into one group. With few groups in flight, what arrives meanwhile gathers into the next one.
One reader coroutine owns `read` and answers the callers. Deadlines are kept by a sweep every few
milliseconds, not by a timer per call.

Callers that wait in step end up in one group per round trip. Splitting them over several groups in
flight was measured, and is slower wherever processors are what is short: a group costs its messages
on four processes, whatever its size.

`session.Window` decides what every answer means; this module only does what it says. When the
stream ends or the leader refuses, the loop in `_run` finds the leader, opens a stream there and
sends every unanswered group again, byte for byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc

from raftlog.client.connections import Connections, Leader
from raftlog.client.routing import Backoff, Recourse, judge, timed_out
from raftlog.client.session import Batch, Place, SentGroup, Settlement, Window
from raftlog.client.values import Receipt, of_lineage
from raftlog.errors import (
    ConnectFailed,
    Indeterminate,
    InvalidInput,
    Overloaded,
    RaftLogError,
    SessionExpired,
    Unavailable,
    WrongCluster,
)
from raftlog.groups import TRANSACTION_COUNT_MAX, Tag
from raftlog.text import reason
from raftlog.wire import status
from raftlog.wire.pb import log_pb2, types_pb2

if TYPE_CHECKING:
    WriteCall = grpc.aio.StreamStreamCall[log_pb2.WriteRequest, log_pb2.WriteReply]

OPEN_SESSION_SECONDS = 2.0
CLOSE_SESSION_SECONDS = 0.5
SEARCH_SECONDS = 1.0
STREAM_OPEN_SECONDS = 0.5
DRAIN_SECONDS = 0.05
LIVENESS_SECONDS = 0.25


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WriterSettings:
    """Bounds and pace of a writer.

    `in_flight_max`: groups unanswered at once (the server's own limit is 64); few make them large.
    `silence_seconds`: after so long without an answer to an open group, it is asked who leads.
    `answer_seconds`: after so long the group is sent again on a new stream, whoever leads.
    """

    in_flight_max: int = 4
    pending_bytes_max: int = 64 * 1024 * 1024
    pending_count_max: int = 100_000
    sweep_seconds: float = 0.02
    silence_seconds: float = 0.5
    answer_seconds: float = 5.0


class Writer:
    """All writes of one client. Loop-bound; every method is called on the client's loop.

    With `window` it continues that session alone, and never opens another.
    """

    def __init__(
        self,
        connections: Connections,
        settings: WriterSettings | None = None,
        window: Window | None = None,
    ) -> None:
        self.connections = connections
        self._settings = settings or WriterSettings()
        self._loop = asyncio.get_running_loop()
        self._window = window
        self._is_pinned = window is not None
        self._pending: deque[Batch] = deque()
        self._pending_bytes = 0
        self._pending_count = 0
        self._order = 0
        self._abandoned = False
        self._commands_max = TRANSACTION_COUNT_MAX
        """How many transactions a group should hold: less where commands do much each."""
        self._room: deque[tuple[asyncio.Future[None], float]] = deque()
        self._granted = 0
        self._wake: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._runner: asyncio.Task[None] | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._ending: asyncio.Future[None] = self._loop.create_future()
        self._rewind: Recourse | None = None
        self._server_id = 0
        self._refusal: RaftLogError | None = None
        self._backoff = Backoff(0.01, 2.0, 0.1, connections.dice)
        self._is_closing = False
        self._is_closed = False

    # ---------------------------------------------------------------- callers

    @property
    def is_full(self) -> bool:
        """Whether a caller must `wait_room` first; also when others wait, so that order is kept."""
        settings = self._settings
        return (
            self._pending_bytes >= settings.pending_bytes_max
            or self._pending_count >= settings.pending_count_max
            or self._granted > 0
            or bool(self._room)
        )

    async def wait_room(self, deadline: float) -> None:
        """Wait until there is room for one more call; raises a definite `Overloaded`."""
        self._check_open()
        future: asyncio.Future[None] = self._loop.create_future()
        self._room.append((future, deadline))
        self._start()
        try:
            await future
        finally:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._granted -= 1
                self._loop.call_soon(self._grant_room)

    def submit(self, payload: bytes, tag: Tag, deadline: float) -> asyncio.Future[Place]:
        """Queue one transaction; the future gets its place, or an error with its one fact."""
        pending = self._pending
        future: asyncio.Future[Place] = self._loop.create_future()
        limit = self.connections.limits.group_bytes_max
        if not pending or not pending[-1].add(payload, tag, future, deadline, limit):
            self._new_batch(tag).add(payload, tag, future, deadline)
        self._pending_bytes += len(payload)
        self._pending_count += 1
        if self._wake is not None:
            self._wake_up()
        elif self._sweep_timer is None:
            self._start()
        return future

    def submit_whole(
        self, payloads: Sequence[bytes], tag: Tag, deadline: float
    ) -> asyncio.Future[Place]:
        """Queue a group's worth of transactions with one answer: the place of the first."""
        batch = self._new_batch(tag)
        future: asyncio.Future[Place] = self._loop.create_future()
        batch.fill(payloads, future, deadline)
        self._pending_bytes += batch.size_bytes
        self._pending_count += len(payloads)
        self._wake_up()
        self._start()
        return future

    def abandoned(self) -> None:
        """Note that a caller went away; what is not packed yet is dropped before it is."""
        self._abandoned = True

    async def close(self, timeout_seconds: float) -> None:
        """Wait for what is under way, then fail what is left; later calls fail definitely."""
        self._is_closing = True
        ends_at = self._loop.time() + timeout_seconds
        if self._has_callers() and timeout_seconds > 0:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.wait({self._drained}, timeout=timeout_seconds)
            self._drained.cancel()
        self._is_closed = True
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._fail_all("the client was closed before the answer came")
        await self._close_session(ends_at - self._loop.time())

    async def _close_session(self, seconds: float) -> None:
        """Tell the leader that the session is not used any more, if that takes no time."""
        window, leader = self._window, self.connections.known_leader
        self._window = None
        if window is None or self._is_pinned or leader is None or seconds <= 0:
            return
        request = log_pb2.CloseSessionRequest(session=window.session)
        with contextlib.suppress(grpc.aio.AioRpcError, RaftLogError):
            await leader.peer.log.CloseSession(request, timeout=min(seconds, CLOSE_SESSION_SECONDS))

    # ---------------------------------------------------------------- pending

    def _check_open(self) -> None:
        if self._is_closing:
            raise Unavailable("the client is closed")

    def _new_batch(self, tag: Tag) -> Batch:
        self._check_open()
        self._order += 1
        batch = Batch(self._order, tag)
        self._pending.append(batch)
        return batch

    def _requeue(self, batch: Batch) -> None:
        batch.drop_done()
        if not batch.payloads:
            return
        pending = self._pending
        at = 0
        while at < len(pending) and pending[at].order < batch.order:
            at += 1
        pending.insert(at, batch)
        self._pending_bytes += batch.size_bytes
        self._pending_count += len(batch.payloads)

    def _take_pending(self) -> Batch | None:
        if self._abandoned:
            self._compact()
        if not self._pending:
            return None
        batch = self._pending.popleft()
        self._pending_bytes -= batch.size_bytes
        self._pending_count -= len(batch.payloads)
        if self._room:
            self._grant_room()
        return batch

    def _compact(self) -> None:
        self._abandoned = False
        for batch in self._pending:
            batch.drop_done()
        self._pending = deque(batch for batch in self._pending if batch.payloads)
        self._pending_bytes = sum(batch.size_bytes for batch in self._pending)
        self._pending_count = sum(len(batch.payloads) for batch in self._pending)
        self._grant_room()

    def _grant_room(self) -> None:
        settings = self._settings
        while self._room and (
            self._pending_bytes < settings.pending_bytes_max
            and self._pending_count + self._granted < settings.pending_count_max
            and self._granted < 64
        ):
            future, _ = self._room.popleft()
            if not future.done():
                self._granted += 1
                future.set_result(None)

    # ---------------------------------------------------------------- life

    def _start(self) -> None:
        if self._sweep_timer is None and not self._is_closed:
            self._sweep_timer = self._loop.call_later(self._settings.sweep_seconds, self._sweep)
        if self._runner is None:
            self._runner = self._loop.create_task(self._run())

    def _wake_up(self) -> None:
        wake = self._wake
        if wake is not None:
            self._wake = None
            if not wake.done():
                wake.set_result(None)
            if self._sweep_timer is None:
                self._start()

    async def _sleep_until_woken(self) -> None:
        self._wake = self._loop.create_future()
        await self._wake

    def _stop_stream(self) -> None:
        self._stopping = True
        if not self._ending.done():
            self._ending.set_result(None)
        self._wake_up()

    def _has_work(self) -> bool:
        return bool(self._pending or (self._window is not None and self._window.groups))

    def _has_callers(self) -> bool:
        if self._pending or self._room:
            return True
        groups = self._window.groups.values() if self._window is not None else ()
        return any(not waiter.done() for group in groups for waiter in group.batch.waiters)

    async def _run(self) -> None:
        while True:
            while not self._has_work():
                await self._sleep_until_woken()
            try:
                await self._run_once()
            except Exception as error:  # noqa: BLE001 - whatever it is, no caller may hang on it
                self._fail_all(f"the client failed: {reason(error)}")
                if not self._is_pinned:
                    self._window = None
                await asyncio.sleep(self._backoff.pause())

    async def _run_once(self) -> None:
        """Find the leader and use one stream there."""
        try:
            leader = await self.connections.leader(self._loop.time() + SEARCH_SECONDS)
        except Unavailable:
            # The search has waited already, unless the client was closed under this writer.
            await asyncio.sleep(self._backoff.pause() if self.connections.is_closed else 0)
            return
        except WrongCluster as error:
            # What was sent before to the right one stays open until its callers' time is over.
            self._refusal = error
            self._fail_pending(error)
            await asyncio.sleep(self._backoff.pause())
            return
        try:
            await self._open_session(leader)
            verdict = await self._serve(leader)
        except RaftLogError as error:
            verdict = self._note_refusal(error)
        except grpc.aio.AioRpcError as error:
            verdict = self._note_refusal(status.from_rpc_error(error, sent=False))
        if verdict is not None:
            self.connections.forget(leader.peer.address)
        if verdict is Recourse.LATER:
            await asyncio.sleep(self._backoff.pause())

    def _note_refusal(self, error: RaftLogError) -> Recourse:
        self._refusal = error
        self.connections.take_hint(error)
        verdict = judge(error)
        if verdict is Recourse.FINAL or (verdict is Recourse.EXPIRED and self._is_pinned):
            self._fail_pending(error)
        return verdict

    def _fail_pending(self, error: RaftLogError) -> None:
        batches, self._pending = self._pending, deque()
        for batch in batches:
            batch.fail(error)
        self._compact()

    async def _open_session(self, leader: Leader) -> None:
        window = self._window
        if window is not None and not window.is_finished:
            return
        if self._is_pinned:
            raise SessionExpired("the session cannot go on; nothing was sent")
        reply = await leader.peer.log.OpenSession(types_pb2.Empty(), timeout=OPEN_SESSION_SECONDS)
        self._window = Window(reply.session)

    # ---------------------------------------------------------------- the stream

    async def _serve(self, leader: Leader) -> Recourse | None:
        """Use one stream until it ends; return why the leader should be looked for again."""
        window = self._window
        if window is None:
            return None
        self._server_id = leader.gtid_server_id
        call = leader.peer.log.Write()
        self._stopping = False
        self._ending = self._loop.create_future()
        self._rewind = None
        window.stream_opened()
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(call, window))
                sender = tasks.create_task(self._send(call, window))
                watch = tasks.create_task(self._watch_silence(leader, window))
                await asyncio.wait(
                    {reader, sender, self._ending}, return_when=asyncio.FIRST_COMPLETED
                )
                if window.has_open and not reader.done():
                    await asyncio.wait({reader}, timeout=DRAIN_SECONDS)
                for task in (reader, sender, watch):
                    task.cancel()
        finally:
            call.cancel()
            self._do(window.stream_lost())
        return self._rewind

    async def _send(self, call: WriteCall, window: Window) -> None:
        try:
            async with asyncio.timeout(STREAM_OPEN_SECONDS):
                await call.wait_for_connection()
            while not self._stopping:
                group = self._next_group(window)
                if group is None:
                    if window.is_finished:
                        return
                    await self._sleep_until_woken()
                    continue
                group.open = True
                group.sent_at = self._loop.time()
                await call.write(log_pb2.WriteRequest(group=group.frame))
        except TimeoutError:
            self._rewind = Recourse.ELSEWHERE
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The stream has ended; the reader learns why.
            return

    def _next_group(self, window: Window) -> SentGroup | None:
        group = window.next_unsent()
        if group is not None:
            return group
        if window.is_closing or len(window.groups) >= self._settings.in_flight_max:
            return None
        limits = self.connections.limits
        while (batch := self._take_pending()) is not None:
            # Sizes are checked before a number is taken: one that is too large harms no other.
            if batch.size_bytes > limits.transaction_bytes_max:
                batch.refuse_over(limits.transaction_bytes_max)
            rest = batch.cut(limits.group_bytes_max, self._commands_max)
            if rest is not None:
                self._requeue(rest)
            if batch.payloads:
                try:
                    return window.admit(batch)
                except Exception as error:
                    batch.fail(InvalidInput(f"it cannot be sent: {reason(error)}"))
                    raise
        return None

    async def _read(self, call: WriteCall, window: Window) -> None:
        answered = False
        try:
            while not self._stopping or window.has_open:
                reply = await call.read()
                if not isinstance(reply, log_pb2.WriteReply):
                    break  # grpc.aio.EOF
                answered = True
                for group_reply in reply.replies:
                    self._take(group_reply, window)
                if self._pending or self._stopping or window.is_closing:
                    self._wake_up()
                if self._drained is not None:
                    self._note_drained()
            self._rewind = self._rewind or Recourse.ELSEWHERE
        except grpc.aio.AioRpcError as error:
            # What this side wrote to the stream decides whether anything can have happened.
            refusal = status.from_rpc_error(error, sent=window.has_open)
            self._stream_failed(refusal, window, answered=answered)
        finally:
            self._stop_stream()

    def _stream_failed(self, error: RaftLogError, window: Window, *, answered: bool) -> None:
        self._rewind = self._rewind or Recourse.ELSEWHERE
        if answered or not error.definite:
            return
        if isinstance(error, ConnectFailed | WrongCluster) or judge(error) is Recourse.FINAL:
            # Refused before any group was looked at: that is an answer to each of them.
            self._refusal = error
            for number in list(window.groups):
                self._do(window.refused(number, error))

    def _take(self, reply: log_pb2.GroupReply, window: Window) -> None:
        if reply.session != window.session:
            return
        if reply.HasField("error"):
            error = status.from_pb(reply.error)
            self._refusal = error
            self.connections.take_hint(error)
            self._do(window.refused(reply.number, error))
            return
        group = window.answered(reply.number)
        if group is None:
            return
        self._refusal = None
        self._backoff.reset()
        batch = group.batch
        if reply.count != group.count:
            batch.fail(Indeterminate(f"answer for {reply.count} of {group.count} transactions"))
        elif batch.whole or not (reply.results or reply.rejections or reply.deferred):
            batch.settle(reply.first_sequence, reply.term, reply.index, self._server_id)
        else:
            rejections = {rejection.offset: rejection.why for rejection in reply.rejections}
            kind = of_lineage(Receipt, self._server_id)
            receipt = kind(reply.first_sequence, reply.term, reply.index)
            deferred = frozenset(reply.deferred)
            batch.settle_commands(receipt, list(reply.results), rejections, deferred)
            if deferred:
                self._commands_max = max(min(deferred), 1)
                self._requeue(batch.take(sorted(deferred), batch.order))
            elif self._commands_max < TRANSACTION_COUNT_MAX:
                self._commands_max *= 2

    def _do(self, settlement: Settlement) -> None:
        for batch, error in settlement.failed:
            batch.fail(error)
        for batch in settlement.requeued:
            self._requeue(batch)
        if settlement.rewind is not None:
            if self._rewind is not Recourse.LATER:
                self._rewind = settlement.rewind
            self._stop_stream()

    async def _watch_silence(self, leader: Leader, window: Window) -> None:
        """Leave a stream whose leader is silent, if another node leads by now or for long.

        A host that vanished resets nothing; its stream would stay open for a long time.
        """
        settings = self._settings
        while True:
            await asyncio.sleep(LIVENESS_SECONDS)
            silence = self._loop.time() - window.oldest_open_at
            if silence < settings.silence_seconds:
                continue
            answer = await self.connections.newest_leader()
            is_deposed = answer is not None and answer.served_by != leader.node_id
            if is_deposed or silence >= settings.answer_seconds:
                self._rewind = Recourse.ELSEWHERE
                self._stop_stream()
                return

    # ---------------------------------------------------------------- deadlines

    def _sweep(self) -> None:
        self._sweep_timer = None
        now = self._loop.time()
        for batch in self._pending:
            if batch.deadline_min <= now and batch.expire(now, self._pending_error()):
                self._abandoned = True
        for future, deadline in self._room:
            if deadline <= now and not future.done():
                future.set_exception(
                    Overloaded("the client has too much pending; nothing was sent")
                )
        if self._window is not None:
            self._do(self._window.sweep(now))
        if self._abandoned:
            self._compact()
        while self._room and self._room[0][0].done():
            self._room.popleft()
        if self._drained is not None:
            self._note_drained()
        if self._has_work() or self._room:
            self._start()

    def _pending_error(self) -> RaftLogError:
        refusal = self._refusal
        if refusal is not None and judge(refusal) in {Recourse.LATER, Recourse.FINAL}:
            return timed_out(refusal)
        return self.connections.no_answer()

    def _note_drained(self) -> None:
        if self._drained is not None and not self._drained.done() and not self._has_callers():
            self._drained.set_result(None)

    def _fail_all(self, why: str) -> None:
        """Answer every caller: what was never sent, definitely."""
        never, maybe = Unavailable(f"{why}; it was not sent"), Indeterminate(why)
        for batch in self._pending:
            batch.fail(never)
        self._compact()
        for future, _ in self._room:
            if not future.done():
                future.set_exception(Unavailable(never.message))
        if self._window is not None:
            for group in self._window.groups.values():
                group.batch.fail(never if group.is_refused else maybe)
            self._window.groups.clear()
