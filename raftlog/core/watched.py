"""A core that is watched: its invariants checked, and a line for a machine, after every input.

`WatchedRaft` is the core with a look at its state before and after each call; whoever wants no
watch builds a plain `Raft` and pays nothing. A line (`TraceLine`) says what went in, where the node
stands afterwards, and which messages left: enough for `raftlog.sim.spec` to say whether an
implementation of the published specification may do that. Promises (votes, acks) are in the line of
the round that made them durable; all other messages in the line of the input that made them.

What people read is `core/trace.py`'s; this is its twin for programs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from raftlog.core import invariants
from raftlog.core.changes import Trial
from raftlog.core.entries import Boundary, Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.core.messages import (
    TRIAL_MESSAGES,
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    TrialReport,
    TrialVoteResponse,
    VoteRequest,
    VoteResponse,
)
from raftlog.core.raft import Raft
from raftlog.core.ready import Outgoing, Ready
from raftlog.core.trial import Wish
from raftlog.types import Index, NodeId, Position, Role

TraceLine = dict[str, object]
"""One line: of strings, numbers, booleans, None, lists and dicts alone, so it goes into JSON."""

READ_BYTES = 1 << 22


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CoreWatch:
    """What is done after each input. `line` takes the lines, if they are wanted.

    `lists_log`: the first line tells the log entry by entry, which whoever has not seen the node's
    earlier lines needs.
    """

    checks: bool = False
    line: Callable[[TraceLine], None] | None = None
    lists_log: bool = True


class WatchedRaft(Raft):
    """A core that is looked at after each input. Call `watch` once, before the first."""

    _checks: bool = False
    _line: Callable[[TraceLine], None] | None = None
    _told = 0
    """How many messages of the outbox are in a line already."""

    def watch(self, watch: CoreWatch, instance_id: str, now: float) -> None:
        """Begin to watch, with a line of where this node starts, on the directory so named."""
        self._checks, self._line = watch.checks, watch.line
        self._released: dict[int, Sequence[Outgoing]] = {}
        self._standing_told: TraceLine = {}
        self._seen = invariants.observe(self._state)
        if self._checks:
            invariants.check(self._state)
        boundary = self.log.boundary
        start: TraceLine = {
            "instance": instance_id,
            "boundary": _render_boundary(boundary),
        }
        if watch.lists_log and self._line is not None:
            start["entries"] = [render_entry(entry) for entry in self._whole_log()]
        self._tell("Start", now, start)

    def _whole_log(self) -> Iterable[Entry]:
        low = self.log.first_index
        while low <= self.log.last_index:
            found = self.log.entries(low, self.log.last_index, READ_BYTES)
            yield from found
            low = Index(found[-1].index + 1)

    # ------------------------------------------------------------ inputs

    def step(self, source: NodeId, message: Message, now: float) -> None:
        """See `Raft.step`."""
        last = self._state.log.last_index
        super().step(source, message, now)
        if self._line is not None:
            heard: TraceLine = {"from": source, "message": render_message(message)}
            self._after("Receive", now, last, heard)
        self._check()

    def tick(self, now: float) -> None:
        """See `Raft.tick`."""
        last = self._state.log.last_index
        super().tick(now)
        self._after("Tick", now, last)
        self._check()

    def propose(
        self,
        kind: EntryKind,
        payload: bytes,
        count: int,
        now: float,
        timestamp: int,
        codec: int = 0,
    ) -> Entry:
        """See `Raft.propose`."""
        last = self._state.log.last_index
        entry = super().propose(kind, payload, count, now, timestamp, codec)
        self._after("Propose", now, last)
        self._check()
        return entry

    def transfer(self, target: NodeId | None, now: float) -> NodeId:
        """See `Raft.transfer`."""
        chosen = super().transfer(target, now)
        self._after("Transfer", now, self._state.log.last_index)
        self._check()
        return chosen

    def prepare_transfer(self, wish: Wish, now: float) -> Trial:
        """See `Raft.prepare_transfer`."""
        chosen = super().prepare_transfer(wish, now)
        self._after("PrepareTransfer", now, self._state.log.last_index)
        self._check()
        return chosen

    def step_down(self, now: float) -> None:
        """See `Raft.step_down`."""
        super().step_down(now)
        self._after("StepDown", now, self._state.log.last_index)
        self._check()

    def persisted(self, token: int, now: float) -> None:
        """See `Raft.persisted`."""
        last = self._state.log.last_index
        super().persisted(token, now)
        released = self._released.pop(token, ())
        self._after("Persisted", now, last, {"token": token}, released)
        self._check()

    def peer_connected(self, peer: NodeId, now: float) -> None:
        """See `Raft.peer_connected`."""
        super().peer_connected(peer, now)
        self._after("Connected", now, self._state.log.last_index)
        self._check()

    def peer_lost(self, peer: NodeId, now: float) -> None:
        """See `Raft.peer_lost`."""
        super().peer_lost(peer, now)
        self._after("Lost", now, self._state.log.last_index)
        self._check()

    def compacted(self, boundary: Boundary) -> None:
        """See `Raft.compacted`."""
        super().compacted(boundary)
        self._after("Compacted", 0.0, self._state.log.last_index)
        self._check()

    # ------------------------------------------------------------ output

    def take_ready(self, now: float) -> Ready:
        """See `Raft.take_ready`."""
        told, self._told = self._told, 0
        ready = super().take_ready(now)
        persist, content = ready.persist, TraceLine()
        if persist is not None:
            content["persist"] = persist.token
            content["repairs"] = persist.repaired
            self._released[persist.token] = persist.messages
        if ready.snapshots:
            content["snapshots"] = [[needed.peer, needed.term] for needed in ready.snapshots]
        sent = ready.messages[told:]
        if self._line is not None and (content or sent):
            if sent:
                content["sent"] = _render_sent(sent)
            self._tell("Ready", now, content)
        self._check()
        return ready

    # ------------------------------------------------------------ what is done after each

    def _check(self) -> None:
        if self._checks:
            state = self._state
            invariants.check(state)
            invariants.check_step(self._seen, state)
            self._seen = invariants.observe(state)

    def _after(
        self,
        action: str,
        now: float,
        last: Index,
        content: TraceLine | None = None,
        released: Sequence[Outgoing] = (),
    ) -> None:
        if self._line is None:
            return
        messages = self._state.outbox.messages
        sent = [*released, *messages[self._told :]]
        self._told = len(messages)
        content = content or {}
        log = self._state.log
        if self._state.role is Role.LEADER and log.last_index > last:
            fresh = log.entries(Index(last + 1), log.last_index, READ_BYTES)
            content["appended"] = [render_entry(entry) for entry in fresh]
        if sent:
            content["sent"] = _render_sent(sent)
        if content or self._standing_line() != self._standing_told:
            self._tell(action, now, content)

    def _tell(self, action: str, now: float, content: TraceLine) -> None:
        if self._line is not None:
            standing = self._standing_line()
            if standing["membership_index"] != self._standing_told.get("membership_index"):
                content["membership"] = render_membership(self.membership)
            self._standing_told = standing
            self._line(
                {
                    "node": self._state.node_id,
                    "time": round(now, 6),
                    "action": action,
                    **content,
                    **standing,
                }
            )

    def _standing_line(self) -> TraceLine:
        state = self._state
        log = state.log
        found: TraceLine = {
            "role": state.role.value,
            "term": state.term,
            "vote": state.vote,
            "durable": [state.durable_term, state.durable_vote],
            "last": [log.last_term, log.last_index, log.last_checksum],
            "commit": state.commit_index,
            "membership_index": state.membership_index,
            "is_damaged": state.is_damaged,
        }
        if state.leadership is not None:
            progress = state.leadership.progress
            found["match"] = {peer: progress[peer].match_index for peer in sorted(progress)}
        elif state.candidacy is not None and state.role is Role.CANDIDATE:
            votes = state.candidacy.votes
            found["votes"] = sorted(voter for voter, granted in votes.items() if granted)
        return found


# ---------------------------------------------------------------- rendering


def _render_sent(sent: Sequence[Outgoing]) -> list[object]:
    return [[peer, render_message(message)] for peer, message in sent]


def _render_position(position: Position) -> list[int]:
    return [position.term, position.index]


def _render_boundary(boundary: Boundary) -> list[object]:
    return [
        boundary.term,
        boundary.index,
        boundary.checksum,
        render_membership(boundary.membership),
    ]


def render_membership(membership: Membership) -> dict[str, list[str]]:
    """Return who votes and who learns."""
    return {
        "voters": sorted(membership.voters),
        "outgoing": sorted(membership.outgoing),
        "learners": sorted(membership.learners | membership.learners_next),
    }


def render_entry(entry: Entry) -> list[object]:
    """Return an entry's term and chained checksum, and its membership if it brings one."""
    if entry.kind == EntryKind.MEMBERSHIP:
        membership = render_membership(Membership.decode(entry.payload))
        return [entry.term, entry.checksum, membership]
    return [entry.term, entry.checksum]


def render_message(message: Message) -> TraceLine:
    """Return a message as a dict: its type, its term, and what matters of it to the protocol."""
    found: TraceLine = {"type": type(message).__name__, "term": message.term}
    match message:
        case PreVoteRequest() | VoteRequest():
            found["last"] = _render_position(message.last)
        case PreVoteResponse() | VoteResponse():
            found["granted"] = message.granted
        case AppendRequest():
            found["previous"] = [*_render_position(message.previous), message.previous_checksum]
            found["entries"] = [render_entry(entry) for entry in message.entries]
            found["commit"] = message.commit_index
        case AppendResponse():
            found["success"] = message.success
            found["match"] = message.match_index
        case HeartbeatRequest():
            found["commit"] = message.commit_index
            found["round"] = message.context
        case HeartbeatResponse():
            found["round"] = message.context
        case InstallSnapshot():
            found["boundary"] = _render_boundary(message.boundary)
        case ReadIndexRequest():
            found["context"] = message.context
        case ReadIndexResponse():
            found["context"] = message.context
            found["index"] = message.index
        case _:
            _render_trial(message, found)
    return found


def _render_trial(message: Message, found: TraceLine) -> None:
    if isinstance(message, TRIAL_MESSAGES):
        found["trial"] = message.context
    if isinstance(message, TrialVoteResponse | TrialReport):
        found["verdict"] = message.verdict.name
    if isinstance(message, TrialReport):
        found["voter"] = message.voter
