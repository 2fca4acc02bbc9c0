"""What the transport and the server need to know, as frozen values."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence

from raftlog import defaults
from raftlog.interfaces import Authenticator
from raftlog.levels import FEATURE_LEVEL_MAX
from raftlog.wire.channel import OpenChannel, TlsMaterial, TlsSource, message_limit, open_channel

MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """How this node speaks to its peers.

    `address` is its own advertised HOST:PORT. With `tls`, peers must show a certificate that
    `authenticator` accepts for the node id they claim; without an authenticator any certificate of
    the authority is accepted.
    """

    address: str = ""
    incarnation: str = ""
    """Drawn by each process when it starts; "" where twins are not looked for."""
    tls: TlsSource | None = None
    authenticator: Authenticator | None = None
    feature_level_max: int = FEATURE_LEVEL_MAX
    machine_versions: tuple[int, ...] = ()
    """The versions of the machine that this node's code has."""
    message_bytes_max: int = message_limit(16 * MIB, 4 * MIB)
    queue_count_max: int = 4096
    queue_bytes_max: int = 64 * MIB
    handshake_seconds: float = 2.0
    refused_retry_seconds: float = 1.0
    goodbye_seconds: float = 0.5
    catch_up_bytes_per_second: int = defaults.CATCH_UP_BYTES_PER_SECOND
    """How fast a snapshot is sent, and a learner that is behind takes entries; 0: no limit."""
    snapshot_bytes_max: int = 1 << 40
    snapshot_chunk_bytes: int = MIB // 2
    snapshot_window_bytes: int = 4 * MIB
    snapshot_stall_seconds: float = 30.0
    open_channel: OpenChannel = open_channel

    @property
    def material(self) -> TlsMaterial | None:
        """Return what a connection made now shows and trusts."""
        return None if self.tls is None else self.tls.material


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShownSetting:
    """A setting of the node as operators may see it: its value as JSON, and where it was set."""

    key: str
    value_json: str
    source: str
    meaning: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """A file of what a node tells of itself to whoever looks into a fault."""

    name: str
    text: str
    is_cut: bool = False


Diagnose = Callable[[], Awaitable[Sequence[Diagnostic]]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Bounds on what clients may send, hold and ask for."""

    transaction_bytes_max: int = defaults.TRANSACTION_BYTES_MAX
    group_bytes_max: int = defaults.GROUP_BYTES_MAX
    connections_max: int = defaults.CONNECTIONS_MAX
    session_groups_max: int = defaults.SESSION_GROUPS_MAX
    subscriber_bytes_max: int = defaults.SUBSCRIBER_BYTES_MAX
    reply_bytes_max: int = MIB
    """A reply on a stream is closed at about this size; a single larger entry goes alone."""
    stuck_seconds: float = 30.0
    """A client that reads none of its answers for this long loses its stream."""
    unary_timeout_seconds: float = 10.0
    """Used where a caller sent no deadline."""
    health_seconds: float = 0.25
    authenticator: Authenticator | None = None
    """Says which role a client's certificate has; None: any of them may do everything."""
    shown: tuple[ShownSetting, ...] = ()
    """What `Admin.Settings` answers."""
    diagnose: Diagnose | None = None
    """What `Admin.Diagnostics` answers."""

    @property
    def message_bytes_max(self) -> int:
        """Return the gRPC message size these limits need."""
        return message_limit(self.transaction_bytes_max, self.group_bytes_max)
