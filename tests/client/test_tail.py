"""What a tail asks for, what it yields of what it is sent, and from where it goes on."""

from __future__ import annotations

import asyncio
import types

import pytest

from raftlog.client import subscription
from raftlog.client.tail import Beginning, Tail, Wanted, behind, transactions_of
from raftlog.errors import Compacted, InvalidInput, Overloaded, Rejected, Unavailable
from raftlog.groups import OPAQUE_TAG, TransactionKind, pack
from raftlog.wire.pb import log_pb2
from tests.client.scripted import NEVER, Net, failed, says

MEMBERS = {"n1": "a:1", "n2": "b:1"}
A, B = (TransactionKind.OPAQUE, "a"), (TransactionKind.OPAQUE, "b")
COMMAND = (TransactionKind.COMMAND, "a")


def entry(first: int, *payloads: bytes, tags=OPAQUE_TAG, **how) -> log_pb2.TailEntry:
    """Return an entry whose transactions begin at a sequence."""
    group = pack(payloads, tags)
    return log_pb2.TailEntry(
        term=2, index=first + 5, first_sequence=first, timestamp=7, group=group, **how
    )


def reply(
    *entries: log_pb2.TailEntry, position: int = 0, served_by: str = "n1"
) -> log_pb2.TailReply:
    return log_pb2.TailReply(entries=entries, position=position, served_by=served_by)


class Rig:
    """A context over a scripted network, and tails in it."""

    def __init__(self, *scripts: list) -> None:
        self.net = Net(a=says("n1", leads="n1", **MEMBERS), b=says("n2", leads="n1", **MEMBERS))
        self.net.scripts = list(scripts)
        self.unbegun: list[Tail] = []
        self.connections = self.net.connections("b:1")
        self.timeout_seconds = 5.0
        self.note_unbegun = self.unbegun.append

    def dice(self) -> float:
        return 0.0

    def check_loop(self) -> None:
        pass

    def deadline(self, timeout: float | None) -> float:
        return asyncio.get_running_loop().time() + (timeout or self.timeout_seconds)

    async def once(self, _feed, find):
        return await find()

    def tail(self, beginning: Beginning | None = None, member: str | None = None, **wanted) -> Tail:
        wanted = {"follow": False, **wanted}
        return Tail(self, beginning or Beginning(after=0), Wanted(**wanted), member=member)

    async def read(self, tail: Tail) -> list:
        async with asyncio.timeout(10):
            return [each async for each in tail.transactions()]

    @property
    def asked(self) -> list[int]:
        return [call.request.after for call in self.net.calls]


def payloads(found: list) -> list[bytes]:
    return [each.payload for each in found]


async def test_each_comes_once_though_a_connection_is_lost_inside_a_group() -> None:
    """What comes again, a whole group or its end, is passed over; nothing is left out."""
    rig = Rig(
        [reply(entry(1, b"1", b"2"), position=2), failed(Overloaded("full"))],
        [reply(entry(1, b"1", b"2", b"3"), entry(4, b"4")), failed(Overloaded("full"))],
        [reply(entry(5, b"5"), position=9)],
    )
    assert payloads(await rig.read(rig.tail())) == [b"1", b"2", b"3", b"4", b"5"]
    assert rig.asked == [0, 2, 4]


async def test_it_goes_on_behind_what_concerned_others() -> None:
    """A reply without anything for this reader moves its position, and never back."""
    rig = Rig(
        [reply(position=8), reply(position=3), failed(Overloaded("full"))],
        [reply(entry(9, b"9"), position=4), failed(Overloaded("full"))],
        [],
    )
    assert payloads(await rig.read(rig.tail(Beginning(after=2)))) == [b"9"]
    assert rig.asked == [2, 8, 9]


async def test_what_was_not_asked_for_is_not_yielded() -> None:
    """An older server sends whole groups: other streams and commands in them are left out."""
    group = entry(1, b"a", b"b", b"c", tags=[A, B, COMMAND])
    for wanted, found in (
        ({}, [b"a", b"b"]),
        ({"commands": True}, [b"a", b"b", b"c"]),
        ({"stream": "a"}, [b"a"]),
        ({"stream": "b", "commands": True}, [b"b"]),
        ({"stream": "a", "commands": True}, [b"a", b"c"]),
    ):
        rig = Rig([reply(group, position=3)])
        assert payloads(await rig.read(rig.tail(**wanted))) == found
        [call] = rig.net.calls
        assert call.request.stream == wanted.get("stream", "")
        assert call.request.HasField("stream") is ("stream" in wanted)
        assert call.request.commands is wanted.get("commands", False)
        assert call.request.follow is False


def test_a_transaction_says_where_it_stands() -> None:
    """Its sequence counts on from the group's first; the entry's place is that of all in it."""
    one, two = transactions_of(entry(4, b"x", b"y", tags=A), "n3", 99)
    assert (one.sequence, two.sequence, one.index, one.term) == (4, 5, 9, 2)
    assert (one.timestamp, one.stream, one.served_by, one.gtid) == (7, "a", "n3", "0-99-4")
    mixed = list(transactions_of(entry(4, b"x", b"y", tags=[A, B]), "n3"))
    assert [(each.sequence, each.stream) for each in mixed] == [(4, "a"), (5, "b")]
    assert mixed[0].gtid == "0-1-4"


def parts_of(whole: log_pb2.TailEntry, *cuts: int) -> list[log_pb2.TailEntry]:
    """Return an entry in parts, cut at these offsets."""
    found = []
    for start, end in zip((0, *cuts), (*cuts, len(whole.group)), strict=True):
        part = log_pb2.TailEntry()
        part.CopyFrom(whole)
        part.group = whole.group[start:end]
        part.group_offset, part.group_bytes = start, len(whole.group)
        found.append(part)
    return found


async def test_a_group_in_parts_is_put_together() -> None:
    """Its parts may come in one reply or in several; one that was broken off comes anew."""
    whole = entry(1, b"x" * 50, b"y" * 50)
    first, second, third = parts_of(whole, 30, 60)
    rig = Rig(
        [reply(first), reply(second), failed(Overloaded("full"))],
        [reply(first, second), reply(third, entry(3, b"z"), position=3)],
    )
    assert payloads(await rig.read(rig.tail())) == [b"x" * 50, b"y" * 50, b"z"]
    assert rig.asked == [0, 0]
    again = Rig([reply(first, second, first, second, third, position=2)])
    assert payloads(await again.read(again.tail())) == [b"x" * 50, b"y" * 50]
    one = Rig([reply(*parts_of(whole), position=2)])
    assert payloads(await one.read(one.tail())) == [b"x" * 50, b"y" * 50]


@pytest.mark.parametrize(
    ("beginning", "asked", "whom"),
    [
        (Beginning(), ("oldest", True), "b:1"),
        (Beginning(since=12), ("since", 12), "b:1"),
        (Beginning(last=3), ("last", 3), "a:1"),
        (Beginning(last=0), ("last", 0), "a:1"),
        (Beginning(from_now=True), ("from_now", True), "a:1"),
    ],
)
async def test_where_a_tail_begins_is_said_by_who_knows_best(beginning, asked, whom) -> None:
    """What is newest only the leader knows; what is kept anybody does, and whoever is named."""
    for member in (None, "n2"):
        by = "n2" if member else "n1"
        later = reply(entry(5, b"5"), position=5, served_by=by)
        rig = Rig([reply(position=4, served_by=by), NEVER], [later])
        tail = rig.tail(beginning, member, stream="")
        assert rig.unbegun == ([tail] if beginning.from_now else [])
        if whom == "b:1":
            await rig.connections.anyone(rig.deadline(None))
        assert await tail.begin() == 4
        assert await tail.begin() == 4
        [call] = rig.net.calls
        assert call.is_cancelled
        assert call.request.WhichOneof("start") == asked[0]
        assert getattr(call.request, asked[0]) == asked[1]
        assert call.request.follow
        assert call.address == ("b:1" if member else whom)
        assert payloads(await rig.read(tail)) == [b"5"]
        assert rig.asked[-1] == 4


async def test_a_place_that_the_caller_knows_is_asked_of_nobody() -> None:
    """It is fixed: what was purged behind it is not passed over in silence."""
    rig = Rig()
    tail = rig.tail(Beginning(after=0))
    assert await tail.begin() == 0
    assert tail.place.is_fixed
    assert not rig.tail(Beginning()).place.is_fixed
    assert not rig.net.calls
    with pytest.raises(InvalidInput, match="consumer"):
        await tail.feed().commit()


async def test_a_member_that_ends_the_stream_before_it_tells_the_place_told_nothing() -> None:
    """Nobody begins at 0 in its stead."""
    with pytest.raises(Unavailable, match="ended the stream"):
        await Rig([]).tail(Beginning()).begin()


async def test_the_oldest_may_be_purged_before_it_is_read() -> None:
    """A tail from the oldest begins at what is the oldest then; it has promised nothing else."""
    purged = failed(Compacted("purged", oldest_sequence=9))
    rig = Rig([reply(position=4), NEVER], [purged], [reply(entry(9, b"9"), position=9)])
    assert payloads(await rig.read(rig.tail(Beginning()))) == [b"9"]
    assert rig.asked[1:] == [4, 8]


@pytest.mark.parametrize("how", ["has begun", "was given a place", "is at the oldest kept"])
async def test_a_gap_in_what_is_read_is_an_error(how, monkeypatch) -> None:
    """Once a tail has read anything, or was told where to begin, a purge is no new beginning."""

    async def who_has(*_):
        raise Compacted("purged by all", oldest_sequence=oldest)

    monkeypatch.setattr("raftlog.client.subscription.who_has", who_has)
    oldest = 5 if how == "is at the oldest kept" else 9
    purged = failed(Compacted("purged", oldest_sequence=oldest))
    scripts = [[reply(position=4), NEVER], [purged]]
    beginning = Beginning()
    if how == "has begun":
        scripts[1] = [reply(entry(5, b"5"), position=5), purged]
    if how == "was given a place":
        scripts, beginning = scripts[1:], Beginning(after=4)
    rig = Rig(*scripts)
    with pytest.raises(Compacted, match="by all"):
        await rig.read(rig.tail(beginning))


def test_a_consumer_that_fell_behind_is_told_how_much_is_gone() -> None:
    """So many transactions, and none where the next one is kept."""
    error = behind("audit", 4, Compacted("purged", oldest_sequence=9))
    assert "up to 4, and the oldest transaction kept is 9, 4 transactions later" in error.message
    assert error.oldest_sequence == 9
    assert ", 1 transactions later" in behind("audit", 4, Compacted("", oldest_sequence=6)).message
    assert "later" not in behind("audit", 4, Compacted("purged", oldest_sequence=5)).message


@pytest.mark.parametrize("brings", ["transactions", "a position", "nothing"])
async def test_who_brings_something_is_not_doubted(monkeypatch, brings) -> None:
    """Others are asked who leads only while a member says nothing new for a while."""
    ahead = [0.0]

    def clock() -> float:
        ahead[0] += subscription.STANDSTILL_SECONDS * 0.6
        return asyncio.get_running_loop().time() + ahead[0]

    numbers = range(1, 9)
    script = {
        "transactions": [reply(entry(number, b"x")) for number in numbers],
        "a position": [reply(position=number) for number in numbers],
        "nothing": [reply()] * len(numbers),
    }[brings]
    rig = Rig([*script, failed(Rejected("over"))])
    rig.timeout_seconds = 1e6
    await rig.connections.leader(asyncio.get_running_loop().time() + 5)
    asked = len(rig.net.asked)
    monkeypatch.setattr(subscription, "loop_time", clock)
    with pytest.raises(Rejected):
        await rig.read(rig.tail(follow=True))
    assert (len(rig.net.asked) > asked) is (brings == "nothing")


async def test_batches_are_never_empty() -> None:
    """A reply of others' transactions wakes nobody."""
    rig = Rig([reply(entry(1, b"x", tags=B)), reply(entry(2, b"y", tags=A), position=2)])
    tail = rig.tail(stream="a")
    async with asyncio.timeout(10):
        batches = [batch async for batch in tail.batch_feed()]
    assert [payloads(batch) for batch in batches] == [[b"y"]]
    assert isinstance(rig.tail().place.dice, types.MethodType)
