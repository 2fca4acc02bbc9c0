"""The core's settings, in seconds and bytes, validated once."""

from __future__ import annotations

import dataclasses

from raftlog.errors import ConfigInvalid

MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """Timing and window sizes. Defaults are surface.md's.

    The election timeout is drawn anew from 1x to 2x `election_timeout_seconds` each time it is
    armed.
    """

    heartbeat_seconds: float = 0.1
    election_timeout_seconds: float = 0.5
    lost_leader_delay_seconds: float = 0.01
    """Base delay before a pre-vote after both channels to the current leader were lost.

    Times the rank.
    """
    lost_leader_retries: int = 3
    append_bytes_max: int = 1 * MIB
    """Most payload bytes in one AppendRequest; a single larger entry goes alone."""
    inflight_bytes_max: int = 8 * MIB
    """Most unacknowledged bytes to one follower in REPLICATE."""
    inflight_count_max: int = 256
    """Most unacknowledged AppendRequests to one follower in REPLICATE."""
    unpersisted_bytes_max: int = 64 * MIB
    """Proposals are refused while more than this waits for the leader's own disk or for commit."""
    cache_bytes_max: int = 64 * MIB
    """Most bytes of durable entries kept in memory for sending and applying."""
    lease_seconds: float = 0.0
    """How long voters withhold votes after a heartbeat; 0 turns leases off (the default)."""
    clock_drift_max: float = 0.05
    """The declared bound on how much faster one clock may run than another; shrinks leases."""
    transfer_timeout_seconds: float = 1.0

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
