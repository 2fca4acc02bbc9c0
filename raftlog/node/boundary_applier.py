"""What stands in the applier's place on a member without a machine (decision 40).

A witness stores the log and votes. It follows the commit index like everybody, because membership,
levels, and what may be purged follow from it; but it hands nothing to a machine, keeps no session
and no answer, and records no row. Of what entries write it keeps the positions of named consumers
alone: they tell how long the log is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from raftlog.core.entries import Entry, EntryKind
from raftlog.errors import InvariantBroken
from raftlog.groups import Group
from raftlog.interfaces import ApplyContext, ReadState, StateMachine
from raftlog.node.application import AppliedEntry
from raftlog.node.applier import Applier
from raftlog.node.consumer_table import decode_consumers
from raftlog.node.workbench import Outcome
from raftlog.types import Index


class NoMachine(StateMachine):
    """Stands where a machine is asked for by name; whoever hands it work has broken a rule."""

    def apply(self, command: bytes, context: ApplyContext) -> bytes:  # noqa: ARG002
        """Raise: nothing is applied here."""
        raise InvariantBroken("a member without a machine was given a command to apply")

    def query(self, request: bytes, state: ReadState) -> bytes:  # noqa: ARG002
        """Raise: nothing is answered here."""
        raise InvariantBroken("a member without a machine was asked for its state")


def _nothing(batch: Sequence[Entry]) -> tuple[dict[Index, Group], bool]:  # noqa: ARG001
    """Return what concerns a machine, of any batch."""
    return {}, False


class BoundaryApplier(Applier):
    """Moves the applied boundary over committed entries, and nothing else but the consumers."""

    _parse = staticmethod(_nothing)

    def check_machine(self) -> None:
        """Accept whatever the log pins: another member runs it."""

    def query_inline(self, request: bytes) -> bytes:  # noqa: ARG002
        """Raise, as `query` does."""
        raise InvariantBroken("a member without a machine was asked for its state")

    def query(self, request: bytes) -> Awaitable[bytes]:  # noqa: ARG002
        """Raise: whoever asks here has not looked who has a machine."""
        raise InvariantBroken("a member without a machine was asked for its state")

    def _apply_entry(
        self,
        entry: Entry,
        outcome: Outcome,  # noqa: ARG002
        session_writes: dict[bytes, bytes | None],
    ) -> AppliedEntry:
        if entry.kind is EntryKind.SESSION:
            consumers = decode_consumers(entry.payload)
            if consumers is not None:
                changed = self.sessions.consumers.apply(consumers, entry.index, entry.timestamp)
                session_writes.update(changed)
        before, self.applied = self.applied, self.applied.after(entry)
        self._raised(before, entry)
        return AppliedEntry(entry)

    def _look_at_version(self) -> None:
        """Accept whatever version comes into force."""
