"""Ports that keep what they are told."""

from __future__ import annotations

from collections.abc import Callable

from raftlog.core.messages import Message
from raftlog.errors import IdentityMismatch
from raftlog.interfaces import Alarms
from raftlog.types import Index, NodeId


class RecordingObserver:
    """Keeps events and counts."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.counts: dict[str, int] = {}
        self.gauges: dict[str, float] = {}

    def event(self, name: str, **fields: str | float | bool | None) -> None:
        self.events.append((name, dict(fields)))

    def count(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount

    def measure(self, name: str, value: float) -> None:
        pass

    def gauge(self, name: str, value: float) -> None:
        self.gauges[name] = value

    def named(self, name: str) -> list[dict[str, object]]:
        return [fields for event, fields in self.events if event == name]


class RecordingEvents:
    """A PeerEvents that keeps what it is told. `refuse` maps an instance id to a reason."""

    def __init__(self) -> None:
        self.received: list[tuple[NodeId, Message]] = []
        self.connected: list[NodeId] = []
        self.lost: list[tuple[NodeId, bool]] = []
        self.identified: list[tuple[NodeId, str, bool | None]] = []
        self.twins: list[NodeId] = []
        self.levels: dict[NodeId, int] = {}
        self.feature_level = 1
        self.machines: dict[NodeId, tuple[int, ...]] = {}
        self.with_machine: dict[NodeId, bool] = {}
        self.kinds: dict[NodeId, bool] = {}
        """As each handshake was checked."""
        self.snapshots: list[tuple[NodeId, bool]] = []
        self.without_room: list[NodeId] = []
        self.refuse: dict[str, str | IdentityMismatch] = {}
        self.addresses: dict[NodeId, tuple[str, str]] = {}
        self.fresh = True
        self.on_receive: Callable[[NodeId, Message], None] | None = None
        self.alarms = Alarms(RecordingObserver())

    def receive(self, source: NodeId, message: Message) -> None:
        self.received.append((source, message))
        if self.on_receive is not None:
            self.on_receive(source, message)

    def peer_connected(self, peer: NodeId) -> None:
        self.connected.append(peer)

    def peer_lost(self, peer: NodeId, *, announced: bool) -> None:
        self.lost.append((peer, announced))

    def peer_identified(self, peer: NodeId, instance_id: str, *, fresh: bool | None) -> None:
        self.identified.append((peer, instance_id, fresh))

    def machine_told(self, peer: NodeId, versions, *, has_machine: bool = True) -> None:
        self.machines[peer] = tuple(versions)
        self.with_machine[peer] = has_machine

    def level_told(self, peer: NodeId, level: int) -> None:
        self.levels[peer] = level

    def snapshot_finished(self, peer: NodeId, *, delivered: bool, no_room: bool = False) -> None:
        self.snapshots.append((peer, delivered))
        if no_room:
            self.without_room.append(peer)

    def twins_found(self, peer: NodeId) -> None:
        self.twins.append(peer)

    def address_told(self, peer: NodeId, instance_id: str, address: str) -> None:
        self.addresses[peer] = (instance_id, address)

    def check_peer(
        self, peer: NodeId, instance_id: str, membership_index: int, *, has_machine: bool = True
    ) -> IdentityMismatch | None:
        self.kinds[peer] = has_machine
        why = self.refuse.get(instance_id)
        return IdentityMismatch(why) if isinstance(why, str) else why

    @property
    def is_fresh(self) -> bool:
        return self.fresh

    @property
    def membership_index(self) -> Index:
        return Index(0)
