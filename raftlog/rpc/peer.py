"""The transport between nodes: two ordered gRPC streams per peer and direction.

Theory of operation. Each node opens Bulk and Control to every peer (`links`), and serves the ones
that peers open to it (`inbound`, behind `services/raft.py`). Requests leave on our own streams,
responses on the stream their requests came by. `send` begins the write itself when the stream is
idle (`writer`), so nothing stands between the node and gRPC; a received message reaches
`PeerEvents.receive` in the coroutine that read it. Whatever cannot be sent now is dropped and
counted: Raft repeats what matters.

The rule that keeps it honest: no message passes in either direction before the handshake has
checked cluster, ids, data directory and certificate on that very stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping
from typing import get_args

import grpc

from raftlog.core import messages
from raftlog.core.messages import Message
from raftlog.errors import DiskFull, InvariantBroken, RaftLogError, Unavailable
from raftlog.interfaces import Event, Identity, Measure, Observer, PeerEvents, SnapshotInfo
from raftlog.rpc import convert, snapshots
from raftlog.rpc.handshake import Handshake, Refusals, level_of
from raftlog.rpc.inbound import Inbound, InboundStreams
from raftlog.rpc.links import Channel, Link
from raftlog.rpc.pace import Pace, Voters
from raftlog.rpc.settings import TransportSettings
from raftlog.rpc.snapshots import SnapshotStore
from raftlog.types import NodeId
from raftlog.wire.pb import raft_pb2 as pb
from raftlog.wire.status import from_rpc_error

_RESPONSES = frozenset(
    {
        messages.PreVoteResponse,
        messages.VoteResponse,
        messages.AppendResponse,
        messages.HeartbeatResponse,
        messages.TrialVoteResponse,
        messages.ReadIndexResponse,
    }
)
_GOODBYE = pb.PeerMessage(goodbye=pb.Goodbye()).SerializeToString()


_ROUTES: dict[type[Message], tuple[Channel, bool]] = {
    kind: (
        Channel.BULK if kind in messages.BULK_MESSAGES else Channel.CONTROL,
        kind in _RESPONSES,
    )
    for kind in get_args(Message)
}
"""On which channel each kind goes, and whether it answers on the stream its request came by."""


class _Encoder:
    """Encodes a message once, however many peers it goes to in a row (a leader's entries do)."""

    __slots__ = ("_bytes", "_message")

    def __init__(self) -> None:
        self._message: Message | None = None
        self._bytes = b""

    def encode(self, message: Message) -> bytes:
        """Return the bytes of the PeerMessage that carries `message`."""
        if message is not self._message:
            self._bytes = convert.encode(message)
            self._message = message
        return self._bytes


class GrpcTransport:
    """Implements `interfaces.Transport`. Loop-bound; `services/raft.py` feeds its inbound side."""

    def __init__(
        self, *, store: SnapshotStore, observer: Observer, settings: TransportSettings
    ) -> None:
        self.settings = settings
        self.observer = observer
        self._store = store
        self._refusals = Refusals(observer)
        self._twins: set[NodeId] = set()
        """Peers of which two processes spoke, until one of them is heard again."""
        self._directories: dict[NodeId, str] = {}
        """The instance id that each peer's newest stream showed."""
        self._links: dict[NodeId, dict[Channel, Link]] = {}
        self._link_tasks: dict[Link, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: dict[NodeId, asyncio.Task[None]] = {}
        self._inbound = InboundStreams()
        self._voters = Voters()
        self._own_id = NodeId("")
        self._events: PeerEvents | None = None
        self._handshake: Handshake | None = None
        self._closing = False
        self._encoder = _Encoder()
        self.receiver = snapshots.Receiver(store, settings, self.receive)

    # ------------------------------------------------------------ the port

    def start(self, events: PeerEvents, identity: Identity) -> None:
        """Begin to accept and to deliver."""
        self._events, self._own_id = events, identity.node_id
        self._refusals.join(events.alarms)
        self._handshake = Handshake(events, identity, self.settings)

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Connect to these and drop all others; one whose address changed is connected anew."""
        for peer, links in list(self._links.items()):
            address = next(iter(links.values())).address
            if addresses.get(peer) != address:
                self._drop(peer)
        if self._closing:
            return
        for peer, address in addresses.items():
            if peer not in self._links:
                self._open(peer, address)

    def set_voters(self, voters: Collection[NodeId]) -> None:
        """Make none of these wait while it catches up."""
        self._voters.set(voters)

    def reconnect(self, peer: NodeId) -> None:
        """End the links to a peer that are up; each is opened anew."""
        for link in self._links.get(peer, {}).values():
            link.drop()

    def send(self, peer: NodeId, message: Message) -> None:
        """Begin to write one message, or queue it, or drop it. Never blocks."""
        channel, is_response = _ROUTES[type(message)]
        outbox = None
        if is_response:
            outbox = self._inbound.outbox(peer, channel)
        else:
            links = self._links.get(peer)
            if links is not None:
                outbox = links[channel].outbox
        if outbox is None or not outbox.push(self._encoder.encode(message)):
            self.observer.count(Measure.PEER_MESSAGES_DROPPED)

    def send_snapshot(self, peer: NodeId, term: int, info: SnapshotInfo) -> None:
        """Stream a snapshot in the background; one per peer at a time, a second is ignored."""
        links = self._links.get(peer)
        if self._handshake is None or self._closing or peer in self._sending:
            return
        if links is None:
            self._call_later_finished(peer)
            return
        outgoing = snapshots.Outgoing(
            hello=self._handshake.hello(peer),
            address=links[Channel.CONTROL].address,
            term=term,
            snapshot=info,
            votes=self._voters.event(peer),
        )
        task = self._spawn(self._send_snapshot(peer, outgoing), f"snapshot-to-{peer}")
        self._sending[peer] = task

    def is_connected(self, peer: NodeId) -> bool:
        """Whether both streams to `peer` are up."""
        links = self._links.get(peer)
        return links is not None and all(link.outbox is not None for link in links.values())

    @property
    def refusals(self) -> Mapping[NodeId, str]:
        """Return why peers were refused lately, by this node or by them."""
        return self._refusals.reasons

    async def announce_close(self) -> None:
        """Tell peers that this node leaves on purpose, and wait briefly until they heard it.

        After this nothing more is sent on the control streams, and no link is opened again.
        """
        self._closing = True
        told: list[asyncio.Task[None]] = []
        for link, task in self._link_tasks.items():
            link.is_leaving = True
            link.nudge()
            if link.channel is Channel.CONTROL and link.outbox is not None:
                link.outbox.push(_GOODBYE)
                told.append(task)
        if told:
            await asyncio.wait(told, timeout=self.settings.goodbye_seconds)

    async def close(self) -> None:
        """End all streams. `PeerEvents` hears nothing more, except from snapshots under way."""
        self._closing = True
        for peer in list(self._links):
            self._drop(peer)
        tasks: list[asyncio.Task[object]] = [*self._tasks, *self._inbound.end_all()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # ------------------------------------------------------------ links

    def link_up(self, link: Link, hello: pb.Hello) -> None:
        """Take a link into use."""
        events = self._started()
        if self._is_another_directory(link.peer, hello.instance_id):
            self._inbound.end_peer(link.peer)
            for other in self._links.get(link.peer, {}).values():
                if other is not link:
                    other.drop()
        self._refusals.clear(link.peer)
        events.peer_identified(link.peer, hello.instance_id, fresh=hello.fresh)
        events.machine_told(link.peer, hello.machine_versions, has_machine=not hello.no_machine)
        events.level_told(link.peer, level_of(hello))
        events.address_told(link.peer, hello.instance_id, hello.address)
        if self.is_connected(link.peer):
            self.observer.event(Event.PEER_CONNECTED, peer=link.peer, address=link.address)
            events.peer_connected(link.peer)

    def link_down(self, link: Link) -> None:
        """Note that a link ended."""
        self.observer.event(Event.PEER_LINK_DOWN, peer=link.peer, channel=link.channel.value)

    def link_refused(self, link: Link, error: RaftLogError, *, by: str) -> None:
        """Note that one side refused the other."""
        self._refusals.note(link.peer, error, by=by)

    def is_behind(self, message: messages.AppendRequest) -> bool:
        """Whether this node's leader has committed more than it is sent."""
        return bool(message.entries) and message.entries[-1].index < message.commit_index

    def own_pace(self) -> Pace:
        """Return at which pace this node takes what it lacks, for one stream."""
        votes = self._voters.event(self._own_id)
        return Pace(self.settings.catch_up_bytes_per_second, votes)

    def receive(self, source: NodeId, message: Message) -> None:
        """Hand one message to the node."""
        if self._events is not None and not self._closing:
            self._events.receive(source, message)

    # ------------------------------------------------------------ inbound, for services/raft.py

    @property
    def handshake(self) -> Handshake:
        """Return who judges Hellos. Raises `Unavailable` before the node has started."""
        if self._handshake is None or self._closing:
            raise Unavailable("this node is not ready for its peers, or is stopping")
        return self._handshake

    def refuse(self, peer: NodeId, error: RaftLogError) -> None:
        """Note that a peer's stream was refused here."""
        self._refusals.note(peer, error, by="us")

    def twins_found(self, peer: NodeId) -> None:
        """End every stream with a peer of which there are two; the node trusts no ack of it."""
        self._twins.add(peer)
        self._inbound.end_peer(peer)
        for link in self._links.get(peer, {}).values():
            link.drop()
        self._started().twins_found(peer)

    def inbound_up(self, stream: Inbound, hello: pb.Hello) -> None:
        """Take an inbound stream into use; its sender is there, so links to it retry at once."""
        events = self._started()
        if self._is_another_directory(stream.peer, hello.instance_id):
            # Before the stream is one of them: what the old process still says is not the new's.
            self._inbound.end_peer(stream.peer)
            for link in self._links.get(stream.peer, {}).values():
                link.drop()
        self._inbound.add(stream)
        if stream.peer in self._twins:
            self._twins.discard(stream.peer)
            self._refusals.clear(stream.peer)
        # The Hello that opens a stream may have waited long for the connection; an answer cannot.
        events.peer_identified(stream.peer, hello.instance_id, fresh=None if hello.fresh else False)
        events.address_told(stream.peer, hello.instance_id, hello.address)
        for link in self._links.get(stream.peer, {}).values():
            link.nudge()

    def _is_another_directory(self, peer: NodeId, instance_id: str) -> bool:
        """Whether a peer shows another directory than on its other streams; it counts from now on.

        Both processes may live: votes and acks of the old one must not pass for the new one's.
        """
        known = self._directories.get(peer)
        self._directories[peer] = instance_id
        return known not in {None, instance_id}

    def inbound_goodbye(self, stream: Inbound) -> None:
        """Note that the peer leaves on purpose."""
        self._inbound.announce(stream.peer)

    def inbound_down(self, stream: Inbound) -> None:
        """Note that an inbound stream ended, and tell the node if the peer is lost by it."""
        announced = self._inbound.remove(stream)
        if not self._inbound.has(stream.peer) and stream.peer not in self._links:
            self._directories.pop(stream.peer, None)  # whoever comes under any name leaves none
        if announced is None or self._closing:
            return
        self.observer.event(Event.PEER_LOST, peer=stream.peer, announced=announced)
        self._started().peer_lost(stream.peer, announced=announced)

    # ------------------------------------------------------------ privately

    def _started(self) -> PeerEvents:
        if self._events is None:
            raise InvariantBroken("the transport was used before start")
        return self._events

    def _open(self, peer: NodeId, address: str) -> None:
        handshake = self.handshake
        links = {
            channel: Link(peer, address, channel, self.settings, self.observer)
            for channel in Channel
        }
        self._links[peer] = links
        for link in links.values():
            name = f"link-{peer}-{link.channel.value}"
            self._link_tasks[link] = self._spawn(link.run(handshake, self), name)

    def _drop(self, peer: NodeId) -> None:
        self._refusals.clear(peer)
        for link in self._links.pop(peer).values():
            link.is_leaving = True
            self._link_tasks.pop(link).cancel()

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            why = f"{type(error).__name__}: {error}"
            self.observer.event(Event.TRANSPORT_TASK_FAILED, task=task.get_name(), why=why)

    async def _send_snapshot(self, peer: NodeId, outgoing: snapshots.Outgoing) -> None:
        delivered = no_room = False
        try:
            await snapshots.send(outgoing, self._store, self.settings)
            delivered = True
        except grpc.aio.AioRpcError as error:
            found = from_rpc_error(error, sent=True)
            no_room = isinstance(found, DiskFull)
            self._snapshot_failed(peer, found)
        except (RaftLogError, OSError, asyncio.InvalidStateError) as error:
            self._snapshot_failed(peer, snapshots.as_error(error))
        finally:
            self._sending.pop(peer, None)
            self._started().snapshot_finished(peer, delivered=delivered, no_room=no_room)

    def _snapshot_failed(self, peer: NodeId, error: RaftLogError) -> None:
        self.observer.event(Event.SNAPSHOT_FAILED, peer=peer, why=error.message)

    def _call_later_finished(self, peer: NodeId) -> None:
        events = self._started()
        asyncio.get_running_loop().call_soon(
            lambda: events.snapshot_finished(peer, delivered=False)
        )
