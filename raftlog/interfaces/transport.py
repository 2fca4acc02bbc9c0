"""The transport port: messages to peers, and what it tells the node about them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from raftlog.core.messages import Message
from raftlog.errors import IdentityMismatch
from raftlog.interfaces.alarms import Alarms
from raftlog.interfaces.storage import Identity, SnapshotInfo
from raftlog.types import Index, NodeId


class PeerEvents(Protocol):
    """What a transport tells the node; all calls on the node's loop, none of them blocks."""

    def receive(self, source: NodeId, message: Message) -> None:
        """Take one message from a peer whose identity was checked."""
        ...

    def peer_connected(self, peer: NodeId) -> None:
        """Both streams to `peer` passed the handshake."""
        ...

    def peer_lost(self, peer: NodeId, *, announced: bool) -> None:
        """Both streams FROM `peer` ended.

        `announced`: the peer said before that it would close them, so it did not crash.
        """
        ...

    def peer_identified(self, peer: NodeId, instance_id: str, *, fresh: bool | None) -> None:
        """A handshake showed the peer's instance id and whether its log is still empty.

        None: it said so, but maybe before this process began.
        """
        ...

    def machine_told(
        self, peer: NodeId, versions: Sequence[int], *, has_machine: bool = True
    ) -> None:
        """A handshake with the peer's present process told which machine versions its code has.

        `has_machine`: whether its directory keeps state, and so is sent it.
        """
        ...

    @property
    def feature_level(self) -> int:
        """Return the feature level in force at this node."""
        ...

    def level_told(self, peer: NodeId, level: int) -> None:
        """A handshake with the peer's present process told which feature level it can read."""
        ...

    def snapshot_finished(self, peer: NodeId, *, delivered: bool, no_room: bool = False) -> None:
        """An outgoing snapshot stream ended; `no_room`: the peer's disk has none for it."""
        ...

    def twins_found(self, peer: NodeId) -> None:
        """Two processes speak as `peer`: what it acked proves nothing."""
        ...

    def address_told(self, peer: NodeId, instance_id: str, address: str) -> None:
        """A handshake with the peer's present process told where it is reached; "" if not."""
        ...

    def check_peer(
        self, peer: NodeId, instance_id: str, membership_index: int, *, has_machine: bool = True
    ) -> IdentityMismatch | None:
        """Return why a handshake of that instance must be refused, or None.

        `membership_index` is that of the membership in force at the peer; `has_machine`: whether
        its directory keeps state.
        """
        ...

    @property
    def alarms(self) -> Alarms:
        """Return the board on which refused peers are told."""
        ...

    @property
    def is_fresh(self) -> bool:
        """Whether this node's log is empty."""
        ...

    @property
    def membership_index(self) -> Index:
        """Return the index of the membership in force."""
        ...


class Transport(Protocol):
    """Carries messages to peers: ordered per channel, bounded, lossy when a peer is away."""

    def start(self, events: PeerEvents, identity: Identity) -> None:
        """Begin to accept and to deliver."""
        ...

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Connect to these and drop all others."""
        ...

    def set_voters(self, voters: Collection[NodeId]) -> None:
        """Take who votes: a member that does is never made to wait while it catches up."""
        ...

    def reconnect(self, peer: NodeId) -> None:
        """End the streams to a peer and open new ones, which begin with a handshake."""
        ...

    def send(self, peer: NodeId, message: Message) -> None:
        """Queue one message, or drop it if the peer is away or its queue is full. Never blocks."""
        ...

    def send_snapshot(self, peer: NodeId, term: int, info: SnapshotInfo) -> None:
        """Stream a snapshot in the background; `PeerEvents.snapshot_finished` tells the end."""
        ...

    def is_connected(self, peer: NodeId) -> bool:
        """Whether streams to `peer` are up."""
        ...

    async def announce_close(self) -> None:
        """Tell peers that this node leaves on purpose, so that they do not take it for a crash."""
        ...

    async def close(self) -> None:
        """End all streams."""
        ...
