"""What keeps this member from standing for election by an operator's word.

Three switches, each with an alarm. No-campaign holds until it is taken back, restarts included. A
pause ends by itself, so that nobody forgets it; it outlives a restart too, by the wall clock. A
drain prepares one restart, and is over with it: the member hands leadership over, and takes none.

None of them makes a leader step down by itself, and none keeps a member from voting.
"""

from __future__ import annotations

import asyncio
import json
from typing import Protocol

from raftlog.errors import InvalidInput, RaftLogError, SafetyRefused, StorageCorrupt
from raftlog.interfaces import Alarm, Alarms, CampaigningStatus, Handover
from raftlog.node.enrolment import Enrolment
from raftlog.node.inputs import Inputs
from raftlog.node.ports import Ports
from raftlog.types import NodeId, Role

PAUSE_SECONDS_MAX = 86_400.0
_PAUSED, _FORBIDDEN, _DRAINED = "elections_paused", "no_campaign", "drained"


class HandsOver(Protocol):
    """Who hands leadership over (`node/transfers.py`)."""

    async def prepare(
        self, target: NodeId | None, timeout_seconds: float, *, mock: bool
    ) -> Handover:
        """Hand over once the target has proved itself."""
        ...


class Campaigning:
    """The switches of one member."""

    def __init__(
        self,
        ports: Ports,
        inputs: Inputs,
        enrolment: Enrolment,
        transfers: HandsOver,
        alarms: Alarms,
    ) -> None:
        self._clock = ports.clock
        self._switches = ports.switches
        self._core = inputs.core
        self._enrolment = enrolment
        self._transfers = transfers
        self._alarms = alarms
        self._no_campaign = False
        self._drained = False
        self._paused_until: float | None = None
        self._saving = asyncio.Lock()
        """The file is written as a whole, so two operators' switches are saved one by one."""
        self._restore()

    def _restore(self) -> None:
        """Take up what was switched before the restart."""
        content = self._switches.load() if self._switches is not None else b""
        try:
            saved = json.loads(content) if content else {}
            is_forbidden = bool(saved.get("no_campaign"))
            left = float(saved.get("paused_until", 0.0)) - self._wall()
            # A clock that went back meanwhile must not make it longer than it was.
            left = min(left, float(saved.get("paused_seconds", PAUSE_SECONDS_MAX)))
        except (ValueError, TypeError, AttributeError) as error:
            raise StorageCorrupt(
                f"what was switched at this member cannot be read ({error}): remove the file "
                "SWITCHES from the data directory, start the node, and switch it anew"
            ) from None
        if is_forbidden:
            self._forbid()
        if left > 0:
            self._pause(min(left, PAUSE_SECONDS_MAX))

    def _wall(self) -> float:
        return self._clock.wall_microseconds() / 1e6

    @property
    def status(self) -> CampaigningStatus:
        """Return how the switches stand."""
        until = self._paused_until
        return CampaigningStatus(
            paused_seconds=None if until is None else max(until - self._clock.monotonic(), 0.0),
            no_campaign=self._no_campaign,
            drained=self._drained,
            leads=self._core.role is Role.LEADER,
        )

    def check_may_step_down(self) -> None:
        """Refuse to leave the cluster without a leader while nobody may be elected.

        Raises:
            SafetyRefused: elections are paused here, and so, as far as is known, everywhere.
        """
        if self._paused_until is not None:
            raise SafetyRefused(
                "elections are paused, so nobody would lead; `raftlog leader resume-elections` "
                "first"
            )

    def expire(self) -> None:
        """End a pause whose time is over; call it now and then."""
        if self._paused_until is not None and self._clock.monotonic() >= self._paused_until:
            self._resume()

    async def pause(self, seconds: float) -> CampaigningStatus:
        """Stand for no election for so long; 0 ends a pause.

        Raises:
            InvalidInput: so long a pause would be forgotten.
        """
        if not 0 <= seconds <= PAUSE_SECONDS_MAX:
            raise InvalidInput(f"a pause of {seconds:g} s is not from 0 to {PAUSE_SECONDS_MAX:g} s")
        async with self._saving:
            await self._save(no_campaign=self._no_campaign, paused_seconds=seconds)
            if seconds:
                self._pause(seconds)
            else:
                self._resume()
            return self.status

    async def set_campaigning(self, *, may_campaign: bool) -> CampaigningStatus:
        """Forbid or allow this member to stand for election; durable when this returns."""
        async with self._saving:
            paused = self.status.paused_seconds or 0.0
            await self._save(no_campaign=not may_campaign, paused_seconds=paused)
            if may_campaign:
                self._no_campaign = False
                self._enrolment.release(_FORBIDDEN)
                self._alarms.clear(Alarm.NO_CAMPAIGN)
            else:
                self._forbid()
            return self.status

    async def drain(self, *, drained: bool, timeout_seconds: float) -> CampaigningStatus:
        """Stand for no election, and hand over if this member leads; or undo it.

        A hand-over that fails leaves the member drained and leading; the answer says why.
        """
        self._drained = drained
        if not drained:
            self._enrolment.release(_DRAINED)
            self._alarms.clear(Alarm.DRAINED)
            return self.status
        self._enrolment.withhold(_DRAINED)
        self._alarms.raise_(Alarm.DRAINED, "an operator drained this member")
        why = ""
        if self._core.role is Role.LEADER:
            try:
                await self._transfers.prepare(None, timeout_seconds, mock=True)
            except RaftLogError as error:
                why = error.message
        status = self.status
        return CampaigningStatus(
            paused_seconds=status.paused_seconds,
            no_campaign=status.no_campaign,
            drained=self._drained,
            leads=status.leads,
            why=why if status.leads else "",
        )

    def _forbid(self) -> None:
        self._no_campaign = True
        self._enrolment.withhold(_FORBIDDEN)
        self._alarms.raise_(Alarm.NO_CAMPAIGN, "an operator forbade it")

    def _pause(self, seconds: float) -> None:
        self._paused_until = self._clock.monotonic() + seconds
        self._enrolment.withhold(_PAUSED)
        why = f"an operator paused elections; {seconds:.0f} s were left when this was said"
        self._alarms.raise_(Alarm.ELECTIONS_PAUSED, why)

    def _resume(self) -> None:
        self._paused_until = None
        self._enrolment.release(_PAUSED)
        self._alarms.clear(Alarm.ELECTIONS_PAUSED)

    async def _save(self, *, no_campaign: bool, paused_seconds: float) -> None:
        if self._switches is None:
            return
        until = self._wall() + paused_seconds if paused_seconds else 0.0
        saved = {
            "no_campaign": no_campaign,
            "paused_until": round(until, 3),
            "paused_seconds": round(paused_seconds, 3),
        }
        content = json.dumps(saved, sort_keys=True).encode() + b"\n"
        loop = asyncio.get_running_loop()
        saving = loop.run_in_executor(None, self._switches.save, content)
        try:
            await asyncio.shield(saving)
        except asyncio.CancelledError:
            await asyncio.wait([saving])  # the lock holds until the thread has let the file go
            raise
