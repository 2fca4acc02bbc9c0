"""A call that changes something is made again only where it certainly did not happen."""

from __future__ import annotations

import asyncio
import types

import grpc
import pytest

from raftlog.client import connections
from raftlog.client.changes import change
from raftlog.errors import (
    ConnectFailed,
    Indeterminate,
    LeaderHint,
    LeadershipLost,
    NotLeader,
    Overloaded,
    SafetyRefused,
    Unavailable,
)
from tests.client.scripted import Net, failed, says

MEMBERS = {"n1": "a:1", "n2": "b:1"}


class Rig:
    """A context over a scripted network, and a call that answers as it is told."""

    def __init__(self, *answers: object) -> None:
        self.net = Net(a=says("n1", leads="n1", **MEMBERS))
        self.connections = self.net.connections("a:1")
        self.answers = list(answers)
        self.asked: list[str] = []
        self.seconds: list[float] = []

    async def call(self, peer, seconds: float) -> object:
        self.asked.append(peer.address)
        self.seconds.append(seconds)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def change(self, seconds: float = 5.0, **how) -> object:
        if self.net.replies["a:1"].ready:  # whoever looks for a leader may need more than it has
            await self.connections.leader(asyncio.get_running_loop().time() + 5)
        context = types.SimpleNamespace(connections=self.connections)
        ends_at = asyncio.get_running_loop().time() + seconds
        return await asyncio.wait_for(change(context, self.call, ends_at, **how), 10)


async def test_what_was_refused_definitely_is_made_again() -> None:
    """A leader that is overloaded, or leads no more, did nothing; each time it may take what is
    left."""
    rig = Rig(failed(Overloaded("full")), failed(NotLeader("no")), "done")
    assert await rig.change() == "done"
    assert rig.asked == ["a:1"] * 3
    assert all(4.0 < seconds <= 5.0 for seconds in rig.seconds)


@pytest.mark.parametrize(
    "error",
    [
        failed(LeadershipLost("stepped down")),
        failed(Unavailable("no answer", definite=False)),
        grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "reset"
        ),
        grpc.aio.AioRpcError(
            grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata()
        ),
    ],
)
async def test_what_may_have_happened_is_made_once(error) -> None:
    """The caller hears that nobody knows, and decides whether to ask again."""
    rig = Rig(error)
    with pytest.raises((Indeterminate, Unavailable)) as caught:
        await rig.change()
    assert not caught.value.definite
    assert len(rig.asked) == 1
    assert rig.connections.known_leader is None  # whoever asks next looks for it again


async def test_what_no_leader_would_do_is_asked_once() -> None:
    """A refusal for good is the last word, and so is one that the caller takes for it."""
    rig = Rig(failed(SafetyRefused("no")))
    with pytest.raises(SafetyRefused):
        await rig.change()
    given_up = Rig(failed(Unavailable("given up")))
    with pytest.raises(Unavailable, match=r"^given up$"):
        await given_up.change(final=(Unavailable,))
    assert len(rig.asked) == len(given_up.asked) == 1
    busy = Rig(failed(Overloaded("full")), "done")
    assert await busy.change(final=(Unavailable,)) == "done"


async def test_nothing_is_sent_before_there_is_a_connection() -> None:
    """What could not be sent did not happen: it is tried until the time is over, and said so."""
    rig = Rig("done")
    rig.net.states = [grpc.ChannelConnectivity.TRANSIENT_FAILURE]
    with pytest.raises(ConnectFailed, match="cannot connect to a:1") as caught:
        await rig.change(0.2)
    assert caught.value.definite
    assert not rig.asked


async def test_who_is_named_as_leader_is_asked_next() -> None:
    """Also where neither the endpoints nor the members tell of it."""
    rig = Rig(failed(NotLeader("elsewhere", leader=LeaderHint("n9", "z:1", 2))), "done")
    rig.net.replies["z:1"] = says("n9", leads="n9", term=2)
    changing = asyncio.ensure_future(rig.change())
    while not rig.asked:
        await asyncio.sleep(0.001)
    rig.net.replies["a:1"] = says("n1")
    assert await changing == "done"
    assert rig.asked == ["a:1", "z:1"]


async def test_a_time_that_is_over_is_told_with_the_last_refusal() -> None:
    """Each attempt has a moment, however late; the error is definite, and keeps its class."""
    rig = Rig(failed(Overloaded("full")))
    with pytest.raises(Overloaded, match="the last refusal: full") as caught:
        await rig.change(0.3)
    assert caught.value.definite
    assert len(rig.asked) > 1
    with pytest.raises(Overloaded):
        await rig.change(-1.0)
    assert rig.seconds[-1] == 0.001
    nobody = Rig(failed(Overloaded("full")))
    nobody.net.replies = {"a:1": says("n1")}
    with pytest.raises(Unavailable, match="no leader answered in time"):
        await nobody.change(0.05)


@pytest.mark.parametrize("is_out_of_reach", [True, False])
async def test_who_is_out_of_reach_by_now_is_told_as_such(monkeypatch, is_out_of_reach) -> None:
    """That counts for more than what a leader said before, which is told where only that led."""
    if is_out_of_reach:
        monkeypatch.setattr(connections, "ANSWERED_SECONDS", 0.0)
    rig = Rig(failed(Overloaded("full")))

    async def refuse_and_vanish(peer, seconds: float) -> object:
        rig.net.replies.clear()
        return await Rig.call(rig, peer, seconds)

    rig.call = refuse_and_vanish
    said = "cannot connect to any of a:1, b:1" if is_out_of_reach else "last refusal: full"
    with pytest.raises(ConnectFailed if is_out_of_reach else Overloaded, match=said):
        await rig.change(0.2)
    assert len(rig.asked) == 1


async def test_why_nobody_was_asked_is_told_as_it_is() -> None:
    """Without any refusal there is nothing to be told but what ended the search."""
    rig = Rig("done")
    rig.net.replies = {"a:1": says("n1")}
    changing = asyncio.ensure_future(rig.change())
    while not rig.net.asked:
        await asyncio.sleep(0.001)
    await rig.connections.close()
    with pytest.raises(Unavailable, match="the client is closed"):
        await changing
