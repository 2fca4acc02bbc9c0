"""Log.Write: groups in, answers out, on one stream.

Theory of operation. One coroutine per stream reads a group, checks its size and submits it; the
node answers by calling back on the loop, perhaps at once. Answers gather in a list, and everything
in it leaves as ONE WriteReply, since the cost is per message. Each is encoded by itself, as a
WriteReply of one, for encodings laid end to end are one message with all of their replies
(protobuf's encoding guide): what is large is copied no more often than it must. The write is begun
from the loop's next turn, so the answers of one round share a message, and it needs no task; the
last outstanding answer leaves at once, unless it is large and has taken its time already.

Two bounds turn into backpressure by not reading: groups outstanding, and bytes of answers that the
client has not read. A client that reads nothing for long loses its stream. A client that went away
leaves callbacks behind, which do nothing.
"""

from __future__ import annotations

import asyncio
import bisect
import collections
import functools
import time

from raftlog import groups
from raftlog.errors import Overloaded, RaftLogError, TooLarge
from raftlog.interfaces import SECONDS_BUCKETS, GroupReceipt, Histogram, NodePort
from raftlog.rpc.convert import parse
from raftlog.rpc.methods import Context, read
from raftlog.rpc.services.submit import check_size
from raftlog.rpc.settings import ServerSettings
from raftlog.rpc.writer import StreamWriter
from raftlog.wire.pb import log_pb2 as pb
from raftlog.wire.status import to_pb

LARGE_BYTES = 1 << 18
"""An answer of this size is written in a turn of the loop of its own."""
ANSWERING_MAX = 8
"""Groups of commands outstanding: each answer may be as large as one entry's results."""


class WriteStream:
    """One client's stream of groups. Invariant: each group read is answered exactly once."""

    def __init__(
        self, node: NodePort, settings: ServerSettings, context: Context, took: Histogram
    ) -> None:
        self._node = node
        self._took = took
        self._settings = settings
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._writer = StreamWriter(context.write, self._produce)
        self._replies: collections.deque[bytes] = collections.deque()
        self._reply_bytes = 0
        self._outstanding = 0
        self._answering = 0
        self._is_scheduled = False
        self._is_closed = False
        self._change: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Serve the stream until the client half-closes it and every group is answered.

        Raises:
            InvalidInput: what came does not parse as a WriteRequest.
            Overloaded: the client reads none of its answers.
        """
        try:
            while True:
                while not self._has_room():
                    await self._wait_room()
                data = await read(self._context)
                if data is None:
                    break
                self._take(self._parse(data))
            while self._outstanding:
                await self._wait_change()
            await self._writer.wait_idle()
        finally:
            self._is_closed = True
            self._writer.stop()
            self._replies.clear()

    def _parse(self, data: bytes) -> bytes:
        try:
            return parse(pb.WriteRequest, data).group
        except RaftLogError as error:
            # The error ends the stream, so it speaks for the groups before it as well.
            raise (error.indefinite() if self._outstanding else error) from None

    def _take(self, group: bytes) -> None:
        count, session, number = groups.peek(group)
        self._outstanding += 1
        answering = int(groups.has_commands(group))
        self._answering += answering
        respond = functools.partial(self._respond, session, number, answering, time.monotonic())
        try:
            check_size(group, count, self._settings)
        except TooLarge as error:
            respond(error)
            return
        self._node.submit(group, respond)

    def _respond(
        self,
        session: int,
        number: int,
        answering: int,
        came_at: float,
        outcome: GroupReceipt | RaftLogError,
    ) -> None:
        if self._is_closed:
            return
        # Histogram.add, in line: this is a leader's round, and each call in it is counted.
        seconds = time.monotonic() - came_at
        self._took.counts[bisect.bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self._took.total += seconds
        self._outstanding -= 1
        self._answering -= answering
        reply = _encode(session, number, outcome)
        self._replies.append(reply)
        self._reply_bytes += len(reply)
        if self._change is not None:
            self._tell_change()
        if self._is_scheduled or self._writer.is_writing:
            return
        if not self._outstanding and len(reply) < LARGE_BYTES:
            self._writer.go_on()  # the last one has no company to wait for
        else:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        self._writer.kick()

    def _produce(self) -> bytes | None:
        queue = self._replies
        if not queue:
            return None
        batch = [queue.popleft()]
        size, size_max = len(batch[0]), self._settings.reply_bytes_max
        while queue and size + len(queue[0]) <= size_max:
            reply = queue.popleft()
            batch.append(reply)
            size += len(reply)
        self._reply_bytes -= size
        if self._change is not None:
            self._tell_change()
        return batch[0] if len(batch) == 1 else b"".join(batch)

    def _has_room(self) -> bool:
        return (
            self._outstanding < self._settings.session_groups_max
            and self._answering < ANSWERING_MAX
            and self._reply_bytes < self._settings.subscriber_bytes_max
        )

    async def _wait_room(self) -> None:
        if self._reply_bytes < self._settings.subscriber_bytes_max:
            await self._wait_change()
            return
        try:
            async with asyncio.timeout(self._settings.stuck_seconds):
                await self._wait_change()
        except TimeoutError:
            raise Overloaded(
                f"{self._reply_bytes} bytes of answers were not read for "
                f"{self._settings.stuck_seconds:g} s",
                definite=False,
            ) from None

    async def _wait_change(self) -> None:
        self._change = self._loop.create_future()
        try:
            await self._change
        finally:
            self._change = None

    def _tell_change(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)


def _encode(session: int, number: int, outcome: GroupReceipt | RaftLogError) -> bytes:
    """Return the answer to one group, as a WriteReply of its own."""
    message = pb.WriteReply()
    reply = message.replies.add(session=session, number=number)
    if isinstance(outcome, RaftLogError):
        reply.error.CopyFrom(to_pb(outcome))
        return message.SerializeToString()
    reply.first_sequence = outcome.first_sequence
    reply.count = outcome.count
    reply.term = outcome.term
    reply.index = outcome.index
    for offset, result in enumerate(outcome.results):
        reply.results.append(result.value)
        if result.deferred:
            reply.deferred.append(offset)
        if result.rejected is not None:
            reply.rejections.add(offset=offset, why=result.rejected)
    return message.SerializeToString()
