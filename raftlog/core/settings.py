"""The core's settings, in seconds and bytes, validated once."""

from __future__ import annotations

import dataclasses

from raftlog.defaults import (
    APPEND_BYTES_MAX,
    CACHE_BYTES_MAX,
    CLOCK_DRIFT_MAX,
    ELECTION_TIMEOUT_SECONDS,
    HEARTBEAT_SECONDS,
    INFLIGHT_BYTES_MAX,
    INFLIGHT_COUNT_MAX,
    LEASE_SECONDS,
    LOST_LEADER_DELAY_SECONDS,
    LOST_LEADER_RETRIES,
    TRANSFER_TIMEOUT_SECONDS,
    UNPERSISTED_BYTES_MAX,
)
from raftlog.errors import ConfigInvalid

MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """Timing and window sizes. Defaults are surface.md's.

    The election timeout is drawn anew from 1x to 2x `election_timeout_seconds` each time it is
    armed.
    """

    heartbeat_seconds: float = HEARTBEAT_SECONDS
    election_timeout_seconds: float = ELECTION_TIMEOUT_SECONDS
    lost_leader_delay_seconds: float = LOST_LEADER_DELAY_SECONDS
    """How long a pre-vote waits after both channels to the leader were lost, for each rank."""
    lost_leader_retries: int = LOST_LEADER_RETRIES
    append_bytes_max: int = APPEND_BYTES_MAX
    """Most payload bytes in one AppendRequest; a single larger entry goes alone."""
    inflight_bytes_max: int = INFLIGHT_BYTES_MAX
    """Most unacknowledged bytes to one follower in REPLICATE."""
    inflight_count_max: int = INFLIGHT_COUNT_MAX
    """Most unacknowledged AppendRequests to one follower in REPLICATE."""
    unpersisted_bytes_max: int = UNPERSISTED_BYTES_MAX
    """Proposals are refused while more than this waits for the leader's own disk or for commit."""
    cache_bytes_max: int = CACHE_BYTES_MAX
    """Most bytes of durable entries kept in memory for sending and applying."""
    lease_seconds: float = LEASE_SECONDS
    """How long voters withhold votes after a heartbeat; 0 turns leases off (the default)."""
    clock_drift_max: float = CLOCK_DRIFT_MAX
    """The declared bound on how much faster one clock may run than another; shrinks leases."""
    transfer_timeout_seconds: float = TRANSFER_TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        if self.heartbeat_seconds <= 0:
            raise ConfigInvalid("heartbeat must be longer than 0 s")
        if self.election_timeout_seconds < 2 * self.heartbeat_seconds:
            raise ConfigInvalid("election timeout must be at least twice the heartbeat")
        if not 0 <= self.lease_seconds <= self.election_timeout_seconds:
            raise ConfigInvalid("lease must not be longer than the election timeout")
        if not 0 <= self.clock_drift_max < 1:
            raise ConfigInvalid("clock drift bound must be from 0 to below 1")
        if min(self.append_bytes_max, self.inflight_bytes_max, self.inflight_count_max) < 1:
            raise ConfigInvalid("windows must hold at least one message")
