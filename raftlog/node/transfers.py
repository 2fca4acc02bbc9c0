"""Handing leadership over, and waiting until someone else leads (§3.10)."""

from __future__ import annotations

import asyncio

from raftlog.core.changes import Trial, TrialPhase
from raftlog.core.trial import Cancelled, Wish
from raftlog.errors import InvariantBroken, NotLeader, RaftLogError, SafetyRefused, Unavailable
from raftlog.interfaces import Handover
from raftlog.node.inputs import Inputs
from raftlog.node.ports import Ports, hint_of
from raftlog.types import NodeId, Role

POLL_SECONDS = 0.05
"""A transfer that is given up changes no standing, so it is looked for this often."""
LEADS_ON = "this node goes on leading"


class Transfers:
    """Starts transfers in the core and waits for what becomes of them."""

    def __init__(self, ports: Ports, inputs: Inputs) -> None:
        self._node_id = ports.storage.identity.node_id
        self._is_connected = ports.transport.is_connected
        self._inputs = inputs
        self._waiters: list[asyncio.Future[None]] = []

    def standing_changed(self) -> None:
        """Let waiting transfers look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def transfer(self, target: NodeId | None, timeout_seconds: float) -> NodeId:
        """Hand leadership over at once, untried (None: to the most caught-up member).

        Returns the new leader.

        Raises:
            NotLeader, SafetyRefused, Unavailable: as `prepare`.
        """
        self._check_leads()
        self._inputs.transfer(target)
        tried = self._inputs.core.changes.tried
        if tried is None:
            raise InvariantBroken("a transfer left no record")
        return (await self._wait_outcome(tried, timeout_seconds)).target

    async def prepare(
        self,
        target: NodeId | None,
        timeout_seconds: float,
        *,
        mock: bool,
        without: frozenset[NodeId] = frozenset(),
    ) -> Handover:
        """Hand leadership over once the target has won a trial (`mock`) and caught up.

        Writes are taken until then. Without a target the most caught-up member is tried, then the
        others.

        Raises:
            NotLeader: this node does not lead.
            SafetyRefused: the target is not another promotable voter, or the trial was lost.
            Unavailable: it was given up, or its target went away, or nobody leads in time. It is
                definite unless the target was told to campaign.
        """
        self._check_leads()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        refusals: dict[NodeId, RaftLogError] = {}
        while True:
            wish = Wish(
                target=target,
                without=without | refusals.keys(),
                mock=mock,
                seconds=max(deadline - loop.time(), 0.0),
            )
            begun: list[Trial] = []
            try:
                return await self._try(wish, begun, deadline)
            except (SafetyRefused, Unavailable) as error:
                failed = [tried for tried in begun if tried.phase is TrialPhase.FAILED]
                if target is not None or not failed:
                    raise _together([*refusals.values(), error]) from None
                refusals[failed[0].target] = error  # somebody else may do

    async def _try(self, wish: Wish, begun: list[Trial], deadline: float) -> Handover:
        """Try one target, and wait for the outcome; `begun` is given the record of it."""
        tried = self._inputs.prepare_transfer(wish)
        begun.append(tried)
        return await self._wait_outcome(tried, deadline - asyncio.get_running_loop().time())

    def cancel(self) -> Cancelled:
        """Give up the transfer under way.

        Raises:
            NotLeader: this node does not lead.
        """
        self._check_leads()
        cancelled = self._inputs.cancel_transfer()
        self.standing_changed()
        return cancelled

    def _check_leads(self) -> None:
        core = self._inputs.core
        if core.role is not Role.LEADER:
            raise NotLeader("only the leader can hand over", leader=hint_of(core))

    async def _wait_outcome(self, tried: Trial, timeout_seconds: float) -> Handover:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while (left := deadline - loop.time()) > 0:
            handed_over = self._look_at(tried)
            if handed_over is not None:
                return handed_over
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
            await asyncio.wait([waiter], timeout=min(left, POLL_SECONDS))
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        if self._may_begin_yet(tried):
            self._inputs.cancel_transfer()  # or the answer would be a lie
        raise Unavailable("no new leader in time", definite=_is_certain(tried))

    def _may_begin_yet(self, tried: Trial) -> bool:
        """Whether its target was not told to campaign yet, and may be later."""
        if tried.phase in {TrialPhase.ASKING, TrialPhase.CATCHING_UP}:
            return True
        core = self._inputs.core
        is_under_way = core.changes.tried is tried and core.transferee == tried.target
        return core.role is Role.LEADER and is_under_way and _is_certain(tried)

    def _look_at(self, tried: Trial) -> Handover | None:
        """Return the outcome, or None while it is open.

        Raises:
            SafetyRefused, Unavailable: it failed.
        """
        core, leads = self._inputs.core, self._inputs.core.role is Role.LEADER
        if tried.phase is TrialPhase.FAILED:
            kind = SafetyRefused if tried.is_refused else Unavailable
            raise kind(f"{tried.why}; {LEADS_ON}" if leads else tried.why)
        if tried.phase is TrialPhase.CANCELLED:
            raise Unavailable(f"the transfer was cancelled; {LEADS_ON}")
        leader = core.leader
        if leader is not None and leader != self._node_id:
            return Handover(
                source=self._node_id,
                target=leader,
                term=int(core.term),
                mock_seconds=tried.tried_seconds,
            )
        if leads and tried.phase is TrialPhase.HANDING_OVER and core.transferee is None:
            raise Unavailable(_given_up(tried), definite=_is_certain(tried))
        if leads and not self._is_connected(tried.target):
            # Nodes that stop together must not wait for one another.
            raise self._went_away(tried)
        return None

    def _went_away(self, tried: Trial) -> Unavailable:
        """Give up a transfer whose target has gone, and return what the caller is told.

        One to another target that took its place goes on.
        """
        is_certain = _is_certain(tried)
        if self._inputs.core.changes.tried is tried:
            is_certain = self._inputs.cancel_transfer() is not Cancelled.TOO_LATE
        return Unavailable(
            f"{tried.target} went away before it could take over; {LEADS_ON}",
            definite=is_certain,
        )


def _together(failures: list[RaftLogError]) -> RaftLogError:
    """Return the last failure, with the reasons of those before it."""
    last = failures[-1]
    if len(failures) == 1:
        return last
    *before, _ = (each.message.removesuffix(f"; {LEADS_ON}") for each in failures)
    kind = type(failures[0])
    return kind(f"{'; '.join(before)}; {last.message}", definite=last.definite)


def _is_certain(tried: Trial) -> bool:
    """Whether the target was never told to campaign."""
    return tried.transfer is None or not tried.transfer.is_told


def _given_up(tried: Trial) -> str:
    if _is_certain(tried):
        return f"the transfer was given up before {tried.target} was told of it; {LEADS_ON}"
    return (
        f"the transfer was given up; {LEADS_ON}, but {tried.target} was told to campaign and may "
        "still take over: `raftlog leader show` tells"
    )
