"""Reading under a name: what is committed, when, and what becomes of it where things go wrong."""

from __future__ import annotations

import asyncio
import types

import pytest

from raftlog.client import consumer as module
from raftlog.client import whereabouts
from raftlog.client.client import Client
from raftlog.client.connections import Connections
from raftlog.client.whereabouts import Word
from raftlog.errors import (
    Compacted,
    ConsumerMoved,
    Indeterminate,
    InvalidInput,
    LeadershipLost,
    NotFound,
    Unavailable,
)
from raftlog.wire.pb import log_pb2
from tests.client.conftest import until
from tests.client.fake_cluster import FakeCluster
from tests.client.fake_consumers import FakeConsumers

NAME = "audit"


async def fill(client: Client, count: int, stream: str = "") -> None:
    """Append so many, each a group of its own."""
    for number in range(count):
        await client.log.append(b"%d" % number, stream=stream)


async def rest_of(feed) -> None:
    """Read until it ends: one commit may come too late, and the next one says the same."""
    async with asyncio.timeout(20):
        async for _ in feed:
            pass


def kept(cluster: FakeCluster) -> int:
    """Return the position that the cluster keeps."""
    return cluster.consumers.consumers[NAME].position


async def test_the_next_reader_goes_on_behind_what_was_processed(cluster, client):
    """What was handed out counts once the next is asked for: the one in hands comes again."""
    await fill(client, 7)
    feed = client.log.tail(consumer=NAME)
    assert await feed.begun() == 0
    assert [(await anext(feed)).sequence for _ in range(4)] == [1, 2, 3, 4]
    await feed.aclose()
    assert kept(cluster) == 3
    rest = [each.sequence async for each in client.log.tail(consumer=NAME, follow=False)]
    assert rest == [4, 5, 6, 7]
    assert kept(cluster) == 7
    # A beginning counts where the name is new.
    assert [e async for e in client.log.tail(0, consumer=NAME, follow=False)] == []
    late = client.log.tail(last=2, consumer="late", follow=False)
    assert [each.sequence async for each in late] == [6, 7]


async def test_positions_are_committed_now_and_then_and_at_the_end(cluster, client):
    """A busy reader does not double the log: one commit for all of a second."""
    await fill(client, 50)
    assert len([e async for e in client.log.tail(consumer=NAME, follow=False)]) == 50
    assert cluster.commits == [50]


async def test_an_idle_reader_commits_what_concerns_nobody(cluster, client, monkeypatch):
    """One of a rare stream does not hold the log behind what it would never see."""
    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.0)
    await fill(client, 2, "rare")
    feed = client.log.tail(consumer=NAME, stream="rare")
    assert [(await anext(feed)).sequence for _ in range(2)] == [1, 2]
    await fill(client, 5, "other")
    waiting = asyncio.ensure_future(anext(feed))
    await until(lambda: kept(cluster) == 7)
    await fill(client, 1, "rare")
    assert (await waiting).sequence == 8
    await feed.aclose()
    assert kept(cluster) == 7


async def test_by_hand_nothing_is_committed_by_itself(cluster, client, monkeypatch):
    """`commit` keeps what was handed out, or up to where it is told, and never goes back."""
    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.0)
    await fill(client, 9)
    feed = client.log.tail(consumer=NAME, auto_commit=False)
    with pytest.raises(InvalidInput, match="begun"):
        await feed.commit()
    for _ in range(6):
        await anext(feed)
    assert kept(cluster) == 0
    assert await feed.commit(4) == 4
    assert await feed.commit(2) == 4
    assert await feed.commit() == 6
    with pytest.raises(InvalidInput, match="handed out"):
        await feed.commit(7)
    await anext(feed)
    await feed.aclose()
    assert kept(cluster) == 6


async def test_a_commit_that_fails_is_made_up_for_by_the_next(cluster, client, monkeypatch):
    """A failover in between ends no reader, and nothing is committed that was not processed."""
    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(module, "COMMIT_TIMEOUT_SECONDS", 0.2)
    await fill(client, 3)
    feed = client.log.tail(consumer=NAME)
    await anext(feed)
    cluster.refusals += [Unavailable("no quorum")] * 3
    await anext(feed)
    cluster.elect("n2")
    await anext(feed)
    await feed.aclose()
    assert kept(cluster) == 2


async def test_a_reader_that_was_reset_or_deleted_ends(cluster, client, monkeypatch):
    """It hears it at its next commit, and the one that begins anew goes on at the new place."""
    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.0)
    await fill(client, 6)
    feed = client.log.tail(consumer=NAME)
    for _ in range(4):
        await anext(feed)
    assert (await client.log.reset_consumer(NAME, 1)).position == 1
    with pytest.raises(ConsumerMoved):
        await rest_of(feed)
    assert kept(cluster) == 1
    feed = client.log.tail(consumer=NAME)
    assert (await anext(feed)).sequence == 2
    assert [each.name for each in await client.log.consumers()] == [NAME]
    assert await client.log.delete_consumer(NAME)
    assert not await client.log.delete_consumer(NAME)
    with pytest.raises(NotFound):
        await rest_of(feed)
    with pytest.raises(NotFound):
        await client.log.reset_consumer(NAME)
    assert await client.log.consumers(member="n2") == []


async def test_what_one_member_purged_another_may_have(cluster, client):
    """Each keeps its own log: the reader takes what it lacks from who has it, and goes on."""
    await fill(client, 8)
    await client.log.tail(consumer=NAME).begun()
    cluster.oldest.update(n1=7, n2=5)
    read = [each.sequence async for each in client.log.tail(consumer=NAME, follow=False)]
    assert read == [1, 2, 3, 4, 5, 6, 7, 8]
    assert kept(cluster) == 8


async def test_one_that_fell_behind_is_told_what_is_gone(cluster, client):
    """By name and number, with the oldest kept and the verb that helps; its position stays."""
    await fill(client, 8)
    await client.log.tail(consumer=NAME).begun()
    cluster.oldest.update(n1=7, n2=7, n3=7)
    with pytest.raises(Compacted, match="consumer reset audit --oldest") as caught:
        await anext(client.log.tail(consumer=NAME))
    assert caught.value.oldest_sequence == 7
    assert kept(cluster) == 0
    assert (await client.log.reset_consumer(NAME, 6)).position == 6
    assert (await anext(client.log.tail(consumer=NAME))).sequence == 7


@pytest.mark.parametrize("verb", ["open", "reset"])
async def test_a_purge_between_finding_and_taking_moves_the_beginning(cluster, client, verb):
    """A new consumer begins at what is kept by then, and its reader is told where that is."""
    await fill(client, 8)
    if verb == "reset":
        await client.log.tail(6, consumer=NAME).begun()
    cluster.nodes["n1"].purge_before_consumer = 5
    if verb == "open":
        feed = client.log.tail(consumer=NAME, follow=False)
        assert await feed.begun() == 4
        assert [each.sequence async for each in feed] == [5, 6, 7, 8]
    else:
        assert (await client.log.reset_consumer(NAME)).position == 4
    cluster.nodes["n1"].purge_before_consumer = 7
    with pytest.raises(Compacted) as caught:  # this place was the caller's own
        await client.log.tail(4, consumer="other").begun()
    assert caught.value.oldest_sequence == 7


async def test_what_a_member_that_restarts_may_have_is_not_gone(cluster, client, monkeypatch):
    """Nobody is told so before each member said it: who is away is waited for, within reason."""
    await fill(client, 8)
    await client.log.tail(consumer=NAME).begun()
    cluster.oldest.update(n1=7, n2=7)
    await cluster.nodes["n3"].stop()
    with pytest.raises(Unavailable, match="sequence 1 may still be with n3"):
        await anext(client.log.tail(consumer=NAME, timeout=0.3))
    assert kept(cluster) == 0
    reading = asyncio.ensure_future(anext(client.log.tail(consumer=NAME)))
    asked = asyncio.Event()
    find = Connections.newest_leader

    async def look(self):
        asked.set()
        return await find(self)

    monkeypatch.setattr(Connections, "newest_leader", look)
    await asyncio.wait_for(asked.wait(), 10)
    await cluster.nodes["n3"].start()
    assert (await asyncio.wait_for(reading, 20)).sequence == 1


@pytest.mark.parametrize(
    ("first", "last", "word"),
    [(1, 8, Word.HAS), (5, 5, Word.HAS), (6, 8, Word.PURGED), (6, 5, Word.PURGED),
     (1, 4, Word.UNKNOWN), (5, 4, Word.UNKNOWN)],
)  # fmt: skip
async def test_who_has_not_come_so_far_again_may_have_it(first, last, word):
    """A member that has just started says how far it had applied, which is less than its log."""

    async def info(*_, **__):
        return log_pb2.InfoReply(served_by="n3", first_sequence=first, last_sequence=last)

    peer = types.SimpleNamespace(log=types.SimpleNamespace(Info=info))
    found = await whereabouts._ask(types.SimpleNamespace(peer=lambda _: peer), "n3:1", 5)
    assert found == ("n3", word, first)


async def test_without_a_name_there_is_nothing_to_commit(client):
    """Neither of a tail nor of a watch; and a name that is none is refused at once."""
    for feed in (client.log.tail(), client.kv.watch(b"k")):
        with pytest.raises(InvalidInput, match="consumer"):
            await feed.commit()
    with pytest.raises(InvalidInput):
        client.log.tail(consumer="")


async def test_batches_count_whole(cluster, client):
    """A batch is processed once the next is asked for."""
    await fill(client, 7)
    feed = client.log.tail_batches(consumer=NAME)
    first = await anext(feed)
    assert await feed.commit() == first[-1].sequence
    second = await anext(feed)
    await feed.aclose()
    assert kept(cluster) == first[-1].sequence < second[-1].sequence


VERBS = {
    "commit": lambda client, feed: feed.commit(2, timeout=0.3),
    "reset": lambda client, _: client.log.reset_consumer(NAME, 1, timeout=0.3),
    "delete": lambda client, _: client.log.delete_consumer(NAME, timeout=0.3),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_what_was_told_without_an_answer_may_have_happened(cluster, client, verb):
    """Every attempt did it, no answer came: it is not said to have certainly not happened."""
    await fill(client, 3)
    feed = client.log.tail(consumer=NAME, auto_commit=False)
    assert [(await anext(feed)).sequence for _ in range(2)] == [1, 2]
    cluster.lost_answers = 1000
    with pytest.raises(Indeterminate, match="to ask again does no harm"):
        await VERBS[verb](client, feed)
    assert NAME not in cluster.consumers.consumers or kept(cluster) in {1, 2}
    await feed.aclose()


async def test_a_refusal_after_a_lost_answer_takes_nothing_back(cluster, client):
    """The consumer was reset, and deleted before that could be told: there is none any more."""
    await fill(client, 3)
    await client.log.tail(consumer=NAME).begun()

    async def deleted(self, context):
        if self.cluster.consumers.consumers.pop(NAME, None):
            await self._abort(context, LeadershipLost("stepped down"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeConsumers, "_lose_answer", deleted)
        with pytest.raises(Indeterminate, match="does no harm"):
            await client.log.reset_consumer(NAME, 1)


@pytest.mark.parametrize("verb", VERBS)
async def test_what_no_leader_was_told_has_certainly_not_happened(cluster, client, verb):
    """Without a leader nothing is sent to anybody, and the error says so."""
    await fill(client, 3)
    feed = client.log.tail(consumer=NAME, auto_commit=False)
    assert [(await anext(feed)).sequence for _ in range(2)] == [1, 2]
    cluster.elect(None)
    with pytest.raises(Unavailable) as caught:
        await VERBS[verb](client, feed)
    assert caught.value.definite
    assert kept(cluster) == 0
    await feed.aclose()
