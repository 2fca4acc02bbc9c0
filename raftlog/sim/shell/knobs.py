"""What a seed decides about a world of the second engine."""

from __future__ import annotations

import dataclasses
import random

from raftlog.core.settings import MIB, CoreSettings
from raftlog.node.settings import NodeSettings
from raftlog.sim.faults import Fault

FAULT_FREE_SHARE = 0.15
CALLS_PER_SECOND_MAX = 150
SECONDS_TO_EXPIRE = 10.0
"""Leaders look for idle sessions about this often, so such worlds last longer."""


FAULTS = (
    Fault.CRASH,
    Fault.CRASH_AT_BOUNDARY,
    Fault.CRASH_ALL,
    Fault.STOP,
    Fault.PARTITION,
    Fault.ISOLATE_LEADER,
    Fault.ONE_WAY,
    Fault.CLOG,
    Fault.RESET,
    Fault.PAUSE,
    Fault.COMMIT_ERROR,
    Fault.SLOW_DISK,
    Fault.FULL_DISK,
    Fault.ROT,
    Fault.TRANSFER,
    Fault.STEP_DOWN,
    Fault.WALL_CLOCK,
    Fault.CLIENT_CRASH,
)
"""What a seed may have, in the order of its draws."""
OPERATED = (Fault.ORDER, Fault.WIPE, Fault.MOVE, Fault.BROKEN_INSTALL)
BESIDES = (Fault.HUNG_DISK, *OPERATED, Fault.MISLEAD)
"""What a share of the seeds has besides, drawn by dice of its own."""
HUNG_DISK_SHARE = 0.3
"""So many worlds with faults have disks that hang, drawn apart: the others stay as they were."""
OPERATED_SHARE = 0.35
"""So many of the other worlds with faults have operators at work, drawn apart in the same way."""
ROT_SHARE = 0.3
"""So many of those with operators have records that rot as well."""
ADDRESSES_SHARE = 0.5
"""So many of those with operators have orders that change a member's address."""
ORDERS_WEIGHT = 4
"""How much likelier an order is than any other fault of such a world."""
OPERATORS = 2
OLD_KIND_SHARE = 0.25
"""In so many of the worlds with witnesses these have directories with state."""
BACKED_UP_SHARE = 0.2
"""In so many of the worlds with faults somebody takes backups."""
RESTORED_SHARE = 0.7
"""So many of these, without operators and witnesses, restore one of them beside the cluster."""
REFOUNDED_SHARE = 0.3
"""In so many of the worlds with faults, but without operators and witnesses, a majority is lost."""
WITNESS_SHARE = 0.25
"""So many of the worlds with faults have witnesses, or operators who add some, drawn apart too."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkKnobs:
    """How connections behave. `window_bytes`: what a writer may have unread at the far end."""

    delay_seconds: float
    tail_seconds: float
    tail_chance: float
    window_bytes: int
    keepalive_seconds: float
    silent_deaths: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DiskKnobs:
    """How long commits take."""

    commit_seconds: float
    spike_seconds: float
    spike_chance: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkKnobs:
    """What clients do. `pace_seconds`: the mean pause between two calls of one caller."""

    clients: int
    appenders: int
    sessions: int
    kv_callers: int
    keys: int
    tails: int
    streams: int
    """Tails of a named stream."""
    watches: int
    pace_seconds: float
    timeout_seconds: float
    payload_max: int
    in_flight_max: int
    pending_max: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShellKnobs:
    """Everything that a seed decides about its world."""

    seed: int
    voters: int
    node: NodeSettings
    network: NetworkKnobs
    disk: DiskKnobs
    work: WorkKnobs
    faults: tuple[Fault, ...]
    fault_seconds: float
    restart_seconds: float
    pass_seconds: float
    clock_spread: float
    is_threaded: bool
    """The machine is applied on a thread."""
    apply_seconds: float
    """The most that a slice of it takes there."""
    chunk_bytes: int
    """Of a snapshot's stream."""
    reply_bytes: int
    """Where a reply to a subscriber is cut."""
    leader_bias: float
    seconds: float
    """How long the first phase lasts."""
    spares: int = 0
    """Processes that were started to join, and are no members at first."""
    operators: int = 0
    witnesses: int = 0
    """So many of the founders, the last ones, are witnesses."""
    orders_addresses: bool = False
    """Operators record other addresses of members, be they right or wrong."""
    adds_witnesses: bool = False
    """Operators add some members as witnesses."""
    backups: int = 0
    """So many processes take backups."""
    restores: bool = False
    """One of the backups is restored, as a cluster of its own beside this one."""
    refounds: bool = False
    """What it comes to goes on in another world, as a cluster that a survivor founds anew."""

    def has_machine(self, number: int) -> bool:
        """Whether a machine's directories keep state; those made for witnesses do not."""
        may_be_witness = self.adds_witnesses and number >= self.voters
        is_witness = self.voters - self.witnesses <= number < self.voters
        return self.has_old_witnesses or not (may_be_witness or is_witness)

    @property
    def has_old_witnesses(self) -> bool:
        """Whether witnesses' directories keep state, as 0.1.0 made them: the log begins so too."""
        return self.has_witnesses and random.Random(f"{self.seed}:kind").random() < OLD_KIND_SHARE

    @property
    def has_witnesses(self) -> bool:
        """Whether some member is a witness, or may come to be one."""
        return bool(self.witnesses) or self.adds_witnesses

    @property
    def is_fault_free(self) -> bool:
        """Whether nothing goes wrong, so that liveness is owed all the time."""
        return not self.faults


def draw_shell_knobs(seed: int) -> ShellKnobs:
    """Return what `seed` decides."""
    dice = random.Random(f"{seed}:shell")
    faults = () if dice.random() < FAULT_FREE_SHARE else _draw_faults(dice)
    calm = not faults
    core = _draw_core(dice, calm=calm)
    timeout = core.election_timeout_seconds
    node = _draw_node(dice, core, random.Random(f"{seed}:pages"))
    hangs = random.Random(f"{seed}:hung disk")
    if faults and hangs.random() < HUNG_DISK_SHARE:
        others = hangs.choice((faults, (Fault.FULL_DISK,)))  # some hangs are left to themselves
        faults = (*others, Fault.HUNG_DISK)
        limit = timeout * hangs.choice((0.5, 1.0, 2.0))
        node = dataclasses.replace(node, commit_seconds_max=limit)
    operated = _draw_operated(seed, faults)
    faults = (*(fault for fault in faults if not operated or fault is not Fault.ROT), *operated)
    backed_up = bool(faults) and random.Random(f"{seed}:backed up").random() < BACKED_UP_SHARE
    is_expiring = node.session_expiry_seconds < SECONDS_TO_EXPIRE
    voters = dice.choice((3, 3, 3, 5))
    witnesses, adds_witnesses = _draw_witnesses(seed, voters, faults, is_operated=bool(operated))
    return ShellKnobs(
        seed=seed,
        voters=voters,
        node=node,
        network=_draw_network(dice, core, calm=calm),
        disk=_draw_disk(dice, core, calm=calm),
        work=_draw_work(dice, seed),
        faults=faults,
        fault_seconds=timeout * _log_uniform(dice, 0.4, 4),
        restart_seconds=dice.choice((0.01, 0.1, 0.5, 1.5, 3.0)),
        pass_seconds=dice.choice((1e-5, 5e-5, 2e-4, 5e-4)),
        clock_spread=dice.choice((0.0, 0.02)),
        is_threaded=dice.random() < 0.4,
        apply_seconds=dice.choice((0.003, 0.03, 0.3)),
        chunk_bytes=dice.choice((200, 5000, MIB)),
        reply_bytes=dice.choice((100, 2000, MIB)),
        leader_bias=dice.choice((0.0, 0.3, 0.7)),
        seconds=dice.choice((4.0, 6.0, 8.0)) + SECONDS_TO_EXPIRE * is_expiring,
        spares=random.Random(f"{seed}:spares").choice((1, 2)) if operated else 0,
        operators=OPERATORS if operated else 0,
        witnesses=witnesses,
        orders_addresses=bool(operated)
        and random.Random(f"{seed}:addresses").random() < ADDRESSES_SHARE,
        adds_witnesses=adds_witnesses,
        backups=int(backed_up),
        restores=backed_up
        and not (operated or witnesses)
        and random.Random(f"{seed}:restored").random() < RESTORED_SHARE,
        refounds=bool(faults and not operated and not witnesses)
        and random.Random(f"{seed}:refounded").random() < REFOUNDED_SHARE,
    )


def _draw_operated(seed: int, faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Return what is done where operators are at work, or nothing. Records rot in some only."""
    dice = random.Random(f"{seed}:two operators")
    if dice.random() >= OPERATED_SHARE or not faults or Fault.HUNG_DISK in faults:
        return ()
    others = tuple(fault for fault in OPERATED[1:] if dice.random() < 0.6)
    rots = random.Random(f"{seed}:rot beside operators").random() < ROT_SHARE
    return (*(Fault.ORDER,) * ORDERS_WEIGHT, *others, *(Fault.ROT,) * rots)


def _draw_witnesses(
    seed: int, voters: int, faults: tuple[Fault, ...], *, is_operated: bool
) -> tuple[int, bool]:
    """Return how many founders are witnesses, and whether operators add some.

    None where nothing goes wrong: one that wins the first election hands on, which is owed nothing.
    """
    dice = random.Random(f"{seed}:witness")
    if dice.random() >= WITNESS_SHARE or not faults:
        return 0, False
    founders = dice.randint(0 if is_operated else 1, voters // 2)
    return founders, is_operated and (not founders or dice.random() < 0.7)


def _log_uniform(dice: random.Random, low: float, high: float) -> float:
    return float(low * (high / low) ** dice.random())


def _draw_faults(dice: random.Random) -> tuple[Fault, ...]:
    share = dice.choice((0.2, 0.4, 0.7))
    chosen = tuple(fault for fault in FAULTS if dice.random() < share)
    return chosen or (Fault.CRASH,)


def _draw_core(dice: random.Random, *, calm: bool) -> CoreSettings:
    election = dice.choice((0.15, 0.3, 0.3, 0.6))
    return CoreSettings(
        heartbeat_seconds=election / (5 if calm else dice.choice((3, 5))),
        election_timeout_seconds=election,
        lost_leader_delay_seconds=dice.choice((0.01, 0.05)),
        append_bytes_max=dice.choice((1, 300, MIB)),
        inflight_count_max=dice.choice((1, 4, 256)),
        unpersisted_bytes_max=dice.choice((2000, 64 * MIB)),
        cache_bytes_max=dice.choice((1, 2000, 64 * MIB)),
        lease_seconds=election * dice.choice((0.0, 0.0, 0.5)),
        transfer_timeout_seconds=election * 2,
    )


def _draw_node(dice: random.Random, core: CoreSettings, pages: random.Random) -> NodeSettings:
    """Most pages are small, so that readers walk over many."""
    return NodeSettings(
        core=core,
        inbox_groups_max=dice.choice((2, 10_000, 10_000, 10_000)),
        session_groups_max=dice.choice((4, 64)),
        sessions_max=dice.choice((8, 10_000)),
        session_expiry_seconds=dice.choice((1.0, *[3600.0] * 7)),
        flush_seconds=dice.choice((0.01, 0.1, 0.5)),
        flush_bytes=dice.choice((100, 2000, 16 * MIB)),
        apply_bytes_max=dice.choice((1, 200, MIB)),
        snapshot_log_bytes=dice.choice((500, 500, 3000, 1 << 30)),
        log_bytes_max=dice.choice((0, 0, 500, 3000)),
        log_seconds_max=dice.choice((0.5, 7 * 86_400.0)),
        hand_over_seconds=2.0,
        inline_commit_seconds_max=dice.choice((0.001, 0.01, 0.01)),
        stall_seconds=0.4 * core.election_timeout_seconds,
        subscriber_heartbeat_seconds=dice.choice((0.2, 1.0)),
        watchdog_seconds=0.0,
        stream_page=pages.choice((1, 2, 5, 128)),
        change_page=pages.choice((1, 2, 5, 64)),
    )


def _draw_network(dice: random.Random, core: CoreSettings, *, calm: bool) -> NetworkKnobs:
    timeout = core.election_timeout_seconds
    return NetworkKnobs(
        delay_seconds=timeout * (0.01 if calm else _log_uniform(dice, 0.002, 0.1)),
        tail_seconds=timeout * dice.choice((0.2, 1.0, 3.0)),
        tail_chance=0.0 if calm else dice.choice((0.0, 0.01, 0.05)),
        window_bytes=dice.choice((300, 64 << 10)),
        keepalive_seconds=timeout * dice.choice((2.0, 10.0, 40.0)),
        silent_deaths=0.0 if calm else dice.choice((0.0, 0.3, 1.0)),
    )


def _draw_disk(dice: random.Random, core: CoreSettings, *, calm: bool) -> DiskKnobs:
    slowest = core.heartbeat_seconds / 20 if calm else 0.2 * core.election_timeout_seconds
    return DiskKnobs(
        commit_seconds=_log_uniform(dice, slowest / 300, slowest),
        spike_seconds=core.election_timeout_seconds * 2,
        spike_chance=0.0 if calm else dice.choice((0.0, 0.0, 0.01, 0.05)),
    )


def _draw_work(dice: random.Random, seed: int) -> WorkKnobs:
    clients = dice.choice((1, 2, 3))
    appenders = dice.choice((1, 3, 6))
    sessions = dice.choice((0, 1, 2))
    kv_callers = dice.choice((0, 2, 4))
    callers = clients * (appenders + sessions + kv_callers)
    readers = random.Random(f"{seed}:readers")
    return WorkKnobs(
        clients=clients,
        appenders=appenders,
        sessions=sessions,
        kv_callers=kv_callers,
        keys=dice.choice((1, 2, 4)),
        tails=dice.choice((0, 1, 2)),
        streams=readers.choice((0, 1)),
        watches=readers.choice((0, 1)),
        pace_seconds=max(_log_uniform(dice, 0.02, 0.3), callers / CALLS_PER_SECOND_MAX),
        timeout_seconds=dice.choice((0.3, 1.0, 3.0, 8.0)),
        payload_max=dice.choice((0, 50, 400)),
        in_flight_max=dice.choice((1, 4, 64)),
        pending_max=dice.choice((2, 100_000, 100_000)),
    )
