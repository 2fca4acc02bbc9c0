"""What a round may do to a log: the rules both storages obey, checked before anything is written.

These are the far side of the pair: the core decides, the storage refuses what no correct core asks
for (never truncate below commit, never leave a hole, never purge what only a snapshot not yet
durable would replace). A breach is a programmer's error, so it stops the node (`InvariantBroken`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from raftlog.core.entries import Boundary, Entry, HardState, Seal
from raftlog.errors import InvariantBroken, invariant
from raftlog.interfaces import CONSUMER_PREFIX, Round, Table
from raftlog.types import Index


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogShape:
    """Where a log begins and ends; replaced as a whole when a round is durable.

    Invariant: `last_index` >= `boundary.index`; `physical_last` >= `last_index`, and above it only
    while the records in between are damaged or follow damage (decision 8). The `last_` fields and
    `next_sequence` are the boundary's when the log is empty.
    """

    boundary: Boundary
    last_index: Index
    last_term: int
    last_checksum: int
    next_sequence: int
    physical_last: Index
    payload_bytes: int = 0

    @classmethod
    def empty(cls, boundary: Boundary) -> LogShape:
        """Return the shape of a log that holds nothing above `boundary`."""
        return cls(
            boundary=boundary,
            last_index=boundary.index,
            last_term=boundary.term,
            last_checksum=boundary.checksum,
            next_sequence=boundary.next_sequence,
            physical_last=boundary.index,
        )

    def extended(self, entries: Sequence[Entry]) -> LogShape:
        """Return the shape once `entries`, which follow its last one, are appended."""
        last, payload_bytes = entries[-1], self.payload_bytes
        for entry in entries:
            payload_bytes += len(entry.payload)
        return LogShape(
            boundary=self.boundary,
            last_index=last.index,
            last_term=last.term,
            last_checksum=last.checksum,
            next_sequence=last.first_sequence + last.count,
            physical_last=last.index,
            payload_bytes=payload_bytes,
        )


def check_hard_state(new: HardState, old: HardState) -> None:
    """Check that terms never go back and a vote, once given, stays in its term (S1 to S3)."""
    if new.term < old.term:
        raise InvariantBroken(f"hard state goes back from term {old.term} to {new.term}")
    if new.term == old.term and old.vote is not None and new.vote != old.vote:
        raise InvariantBroken(f"vote of term {old.term} changes from {old.vote} to {new.vote}")


def check_truncate(truncate_from: Index, shape: LogShape, commit_index: Index) -> None:
    """Check that only entries that are there, and not known to be committed, are dropped."""
    invariant(
        truncate_from > shape.boundary.index,
        f"truncation from {truncate_from} reaches the boundary at {shape.boundary.index}",
    )
    invariant(
        truncate_from > commit_index or truncate_from > shape.last_index,
        f"truncation from {truncate_from} reaches committed entries (commit {commit_index})",
    )


def check_entries(entries: Sequence[Entry], shape: LogShape, seal: Seal) -> None:
    """Check that `entries` continue the log: indexes, terms, sequences and chained checksums."""
    index, term = shape.last_index, shape.last_term
    checksum, sequence = shape.last_checksum, shape.next_sequence
    for entry in entries:
        if entry.index != index + 1:
            raise InvariantBroken(f"entry {entry.index} does not follow {index}")
        if entry.term < term:
            raise InvariantBroken(f"entry {entry.index} goes back to term {entry.term}")
        if entry.first_sequence != sequence:
            raise InvariantBroken(
                f"entry {entry.index} begins at sequence {entry.first_sequence}, not {sequence}"
            )
        sealed = seal(
            checksum,
            entry.term,
            entry.index,
            entry.kind,
            entry.codec,
            entry.first_sequence,
            entry.count,
            entry.timestamp,
            entry.payload,
        )
        if entry.checksum != sealed:
            raise InvariantBroken(
                f"entry {entry.index} carries checksum {entry.checksum:08x}; its chain gives "
                f"{sealed:08x}"
            )
        index, term = entry.index, entry.term
        checksum, sequence = sealed, entry.first_sequence + entry.count


def check_commit(commit_index: Index, last_index: Index) -> None:
    """Check that a commit index is never durable before the entry it names."""
    if commit_index > last_index:
        raise InvariantBroken(
            f"commit index {commit_index} is beyond the log's last entry {last_index}"
        )


def check_applied(applied: Boundary, before: Index, last_index: Index) -> None:
    """Check that effects never go back and never precede their entries (S38, decision 10)."""
    invariant(applied.index >= before, f"applied index goes back from {before} to {applied.index}")
    invariant(
        applied.index <= max(last_index, before),
        f"effects up to {applied.index} would be durable before entry {last_index + 1}",
    )


def may_be_installed(index: Index, applied_index: Index, *, is_damaged: bool) -> bool:
    """Whether a round that is on its way may still install a snapshot of `index`.

    Its file must not go before: others may be staged, or taken, while the round waits for the disk.
    A damaged member may go back to a snapshot that is older than its state.
    """
    return is_damaged or index > applied_index


def check_install(boundary: Boundary, applied_index: Index, commit_index: Index) -> None:
    """Check that a snapshot takes the member forward, never back (S41).

    Not asked of a damaged member: its log may end below what it had applied, and the snapshot that
    repairs it then replaces state and log alike, whatever they held (decision 8).
    """
    floor = max(applied_index, commit_index)
    invariant(
        boundary.index >= floor,
        f"a snapshot at {boundary.index} is older than what is applied or committed ({floor})",
    )


def check_writes(round_: Round, *, has_machine: bool) -> None:
    """Check that effects come with their index, and that no state comes where none is kept."""
    invariant(not round_.writes or round_.applied, "writes come without their applied index")
    if has_machine:
        return
    for table, writes in round_.writes.items():
        is_known = table is Table.SESSION and all(k.startswith(CONSUMER_PREFIX) for k in writes)
        invariant(
            not writes or is_known,
            f"a member without a machine would keep state in the table {table.value}",
        )


def check_purge(
    purge_to: Boundary, shape: LogShape, applied_index: Index, snapshot_index: Index
) -> None:
    """Check that only what a durable snapshot of the member covers is dropped (decision 9)."""
    invariant(
        purge_to.index <= shape.last_index,
        f"purge to {purge_to.index} is beyond the log's last entry {shape.last_index}",
    )
    invariant(
        purge_to.index <= applied_index,
        f"purge to {purge_to.index} is beyond what is applied ({applied_index})",
    )
    invariant(
        purge_to.index <= snapshot_index,
        f"purge to {purge_to.index} is beyond the newest durable snapshot ({snapshot_index})",
    )


def check_purge_position(purge_to: Boundary, term: int, checksum: int) -> None:
    """Check that the new boundary describes the entry that is there."""
    invariant(
        purge_to.term == term and purge_to.checksum == checksum,
        f"the boundary given for {purge_to.index} is not of this log",
    )


def missing_end(shape: LogShape, hard_state: HardState, applied: Boundary) -> str:
    """Return what shows that entries are gone from the end: nothing is durable before its entry."""
    known = max(hard_state.commit, applied.index)
    if known <= shape.last_index:
        return ""
    return f"the log ends at {shape.last_index}, but entry {known} was committed"
