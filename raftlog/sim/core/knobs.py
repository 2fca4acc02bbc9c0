"""Swarm knobs: what a seed decides before its world begins.

Each seed enables a random subset of faults and draws sizes, windows, delays and rates from
distributions that lean towards the extremes (batches of one entry, restarts after a millisecond),
because a world that always has every fault at a middling rate hides whole classes of bugs. A share
of the seeds has no fault at all: those must also be live, within bounds.
"""

from __future__ import annotations

import dataclasses
import enum
import random

from raftlog.core.settings import MIB, CoreSettings
from raftlog.sim.faults import Fault

FAULT_FREE_SHARE = 0.1
HAZARD_SHARE = 0.16
WITNESS_SHARE = 0.15
WINDOW = 16
RUIN_SHARE = 0.04
RESTLESS_SHARE = 0.2
"""Of the seeds with faults: worlds in which elections collide and nodes die amidst them."""


FAULTS = (
    Fault.CRASH,
    Fault.CRASH_AT_BOUNDARY,
    Fault.CRASH_ALL,
    Fault.PARTITION,
    Fault.ISOLATE_LEADER,
    Fault.ONE_WAY,
    Fault.CLOG,
    Fault.RESET,
    Fault.PAUSE,
    Fault.COMMIT_ERROR,
    Fault.SLOW_DISK,
    Fault.ROT,
    Fault.TRANSFER,
    Fault.STEP_DOWN,
    Fault.MEMBERSHIP,
)
"""What a seed may have, in the order of its draws."""
HAZARDS = (Fault.FULL_DISK, Fault.WIPE, Fault.ROT_OF_SNAPSHOT)
"""Faults that a share of the seeds has besides, drawn by dice of their own."""
BESIDES = (*HAZARDS, Fault.ROT_OF_STATE, Fault.ORDER)
"""Those, and what comes with them or instead of them."""
ORDER_SHARE = 0.25
"""Of the seeds with faults, and without membership changes by the core's own functions."""


class Ending(enum.Enum):
    """What the final phase heals: everything, or exactly one quorum.

    RUIN: everything, but a record has rotted in too many of its copies, so progress is not owed.
    """

    ALL = "all"
    QUORUM = "quorum"
    RUIN = "ruin"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkKnobs:
    """How links behave. `is_stream`: ordered, lossless until reset; else datagrams."""

    is_stream: bool
    delay_seconds: float
    tail_seconds: float
    tail_chance: float
    loss: float = 0.0
    duplicates: float = 0.0
    late_duplicates: float = 0.0
    late_seconds: float = 60.0
    """By when a late duplicate has come: a minute, or while its term may still be near."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DiskKnobs:
    """How a disk behaves, and when state, snapshots and purges are due."""

    commit_seconds: float
    spike_seconds: float
    spike_chance: float
    early_visible: float
    """How often readers see a commit before its caller is told of it."""
    merge_max: int
    flush_chance: float
    snapshot_every: int
    retention: int
    apply_max: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """Everything that a seed decides about its world."""

    seed: int
    voters: int
    spares: int
    core: CoreSettings
    network: NetworkKnobs
    disk: DiskKnobs
    faults: tuple[Fault, ...]
    fault_seconds: float
    """The mean time between two faults."""
    restart_seconds: float
    turn_seconds: float
    """How long a node lets inputs gather before its turn; 0: each input has a turn of its own."""
    clock_spread: float
    election_spread: float
    """How much of the range of election timeouts is used: little makes elections collide."""
    leader_bias: float
    client_rate: float
    burst_max: int
    payload_max: int
    read_share: float
    events_max: int
    ending: Ending
    witnesses: int = 0
    """How many of the first voters, the last ones, have no state machine (decision 3)."""
    has_lying_disks: bool = False
    """The positive control, never drawn: a crash takes rounds with it that were called synced."""

    @property
    def is_fault_free(self) -> bool:
        """Whether nothing goes wrong, so that liveness is owed all the time."""
        return not self.faults

    @property
    def stall_seconds(self) -> float:
        """After which standstill a node's timers start anew, as `NodeSettings` has it."""
        return 0.4 * self.core.election_timeout_seconds


def draw_knobs(seed: int) -> Knobs:
    """Return what `seed` decides."""
    dice = random.Random(f"{seed}:knobs")
    faults = () if dice.random() < FAULT_FREE_SHARE else _draw_faults(dice)
    core = _draw_core(dice, calm=not faults)
    knobs = Knobs(
        seed=seed,
        voters=dice.choice((3, 3, 5)),
        spares=2 if Fault.MEMBERSHIP in faults else 0,
        core=core,
        network=_draw_network(dice, core, calm=not faults),
        disk=_draw_disk(dice, core, calm=not faults),
        faults=faults,
        fault_seconds=core.election_timeout_seconds * _draw_pace(dice),
        restart_seconds=dice.choice((0.001, 0.01, 0.1, 1.0)),
        turn_seconds=dice.choice((0.0, 0.0, 0.0001, 0.002)),
        clock_spread=0.0 if core.lease_seconds else dice.choice((0.0, 0.05, 0.1)),
        election_spread=1.0 if not faults else dice.choice((1.0, 1.0, 0.3, 0.03)),
        leader_bias=dice.choice((0.0, 0.3, 0.7)),
        client_rate=_log_uniform(dice, 2, 150) / core.election_timeout_seconds / 2,
        burst_max=dice.choice((1, 1, 4, 16)),
        payload_max=dice.choice((0, 8, 100)),
        read_share=dice.choice((0.0, 0.2, 0.5)),
        events_max=dice.choice((1500, 3000, 5200, 8900)),
        ending=Ending.ALL if dice.random() < 0.6 or Fault.MEMBERSHIP in faults else Ending.QUORUM,
    )
    if not knobs.network.is_stream and core.append_bytes_max == 1:
        # Rejections that overtake each other would have a wide window sent again for each of them.
        core = dataclasses.replace(core, inflight_count_max=min(core.inflight_count_max, WINDOW))
        knobs = dataclasses.replace(knobs, core=core)
    if faults and dice.random() < RESTLESS_SHARE:
        knobs = _restless(knobs, dice)
    return _hazardous(knobs) if faults else knobs


def _hazardous(knobs: Knobs) -> Knobs:
    """Return the same world with what besides may happen to it."""
    dice = random.Random(f"{knobs.seed}:hazards")
    faults = [fault for fault in HAZARDS if dice.random() < HAZARD_SHARE]
    if Fault.WIPE in faults and Fault.MEMBERSHIP in knobs.faults:
        faults.remove(
            Fault.WIPE
        )  # what a removed node still believes of others is nobody's to keep
    if Fault.WIPE in faults:  # what cannot be opened any more must be replaced
        faults.append(Fault.ROT_OF_STATE)
    ending = Ending.ALL if Fault.WIPE in faults else knobs.ending
    if dice.random() < RUIN_SHARE:
        ending = Ending.RUIN
    hazardous = dataclasses.replace(
        knobs,
        faults=(*knobs.faults, *faults),
        ending=ending,
        witnesses=dice.randint(1, knobs.voters // 2) if dice.random() < WITNESS_SHARE else 0,
    )
    return _ordered(hazardous)


def _ordered(knobs: Knobs) -> Knobs:
    """Return the same world with operators who change its membership through the nodes."""
    dice = random.Random(f"{knobs.seed}:ordered")
    if Fault.MEMBERSHIP in knobs.faults or knobs.ending is Ending.RUIN:
        return knobs
    if dice.random() >= ORDER_SHARE:
        return knobs
    orders = (Fault.ORDER,) * max(1, len(knobs.faults) // 2)
    return dataclasses.replace(knobs, faults=(*knobs.faults, *orders), spares=2, ending=Ending.ALL)


def _restless(knobs: Knobs, dice: random.Random) -> Knobs:
    """Return the same world with colliding elections, quick deaths and quicker restarts."""
    timeout = knobs.core.election_timeout_seconds
    upsetting = (Fault.CRASH, Fault.CRASH_AT_BOUNDARY, Fault.ISOLATE_LEADER, Fault.ONE_WAY)
    return dataclasses.replace(
        knobs,
        faults=(*knobs.faults, *upsetting),
        fault_seconds=timeout * dice.choice((0.15, 0.4, 1.0)),
        restart_seconds=dice.choice((0.001, 0.02)),
        election_spread=dice.choice((0.01, 0.1)),
        clock_spread=0.0,
        client_rate=dice.choice((4, 20)) / timeout,
        read_share=dice.choice((0.1, 0.5)),
        events_max=5000,
        network=dataclasses.replace(
            knobs.network,
            delay_seconds=timeout * dice.choice((0.02, 0.1)),
            tail_seconds=timeout * 2,
            tail_chance=dice.choice((0.0, 0.1)),
            late_seconds=timeout * 4,
        ),
        disk=dataclasses.replace(
            knobs.disk, commit_seconds=timeout * dice.choice((0.001, 0.02)), spike_chance=0.0
        ),
    )


def _log_uniform(dice: random.Random, low: float, high: float) -> float:
    return float(low * (high / low) ** dice.random())


def _draw_pace(dice: random.Random) -> float:
    """Return the election timeouts between two faults: mostly enough to recover, at times not."""
    return _log_uniform(dice, 0.06, 0.5) if dice.random() < 0.2 else _log_uniform(dice, 0.5, 8)


def _draw_faults(dice: random.Random) -> tuple[Fault, ...]:
    share = dice.choice((0.2, 0.4, 0.7))
    chosen = [fault for fault in FAULTS if dice.random() < share]
    if Fault.MEMBERSHIP in chosen:
        chosen += [Fault.MEMBERSHIP] * dice.choice((0, 3))  # most attempts are refused
    return tuple(chosen) or (Fault.CRASH,)


def _draw_core(dice: random.Random, *, calm: bool) -> CoreSettings:
    election = dice.choice((0.15, 0.5, 0.5, 1.0))
    heartbeat = election / dice.choice((2, 3, 5, 10))
    if calm:
        heartbeat = election / 5
    lease = election * dice.choice((0.0, 0.0, 0.5, 1.0))
    return CoreSettings(
        heartbeat_seconds=heartbeat,
        election_timeout_seconds=election,
        lost_leader_delay_seconds=dice.choice((0.001, 0.01, 0.1)),
        lost_leader_retries=dice.choice((0, 1, 3)),
        append_bytes_max=dice.choice((1, 1, 150, 1000, MIB)),
        inflight_bytes_max=dice.choice((1, 300, 8 * MIB)),
        inflight_count_max=dice.choice((1, 2, 8, 256)),
        unpersisted_bytes_max=dice.choice((500, 5000, 64 * MIB)),
        cache_bytes_max=dice.choice((1, 500, 64 * MIB)),
        lease_seconds=lease,
        transfer_timeout_seconds=election * dice.choice((0.5, 2.0)),
    )


def _draw_network(dice: random.Random, core: CoreSettings, *, calm: bool) -> NetworkKnobs:
    is_stream = dice.random() < 0.5
    if calm:
        return calm_network(core, is_stream=is_stream)
    mixed = not is_stream
    return NetworkKnobs(
        is_stream=is_stream,
        delay_seconds=core.election_timeout_seconds * _log_uniform(dice, 0.002, 0.15),
        tail_seconds=core.election_timeout_seconds * dice.choice((0.2, 1.0, 3.0)),
        tail_chance=dice.choice((0.0, 0.01, 0.05, 0.2)),
        loss=dice.choice((0.0, 0.02, 0.1, 0.25)) if mixed else 0.0,
        duplicates=dice.choice((0.0, 0.02, 0.1)) if mixed else 0.0,
        late_duplicates=dice.choice((0.0, 0.01, 0.05, 0.2)) if mixed else 0.0,
        late_seconds=dice.choice((60.0, 4 * core.election_timeout_seconds)),
    )


def calm_network(core: CoreSettings, *, is_stream: bool) -> NetworkKnobs:
    """Return links so quick, next to the election timeout, that liveness is owed."""
    return NetworkKnobs(
        is_stream=is_stream,
        delay_seconds=core.heartbeat_seconds / 20,
        tail_seconds=0.0,
        tail_chance=0.0,
    )


def _draw_disk(dice: random.Random, core: CoreSettings, *, calm: bool) -> DiskKnobs:
    spike = 0.0 if calm else dice.choice((0.0, 0.0, 0.01, 0.1))
    slowest = core.heartbeat_seconds / 20 if calm else 0.3 * core.election_timeout_seconds
    return DiskKnobs(
        commit_seconds=_log_uniform(dice, slowest / 300, slowest),
        spike_seconds=core.election_timeout_seconds * 2,
        spike_chance=spike,
        early_visible=dice.choice((0.0, 0.5, 1.0)),
        merge_max=dice.choice((1, 3, 1000)),
        flush_chance=dice.choice((0.05, 0.5, 1.0)),
        snapshot_every=dice.choice((3, 10, 50, 1000)),
        retention=dice.choice((0, 5, 100)),
        apply_max=dice.choice((1, 7, 1000)),
    )


def calm_disk(disk: DiskKnobs, core: CoreSettings) -> DiskKnobs:
    """Return the same disk, quick and without spikes."""
    seconds = min(disk.commit_seconds, core.heartbeat_seconds / 20)
    return dataclasses.replace(
        disk, commit_seconds=seconds, spike_chance=0.0, merge_max=1000, apply_max=1000
    )
