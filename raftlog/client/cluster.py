"""The cluster as operators see it: status, leadership, who may stand for election."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterable
from typing import cast

import grpc

from raftlog.client import promotion
from raftlog.client import snapshots as taken
from raftlog.client.alarms import AlarmReport, report
from raftlog.client.changes import change
from raftlog.client.connections import Connections, Peer
from raftlog.client.context import check_number, loop_time
from raftlog.client.log_ends import LogEnds, log_ends
from raftlog.client.members import MemberVerbs
from raftlog.client.values import (
    Campaigning,
    Diagnostics,
    Drained,
    LevelRaise,
    NodeSetting,
    Paused,
    Reign,
    Snapshot,
    SnapshotProgress,
    Transfer,
)
from raftlog.errors import (
    Indeterminate,
    LeaderHint,
    SafetyRefused,
    Unauthorized,
    Unavailable,
)
from raftlog.status import ClusterStatus
from raftlog.wire import status as wire_status
from raftlog.wire.cluster import status_from_pb
from raftlog.wire.pb import admin_pb2, types_pb2

STATUS_SECONDS = 0.5
PATIENCE_SECONDS = 2.0
LEVEL_MAX = 2**31 - 1
ASK_AGAIN_SECONDS = 0.05
"""A status that nobody answered is not asked for again before."""
GRACE_SECONDS = 0.1
"""How long members are waited for, once the leader has answered, to say what only they know."""


class Cluster(MemberVerbs):
    """The verbs of an operator."""

    async def status(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> ClusterStatus:
        """Return the cluster as the leader knows it, or without one any live node.

        With `member` that member is asked alone. A live node answers at once, so silence is taken
        for an answer after two seconds, whatever the timeout.
        """
        deadline = min(self._context.deadline(timeout), loop_time() + PATIENCE_SECONDS)
        if member is not None:
            reply = await self._context.connections.ask_member(member, _ask_status, deadline)
            return _status(reply, [reply])
        while True:
            replies = await self._ask_all()
            if replies:
                return _status(max(replies, key=_rank), replies)
            if loop_time() >= deadline:
                raise self._context.connections.no_answer()
            # Who answered before is known at once, and refused connections fail at once.
            await asyncio.sleep(ASK_AGAIN_SECONDS)
            await self._context.connections.anyone(deadline)

    async def leader(self, *, timeout: float | None = None) -> LeaderHint:
        """Return who leads and takes writes.

        Raises:
            Unavailable: nobody does.
        """
        deadline = self._context.deadline(timeout)

        async def call(peer: Peer, seconds: float) -> admin_pb2.LeaderReply:
            reply = await peer.admin.Leader(types_pb2.Empty(), timeout=seconds)
            return cast("admin_pb2.LeaderReply", reply)

        connections = self._context.connections
        while True:
            reply = await connections.ask_leader(call, deadline)
            if reply.ready:
                return LeaderHint(reply.served_by, reply.leader.address, reply.leader.term)
            connections.forget((await connections.leader(deadline)).peer.address)

    async def transfer(
        self, to: str | None = None, *, mock: bool = True, timeout: float | None = None
    ) -> Transfer:
        """Hand leadership to a member, by default to the most caught-up one that can take it.

        First a mock election (`mock`) proves that the member would win and could commit; it changes
        nothing. Then the member catches up while writes go on. Only then do writes stop, until it
        leads. Where it leads already, nothing is done: `source` and `target` are the same.

        Raises:
            SafetyRefused: the member may not lead, or would not win; it did not happen.
            Unavailable: it was given up; `definite` says whether it may happen yet.
            Indeterminate: the answer did not come in time.
        """
        deadline = self._context.deadline(timeout)

        async def call(peer: Peer, seconds: float) -> admin_pb2.TransferReply:
            request = admin_pb2.TransferRequest(
                to=to or "", timeout_seconds=seconds * promotion.ANSWER_FRACTION, mock=mock
            )
            reply = await peer.admin.Transfer(request, timeout=seconds)
            return cast("admin_pb2.TransferReply", reply)

        reply = await change(self._context, call, deadline, final=(Unavailable,))
        source = getattr(reply, "from")  # which is a keyword here
        reign = None
        if source != reply.to:
            reign = await promotion.reign_that_began(self._context, reply.to, reply.term, deadline)
        return Transfer(
            source=source,
            target=reply.to,
            term=reply.term,
            mock_seconds=reply.mock_seconds if reply.HasField("mock_seconds") else None,
            write_gap_seconds=None if reign is None else reign.gap_seconds,
            why="" if reign is None else reign.why,
        )

    async def cancel_transfer(self, *, timeout: float | None = None) -> bool:
        """Give up the transfer under way; return whether there was one.

        If this returns, no transfer that was under way happens.

        Raises:
            Indeterminate: the member was told to take over already, and may do so yet.
        """

        async def call(peer: Peer, seconds: float) -> admin_pb2.CancelTransferReply:
            reply = await peer.admin.CancelTransfer(types_pb2.Empty(), timeout=seconds)
            return cast("admin_pb2.CancelTransferReply", reply)

        reply = await change(self._context, call, self._context.deadline(timeout))
        if reply.outcome == admin_pb2.CancelTransferReply.OUTCOME_TOO_LATE:
            raise Indeterminate(
                "the leader goes on, but the member was told to take over before the transfer was "
                "cancelled, and may do so yet; `raftlog leader show` tells"
            )
        return bool(reply.outcome == admin_pb2.CancelTransferReply.OUTCOME_CERTAINLY)

    async def history(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> tuple[Reign, ...]:
        """Return who led when and why it changed, oldest first, of all members put together.

        Each member keeps the newest ones in memory, and forgets them when it is restarted. With
        `member` that one is asked alone.
        """
        deadline = self._context.deadline(timeout)
        if member is not None:
            return await promotion.reigns_of(self._context, member, deadline)
        return await promotion.reigns_of_all(self._context, await self._names(timeout), deadline)

    async def pause_elections(self, seconds: float, *, timeout: float | None = None) -> Paused:
        """Let no member stand for election for so long, at most a day.

        A leader goes on leading. One that fails meanwhile is not replaced before the pause is over.
        """
        call = promotion.pause_call(seconds)
        names = await self._names(timeout)
        deadline = self._context.deadline(timeout)
        return await promotion.tell_all(self._context, names, call, deadline)

    async def resume_elections(self, *, timeout: float | None = None) -> Paused:
        """End a pause of elections at every member."""
        return await self.pause_elections(0.0, timeout=timeout)

    async def set_campaigning(
        self, member: str, *, may_campaign: bool, timeout: float | None = None
    ) -> Campaigning:
        """Forbid or allow a member to stand for election; it holds across restarts."""
        call = promotion.campaign_call(may_campaign=may_campaign)
        deadline = self._context.deadline(timeout)
        return await promotion.tell(self._context, member, call, deadline)

    async def drain(self, member: str, *, timeout: float | None = None) -> Drained:
        """Prepare a member for a restart, and return whether it is safe to stop it now.

        It stands for no election until it is restarted, and hands leadership over if it leads.
        """
        deadline = self._context.deadline(timeout)
        call = promotion.drain_call(drained=True)
        drained = await promotion.tell(self._context, member, call, deadline)
        return promotion.safe_to_stop(await self.status(timeout=timeout), drained)

    async def undrain(self, member: str, *, timeout: float | None = None) -> Campaigning:
        """Let a drained member stand for election again."""
        call = promotion.drain_call(drained=False)
        deadline = self._context.deadline(timeout)
        return await promotion.tell(self._context, member, call, deadline)

    async def _names(self, timeout: float | None) -> tuple[str, ...]:
        return tuple(each.node_id for each in (await self.status(timeout=timeout)).members)

    async def upgrade(
        self, level: int | None = None, *, dry_run: bool = False, timeout: float | None = None
    ) -> LevelRaise:
        """Raise the cluster's feature level, once every member can read it.

        None: to the highest that the leader can read. From then on what the level brings may be
        written, and an older raftlog cannot come back. With `dry_run` all is checked, and nothing
        is written. To ask again is safe: what is in force already changes nothing.

        Raises:
            SafetyRefused: a member cannot read the level or cannot be asked (the message names all
                of them), or the level is below the one in force.
            Indeterminate: the answer did not come in time; ask again.
        """
        deadline = self._context.deadline(timeout)
        wanted = 0 if level is None else check_number("level", level, low=1, high=LEVEL_MAX)

        async def call(peer: Peer, seconds: float) -> admin_pb2.UpgradeClusterReply:
            request = admin_pb2.UpgradeClusterRequest(
                level=wanted, dry_run=dry_run, timeout_seconds=seconds
            )
            try:
                reply = await peer.admin.UpgradeCluster(request, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    raise SafetyRefused(
                        f"the leader at {peer.address} runs a raftlog that cannot raise the level: "
                        "restart every member with the new version first; nothing was changed"
                    ) from None
                raise
            return cast("admin_pb2.UpgradeClusterReply", reply)

        reply = await change(self._context, call, deadline)
        return LevelRaise(
            before=reply.before,
            level=reply.level,
            raised=reply.raised,
            index=reply.index,
            members={each.node_id: each.feature_level_max for each in reply.members},
        )

    async def step_down(self, *, timeout: float | None = None) -> None:
        """Make the leader stop leading, without choosing a successor.

        Raises:
            SafetyRefused: elections are paused, so nobody would lead.
        """

        async def call(peer: Peer, seconds: float) -> types_pb2.Empty:
            reply = await peer.admin.StepDown(types_pb2.Empty(), timeout=seconds)
            return cast("types_pb2.Empty", reply)

        await change(self._context, call, self._context.deadline(timeout))

    async def settings(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> tuple[NodeSetting, ...]:
        """Return the settings of a node that runs, of any one unless `member` names it.

        Numbers are seconds and bytes. What is secret is left out.
        """

        async def call(peer: Peer, seconds: float) -> admin_pb2.SettingsReply:
            reply = await peer.admin.Settings(types_pb2.Empty(), timeout=seconds)
            return cast("admin_pb2.SettingsReply", reply)

        deadline = self._context.deadline(timeout)
        reply = await self._context.connections.ask(member, call, deadline)
        return tuple(
            NodeSetting(
                key=wire.key,
                value=json.loads(wire.value_json),
                source=wire.source,
                meaning=wire.meaning,
            )
            for wire in reply.settings
        )

    async def take_snapshot(
        self,
        *,
        member: str | None = None,
        progress: SnapshotProgress | None = None,
        timeout: float | None = None,
    ) -> Snapshot:
        """Take a snapshot while writes go on, on a follower unless `member` names one.

        `progress` is told the bytes written, now and then. To ask again joins what is under way.

        Raises:
            SafetyRefused: the member is a witness, and has no state.
            Indeterminate: it is not done in time, and perhaps goes on.
            Unavailable: the member could not be asked.
        """
        deadline = self._context.deadline(timeout)
        if member is None:
            found = await self.status(timeout=timeout)
            able = [each for each in found.members if each.has_machine and each.healthy]
            able.sort(key=lambda each: (each.role == "leader", each.lag_transactions or 0))
            if not able:
                raise Unavailable("no healthy member has a machine")
            member = able[0].node_id

        return await taken.take(self._context, member, deadline, progress)

    async def snapshots(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> tuple[Snapshot, ...]:
        """Return the snapshots that a member holds, any one unless `member` names it."""
        deadline = self._context.deadline(timeout)
        return taken.snapshots_of(await taken.held(self._context, member, deadline))

    async def alarms(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> AlarmReport:
        """Return the alarms that members have raised, of all that answer or of the one named.

        Each says since when, why, what it means and what to do. Members that do not answer within a
        second are named as silent.
        """
        return await report(self._context, member, self._context.deadline(timeout))

    async def log_ends(self, *, timeout: float | None = None) -> LogEnds:
        """Return where the log of each member that answers ends, by its own word.

        Nobody needs to lead. It tells what is left when a quorum is lost: `raftlog recover inspect`
        ranks it.

        Raises:
            Unavailable: nobody answers.
        """
        return await log_ends(self._context, self._context.deadline(timeout))

    async def diagnostics(
        self, *, member: str | None = None, timeout: float | None = None
    ) -> Diagnostics:
        """Return what a node tells whoever looks into a fault, any one unless `member` names it.

        Its status, settings, metrics, recent events, the stacks of its tasks and threads, and its
        versions. No payload and no secret is in it.
        """

        async def call(peer: Peer, seconds: float) -> admin_pb2.DiagnosticsReply:
            reply = await peer.admin.Diagnostics(types_pb2.Empty(), timeout=seconds)
            return cast("admin_pb2.DiagnosticsReply", reply)

        deadline = self._context.deadline(timeout)
        reply = await self._context.connections.ask(member, call, deadline)
        return Diagnostics(
            served_by=reply.served_by,
            files={file.name: file.text for file in reply.files},
            cut=tuple(file.name for file in reply.files if file.cut),
        )

    async def _ask_all(self) -> list[admin_pb2.StatusReply]:
        """Ask every address at once, members that the first answer names included.

        Once the leader has answered, the others have a moment left to speak for themselves.

        Raises:
            Unauthorized: nobody answers this client, and somebody says that it may not ask.
        """
        connections = self._context.connections
        asked: set[str] = set()
        asking: list[asyncio.Task[admin_pb2.StatusReply | Unauthorized | None]] = []
        found: list[admin_pb2.StatusReply] = []
        refusal: Unauthorized | None = None
        until = loop_time() + STATUS_SECONDS
        try:
            while True:
                for address in connections.book.addresses():
                    if address not in asked:
                        asked.add(address)
                        asking.append(asyncio.create_task(_try_status(connections, address)))
                if not asking:
                    connections.whose.check()
                    return _answers(found, refusal)
                done, _ = await asyncio.wait(
                    asking,
                    timeout=max(until - loop_time(), 0.0),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    connections.whose.check()
                    return _answers(found, refusal)
                answered = [task.result() for task in asking if task in done]
                asking = [task for task in asking if task not in done]
                for reply in answered:
                    if reply is None:
                        continue
                    if isinstance(reply, Unauthorized):
                        refusal = reply
                        continue
                    connections.book.learn(
                        {each.node_id: each.address for each in reply.members},
                        term=reply.term if reply.leader else 0,
                        leads=bool(reply.leader) and reply.leader == reply.served_by,
                    )
                    found.append(reply)
                    if reply.leader and reply.leader == reply.served_by and reply.has_quorum:
                        until = min(until, loop_time() + GRACE_SECONDS)
        finally:
            for task in asking:
                task.cancel()


async def _ask_status(peer: Peer, seconds: float) -> admin_pb2.StatusReply:
    reply = await peer.admin.Status(types_pb2.Empty(), timeout=seconds)
    return cast("admin_pb2.StatusReply", reply)


async def _try_status(
    connections: Connections, address: str
) -> admin_pb2.StatusReply | Unauthorized | None:
    """Return a member's answer, its refusal of this client's certificate, or None."""
    peer = connections.peer(address)
    try:
        # Asked as a probe is, for whoever answers there is to say whose node it is.
        reply = await peer.probe.Status(types_pb2.Empty(), timeout=STATUS_SECONDS)
    except grpc.aio.AioRpcError as error:
        refusal = wire_status.from_rpc_error(error, sent=False)
        return refusal if isinstance(refusal, Unauthorized) else None
    is_ours = connections.astray.is_ours(peer, reply.cluster_id, is_led=bool(reply.leader))
    return reply if is_ours else None


def _answers(
    found: list[admin_pb2.StatusReply], refusal: Unauthorized | None
) -> list[admin_pb2.StatusReply]:
    if refusal is not None and not found:
        raise refusal
    return found


def _rank(reply: admin_pb2.StatusReply) -> tuple[bool, int, bool, int]:
    leads = bool(reply.leader) and reply.leader == reply.served_by
    return reply.has_quorum, reply.term, leads, reply.commit_index


def _status(
    reply: admin_pb2.StatusReply, replies: Iterable[admin_pb2.StatusReply]
) -> ClusterStatus:
    """Return the status by `reply`; each member speaks for itself of its alarms and its health."""
    said = {each.served_by: each for each in replies}
    found = status_from_pb(reply, {name: each.applied_index for name, each in said.items()})
    ill = {
        name
        for name, each in said.items()
        if any(member.node_id == name and not member.healthy for member in each.members)
    }
    return dataclasses.replace(
        found,
        alarms=tuple(alarm for _, each in sorted(said.items()) for alarm in each.alarms),
        members=tuple(
            dataclasses.replace(member, healthy=member.healthy and member.node_id not in ill)
            for member in found.members
        ),
    )
