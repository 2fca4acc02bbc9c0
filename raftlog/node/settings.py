"""The node's settings, in seconds and bytes, validated once. Defaults are surface.md's."""

from __future__ import annotations

import dataclasses

from raftlog import defaults
from raftlog.core.settings import MIB, CoreSettings
from raftlog.errors import ConfigInvalid

GIB = 1 << 30


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Everything a node is told besides its ports."""

    core: CoreSettings = dataclasses.field(default_factory=CoreSettings)
    transaction_bytes_max: int = defaults.TRANSACTION_BYTES_MAX
    group_bytes_max: int = defaults.GROUP_BYTES_MAX
    """A group may be larger only when it holds a single transaction."""
    inbox_groups_max: int = defaults.INBOX_GROUPS_MAX
    """Groups waiting for commit and apply; one more is refused as overloaded."""
    inbox_bytes_max: int = 256 * MIB
    """The same in bytes; the group that passes it is still taken."""
    session_expiry_seconds: float = defaults.SESSION_EXPIRY_SECONDS
    session_groups_max: int = defaults.SESSION_GROUPS_MAX
    """Most groups of one session in flight, and replies kept for it."""
    sessions_max: int = 10_000
    flush_seconds: float = 0.5
    """How long applied state may wait before it goes to disk; what a restart has to replay.

    Each wait is drawn from 0.75x to 1.25x, so that members do not flush all at once: while one
    does, the others are a quorum.
    """
    flush_bytes: int = 16 * MIB
    apply_bytes_max: int = 1 * MIB
    """Most payload bytes applied in one slice before the event loop gets its turn."""
    snapshot_log_bytes: int = defaults.SNAPSHOT_LOG_BYTES
    log_bytes_max: int = defaults.LOG_BYTES_MAX
    log_seconds_max: float = defaults.LOG_SECONDS_MAX
    log_transactions_max: int = defaults.LOG_TRANSACTIONS_MAX
    """0: no such limit."""
    hold_bytes_max: int = defaults.HOLD_BYTES_MAX
    """Beyond this size of the log nothing more of it is kept for named consumers."""
    hold_seconds_max: float = defaults.HOLD_SECONDS_MAX
    consumers_max: int = defaults.CONSUMERS_MAX
    consumer_name_bytes_max: int = defaults.CONSUMER_NAME_BYTES_MAX
    hand_over_seconds: float = 2.0
    inline_commit_seconds_max: float = 0.01
    """A commit slower than this moves later ones to the writer thread for a while."""
    commit_seconds_max: float = defaults.COMMIT_SECONDS_MAX
    """A leader whose commit takes longer gives leadership away (`node/fitness.py`)."""
    machine_stuck_seconds: float = 10.0
    """A machine that is at one command, query or `on_promote` for so long is taken to hang."""
    stall_seconds: float = 0.2
    """A standstill of the event loop longer than this restarts the core's timers."""
    subscriber_heartbeat_seconds: float = 1.0
    stream_page: int = 128
    """How many entries of a stream a subscriber reads at a time."""
    change_page: int = 64
    """How many records of row changes it reads at a time; an entry has one or more."""
    subscribers_bytes_max: int = 256 * MIB
    """What all subscribers together may hold of what they have read; beyond, they take turns."""
    advertise: str = ""
    """Where this node says that it is reached; "" leaves it to the membership."""
    peers: tuple[tuple[str, str], ...] = ()
    """Where an operator says that others are reached, until they say it themselves."""
    watchdog_seconds: float = 0.25
    """How often the watchdog's thread looks; 0: no thread, where time is not the machine's."""

    def __post_init__(self) -> None:
        if self.transaction_bytes_max < 1 or self.group_bytes_max < 1:
            raise ConfigInvalid("transaction and group limits must be at least 1 byte")
        if self.inbox_groups_max < 1 or self.session_groups_max < 1 or self.sessions_max < 1:
            raise ConfigInvalid("queue and window limits must be at least 1")
        if self.commit_seconds_max <= 0:
            raise ConfigInvalid("the limit of a commit must be longer than 0 s")
        if self.stream_page < 1 or self.change_page < 1:
            raise ConfigInvalid("a page holds at least 1")
        if self.consumers_max < 1 or self.consumer_name_bytes_max < 1:
            raise ConfigInvalid("limits of named consumers must be at least 1")
        kept = (self.log_bytes_max, self.log_transactions_max, self.hold_bytes_max)
        if self.snapshot_log_bytes < 1 or min(kept) < 0:
            raise ConfigInvalid("snapshot threshold and retention must be positive")

    @property
    def frame_bytes_max(self) -> int:
        """Return the largest legal group frame."""
        return max(self.group_bytes_max, self.transaction_bytes_max) + 4096
