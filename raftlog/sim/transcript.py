"""The transcript: what happened last, kept as it is and rendered only when somebody reads it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from raftlog.core.messages import Message
from raftlog.core.ready import Persist, Standing
from raftlog.core.trace import render_message, render_persist

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process

Note = tuple[float, str, str, object]


class Transcript:
    """Keeps the last notes."""

    __slots__ = ("add", "notes")

    def __init__(self, count_max: int | None) -> None:
        self.notes: collections.deque[Note] = collections.deque(maxlen=count_max)
        self.add = self.notes.append

    def lines(self) -> list[str]:
        """Return the notes as people read them."""
        return [render(note) for note in self.notes]


def render(note: Note) -> str:
    """Return one note as a line."""
    time, kind, name, content = note
    return f"{time:10.4f} {name:3} {kind} {_content(content)}".rstrip()


def _content(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, Persist):
        return render_persist(content)
    if isinstance(content, Standing):
        return f"{content.role.value} term={content.term} leader={content.leader}"
    if isinstance(content, tuple):
        return " ".join(_content(part) for part in content)
    if dataclasses.is_dataclass(content) and isinstance(content, Message):
        return render_message(content)
    return str(content)


def describe(processes: Iterable[Process]) -> list[str]:
    """Return one line for each node: where it stands."""
    rows = []
    for process in processes:
        state, disk = process.state, process.storage.disk
        life = "" if process.is_up else " (down)"
        if process.is_paused:
            life = " (paused)"
        damage = " damaged" if state.is_damaged else ""
        rows.append(
            f"{process.node_id}{life}: {state.role.value} term {state.term} vote {state.vote} "
            f"leader {state.leader} last {state.log.last_term}/{state.log.last_index} "
            f"commit {state.commit_index} applied {process.machine.index}{damage}; disk: "
            f"{disk.hard_state.term}/{disk.hard_state.vote} ends at {process.storage.last_index}; "
            f"voters {sorted(state.membership.voters)} of membership {state.membership_index}"
        )
    return rows
