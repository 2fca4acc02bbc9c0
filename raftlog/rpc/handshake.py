"""The handshake: who may speak with whom, checked on every stream in both directions.

The first message on a peer stream, either way, is a Hello. Whichever side finds a mismatch says so
in a sentence that names both sides' values, so that the logs of both nodes tell the whole story.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import grpc

from raftlog.errors import (
    IdentityMismatch,
    InvalidInput,
    MemberRemoved,
    RaftLogError,
    Unauthorized,
    VersionTooOld,
)
from raftlog.interfaces import Alarm, Alarms, Event, Identity, Observer, PeerEvents
from raftlog.levels import LEVELS
from raftlog.rpc.settings import TransportSettings
from raftlog.rpc.twins import Twins, TwinsFound
from raftlog.types import NODE_ID_BYTES_MAX, NodeId
from raftlog.wire.pb import raft_pb2 as pb

PROTOCOL = 1
REFUSALS_MAX = 64
ALARM_SECONDS = 60.0
"""A stranger that was refused once and does not come again is no alarm for longer."""
REMOVED_ALARM_SECONDS = 300.0
"""A member that was removed asks ever less often, and is told the same each time."""
INCARNATION_CHARACTERS_MAX = 64
_REFUSED = frozenset({Alarm.PEER_REFUSED, Alarm.TWINS, Alarm.REMOVED})
_URI_KEY = "peer_uri"

Uris = tuple[bytes, ...]


class Handshake:
    """Makes this node's Hello and judges others'."""

    def __init__(self, events: PeerEvents, identity: Identity, settings: TransportSettings) -> None:
        self._events = events
        self._identity = identity
        self._settings = settings
        self._twins = Twins(time.monotonic)

    def hello(self, target: NodeId) -> pb.Hello:
        """Return this node's Hello to `target`."""
        identity = self._identity
        return pb.Hello(
            protocol=PROTOCOL,
            cluster_id=identity.cluster_id,
            node_id=identity.node_id,
            instance_id=identity.instance_id,
            target_node_id=target,
            feature_level_max=self._settings.feature_level_max,
            feature_level=self._events.feature_level,
            fresh=self._events.is_fresh,
            address=self._settings.address,
            membership_index=self._events.membership_index,
            incarnation=self._settings.incarnation,
            machine_versions=self._settings.machine_versions,
            no_machine=not identity.has_machine,
        )

    def check_inbound(self, hello: pb.Hello, uris: Uris) -> NodeId:
        """Return who opened the stream.

        Raises:
            IdentityMismatch: wrong cluster, target, protocol or data directory.
            Unauthorized: its certificate may not speak as the node it claims to be.
            InvalidInput: the Hello makes no sense.
        """
        me = self._identity.node_id
        peer = claimed_id(hello)
        self._check_sides(hello, peer)
        if hello.target_node_id != me:
            raise IdentityMismatch(
                f"node {peer} wants to speak to {hello.target_node_id!r}, but this is node {me}"
            )
        if peer == me:
            raise IdentityMismatch(f"a peer claims to be {peer}, which is this node's own id")
        self._check_certificate(peer, uris)
        self._check_instance(hello, peer)
        self._check_level(hello, peer)
        self._twins.check(peer, hello.incarnation[:INCARNATION_CHARACTERS_MAX])
        return peer

    def check_answer(self, hello: pb.Hello, expected: NodeId, address: str) -> None:
        """Check the Hello that answers ours, from the node at `address`. Raises as above."""
        self._check_sides(hello, expected)
        if hello.node_id != expected:
            raise IdentityMismatch(
                f"{address} answers as node {hello.node_id!r}, but {expected} was expected there"
            )
        self._check_instance(hello, expected)
        self._check_level(hello, expected)
        self._twins.check(expected, hello.incarnation[:INCARNATION_CHARACTERS_MAX])

    def _check_sides(self, hello: pb.Hello, peer: NodeId) -> None:
        me = self._identity
        if hello.protocol != PROTOCOL:
            raise IdentityMismatch(
                f"node {peer} speaks peer protocol {hello.protocol}, "
                f"node {me.node_id} speaks {PROTOCOL}"
            )
        if hello.cluster_id != me.cluster_id:
            raise IdentityMismatch(
                f"node {peer} belongs to cluster {hello.cluster_id!r}, "
                f"node {me.node_id} to cluster {me.cluster_id!r}"
            )

    def _check_certificate(self, peer: NodeId, uris: Uris) -> None:
        if self._settings.tls is None or self._settings.authenticator is None:
            return
        if not self._settings.authenticator.is_peer(uris, peer):
            shown = ", ".join(uri.decode(errors="replace") for uri in uris) or "no URI"
            raise Unauthorized(
                f"a certificate with {shown} among its alternative names may not speak as node "
                f"{peer}: a node's certificate has the URI raftlog://node/{peer}"
            )

    def _check_level(self, hello: pb.Hello, peer: NodeId) -> None:
        """Refuse who cannot read the level in force, and a founder that can agree on no entry.

        The level at which a log begins is in the seed of its first checksum, and levels never fall:
        a founder without a log has nothing in common with one that begins at another level, nor
        with a cluster whose level is below its own.
        """
        me, level = self._identity.node_id, self._events.feature_level
        begun, is_fresh = max(1, hello.feature_level), self._events.is_fresh
        if hello.fresh and is_fresh and begun != level:
            raise VersionTooOld(
                f"{peer} begins at feature level {begun} and {me} at {level}, and nothing is "
                "founded yet: nothing is lost; stop the initial members, empty their data "
                "directories, and start all of them with one version of raftlog"
            )
        if hello.fresh and begun > level:
            raise _founded_without(peer, begun, level)
        if is_fresh and not hello.fresh and level > begun:
            raise _founded_without(me, level, begun)
        reads = level_of(hello)
        if reads < level:
            raise VersionTooOld(
                f"feature level {level} is in force, and {peer} reads up to {reads}: nothing is "
                f"wrong with its data; start it with raftlog {LEVELS[level].since} or later"
            )

    def _check_instance(self, hello: pb.Hello, peer: NodeId) -> None:
        why = self._events.check_peer(
            peer, hello.instance_id, hello.membership_index, has_machine=not hello.no_machine
        )
        if why is not None:
            raise why


class Refusals:
    """Why peers were refused lately, by this node or by them; bounded, and each is an alarm."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._alarms: Alarms | None = None
        self.reasons: dict[NodeId, str] = {}

    def join(self, alarms: Alarms) -> None:
        """Tell refusals there too, from now on."""
        self._alarms = alarms

    def note(self, peer: NodeId, error: RaftLogError, *, by: str) -> None:
        """Remember a refusal; tell the observer when it is new. `by`: "us" or "them"."""
        if self.reasons.get(peer) != error.message:
            if peer not in self.reasons and len(self.reasons) >= REFUSALS_MAX:
                self.clear(next(iter(self.reasons)))
            self.reasons[peer] = error.message
            self._observer.event(Event.PEER_REFUSED, peer=peer, by=by, why=error.message)
        if self._alarms is not None:
            alarm = Alarm.PEER_REFUSED
            if isinstance(error, TwinsFound):
                alarm = Alarm.TWINS
            elif isinstance(error, MemberRemoved) and by == "them":
                alarm = Alarm.REMOVED
            for other in _REFUSED - {alarm}:
                self._alarms.clear(other, about=peer)
            seconds = REMOVED_ALARM_SECONDS if alarm is Alarm.REMOVED else ALARM_SECONDS
            self._alarms.raise_about(peer, alarm, error.message, seconds)

    def clear(self, peer: NodeId) -> None:
        """Forget the peer's refusal: a handshake went well."""
        if self.reasons.pop(peer, None) is not None and self._alarms is not None:
            self._alarms.clear(Alarm.PEER_REFUSED, about=peer)
            self._alarms.clear(Alarm.TWINS, about=peer)
            self._alarms.clear(Alarm.REMOVED, about=peer)


def _founded_without(founder: NodeId, begun: int, level: int) -> VersionTooOld:
    return VersionTooOld(
        f"{founder} began at feature level {begun} and has no log, and the cluster was founded "
        f"without it and is at level {level}: {founder} holds nothing; take it in anew (raftlog "
        f"member replace {founder} {founder}, then start it with an empty directory and --join)"
    )


def level_of(hello: pb.Hello) -> int:
    """Return the highest feature level that the speaker can read; the first if it does not say."""
    return max(1, hello.feature_level_max)


def claimed_id(hello: pb.Hello) -> NodeId:
    """Return the id a Hello claims. Raises `InvalidInput` where it cannot be one."""
    size = len(hello.node_id.encode())
    if not 1 <= size <= NODE_ID_BYTES_MAX or not hello.node_id.isprintable():
        raise InvalidInput(f"a Hello claims a node id of {size} bytes that cannot be one")
    return NodeId(hello.node_id)


def certificate_uris(context: grpc.aio.ServicerContext[bytes, bytes]) -> Uris:
    """Return the URIs among the alternative names of the certificate shown; none without TLS."""
    found: Iterable[object] = context.auth_context().get(_URI_KEY) or ()
    return tuple(uri for uri in found if isinstance(uri, bytes))
