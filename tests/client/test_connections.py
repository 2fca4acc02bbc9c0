"""Who is probed when, what is believed, and how long who waits, to the call."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from raftlog.client import connections as module
from raftlog.client.connections import Diagnosis, Peer
from raftlog.errors import (
    ConnectFailed,
    LeaderHint,
    NotFound,
    NotLeader,
    Overloaded,
    Rejected,
    Unavailable,
    WrongCluster,
)
from raftlog.wire.diagnosis import Finding, Trouble
from tests.client.conftest import until
from tests.client.scripted import Net, failed, says

State = grpc.ChannelConnectivity
MEMBERS = {"n1": "a:1", "n2": "b:1", "n3": "c:1"}


def now() -> float:
    return asyncio.get_running_loop().time()


def cluster(leader: str = "n1", term: int = 1) -> Net:
    """Three nodes that agree on who leads."""
    return Net(
        a=says("n1", leads=leader, term=term, **MEMBERS),
        b=says("n2", leads=leader, term=term, **MEMBERS),
        c=says("n3", leads=leader, term=term, **MEMBERS),
    )


# -------------------------------------------------------------------- one address


@pytest.mark.parametrize("state", [State.TRANSIENT_FAILURE, State.SHUTDOWN])
async def test_who_refuses_a_connection_is_not_waited_for(state) -> None:
    """Nothing was sent, and another member may be asked at once."""
    net = Net()
    net.states = [State.IDLE, State.CONNECTING, state]
    peer = Peer("a:1", None, net.open)
    with pytest.raises(ConnectFailed, match="a:1; nothing was sent") as caught:
        await asyncio.wait_for(peer.wait_connected(now() + 100), 5)
    assert caught.value.definite


async def test_who_is_silent_is_waited_for_until_the_deadline() -> None:
    """A connection that comes about in time is used; one that never does ends the wait."""
    net = Net()
    net.states = [State.IDLE, State.CONNECTING, State.READY]
    await asyncio.wait_for(Peer("a:1", None, net.open).wait_connected(now() + 100), 5)
    net.states = [State.READY]
    await Peer("a:1", None, net.open).wait_connected(now() - 1)
    net.states = [State.CONNECTING]
    with pytest.raises(ConnectFailed):
        await asyncio.wait_for(Peer("a:1", None, net.open).wait_connected(now() + 0.02), 5)


async def test_one_channel_for_each_address_and_none_once_closed() -> None:
    """A closed client opens no connection any more."""
    connections = Net().connections("a:1")
    peer = connections.peer("a:1")
    assert connections.peer("a:1") is peer
    assert connections.peer("b:1") is not peer
    await connections.close()
    assert peer.channel.is_closed
    with pytest.raises(Unavailable, match="closed"):
        connections.peer("a:1")


# -------------------------------------------------------------------- the leader


async def test_a_leader_that_is_known_is_not_looked_for() -> None:
    """It is probed once, and again only after a call failed there."""
    net = cluster("n2")
    connections = net.connections("a:1")
    found = await connections.leader(now() + 5)
    assert (found.node_id, found.peer.address, found.term) == ("n2", "b:1", 1)
    asked = len(net.asked)
    assert await connections.leader(now() - 1) is found
    assert await connections.anyone(now() - 1) is found
    connections.forget("a:1")
    assert connections.known_leader is found
    assert len(net.asked) == asked
    connections.forget("b:1")
    assert connections.known_leader is None
    assert (await connections.leader(now() + 5)).node_id == "n2"
    assert len(net.asked) > asked
    await connections.close()


async def test_anyone_is_kept_until_a_call_fails_there() -> None:
    """Without a leader whoever answered first goes on answering."""
    net = cluster("")
    connections = net.connections("a:1")
    found = await connections.anyone(now() + 5)
    assert found.node_id == "n1"
    asked = len(net.asked)
    connections.forget("b:1")
    assert await connections.anyone(now() - 1) is found
    assert len(net.asked) == asked
    del net.replies["a:1"]
    connections.forget("a:1")
    assert (await connections.anyone(now() + 5)).node_id != "n1"
    await connections.close()


async def test_limits_are_those_of_the_leader() -> None:
    """What a follower takes says nothing; before a leader is known nothing is known."""
    net = cluster("n2")
    net.replies["a:1"].limits.group_bytes_max = 7
    net.replies["b:1"].limits.group_bytes_max = 9
    connections = net.connections("a:1")
    await connections.anyone(now() + 5)
    assert not connections.knows_limits
    await connections.leader(now() + 5)
    assert connections.knows_limits
    assert connections.limits.group_bytes_max == 9
    await connections.close()


async def test_callers_share_one_search_which_ends_with_the_last_of_them() -> None:
    """Who gives up leaves the others their search; nobody's search goes on."""
    net = cluster("")
    connections = net.connections("a:1")
    waiting = [asyncio.ensure_future(connections.leader(now() + 50)) for _ in range(3)]
    await until(lambda: net.asked_of("a:1") > 1)
    [search] = connections._searches.values()
    assert search.waiting == 3
    with pytest.raises(Unavailable):
        await connections.leader(now() + 0.02)
    waiting.pop().cancel()
    await until(lambda: search.waiting == 2)
    assert not search.task.done()
    net.replies = cluster("n3", term=2).replies
    assert {each.node_id for each in await asyncio.gather(*waiting)} == {"n3"}
    assert not connections._searches
    connections.forget("c:1")
    net.replies = cluster("").replies
    with pytest.raises(Unavailable):
        await connections.leader(now() + 0.02)
    assert not connections._searches
    await connections.close()


async def test_a_client_that_closes_ends_its_searches() -> None:
    """Who waits for a leader then is told, and so is who comes later."""
    net = cluster("")
    connections = net.connections("a:1")
    waiting = asyncio.ensure_future(connections.leader(now() + 50))
    await until(lambda: bool(net.asked))
    await connections.close()
    for call in (waiting, connections.leader(now() + 50), connections.anyone(now() + 50)):
        with pytest.raises(Unavailable, match="the client is closed"):
            await asyncio.wait_for(call, 5)


async def test_a_closed_client_knows_nobody_any_more() -> None:
    """Whom it knew is no way around its end, whether that one leads or only answered."""
    connections = cluster().connections("a:1")
    await connections.leader(now() + 5)
    await connections.close()
    assert connections.known_leader is None
    assert connections.is_closed
    with pytest.raises(Unavailable, match="the client is closed"):
        await connections.leader(now() + 5)
    connections = cluster("").connections("a:1")
    await connections.anyone(now() + 5)
    await connections.close()
    with pytest.raises(Unavailable, match="the client is closed"):
        await connections.anyone(now() + 5)


async def test_who_is_cancelled_is_not_told_that_the_client_was_closed() -> None:
    """gRPC says of both the same; a cancelled task must end as one."""
    connections = cluster().connections("a:1")

    async def call() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            connections.explain_cancelled()
            raise

    calling = [asyncio.ensure_future(call()) for _ in range(2)]
    await asyncio.sleep(0)
    calling[0].cancel()
    await asyncio.wait(calling[:1])
    await connections.close()
    calling[1].cancel()
    await asyncio.wait(calling)
    assert all(each.cancelled() for each in calling)
    with pytest.raises(Unavailable, match="closed meanwhile"):
        connections.explain_cancelled()


async def test_each_address_is_probed_at_its_own_pace() -> None:
    """One that is silent delays nobody, and is asked no more often than it can answer."""
    net = cluster("")
    net.silent.add("c:1")
    connections = net.connections("a:1")
    began = now()
    looking = asyncio.ensure_future(connections.leader(began + 50))
    await until(lambda: net.asked_of("a:1") > 10)
    assert net.asked_of("c:1") <= (now() - began) / module.PROBE_SECONDS + 1
    looking.cancel()
    assert {seconds for _, seconds in net.asked} == {module.PROBE_SECONDS}
    await connections.close()


async def test_a_leader_of_an_older_term_is_not_preferred() -> None:
    """Asked all at once, the newest that is ready counts; nobody of another cluster does."""
    net = cluster("n1")
    net.replies["b:1"] = says("n2", leads="n2", term=3, **MEMBERS)
    net.replies["c:1"] = says("n9", leads="n9", term=9, cluster_id="other")
    connections = net.connections("a:1", "b:1", "c:1", cluster_id="c")
    found = await connections.newest_leader()
    assert found is not None
    assert (found.served_by, found.term) == ("n2", 3)
    await connections.close()


async def test_the_first_of_two_clusters_to_answer_does_not_decide_alone() -> None:
    """The other endpoint has a moment to say that it is another's; then neither is written to."""
    net = Net(a=says("n1", leads="n1"), b=says("n1", leads="n1", cluster_id="other"))
    connections = net.connections("a:1", "b:1")
    with pytest.raises(WrongCluster, match="different clusters"):
        await asyncio.wait_for(connections.leader(now() + 50), 5)
    await connections.close()
    told = net.connections("a:1", "b:1", cluster_id="other")
    assert (await told.leader(now() + 5)).peer.address == "b:1"
    assert isinstance(told.whose.refusal(["a:1"]), WrongCluster)
    await told.close()
    nowhere = net.connections("a:1", "b:1", cluster_id="third")
    with pytest.raises(WrongCluster, match="keeps to the cluster third"):
        await asyncio.wait_for(nowhere.leader(now() + 50), 5)
    await nowhere.close()


async def test_a_stranger_that_answers_first_is_not_taken_for_a_member() -> None:
    """The cluster that has a leader is meant, and nobody else is asked, whoever will do."""
    for order in (("a:1", "b:1"), ("b:1", "a:1")):
        net = Net(a=says("x1", cluster_id="other"), b=says("n1", leads="n1"))
        connections = net.connections(*order)
        assert (await connections.anyone(now() + 5)).node_id == "n1"
        assert connections.whose.cluster_id == "c"
        await connections.close()


async def test_while_one_endpoint_may_be_ours_the_others_end_no_search() -> None:
    """Nobody leads there in time: then whose the others are is what there is to say."""
    net = Net(a=says("n1", leads="n1", cluster_id="other"), b=says("n2"))
    connections = net.connections("a:1", "b:1", cluster_id="c")
    looking = asyncio.ensure_future(connections.leader(now() + 50))
    await until(lambda: net.asked_of("a:1") > 2)
    assert not looking.done()
    with pytest.raises(WrongCluster, match="a:1 is of other"):
        await connections.leader(now() + 0.02)
    looking.cancel()
    await connections.close()


async def test_why_there_is_no_leader_depends_on_who_answered(monkeypatch) -> None:
    """Nobody at all is out of reach; somebody that answered lately only does not lead."""
    net = Net()
    for addresses, whom in ((("a:1",), "to a:1$"), (("a:1", "b:1"), "any of a:1, b:1$")):
        connections = net.connections(*addresses)
        error = connections.no_answer()
        assert isinstance(error, ConnectFailed)
        with pytest.raises(ConnectFailed, match=whom):
            raise error
        await connections.close()
    net.replies = cluster("").replies
    connections = net.connections("a:1")
    await connections.newest_leader()
    assert type(connections.no_answer()) is Unavailable
    monkeypatch.setattr(module, "ANSWERED_SECONDS", 0.0)
    assert isinstance(connections.no_answer(), ConnectFailed)
    await connections.close()


# -------------------------------------------------------------------- a member by its name


async def test_a_name_is_asked_for_no_longer_than_leaves_time_for_the_call() -> None:
    """Half of what is left, and never more than a second; after the deadline not at all."""
    net = cluster()
    connections = net.connections("a:1")
    await connections.newest_leader()
    for left, seconds in ((1.0, 0.5), (100.0, 1.0), (-1.0, 0.0)):
        connections.forget("b:1")
        net.asked.clear()
        assert (await connections.member("n2", now() + left)).address == "b:1"
        [(address, allowed)] = net.asked
        assert address == "b:1"
        assert allowed == pytest.approx(seconds, abs=0.4 if left == 1.0 else 0.0)
    await connections.close()


async def test_a_name_is_believed_for_a_while(monkeypatch) -> None:
    """Then it is asked for anew, as it is after a failure; an address may change hands."""
    net = cluster()
    connections = net.connections("a:1")
    await connections.newest_leader()
    net.asked.clear()
    await connections.member("n2", now() + 5)
    await connections.member("n2", now() + 5)
    assert net.asked_of("b:1") <= 1
    net.asked.clear()
    monkeypatch.setattr(module, "NAME_SECONDS", 0.0)
    await connections.member("n2", now() + 5)
    assert net.asked_of("b:1") == 1
    await connections.close()


async def test_where_a_leader_that_is_gone_said_a_member_is_may_be_wrong_by_now() -> None:
    """Nobody leads, and what those that are left say of it counts though they know no term."""
    net = cluster(term=5)
    connections = net.connections("a:1")
    await connections.newest_leader()
    connections.forget("c:1")
    moved = {**MEMBERS, "n3": "d:1"}
    net.replies = {
        "b:1": says("n2", term=0, **moved),
        "c:1": says("n8", term=0, **moved),
        "d:1": says("n3", term=0, **moved),
    }
    assert (await connections.member("n3", now() + 5)).address == "d:1"
    await connections.close()


async def test_a_member_that_moved_is_found_where_it_is_now() -> None:
    """Who answers in its place is not asked, and all are asked once where it is."""
    net = cluster()
    connections = net.connections("a:1")
    await connections.newest_leader()
    connections.forget("c:1")
    moved = {**MEMBERS, "n3": "d:1"}
    net.replies = {
        "a:1": says("n1", leads="n1", **moved),
        "c:1": says("n8", leads="n1", **moved),
        "d:1": says("n3", leads="n1", **moved),
    }
    assert (await connections.member("n3", now() + 5)).address == "d:1"
    net.replies["d:1"] = says("n8", leads="n1", **moved)
    connections.forget("d:1")
    with pytest.raises(Unavailable, match="n8 answers there; nothing was asked") as caught:
        await connections.member("n3", now() + 5)
    assert caught.value.definite
    with pytest.raises(NotFound, match="knows no member 'n7'; members: n1, n2, n3"):
        await connections.member("n7", now() + 5)
    await connections.close()
    alone = Net(a=says("n1")).connections("a:1")
    with pytest.raises(NotFound, match="n1 knows no member 'n7'; members: none"):
        await alone.member("n7", now() + 5)
    await alone.close()


async def test_a_member_that_is_silent_is_asked_anyway() -> None:
    """It may be too slow to say its name, and is the one; an old one says none."""
    net = cluster()
    connections = net.connections("a:1")
    await connections.newest_leader()
    for reply in (None, says("", leads="n1", **MEMBERS)):
        connections.forget("c:1")
        net.replies.pop("c:1", None)
        if reply is not None:
            net.replies["c:1"] = reply
        assert (await connections.member("n3", now() + 1)).address == "c:1"
    await connections.close()


# -------------------------------------------------------------------- calls


async def test_each_attempt_may_take_twice_as_long_as_the_one_before() -> None:
    """A leader that is slow is asked again with more patience, within what is left."""
    net = cluster()
    connections = net.connections("a:1")
    given: list[float] = []

    async def call(_peer: Peer, seconds: float) -> str:
        given.append(seconds)
        if len(given) < 4:
            raise failed(Overloaded("full"))
        return "done"

    assert await connections.ask_leader(call, now() + 60) == "done"
    assert given == [1.0, 2.0, 4.0, 8.0]
    assert await connections.ask_leader(call, now() + 0.5) == "done"
    assert 0.0 < given[-1] <= 0.5
    await connections.close()


async def test_a_refusal_for_good_is_not_repeated() -> None:
    """What another node would refuse as well is told at once."""
    connections = cluster().connections("a:1")
    asked = []

    async def call(peer: Peer, _seconds: float) -> None:
        asked.append(peer.address)
        raise failed(Rejected("no"))

    with pytest.raises(Rejected):
        await connections.ask_leader(call, now() + 50)
    assert asked == ["a:1"]
    await connections.close()


async def test_where_a_refusal_points_to_is_looked_at() -> None:
    """The leader's address in it may be one that no endpoint and no member told of."""
    net = Net(a=says("n1", leads="n1"), z=says("n9", leads="n9", term=2))
    connections = net.connections("a:1")
    asked = []

    async def call(peer: Peer, _seconds: float) -> str:
        asked.append(peer.address)
        if peer.address == "a:1":
            net.replies["a:1"] = says("n1")
            raise failed(NotLeader("elsewhere", leader=LeaderHint("n9", "z:1", 2)))
        return "done"

    assert await connections.ask_leader(call, now() + 5) == "done"
    assert asked == ["a:1", "z:1"]
    await connections.close()


async def test_a_call_that_ran_out_of_time_says_the_last_refusal() -> None:
    """An overloaded leader is told of as such; without any refusal nobody led."""
    connections = cluster().connections("a:1")

    async def call(_peer: Peer, _seconds: float) -> None:
        raise failed(Overloaded("full"))

    await connections.leader(now() + 5)
    with pytest.raises(Overloaded, match="last refusal: full"):
        await connections.ask_leader(call, now() + 0.2)
    with pytest.raises(Unavailable, match="no leader answered in time"):
        await connections.ask_leader(call, now() - 1)
    await connections.close()


async def test_whoever_sends_a_reader_away_is_not_asked_again() -> None:
    """A witness has no state; another that answers is asked in its place."""
    net = cluster("")
    connections = net.connections("a:1")
    asked = []

    async def call(peer: Peer, _seconds: float) -> str:
        asked.append(peer.address)
        if peer.address != "c:1":
            raise failed(NotLeader("no state here"))
        return "done"

    assert await connections.ask(None, call, now() + 10) == "done"
    assert len(asked) == len(set(asked))
    assert asked[0] == "a:1"
    await connections.close()


async def test_who_is_named_is_asked_alone() -> None:
    """Nobody else is asked where it sends, and only what may mend itself is repeated."""
    connections = cluster().connections("a:1")
    asked = []

    async def call(peer: Peer, _seconds: float) -> None:
        asked.append(peer.address)
        error = Overloaded("full") if len(asked) < 3 else NotLeader("only a leader")
        raise failed(error)

    with pytest.raises(NotLeader):
        await connections.ask("n2", call, now() + 10)
    assert asked == ["b:1"] * 3
    await connections.close()


# -------------------------------------------------------------------- why nobody can be reached


async def explained(*addresses: str) -> ConnectFailed:
    """Return the error of a search that reaches nobody, once each address was looked at."""
    connections = Net().connections(*addresses)
    looking = asyncio.ensure_future(connections.leader(now() + 50))

    def all_looked_at() -> bool:
        looks = connections._diagnoses.values()
        return len(looks) == len(addresses) and all(each.task.done() for each in looks)

    await until(all_looked_at)
    error = connections.no_answer()
    assert isinstance(error, ConnectFailed)
    looking.cancel()
    await connections.close()
    return error


async def test_what_was_found_of_an_address_is_told_once_for_all_that_share_it(monkeypatch) -> None:
    """The same trouble at every address is one sentence; different ones name their addresses."""
    found = {
        "a:1": Finding(Trouble.TLS_NEEDED, "h"),
        "b:1": Finding(Trouble.TLS_NEEDED, "h"),
        "c:1": None,
    }

    async def diagnose(address: str, *_: object) -> Finding | None:
        return found[address]

    monkeypatch.setattr(module, "diagnose", diagnose)
    for addresses, names in ((("a:1", "b:1"), False), (("a:1", "b:1", "c:1"), True)):
        error = await explained(*addresses)
        assert error.is_explained
        assert error.message.count("it speaks TLS") == 1
        assert ("a:1, b:1: it speaks TLS" in error.message) is names
    found["c:1"] = Finding(Trouble.NOBODY_LISTENS, "h")
    error = await explained("c:1")
    assert "nothing listens" in error.message
    assert not error.is_explained


async def test_an_address_is_looked_at_again_only_after_a_while(monkeypatch) -> None:
    """Nor is anything looked at by a closed client, or told of a look that failed."""
    looked = []

    async def diagnose(address: str, *_: object) -> Finding | None:
        looked.append(address)
        raise OSError("no")

    monkeypatch.setattr(module, "diagnose", diagnose)
    connections = Net().connections("a:1")
    connections._diagnose("a:1")
    connections._diagnose("a:1")
    await until(lambda: bool(looked))
    [diagnosis] = connections._diagnoses.values()
    await asyncio.wait({diagnosis.task})
    assert diagnosis.finding is None
    monkeypatch.setattr(module, "DIAGNOSIS_PERIOD_SECONDS", 0.0)
    connections._diagnose("a:1")
    await until(lambda: len(looked) == 2)
    diagnosis = connections._diagnoses["a:1"]
    await asyncio.wait({diagnosis.task})
    assert diagnosis.finding is None
    await connections.close()
    connections._diagnose("a:1")
    assert connections._diagnoses["a:1"] is diagnosis
    never = asyncio.ensure_future(asyncio.Event().wait())
    assert Diagnosis(never, 0.0).finding is None
    never.cancel()
    await asyncio.wait({never})
    assert Diagnosis(never, 0.0).finding is None
