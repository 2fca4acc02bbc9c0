"""Raising the machine's version in force: who has the code, and the entry that raises it.

The leader alone decides, from what each member's present process said in its handshake. That can
be outdated by the time the entry is applied: a member that came back with old code meanwhile halts
behind the entry and harms nothing, so asking is a courtesy to operators, and not what safety rests
on (decision 30).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raftlog.core.entries import Boundary, EntryKind, encode_upgrade
from raftlog.errors import InvalidInput, RaftLogError, SafetyRefused, Unavailable
from raftlog.interfaces import GroupReceipt, MachineUpgrade, versions_of
from raftlog.node.ports import CoreView, Ports
from raftlog.types import NodeId

VERSIONS_KEPT_MAX = 64
"""A peer's claim is cut at so many: no machine may declare more."""


class Applying(Protocol):
    """How far this member has applied (`node/applier.py`)."""

    @property
    def applied(self) -> Boundary:
        """Return the boundary below which everything is applied."""
        ...


class Appending(Protocol):
    """The way into the log (`node/writes.py`)."""

    def require_open(self) -> None:
        """Raise what a client is told where this member does not take writes."""
        ...

    async def append_own(
        self, kind: EntryKind, payload: bytes, timeout_seconds: float
    ) -> GroupReceipt:
        """Propose an entry that holds no transactions, and wait until it is applied here."""
        ...


class OneRaise:
    """Appends entries that raise what is in force, each only once the one before is decided."""

    def __init__(self, core: CoreView, applier: Applying, writes: Appending, what: str) -> None:
        self._core = core
        self._applier = applier
        self._writes = writes
        self._what = what
        self._raising: tuple[int, int] | None = None
        """Term and index behind which the one proposed last lies or comes to nothing."""

    def check_none_pending(self) -> None:
        """Raise Unavailable while another one is on its way."""
        if self._raising is None:
            return
        term, index = self._raising
        if term == int(self._core.term) and int(self._applier.applied.index) < index:
            raise Unavailable(f"{self._what} is on its way; ask again in a moment")
        self._raising = None

    async def append(self, kind: EntryKind, payload: bytes, timeout_seconds: float) -> int:
        """Propose an entry, wait until it is applied here, and return its index."""
        self._raising = (int(self._core.term), int(self._core.last_index) + 1)
        try:
            receipt = await self._writes.append_own(kind, payload, timeout_seconds)
        except RaftLogError as error:
            if error.definite:
                self._raising = None
            raise
        return receipt.index


class Upgrades:
    """What members said of their machines' code, and the one upgrade under way."""

    def __init__(self, ports: Ports, core: CoreView, applier: Applying, writes: Appending) -> None:
        self._node_id = ports.storage.identity.node_id
        self._is_connected = ports.transport.is_connected
        self._machine = ports.machine
        self._core = core
        self._applier = applier
        self._writes = writes
        self._told: dict[NodeId, tuple[int, ...]] = {}
        # An entry says what was in force before it, so none is proposed behind another.
        self._raise = OneRaise(core, applier, writes, "another upgrade of the machine")

    def told(self, peer: NodeId, versions: Sequence[int]) -> None:
        """Take what a handshake showed; it replaces what an earlier process said."""
        if self._core.membership.member(peer) is not None:
            self._told[peer] = tuple(versions[:VERSIONS_KEPT_MAX])

    async def upgrade(
        self, version: int | None, *, dry_run: bool, timeout_seconds: float
    ) -> MachineUpgrade:
        """Raise the version in force to `version`. See `NodePort.upgrade_machine`."""
        self._writes.require_open()
        self._raise.check_none_pending()
        mine = versions_of(self._machine)
        wanted = mine[-1] if version is None else version
        if wanted < 1:
            raise InvalidInput(f"a machine's version is a whole number from 1, not {wanted}")
        before = self._applier.applied.machine_version
        if wanted < before:
            raise SafetyRefused(
                f"version {before} of the machine {self._machine.name!r} is in force, and a "
                "version never goes down"
            )
        members, index = self._members(), 0
        if wanted > before:
            self._check_members(wanted, members)
            if not dry_run:
                payload = encode_upgrade(before, wanted)
                index = await self._raise.append(EntryKind.MACHINE, payload, timeout_seconds)
        return MachineUpgrade(
            machine=self._machine.name,
            before=before,
            version=wanted,
            raised=index > 0,
            index=index,
            members={peer: versions or () for peer, versions in members.items()},
        )

    def _members(self) -> dict[NodeId, tuple[int, ...] | None]:
        """Return what each member with a machine has code for; None: it cannot be asked now."""
        found: dict[NodeId, tuple[int, ...] | None] = {}
        for member in self._core.membership.members:
            peer = member.node_id
            if not member.has_machine:
                continue
            if peer == self._node_id:
                found[peer] = versions_of(self._machine)
            else:
                found[peer] = self._told.get(peer) if self._is_connected(peer) else None
        return found

    def _check_members(self, wanted: int, members: dict[NodeId, tuple[int, ...] | None]) -> None:
        """Raise SafetyRefused, with all their names, if some may not apply that version."""
        problems: list[str] = []
        for peer, versions in members.items():
            if versions is None:
                problems.append(f"{peer} is not connected")
            elif not versions:
                problems.append(f"{peer} runs a raftlog that cannot tell")
            elif wanted not in versions:
                problems.append(f"{peer} has {', '.join(map(str, versions))}")
        if problems:
            raise SafetyRefused(
                f"not every member has the code of version {wanted} of the machine "
                f"{self._machine.name!r}: {'; '.join(problems)}. Start them with code that has it, "
                "then ask again; nothing was changed"
            )
