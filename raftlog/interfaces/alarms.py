"""Alarms: what an operator should know of a member now, and what to do about it.

Each is declared here once. It is raised with a reason and cleared when the reason is gone; both are
told as events. There is one board for each member, and status, `/readyz` and metrics read it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Self

from raftlog.interfaces.environment import Observer
from raftlog.interfaces.observation import Event, Severity


class Alarm(enum.StrEnum):
    """Every alarm there is: its name, the event that tells of it, what it means, what to do."""

    event: Event
    meaning: str
    advice: str

    def __new__(cls, name: str, event: Event, meaning: str, advice: str) -> Self:
        """Return the member for `name`."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.event, member.meaning, member.advice = event, meaning, advice
        return member

    @property
    def severity(self) -> Severity:
        """Return how loudly it is told."""
        return self.event.severity

    @property
    def is_fit(self) -> bool:
        """Whether a member with this alarm is ready all the same."""
        return self in _FIT

    @property
    def hands_over(self) -> bool:
        """Whether a leader with it gives leadership to another member that can take it."""
        return self in _HANDS_OVER

    @property
    def falls_silent(self) -> bool:
        """Whether it stops leading even where nobody took over from it."""
        return self in _FALLS_SILENT

    FAILED = (
        "failed",
        Event.NODE_FAILED,
        "A commit failed or a rule of the protocol broke: the node has stopped itself.",
        (
            "Read the log's last lines, check the disk, and start the node again with the same "
            "directory."
        ),
    )
    DAMAGED = (
        "damaged",
        Event.DAMAGED,
        (
            "Part of the log on this disk was lost: the member neither votes nor campaigns until "
            "the leader has sent everything again."
        ),
        (
            "Let it run: it is repaired by itself. Check the disk; `raftlog log verify` says which "
            "records of a stopped node are bad."
        ),
    )
    MACHINE_HALTED = (
        "machine_halted",
        Event.MACHINE_HALTED,
        (
            "The state machine raised: nothing more is applied here. The member stores and votes, "
            "and does not lead."
        ),
        "Mend the machine, and start the node again: it goes on at the entry that failed.",
    )
    MACHINE_STUCK = (
        "machine_stuck",
        Event.MACHINE_STUCK,
        (
            "The state machine does not come back: nothing more is applied here, leadership is "
            "handed over, and writes are refused until it does."
        ),
        "Wait for it. If it never comes back, stop this node, and mend the machine.",
    )
    DISK_FULL = (
        "disk_full",
        Event.DISK_FULL,
        (
            "The file system has less room than must stay free: the member hands leadership over "
            "and refuses entries."
        ),
        ("Free space on the file system, or make it larger. Delete nothing in the data directory."),
    )
    DISK_STALLED = (
        "disk_stalled",
        Event.DISK_STANDS_STILL,
        (
            "A commit takes longer than disk.commit_seconds_max: this member hands leadership over "
            "or falls silent, and acknowledges nothing until the disk answers."
        ),
        "Look at the disk, and at whatever else writes to it.",
    )
    NOT_THE_KNOWN_INSTANCE = (
        "not_the_known_instance",
        Event.NOT_THE_KNOWN_INSTANCE,
        (
            "The membership knows this member by another data directory: it neither votes nor "
            "campaigns, and its peers refuse it."
        ),
        (
            "Stop the node, and start it with the directory that it had before. If that is lost: "
            "`raftlog member replace ID ID`, then start the node with an empty one and --join."
        ),
    )
    REMOVED = (
        "removed",
        Event.REMOVED,
        (
            "This member was removed from the cluster: it neither votes nor campaigns, and its "
            "peers refuse it."
        ),
        (
            "Stop the node. To take the machine in again, start it with an empty data directory "
            "and --join."
        ),
    )
    BOOTSTRAP_WAITS = (
        "bootstrap_waits",
        Event.BOOTSTRAP_WAITS,
        "A first start is not complete: each initial member must be seen once.",
        "Start the members that are named.",
    )
    ELECTIONS_PAUSED = (
        "elections_paused",
        Event.ELECTIONS_PAUSED,
        "An operator paused elections: no leader is elected in place of one that fails.",
        "Run `raftlog leader resume-elections` when the work is done, or wait: it ends by itself.",
    )
    NO_CAMPAIGN = (
        "no_campaign",
        Event.NO_CAMPAIGN,
        "An operator forbade this member to stand for election, restarts included.",
        "Run `raftlog node campaign --member ID` to allow it again.",
    )
    DRAINED = (
        "drained",
        Event.DRAINED,
        "An operator drained this member: it stands for no election until it is restarted.",
        "Restart it, or run `raftlog node undrain --member ID`.",
    )
    PEER_REFUSED = (
        "peer_refused",
        Event.PEER_REFUSED,
        "A peer was refused by this member, or refuses it.",
        "Compare both members' settings, certificates and data directories.",
    )
    TWINS = (
        "twins",
        Event.PEER_REFUSED,
        "One data directory runs twice: neither of the two counts.",
        "Stop one of the two processes for good.",
    )
    DESCRIPTORS_SHORT = (
        "descriptors_short",
        Event.DESCRIPTORS_SHORT,
        "More than four fifths of the file descriptors that the process may open are open.",
        (
            "See who holds connections to this node's ports, or raise the limit (LimitNOFILE, "
            "ulimit -n)."
        ),
    )
    DESCRIPTORS_EXHAUSTED = (
        "descriptors_exhausted",
        Event.DESCRIPTORS_EXHAUSTED,
        (
            "Nearly every file descriptor that the process may open is open: clients can hardly "
            "connect, so leadership is handed over."
        ),
        (
            "See who holds connections to this node's ports, or raise the limit (LimitNOFILE, "
            "ulimit -n)."
        ),
    )
    LEADER_UNREACHABLE = (
        "leader_unreachable",
        Event.LEADER_UNREACHABLE,
        (
            "Clients say that they cannot reach the leader, with which this member is connected: "
            "something between them lets members through and clients not, or the leader takes no "
            "new connections, or answers too late."
        ),
        (
            "See what the leader advertises, and what is between clients and its port: firewalls, "
            "security groups, load balancers. `raftlog leader transfer` makes another member lead, "
            "if clients reach that one."
        ),
    )
    STARVED = (
        "starved",
        Event.STARVED,
        (
            "The process stood still for most of the last ten seconds, again and again: it answers "
            "late, so leadership is handed over."
        ),
        (
            "See what else this machine and its host compute, and whether the process may use "
            "enough of its processors."
        ),
    )
    CLOCK_AHEAD = (
        "clock_ahead",
        Event.CLOCK_AHEAD,
        (
            "This member's clock is about a minute or more ahead of the leader's; nothing that is "
            "decided rests on it."
        ),
        "Set this machine's clock by NTP.",
    )
    LOG_IN_THE_FUTURE = (
        "log_in_the_future",
        Event.LOG_IN_THE_FUTURE,
        (
            "The log's newest timestamp is far ahead of this member's clock: a leader's clock was "
            "wrong, or this one is."
        ),
        "Set all clocks by NTP. Timestamps stand still until the clocks have reached them.",
    )
    CONSUMER_BEHIND = (
        "consumer_behind",
        Event.CONSUMER_RELEASED,
        (
            "A named consumer does not read on, and the log is kept for it no longer: what it has "
            "not read is purged as if it were not there."
        ),
        (
            "Start its reader, move it with `raftlog log consumer reset NAME`, or forget it with "
            "`raftlog log consumer delete NAME`."
        ),
    )
    WITNESS_HOLDS_LOG = (
        "witness_holds_log",
        Event.WITNESS_HOLDS_LOG,
        (
            "This witness keeps more than twice the log that retention asks for: a member with a "
            "machine lacks it, or is not known to have it. When the disk is full, entries are "
            "refused."
        ),
        (
            "Start the member that `raftlog status` shows behind, or take it out with `raftlog "
            "member remove ID`. Where the leader runs an older raftlog, upgrade it."
        ),
    )
    CERTIFICATE_UNUSABLE = (
        "certificate_unusable",
        Event.CERTIFICATE_UNUSABLE,
        (
            "The files of the node's certificate changed and cannot be used: it goes on with those "
            "that it read before."
        ),
        "Put the right files in place; no restart is needed.",
    )
    CERTIFICATE_EXPIRES = (
        "certificate_expires",
        Event.CERTIFICATE_EXPIRES,
        (
            "The node's certificate, or its authority's, ends within two weeks: after that nobody "
            "connects anew."
        ),
        "Replace the files of tls.cacert, tls.cert and tls.key; no restart is needed.",
    )


_FIT = frozenset(
    {
        Alarm.CERTIFICATE_UNUSABLE,
        Alarm.CERTIFICATE_EXPIRES,
        Alarm.ELECTIONS_PAUSED,
        Alarm.NO_CAMPAIGN,
        Alarm.DRAINED,
        Alarm.PEER_REFUSED,
        Alarm.TWINS,
        Alarm.DESCRIPTORS_SHORT,
        Alarm.DESCRIPTORS_EXHAUSTED,
        Alarm.LEADER_UNREACHABLE,
        Alarm.STARVED,
        Alarm.CLOCK_AHEAD,
        Alarm.LOG_IN_THE_FUTURE,
        Alarm.CONSUMER_BEHIND,
        Alarm.WITNESS_HOLDS_LOG,
    }
)


_FALLS_SILENT = frozenset({Alarm.DISK_STALLED})
"""It could acknowledge nothing."""
_HANDS_OVER = _FALLS_SILENT | {
    Alarm.DISK_FULL,
    Alarm.MACHINE_STUCK,
    Alarm.DESCRIPTORS_EXHAUSTED,
    Alarm.STARVED,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Raised:
    """An alarm that is raised: why, about whom if there may be several, and since when.

    `since` is microseconds since 1970 by the member's clock.
    """

    alarm: Alarm
    why: str
    about: str = ""
    since: int = 0

    def text(self, node_id: str) -> str:
        """Return what an operator reads of it, of whichever member."""
        about = f"{self.about}: " if self.about else ""
        return f"{node_id} {self.alarm}: {about}{self.why.rstrip('.')}. {self.alarm.advice}"


class Alarms:
    """The alarms of one member. Bound to its event loop."""

    def __init__(self, observer: Observer, microseconds: Callable[[], int] = int) -> None:
        self._observer = observer
        self._microseconds = microseconds
        self._raised: dict[tuple[Alarm, str], Raised] = {}
        self._now = 0.0
        self._until: dict[tuple[Alarm, str], float] = {}

    def raise_(self, alarm: Alarm, why: str, *, told: bool = False) -> None:
        """Raise an alarm, or change its reason; an event tells of it when it is new.

        `told`: whoever noticed has told the event already.
        """
        is_new = (alarm, "") not in self._raised
        self._put(alarm, why)
        if is_new and not told:
            self._observer.event(alarm.event, why=why, advice=alarm.advice)

    def raise_about(self, about: str, alarm: Alarm, why: str, seconds: float) -> None:
        """Raise an alarm about one of several; its event was told by whoever noticed.

        Nobody may ever notice that it is over: it is cleared when it was not raised anew for so
        long (`expire`).
        """
        self._put(alarm, why, about)
        self._until[alarm, about] = self._now + seconds

    def _put(self, alarm: Alarm, why: str, about: str = "") -> None:
        before = self._raised.get((alarm, about))
        since = self._microseconds() if before is None else before.since
        self._raised[alarm, about] = Raised(alarm, why, about, since)

    def expire(self, now: float) -> None:
        """Clear what was raised for a time that is over; call it now and then."""
        self._now = now
        for alarm, about in [key for key, until in self._until.items() if until <= now]:
            self.clear(alarm, about=about)

    def clear(self, alarm: Alarm, *, about: str = "") -> None:
        """Take an alarm back, if it is raised."""
        self._until.pop((alarm, about), None)
        if self._raised.pop((alarm, about), None) is not None:
            self._observer.event(Event.ALARM_CLEARED, alarm=alarm.value, about=about or None)

    def set(self, alarm: Alarm, why: str | None, *, told: bool = False) -> None:
        """Raise an alarm where there is a reason, else take it back."""
        if why is None:
            self.clear(alarm)
        else:
            self.raise_(alarm, why, told=told)

    @property
    def raised(self) -> tuple[Raised, ...]:
        """Return what is raised, oldest first."""
        return tuple(self._raised.values())

    @property
    def unfit(self) -> tuple[Raised, ...]:
        """Return what is raised and makes the member not ready."""
        return tuple(each for each in self._raised.values() if not each.alarm.is_fit)

    def why(self, alarm: Alarm, *, about: str = "") -> str | None:
        """Return the reason of an alarm, or None where it is not raised."""
        found = self._raised.get((alarm, about))
        return found.why if found is not None else None

    def __contains__(self, alarm: Alarm) -> bool:
        """Whether it is raised, about whomever."""
        return any(each == alarm for each, _ in self._raised)
