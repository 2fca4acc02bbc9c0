"""The part of the Admin service that is about promotion: transfers, reigns, campaigning."""

from __future__ import annotations

import dataclasses
import math

from raftlog.core.trial import Cancelled
from raftlog.errors import InvalidInput
from raftlog.interfaces import CampaigningStatus, NodePort
from raftlog.rpc.methods import Context, Handlers, Methods, timeout_of
from raftlog.types import NodeId
from raftlog.wire.pb import admin_pb2 as pb
from raftlog.wire.pb import types_pb2

_OUTCOMES = {
    Cancelled.NOTHING: pb.CancelTransferReply.OUTCOME_NOTHING,
    Cancelled.CERTAINLY: pb.CancelTransferReply.OUTCOME_CERTAINLY,
    Cancelled.TOO_LATE: pb.CancelTransferReply.OUTCOME_TOO_LATE,
}


class Promotion:
    """Converts, calls the node, converts back."""

    def __init__(self, node: NodePort, timeout_seconds: float) -> None:
        self._node = node
        self._timeout_seconds = timeout_seconds

    def handlers(self, methods: Methods) -> Handlers:
        """Return the handlers by method name."""
        return {
            "Transfer": methods.unary(pb.TransferRequest, self.transfer),
            "CancelTransfer": methods.unary(types_pb2.Empty, self.cancel_transfer),
            "Reigns": methods.unary(types_pb2.Empty, self.reigns),
            "PauseElections": methods.unary(pb.PauseElectionsRequest, self.pause_elections),
            "SetCampaigning": methods.unary(pb.SetCampaigningRequest, self.set_campaigning),
            "Drain": methods.unary(pb.DrainRequest, self.drain),
        }

    async def transfer(self, request: pb.TransferRequest, context: Context) -> pb.TransferReply:
        """Hand leadership over."""
        timeout = timeout_of(request.timeout_seconds, context, self._timeout_seconds)
        target = NodeId(request.to) if request.to else None
        done = await self._node.prepare_transfer(target, timeout, mock=request.mock)
        reply = pb.TransferReply(to=done.target, term=done.term, mock_seconds=done.mock_seconds)
        setattr(reply, "from", done.source)
        return reply

    async def cancel_transfer(self, _: types_pb2.Empty, __: Context) -> pb.CancelTransferReply:
        """Give up the transfer under way."""
        return pb.CancelTransferReply(outcome=_OUTCOMES[self._node.cancel_transfer()])

    async def reigns(self, _: types_pb2.Empty, __: Context) -> pb.ReignsReply:
        """Return the leaderships this member knows of."""
        return pb.ReignsReply(
            served_by=self._node.identity.node_id,
            reigns=[
                pb.Reign(**{k: v for k, v in dataclasses.asdict(reign).items() if v is not None})
                for reign in self._node.reigns()
            ],
        )

    async def pause_elections(
        self, request: pb.PauseElectionsRequest, _: Context
    ) -> pb.CampaigningReply:
        """Stand for no election for a while."""
        if not math.isfinite(request.seconds):
            raise InvalidInput(f"a pause of {request.seconds} s makes no sense")
        return self._reply(await self._node.pause_elections(request.seconds))

    async def set_campaigning(
        self, request: pb.SetCampaigningRequest, _: Context
    ) -> pb.CampaigningReply:
        """Forbid or allow this member to stand for election."""
        return self._reply(await self._node.set_campaigning(may_campaign=request.may_campaign))

    async def drain(self, request: pb.DrainRequest, context: Context) -> pb.CampaigningReply:
        """Make this member ready to be stopped, or undo it."""
        timeout = timeout_of(request.timeout_seconds, context, self._timeout_seconds)
        return self._reply(await self._node.drain(drained=request.drained, timeout_seconds=timeout))

    def _reply(self, status: CampaigningStatus) -> pb.CampaigningReply:
        return pb.CampaigningReply(
            served_by=self._node.identity.node_id,
            paused_seconds=status.paused_seconds,
            no_campaign=status.no_campaign,
            drained=status.drained,
            leads=status.leads,
            why=status.why,
        )
