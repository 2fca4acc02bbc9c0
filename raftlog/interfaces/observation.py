"""What a node tells of itself: its events and its measures, each declared once.

An event is rare and becomes a log line; where operators count it, it carries the counter's name. A
measure is counted on the node's paths and read when somebody asks for the metrics. Both are strings
to whoever takes them, so an observer may use them as keys.
"""

from __future__ import annotations

import enum
from typing import Self


class Severity(enum.StrEnum):
    """How loudly an event is told; the values are the log's levels."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(enum.StrEnum):
    """Every event there is: its word in the log, what it means, how loud it is, its counter."""

    meaning: str
    severity: Severity
    counter: str
    """The counter's name outside, without prefix; "" where nobody counts."""

    def __new__(
        cls, word: str, meaning: str, severity: Severity = Severity.INFO, counter: str = ""
    ) -> Self:
        """Return the member for `word`."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning, member.severity, member.counter = meaning, severity, counter
        return member

    STARTED = "started", "The node runs"
    STOPPING = "stopping", "A signal stops the node"
    STOPPED = "stopped", "The node stopped cleanly"
    STOP_GIVEN_UP = "stop_given_up", "A clean stop took too long"
    STOPPED_BEFORE_FLUSH = (
        "stopped_before_flush", "A stop did not wait for the disk: the restart replays more",
        Severity.WARNING,
    )  # fmt: skip
    NODE_FAILED = "node_failed", "The node stopped itself", Severity.ERROR
    OPERATED = "operated", "An operator's verb was asked for: the audit line"
    JOIN_WAITS = "join_waits", "The node goes on asking to be added", Severity.WARNING
    ANYONE_OPERATES = (
        "anyone_operates", "No role is asked of whoever can connect", Severity.WARNING
    )  # fmt: skip
    UNHANDLED = "unhandled", "An error that nobody awaited"
    MYSQL_NOT_SERVED = "mysql_not_served", "A setting asks for what this version has not"
    TRACE_ENDED = "trace_ended", "The debug trace cannot be written any more", Severity.WARNING

    STANDING = "standing", "Role, term or leader changed"
    PROMOTED = "promoted", "This member leads and takes writes"
    DEMOTED = "demoted", "This member does not lead any more"
    ON_PROMOTE_FAILED = (
        "on_promote_failed", "The machine's on_promote raised", Severity.WARNING
    )  # fmt: skip
    ON_DEMOTE_FAILED = "on_demote_failed", "The machine's on_demote raised", Severity.WARNING
    HAND_OVER_FAILED = (
        "hand_over_failed", "A stop could not hand leadership over", Severity.WARNING
    )  # fmt: skip
    STEPS_ASIDE = (
        "steps_aside", "This leader is not fit to lead, and hands leadership over by itself",
        Severity.WARNING, "steps_aside_total",
    )  # fmt: skip
    STEPPED_DOWN = (
        "stepped_down", "Nobody took over from this leader: it stopped leading, and stays silent",
        Severity.WARNING,
    )  # fmt: skip
    LEADS_ON = (
        "leads_on", "This leader is not fit to lead, and nobody can take over from it",
        Severity.WARNING,
    )  # fmt: skip
    LEADERSHIP_DECLINED = (
        "leadership_declined", "This member is not fit to lead, and takes no leadership",
        Severity.WARNING,
    )  # fmt: skip
    QUORUM_LACKS_ROOM = (
        "quorum_lacks_room", "The disks of so many members are full that no write can be taken",
        Severity.WARNING,
    )  # fmt: skip
    TRANSFER_REFUSED = "transfer_refused", "A hand-over could not begin"
    HANDS_OVER_BY_PRIORITY = (
        "hands_over_by_priority", "This leader hands over to a member that should lead rather"
    )  # fmt: skip
    BOOTSTRAP_WAITS = "bootstrap_waits", "A first start waits for initial members"
    ELECTIONS_PAUSED = "elections_paused", "An operator paused elections", Severity.WARNING
    NO_CAMPAIGN = "no_campaign", "An operator forbade this member to stand for election"
    DRAINED = "drained", "An operator drained this member"
    BINDING_POSTPONED = "binding_postponed", "Directories are recorded later than wished"
    SESSION_EXPIRY_POSTPONED = "session_expiry_postponed", "Idle sessions are expired later"
    SESSIONS_EVICTED = "sessions_evicted", "Sessions idle longest made room for new ones"

    PEER_CONNECTED = "peer_connected", "Both streams to a peer are up"
    PEER_LINK_DOWN = "peer_link_down", "A stream to a peer ended"
    PEER_LINK_FAILED = "peer_link_failed", "A stream to a peer ended for an unforeseen reason"
    PEER_LOST = "peer_lost", "Both streams from a peer ended", Severity.INFO, "peer_lost_total"
    PEER_REFUSED = (
        "peer_refused", "A peer was refused, or refused this node", Severity.WARNING,
        "peer_refused_total",
    )  # fmt: skip
    NOT_THE_KNOWN_INSTANCE = (
        "not_the_known_instance", "The membership knows this member by another data directory",
        Severity.WARNING,
    )  # fmt: skip
    REMOVED = (
        "removed", "A committed membership has removed this member's data directory",
        Severity.WARNING,
    )  # fmt: skip
    MEMBERS_CHANGED = "members_changed", "An operator's change of the membership is under way"
    LEARNER_PROMOTED = "learner_promoted", "A learner that has caught up is made a voter"
    ADDRESS_RECORDED = "address_recorded", "A member's new address goes into the membership"
    TRANSPORT_TASK_FAILED = "transport_task_failed", "A task of the transport ended in an error"

    SNAPSHOT_TAKEN = (
        "snapshot_taken",
        "A snapshot is durable",
        Severity.INFO,
        "snapshot_taken_total",
    )
    SNAPSHOT_INSTALLED = (
        "snapshot_installed", "A snapshot from the leader took the log's place", Severity.INFO,
        "snapshot_installed_total",
    )  # fmt: skip
    SNAPSHOT_NEEDED = (
        "snapshot_needed", "A peer needs more than the log still holds", Severity.INFO,
        "snapshot_sent_total",
    )  # fmt: skip
    NO_STATE_TO_SEND = (
        "no_state_to_send", "A member needs a snapshot with the state, and this witness has none",
        Severity.WARNING,
    )  # fmt: skip
    WITNESS_WAITS = (
        "witness_waits", "A witness is brought back once members with a machine hold what it skips",
        Severity.WARNING,
    )  # fmt: skip
    SNAPSHOT_FAILED = (
        "snapshot_failed", "A snapshot was not taken, or did not arrive", Severity.WARNING,
        "snapshot_failed_total",
    )  # fmt: skip
    SNAPSHOT_REFUSED = "snapshot_refused", "A snapshot that a peer sent was not taken"
    SNAPSHOT_ROTTEN = "snapshot_rotten", "A snapshot on this disk fails its checksum"

    CONSUMER_RELEASED = (
        "consumer_released", "The log is kept no longer for a named consumer that lags",
        Severity.WARNING, "consumers_released_total",
    )  # fmt: skip
    WITNESS_HOLDS_LOG = (
        "witness_holds_log", "A witness keeps the log for a member with a machine that lacks it",
        Severity.WARNING,
    )  # fmt: skip

    DAMAGED = (
        "damaged", "This member lost part of its log and waits for it to be repaired",
        Severity.WARNING,
    )  # fmt: skip
    REPAIRED = "repaired", "The log is whole again"
    DAMAGE_MARK_FAILED = (
        "damage_mark_failed", "Damage was found and could not be marked on the disk", Severity.ERROR
    )  # fmt: skip
    FEATURE_LEVEL_RAISED = "feature_level_raised", "A higher feature level is in force from here on"
    MACHINE_UPGRADED = "machine_upgraded", "A newer version of the machine is in force from here on"
    MACHINE_HALTED = (
        "machine_halted", "The machine raised or lacks a version: nothing more is applied here",
        Severity.ERROR,
    )  # fmt: skip
    ALARM_CLEARED = "alarm_cleared", "What an alarm told of is over"
    CLOCK_JUMPED = "clock_jumped", "This machine's wall clock was set", Severity.WARNING
    CLOCK_AHEAD = (
        "clock_ahead", "This member's clock is far ahead of the leader's", Severity.WARNING
    )  # fmt: skip
    LOG_IN_THE_FUTURE = (
        "log_in_the_future", "The log's newest timestamp is far ahead of this clock",
        Severity.WARNING,
    )  # fmt: skip
    MACHINE_STUCK = (
        "machine_stuck", "The machine does not come back: nothing more is applied here",
        Severity.ERROR,
    )  # fmt: skip
    DESCRIPTORS_SHORT = (
        "descriptors_short", "File descriptors are running out", Severity.WARNING
    )  # fmt: skip
    DESCRIPTORS_EXHAUSTED = (
        "descriptors_exhausted", "Nearly all file descriptors are open", Severity.WARNING
    )  # fmt: skip
    LEADER_UNREACHABLE = (
        "leader_unreachable", "Clients say that they cannot reach the leader, and this member can",
        Severity.WARNING,
    )  # fmt: skip
    STARVED = (
        "starved", "The process stood still for most of the last ten seconds", Severity.WARNING
    )  # fmt: skip
    CERTIFICATE_REPLACED = (
        "certificate_replaced", "New connections use the new files of the certificate"
    )  # fmt: skip
    CERTIFICATE_UNUSABLE = (
        "certificate_unusable", "The new files of the certificate are wrong: the old ones stay",
        Severity.WARNING,
    )  # fmt: skip
    CERTIFICATE_EXPIRES = (
        "certificate_expires", "This node's certificate, or its authority's, ends soon",
        Severity.WARNING,
    )  # fmt: skip
    DISK_FULL = "disk_full", "The disk has no room for entries", Severity.WARNING
    DISK_STANDS_STILL = (
        "disk_stands_still", "A commit takes longer than disk.commit_seconds_max", Severity.WARNING,
        "disk_stalls_total",
    )  # fmt: skip
    LOOP_STANDS_STILL = (
        "loop_stands_still", "The event loop does not run", Severity.WARNING
    )  # fmt: skip
    LOOP_STALLED = (
        "loop_stalled", "The event loop had stood still", Severity.WARNING,
        "event_loop_stalls_total",
    )  # fmt: skip
    LOOP_HELD_UP = (
        "loop_held_up", "One thing held up everything else on the event loop",
        Severity.WARNING,
    )  # fmt: skip


class Kind(enum.StrEnum):
    """How a measure behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Measure(enum.StrEnum):
    """Every measure there is: its name outside (without prefix), its kind, what it means."""

    kind: Kind
    meaning: str

    def __new__(cls, name: str, kind: Kind, meaning: str) -> Self:
        """Return the member for `name`."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.kind, member.meaning = kind, meaning
        return member

    HAS_LEADER = "has_leader", Kind.GAUGE, "1 while this node knows a leader"
    IS_LEADER = "is_leader", Kind.GAUGE, "1 while this node leads"
    TERM = "term", Kind.GAUGE, "The term this node is in"
    COMMIT_INDEX = "commit_index", Kind.GAUGE, "Last index known committed"
    APPLIED_INDEX = "applied_index", Kind.GAUGE, "Last index applied"
    LEADER_CHANGES = "leader_changes_total", Kind.COUNTER, "Leaders seen coming"
    APPLIED_SEQUENCE = "applied_sequence", Kind.GAUGE, "Last sequence applied"
    PROPOSALS_APPLIED = (
        "proposals_applied_total", Kind.COUNTER, "Proposals of this node that it applied"
    )  # fmt: skip
    PROPOSALS_FAILED = "proposals_failed_total", Kind.COUNTER, "Proposals refused or lost"
    PROPOSALS_PENDING = (
        "proposals_pending", Kind.GAUGE, "Proposals waiting for commit and apply"
    )  # fmt: skip
    READS_PENDING = "reads_pending", Kind.GAUGE, "Reads waiting for their index"
    COMMIT_SECONDS = (
        "disk_commit_seconds", Kind.HISTOGRAM, "One write transaction with its fsync"
    )  # fmt: skip
    DISK_STALLED_SECONDS = (
        "disk_stalled_seconds", Kind.GAUGE, "How long the running commit has taken so far"
    )  # fmt: skip
    EVENT_LOOP_LAG_SECONDS = (
        "event_loop_lag_seconds", Kind.HISTOGRAM, "How late the event loop runs what is due"
    )  # fmt: skip
    SUBSCRIBERS = "subscribers", Kind.GAUGE, "Tails and watches open here"
    TAILS = "tails", Kind.GAUGE, "Tails of the log open here"
    WATCHES = "watches", Kind.GAUGE, "Watches of row changes open here"
    SNAPSHOT_AGE_SECONDS = (
        "snapshot_age_seconds", Kind.GAUGE,
        "Time since the newest snapshot was taken; 0 where there is none",
    )  # fmt: skip
    SUBSCRIBER_BYTES = "subscriber_bytes", Kind.GAUGE, "What they hold of what they have read"
    SESSIONS = "sessions", Kind.GAUGE, "Exactly-once sessions that are open"
    SESSION_REPLY_BYTES = "session_reply_bytes", Kind.GAUGE, "Answers kept for their retries"
    LOG_CLOCK_AHEAD_SECONDS = (
        "log_clock_ahead_seconds", Kind.GAUGE,
        "How far the log's newest timestamp is ahead of this member's clock",
    )  # fmt: skip
    CERTIFICATE_EXPIRY_SECONDS = (
        "certificate_expiry_timestamp_seconds", Kind.GAUGE,
        "When this node's certificate ends, in Unix time; 0 without TLS",
    )  # fmt: skip
    LOG_BYTES = "log_bytes", Kind.GAUGE, "Payload bytes of the entries kept"
    APPENDS_REFUSED = (
        "appends_refused_total", Kind.COUNTER, "Entries from the leader refused for want of disk"
    )  # fmt: skip
    PEER_MESSAGES_DROPPED = (
        "peer_messages_dropped_total", Kind.COUNTER,
        "Messages for which a peer had no room or link",
    )  # fmt: skip
    PEER_HANDSHAKE_TIMEOUTS = (
        "peer_handshake_timeouts_total", Kind.COUNTER, "Peers that did not answer a Hello in time"
    )  # fmt: skip
    STRANGERS_UNHEARD = (
        "strangers_unheard_total", Kind.COUNTER,
        "Votes and acks dropped, for their sender's data directory is not the known one",
    )  # fmt: skip
