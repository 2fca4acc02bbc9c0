"""One line for each message and each Ready: what transcripts, the simulator and debug logs show.

The form is meant for people and for golden files: short, stable, without what does not matter to
the protocol (checksums, payloads).
"""

from __future__ import annotations

from collections.abc import Iterable

from raftlog.core.entries import Entry
from raftlog.core.messages import (
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
    TrialRequest,
    TrialVoteRequest,
    TrialVoteResponse,
    VoteRequest,
    VoteResponse,
)
from raftlog.core.ready import Outgoing, Persist, Ready
from raftlog.types import NodeId, Position


def render_position(position: Position) -> str:
    """Return ``term/index``."""
    return f"{position.term}/{position.index}"


def render_entries(entries: Iterable[Entry]) -> str:
    """Return the positions and kinds of entries, or ``none``."""
    return " ".join(f"{render_position(e.position)}:{e.kind.name}" for e in entries) or "none"


def render_message(message: Message) -> str:
    """Return what a message says."""
    return f"{type(message).__name__} term={message.term} {_fields(message)}".rstrip()


def _fields(message: Message) -> str:  # one arm for each message
    match message:
        case PreVoteRequest():
            return f"last={render_position(message.last)}"
        case VoteRequest():
            transfer = " transfer" if message.transfer else ""
            return f"last={render_position(message.last)}{transfer}"
        case PreVoteResponse() | VoteResponse():
            return "granted" if message.granted else "refused"
        case AppendRequest():
            return (
                f"previous={render_position(message.previous)} commit={message.commit_index} "
                f"entries=[{render_entries(message.entries)}]"
            )
        case AppendResponse():
            hint = f" hint={render_position(message.hint)}" if message.hint else ""
            return f"{'match' if message.success else 'refused'}={message.match_index}{hint}"
        case HeartbeatRequest():
            lease = f" lease={message.lease_seconds}" if message.lease_seconds else ""
            floor = f" floor={message.floor}" if message.floor else ""
            return f"commit={message.commit_index} round={message.context}{lease}{floor}"
        case HeartbeatResponse():
            return f"round={message.context}"
        case ReadIndexRequest():
            return "asked"
        case ReadIndexResponse():
            return f"index={message.index}"
        case InstallSnapshot():
            return f"boundary={render_position(message.boundary.position)}"
        case _:
            return _trial_fields(message)


def _trial_fields(message: Message) -> str:
    match message:
        case TrialRequest() | TrialVoteRequest():
            return f"trial={message.context} last={render_position(message.last)}"
        case TrialVoteResponse():
            return f"trial={message.context} {message.verdict.name}"
        case TrialReport():
            return f"trial={message.context} voter={message.voter} {message.verdict.name}"
        case _:
            return ""


def render_outgoing(source: NodeId, outgoing: Outgoing) -> str:
    """Return ``source>target message``."""
    target, message = outgoing
    return f"{source}>{target} {render_message(message)}"


def render_persist(persist: Persist) -> str:
    """Return what a round writes, in the order it is written."""
    parts = []
    if persist.hard_state is not None:
        hard = persist.hard_state
        parts.append(f"term={hard.term} vote={hard.vote} commit={hard.commit}")
    if persist.truncate_from is not None:
        parts.append(f"truncate={persist.truncate_from}")
    if persist.install is not None:
        parts.append(f"install={render_position(persist.install.boundary.position)}")
    if persist.entries:
        parts.append(f"entries=[{render_entries(persist.entries)}]")
    if persist.repaired:
        parts.append("repaired")
    if not persist.needs_sync:
        parts.append("lazily")
    return f"persist {' '.join(parts)}"


def render_ready(node_id: NodeId, ready: Ready) -> list[str]:
    """Return the lines of one Ready, in the one legal order."""
    lines = []
    if ready.standing is not None:
        standing = ready.standing
        lines.append(
            f"{node_id} is {standing.role.value} term={standing.term} leader={standing.leader}"
        )
    lines += [render_outgoing(node_id, outgoing) for outgoing in ready.messages]
    if ready.persist is not None:
        lines.append(f"{node_id} {render_persist(ready.persist)}")
        lines += [f"  then {render_outgoing(node_id, out)}" for out in ready.persist.messages]
    lines += [f"{node_id} read {r.context} index={r.index}" for r in ready.reads]
    lines += [f"{node_id} snapshot for {s.peer}" for s in ready.snapshots]
    return lines
