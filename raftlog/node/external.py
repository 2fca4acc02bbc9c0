"""Catching up a machine whose state is kept elsewhere, before the node takes part.

Such a machine saves its effects when it likes, so after a crash it may hold less than the node's
own durable applied index says; and the crash may have come between the installation of a snapshot
and the machine's `restore`. What it lacks is restored from the newest snapshot, if the log no
longer reaches back that far, and applied again from the log. It may also hold more: then it is
given those commands again, if it can answer them without doing them twice, and refused otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from raftlog import groups
from raftlog.core.entries import Boundary, Entry, EntryKind, decode_upgrade
from raftlog.errors import MachineMismatch, StorageCorrupt
from raftlog.groups import Group
from raftlog.interfaces import StateMachine, Storage, versions_of
from raftlog.types import Index

REPLAY_BYTES = 1 << 20


def catch_up(
    machine: StateMachine,
    storage: Storage,
    applied: Boundary,
    apply: Callable[[Entry, Group, int, int], None],
) -> None:
    """Bring `machine` to `applied`; `apply(entry, group, have, version)` hands over the commands.

    Those up to the sequence `have` it holds already; `version` was in force at that entry.

    Raises:
        MachineMismatch: what it lacks is of a version whose code is not here.
        StorageCorrupt: neither the log nor a snapshot holds what the machine lacks.
    """
    have = machine.applied_sequence()
    if have + 1 >= applied.next_sequence:
        return
    if have + 1 < storage.boundary.next_sequence:
        have = _restored(machine, storage)
    if have + 1 < storage.boundary.next_sequence or storage.last_index < applied.index:
        raise StorageCorrupt(
            f"machine {machine.name!r} holds transactions up to {have}, the log and its snapshots "
            f"begin after {storage.boundary.next_sequence - 1} and end at index "
            f"{storage.last_index}: what lies between is lost on this member; start it anew",
            definite=True,
        )
    first = storage.find_sequence(have + 1)
    version = _version_at(storage, first, applied)
    for entry in _entries(storage, first, applied.index):
        if entry.kind is EntryKind.MACHINE:
            version = decode_upgrade(entry.payload)[1]
        elif entry.kind is EntryKind.TRANSACTIONS:
            if version not in versions_of(machine):
                raise MachineMismatch(
                    f"machine {machine.name!r} lacks commands of version {version}, and this code "
                    f"has {versions_text(machine)}: start this member with code that has both"
                )
            apply(entry, groups.parse(entry.payload), have, version)


def _version_at(storage: Storage, first: Index, applied: Boundary) -> int:
    """Return the machine's version in force at `first`."""
    if storage.boundary.machine_version == applied.machine_version:
        return applied.machine_version  # it never goes down, so no entry here raised it
    for entry in _entries(storage, first, applied.index):
        if entry.kind is EntryKind.MACHINE:
            return decode_upgrade(entry.payload)[0]
    return applied.machine_version


def _entries(storage: Storage, first: Index, last: Index) -> Iterator[Entry]:
    index = first
    while index <= last:
        for entry in storage.entries(index, last, REPLAY_BYTES):
            yield entry
            index = Index(entry.index + 1)


def versions_text(machine: StateMachine) -> str:
    """Return which versions the machine's code has, in words."""
    found = versions_of(machine)
    return f"version{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"


def check_not_ahead(machine: StateMachine, applied: Boundary) -> None:
    """Refuse a machine that saved what the node has not, unless it can be given that again.

    The node's part of such a command (its answer, its rows, the map) is lost on this member alone,
    and would be another than everywhere else.

    Raises:
        StorageCorrupt: it is ahead, and does not declare `replays`.
    """
    have = machine.applied_sequence()
    if have >= applied.next_sequence and not type(machine).replays:
        raise StorageCorrupt(
            f"machine {machine.name!r} saved transactions up to {have}, this node only up to "
            f"{applied.next_sequence - 1}: what it answered for the rest is not known here. A "
            "machine that answers a command again without doing it again says so by `replays = "
            "True`; otherwise start this member anew",
            definite=True,
        )


def _restored(machine: StateMachine, storage: Storage) -> int:
    for info in reversed(storage.snapshots()):
        chunks = storage.snapshot_machine_bytes(info.snapshot_id)
        if chunks is not None:
            machine.restore(chunks)
            break
    return machine.applied_sequence()
