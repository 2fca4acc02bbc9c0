"""Every setting of a node: its key, default, meaning, and what values are legal.

The dataclasses are the single list: TOML keys, `RAFTLOG_*` variables, `--set key=value` and the
table in the documentation all come from them. A key is written dotted, section first, as in
``raft.heartbeat_seconds``; its variable is ``RAFTLOG_RAFT_HEARTBEAT_SECONDS``. Times are kept in
seconds and sizes in bytes; `values` says how people may write them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeVar

from raftlog import defaults
from raftlog.config import values
from raftlog.errors import ConfigInvalid

T = TypeVar("T")
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DAY_SECONDS = 86_400.0
ENVIRONMENT_PREFIX = "RAFTLOG_"
CATCH_UP_LEAST = 64 * KIB
"""A chunk of a snapshot takes 8 s so; 30 s without one count as a stall (`rpc/settings.py`)."""


def _setting(
    default: T,
    doc: str,
    *,
    parse: Callable[[object], T],
    at_least: float | None = None,
    choices: tuple[str, ...] = (),
) -> T:
    """Return a dataclass field that carries its own documentation and parser."""
    metadata = {"doc": doc, "parse": parse, "at_least": at_least, "choices": choices}
    made: T = dataclasses.field(default=default, metadata=metadata)
    return made


def _seconds(default: float, doc: str, at_least: float | None = None) -> float:
    return _setting(default, doc, parse=values.parse_duration, at_least=at_least)


def _bytes(default: int, doc: str, at_least: int = 1) -> int:
    return _setting(default, doc, parse=values.parse_size, at_least=at_least)


def _count(default: int, doc: str, at_least: int = 1) -> int:
    return _setting(default, doc, parse=values.parse_count, at_least=at_least)


def _text(default: str, doc: str, *choices: str) -> str:
    return _setting(default, doc, parse=values.parse_text, choices=choices)


def _address(default: str, doc: str) -> str:
    return _setting(default, doc, parse=values.parse_address)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RaftSection:
    """Timing and windows of the consensus core."""

    heartbeat_seconds: float = _seconds(
        defaults.HEARTBEAT_SECONDS, "how often a leader speaks to each follower", 0.001
    )
    election_timeout_seconds: float = _seconds(
        defaults.ELECTION_TIMEOUT_SECONDS,
        "silence before a follower campaigns; drawn anew from 1x to 2x each time",
        0.002,
    )
    lost_leader_delay_seconds: float = _seconds(
        defaults.LOST_LEADER_DELAY_SECONDS,
        "delay, times the member's rank, before a pre-vote when the leader's streams reset",
    )
    lost_leader_retries: int = _count(
        defaults.LOST_LEADER_RETRIES, "pre-votes tried at once after that", at_least=0
    )
    append_bytes_max: int = _bytes(
        defaults.APPEND_BYTES_MAX, "most payload bytes in one message to a follower"
    )
    inflight_bytes_max: int = _bytes(
        defaults.INFLIGHT_BYTES_MAX, "most unacknowledged bytes to one follower"
    )
    inflight_count_max: int = _count(
        defaults.INFLIGHT_COUNT_MAX, "most unacknowledged messages to one follower"
    )
    unpersisted_bytes_max: int = _bytes(
        defaults.UNPERSISTED_BYTES_MAX,
        "refuse proposals while more than this waits for a disk or for commit",
    )
    lease_seconds: float = _seconds(
        defaults.LEASE_SECONDS, "leader lease asked for with each heartbeat; 0 turns off"
    )
    clock_drift_max: float = _setting(
        defaults.CLOCK_DRIFT_MAX,
        "declared bound on how much faster one clock may run than another",
        parse=values.parse_fraction,
    )
    transfer_timeout_seconds: float = _seconds(
        defaults.TRANSFER_TIMEOUT_SECONDS, "give up a leadership transfer after", 0.01
    )
    catch_up_bytes_per_second: int = _bytes(
        defaults.CATCH_UP_BYTES_PER_SECOND,
        "how fast a snapshot is sent, and a learner that is behind takes entries; 0: no limit",
        0,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSection:
    """Bounds on what clients may send and hold."""

    transaction_bytes_max: int = _bytes(defaults.TRANSACTION_BYTES_MAX, "largest transaction")
    group_bytes_max: int = _bytes(
        defaults.GROUP_BYTES_MAX, "largest group of more than one transaction"
    )
    session_groups_max: int = _count(defaults.SESSION_GROUPS_MAX, "groups in flight per session")
    session_expiry_seconds: float = _seconds(
        defaults.SESSION_EXPIRY_SECONDS, "an idle session expires after", 1
    )
    inbox_groups_max: int = _count(
        defaults.INBOX_GROUPS_MAX, "groups waiting in the node before it says overloaded"
    )
    subscriber_bytes_max: int = _bytes(
        defaults.SUBSCRIBER_BYTES_MAX, "buffer of one tail, watch or dump", 64 * KIB
    )
    connections_max: int = _count(defaults.CONNECTIONS_MAX, "gRPC streams a node serves at once")
    consumers_max: int = _count(defaults.CONSUMERS_MAX, "named consumers at once")
    consumer_name_bytes_max: int = _bytes(
        defaults.CONSUMER_NAME_BYTES_MAX, "longest name of a consumer"
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSection:
    """What is kept of the log, on disk and in memory."""

    log_bytes_max: int = _bytes(
        defaults.LOG_BYTES_MAX, "purge the log's head beyond this size", MIB
    )
    log_seconds_max: float = _seconds(defaults.LOG_SECONDS_MAX, "purge entries older than this", 1)
    log_transactions_max: int = _count(
        defaults.LOG_TRANSACTIONS_MAX,
        "purge the log's head beyond so many transactions; 0: no such limit",
        at_least=0,
    )
    hold_bytes_max: int = _bytes(
        defaults.HOLD_BYTES_MAX, "keep no more log than this for named consumers that lag", 0
    )
    hold_seconds_max: float = _seconds(
        defaults.HOLD_SECONDS_MAX, "keep the log no longer than this for one that does not move", 1
    )
    snapshot_log_bytes: int = _bytes(
        defaults.SNAPSHOT_LOG_BYTES, "take a snapshot after this much log", 64 * KIB
    )
    cache_bytes_max: int = _bytes(defaults.CACHE_BYTES_MAX, "newest entries kept in memory", MIB)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DiskSection:
    """When a disk is too full, or too slow, to go on."""

    free_bytes_min: int = _bytes(
        defaults.FREE_BYTES_MIN, "step down and refuse appends below this much free", 0
    )
    free_fraction_min: float = _setting(
        defaults.FREE_FRACTION_MIN,
        "the same, as a fraction of the file system",
        parse=values.parse_fraction,
    )
    commit_seconds_max: float = _seconds(
        defaults.COMMIT_SECONDS_MAX,
        "a leader whose commit takes longer hands leadership over or falls silent",
        0.01,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TlsSection:
    """Certificates; with all three, peers and clients must show one signed by the same CA."""

    cacert: str = _text("", "file of the certificate authority")
    cert: str = _text("", "file of this node's certificate")
    key: str = _text("", "file of its private key")
    roles: bool = _setting(
        False,
        "ask each client's certificate for its role: raftlog://role/reader, writer or operator",
        parse=values.parse_boolean,
    )

    @property
    def is_configured(self) -> bool:
        """Whether all three files are named."""
        return bool(self.cacert and self.cert and self.key)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSection:
    """What the node writes about itself, to standard error."""

    level: str = _text("info", "least severity written", "debug", "info", "warning", "error")
    format: str = _text("auto", "auto: console on a terminal, else json", "auto", "json", "console")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DebugSection:
    """What helps to see that a node keeps the rules of Raft; both cost speed while they are on."""

    check_invariants: bool = _setting(
        False,
        "check the core's invariants after each step; a broken one stops the node",
        parse=values.parse_boolean,
    )
    trace_file: str = _text(
        "",
        "append a line for each step of the core, for python -m raftlog.sim.spec; a relative path "
        "begins in data_dir; empty: none",
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one node. Times are seconds and sizes bytes."""

    node_id: str = _setting("", "this member's id", parse=values.parse_node_id)
    data_dir: str = _text("", "directory that holds the log and the machine's state")
    listen: str = _address("127.0.0.1:7101", "gRPC address to bind, for peers and clients")
    advertise: str = _address(
        "", "address that peers and clients reach it by; default: the membership's"
    )
    bootstrap_token: str = _text("", "secret shared by the first members; names the cluster")
    initial_cluster: tuple[tuple[str, str], ...] = _setting(
        (), "the first members, n1=H:P,n2=H:P; ignored once they exist", parse=values.parse_members
    )
    join: str = _setting(
        "",
        "members of a running cluster, H:P,H:P, which this node asks to be added to; one is enough",
        parse=values.parse_addresses,
    )
    promote: bool = _setting(
        False,
        "with join: become a voter once this node has caught up",
        parse=values.parse_boolean,
    )
    peers: tuple[tuple[str, str], ...] = _setting(
        (),
        "where members are reached that moved, n2=H:P,n3=H:P; recorded once they answer there",
        parse=values.parse_members,
    )
    machine: str = _text("kv", "state machine: kv, log, an entry point's name, or module:Class")
    http: str = _address("127.0.0.1:7201", "address of /livez, /readyz, /metrics; empty: none")
    mysql: str = _address("", "address of the MySQL port; empty: none")
    insecure: bool = _setting(
        False,
        "allow a non-loopback address without TLS",
        parse=values.parse_boolean,
    )
    raft: RaftSection = RaftSection()
    limits: LimitsSection = LimitsSection()
    retention: RetentionSection = RetentionSection()
    disk: DiskSection = DiskSection()
    tls: TlsSection = TlsSection()
    logging: LoggingSection = LoggingSection()
    debug: DebugSection = DebugSection()

    @property
    def advertised(self) -> str:
        """Return the address that this node tells others; "" where the membership's stands."""
        return self.advertise or dict(self.peers).get(self.node_id, "")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key of the schema, as `load` and `raftlog config check` see it."""

    key: str
    default: object
    doc: str
    parse: Callable[[object], object]
    at_least: float | None
    choices: tuple[str, ...]

    @property
    def variable(self) -> str:
        """Return the name of its environment variable."""
        return ENVIRONMENT_PREFIX + self.key.replace(".", "_").upper()

    def checked(self, raw: object) -> object:
        """Return `raw` parsed and in range, or raise `ValueError` that says what is expected."""
        value = self.parse(raw)
        if self.choices and value not in self.choices:
            raise ValueError(f"expected one of {', '.join(self.choices)}")
        if self.at_least is not None and isinstance(value, int | float) and value < self.at_least:
            raise ValueError(f"expected at least {self.at_least:g}")
        return value


def _walk(section: type, prefix: str) -> Iterator[Setting]:
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(field.default):
            yield from _walk(type(field.default), f"{prefix}{field.name}.")
            continue
        yield Setting(
            key=prefix + field.name,
            default=field.default,
            doc=field.metadata["doc"],
            parse=field.metadata["parse"],
            at_least=field.metadata["at_least"],
            choices=field.metadata["choices"],
        )


SETTINGS: dict[str, Setting] = {setting.key: setting for setting in _walk(Settings, "")}
SECTIONS: dict[str, type] = {
    field.name: type(field.default)
    for field in dataclasses.fields(Settings)
    if dataclasses.is_dataclass(field.default)
}


def effective(settings: Settings) -> dict[str, object]:
    """Return every key with its value, in the schema's order."""
    found: dict[str, object] = {}
    for key in SETTINGS:
        value: object = settings
        for part in key.split("."):
            value = getattr(value, part)
        found[key] = value
    return found


SECRETS = ("bootstrap_token",)
SECRET = "***"  # noqa: S105 - what is shown instead of one


def shown(settings: Settings) -> dict[str, object]:
    """Return `effective` settings as people may see them: plain values, and no secret."""
    values = effective(settings)
    values.update((key, SECRET) for key in SECRETS if values[key])
    for key in ("initial_cluster", "peers"):
        values[key] = ",".join(f"{name}={address}" for name, address in getattr(settings, key))
    return values


def check(settings: Settings) -> Settings:
    """Return `settings` if its values agree with one another.

    Raises:
        ConfigInvalid: they do not; the message names the keys.
    """
    raft, limits, tls = settings.raft, settings.limits, settings.tls
    if raft.election_timeout_seconds < 2 * raft.heartbeat_seconds:
        raise ConfigInvalid(
            f"raft.election_timeout_seconds ({raft.election_timeout_seconds:g}) must be at least "
            f"twice raft.heartbeat_seconds ({raft.heartbeat_seconds:g})"
        )
    if 0 < raft.catch_up_bytes_per_second < CATCH_UP_LEAST:
        raise ConfigInvalid(
            f"raft.catch_up_bytes_per_second ({raft.catch_up_bytes_per_second}) must be 0, for no "
            f"limit, or at least {CATCH_UP_LEAST}: a slower snapshot counts as stalled"
        )
    if raft.lease_seconds > raft.election_timeout_seconds:
        raise ConfigInvalid(
            f"raft.lease_seconds ({raft.lease_seconds:g}) must not be above "
            f"raft.election_timeout_seconds ({raft.election_timeout_seconds:g})"
        )
    if limits.session_groups_max > limits.inbox_groups_max:
        raise ConfigInvalid("limits.session_groups_max must not be above limits.inbox_groups_max")
    if any((tls.cacert, tls.cert, tls.key)) and not tls.is_configured:
        raise ConfigInvalid("tls needs all three of tls.cacert, tls.cert and tls.key")
    members = dict(settings.initial_cluster)
    if members and settings.node_id and settings.node_id not in members:
        raise ConfigInvalid(
            f"node_id {settings.node_id!r} is not in initial_cluster ({', '.join(members)})"
        )
    return settings
