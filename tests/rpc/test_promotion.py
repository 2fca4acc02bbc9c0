"""The Admin service's part about promotion."""

from __future__ import annotations

import pytest

from raftlog.core.trial import Cancelled
from raftlog.errors import InvalidInput, NotFound
from raftlog.interfaces import Reign
from raftlog.rpc.services.promotion import Promotion
from raftlog.types import NodeId
from raftlog.wire.pb import admin_pb2 as pb
from raftlog.wire.pb import types_pb2
from tests.rpc.doubles import Serving, failure

EMPTY = types_pb2.Empty()


async def test_a_transfer_tells_of_its_trial_where_there_was_one(serving: Serving) -> None:
    """To the member named, or to whichever the node picks; an older client asks for no trial."""
    for to, mock in (("n2", True), ("", True), ("n2", False)):
        request = pb.TransferRequest(to=to, timeout_seconds=1, mock=mock)
        reply = await serving.admin.Transfer(request)
        assert (getattr(reply, "from"), reply.to, reply.term) == ("n1", "n2", 5)
        assert reply.HasField("mock_seconds") is mock
    unknown = await failure(serving.admin.Transfer(pb.TransferRequest(to="ghost")))
    assert isinstance(unknown, NotFound)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
async def test_a_time_that_is_no_duration_is_refused(serving: Serving, seconds: float) -> None:
    """Hostile floats do not reach the node's timers."""
    request = pb.TransferRequest(timeout_seconds=seconds)
    assert isinstance(await failure(serving.admin.Transfer(request)), InvalidInput)
    drain = pb.DrainRequest(timeout_seconds=seconds)
    assert isinstance(await failure(serving.admin.Drain(drain)), InvalidInput)
    if seconds > 0 or seconds != seconds:
        pause = pb.PauseElectionsRequest(seconds=seconds)
        assert isinstance(await failure(serving.admin.PauseElections(pause)), InvalidInput)
    assert serving.node.switched == []


@pytest.mark.parametrize("cancelled", Cancelled)
async def test_each_end_of_a_cancelled_transfer_has_its_word(
    serving: Serving, cancelled: Cancelled
) -> None:
    """None is left unspecified, and no two are the same."""
    serving.node.cancelled = cancelled
    reply = await serving.admin.CancelTransfer(EMPTY)
    name = pb.CancelTransferReply.Outcome.Name(reply.outcome)
    assert name == f"OUTCOME_{cancelled.name}"


async def test_what_is_not_known_of_a_leadership_stays_unset(serving: Serving) -> None:
    """A zero is a measurement, and none is none."""
    known = {"term": 3, "told_by": NodeId("n1"), "why": "", "began_at": 7.5}
    serving.node.known_reigns = (
        Reign(leader=NodeId("n2"), previous=None, **known),
        Reign(leader=NodeId("n1"), previous=NodeId("n2"), gap_seconds=0.0, **known),
    )
    reply = await serving.admin.Reigns(EMPTY)
    first, second = reply.reigns
    assert (reply.served_by, first.leader, first.previous) == ("n1", "n2", "")
    assert not first.HasField("gap_seconds")
    assert second.HasField("gap_seconds")
    assert (second.previous, second.began_at) == ("n2", 7.5)


async def test_the_switches_reach_the_node_and_its_answer_comes_back(serving: Serving) -> None:
    """Each verb is one call of the node."""
    assert Promotion.__name__ == "Promotion"
    replies = [
        await serving.admin.PauseElections(pb.PauseElectionsRequest(seconds=60)),
        await serving.admin.SetCampaigning(pb.SetCampaigningRequest(may_campaign=False)),
        await serving.admin.Drain(pb.DrainRequest(drained=True, timeout_seconds=1)),
    ]
    assert serving.node.switched == [("pause", 60.0), ("campaign", False), ("drain", True)]
    for reply in replies:
        assert reply == pb.CampaigningReply(
            served_by="n1", drained=True, leads=True, why="no successor"
        )
