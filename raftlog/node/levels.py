"""The cluster's feature level: who can read the next one, and the entry that raises it.

What a level brings is written only once the level is applied on the leader, so behind the entry on
every member. A member whose raftlog cannot read the level stops at the entry, before it has applied
anything behind it, and is refused by its peers from then on. Asking the members first keeps an
operator from that; safety does not rest on it, since an answer may be outdated (decision 36).
"""

from __future__ import annotations

from raftlog.core.entries import EntryKind
from raftlog.errors import SafetyRefused
from raftlog.interfaces import LevelRaise
from raftlog.levels import FEATURE_LEVEL_MAX, LEVELS, check_known, encode_level
from raftlog.node.ports import CoreView, Ports
from raftlog.node.upgrades import Appending, Applying, OneRaise
from raftlog.types import NodeId


class FeatureLevels:
    """What members said that they can read, and the one raise under way."""

    def __init__(self, ports: Ports, core: CoreView, applier: Applying, writes: Appending) -> None:
        self._node_id = ports.storage.identity.node_id
        self._is_connected = ports.transport.is_connected
        self._core = core
        self._applier = applier
        self._writes = writes
        self._told: dict[NodeId, int] = {}
        # A level never goes down, so none is proposed behind one that may be higher.
        self._raise = OneRaise(core, applier, writes, "another raise of the level")

    @property
    def in_force(self) -> int:
        """Return the level at this member's place in the log."""
        return self._applier.applied.feature_level

    def told(self, peer: NodeId, level: int) -> None:
        """Take what a handshake showed; it replaces what an earlier process said."""
        if self._core.membership.member(peer) is not None:
            self._told[peer] = level

    def readable(self, peer: NodeId) -> int | None:
        """Return the highest level that a member can read; None: it cannot be asked now."""
        if peer == self._node_id:
            return FEATURE_LEVEL_MAX
        return self._told.get(peer) if self._is_connected(peer) else None

    def require_level(self, level: int, what: str) -> None:
        """Refuse to write what a level brings before it is in force; `what` is the subject.

        Called by the leader before it proposes. Whatever it lets pass stands behind the entry that
        raised the level.

        Raises:
            SafetyRefused: the level is not in force; nothing was written.
        """
        if self.in_force < level:
            raise SafetyRefused(
                f"{what} needs feature level {level}, and the cluster is at {self.in_force}: run "
                "`raftlog cluster upgrade` once every member runs raftlog "
                f"{LEVELS[level].since} or later; nothing was changed"
            )

    async def upgrade(
        self, level: int | None, *, dry_run: bool, timeout_seconds: float
    ) -> LevelRaise:
        """Raise the level in force to `level`. See `NodePort.upgrade_cluster`."""
        self._writes.require_open()
        self._raise.check_none_pending()
        wanted = FEATURE_LEVEL_MAX if level is None else level
        check_known(wanted)
        before = self.in_force
        if wanted < before:
            raise SafetyRefused(
                f"feature level {before} is in force, and a level never goes down; nothing was "
                "changed"
            )
        members = {peer: self.readable(peer) for peer in self._core.membership.node_ids}
        index = 0
        if wanted > before:
            _check_members(wanted, members)
            if not dry_run:
                payload = encode_level(wanted)
                index = await self._raise.append(EntryKind.VERSION, payload, timeout_seconds)
        return LevelRaise(
            before=before,
            level=wanted,
            raised=index > 0,
            index=index,
            members={peer: reads or 0 for peer, reads in members.items()},
        )


def _check_members(wanted: int, members: dict[NodeId, int | None]) -> None:
    """Raise SafetyRefused, with all their names, if some may not read that level."""
    problems = [
        f"{peer} is not connected" if reads is None else f"{peer} reads up to {reads}"
        for peer, reads in members.items()
        if reads is None or reads < wanted
    ]
    if problems:
        raise SafetyRefused(
            f"not every member can read feature level {wanted}: {'; '.join(problems)}. Start them "
            f"with raftlog {LEVELS[wanted].since} or later, then ask again; nothing was changed"
        )
