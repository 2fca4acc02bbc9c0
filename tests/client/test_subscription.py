"""Whom a stream of replies comes from, when it is left for another, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import types

import pytest

from raftlog.client import subscription as module
from raftlog.client.subscription import Subscription
from raftlog.errors import (
    Compacted,
    LeaderHint,
    NotLeader,
    Overloaded,
    Rejected,
    Unavailable,
)
from tests.client.scripted import NEVER, Call, Net, failed, says

MEMBERS = {"n1": "a:1", "n2": "b:1"}


def reply(position: int, beat_ms: int = 0):
    return types.SimpleNamespace(position=position, beat_ms=beat_ms, served_by="")


class Rig:
    """A subscription whose calls are scripted, in the order in which they are made."""

    def __init__(self, *scripts: list, member: str | None = None, **how) -> None:
        self.net = Net(a=says("n1", leads="n1", **MEMBERS), b=says("n2", leads="n1", **MEMBERS))
        self.connections = self.net.connections("a:1")
        self.calls: list[Call] = []
        self._scripts = list(scripts)
        context = types.SimpleNamespace(
            connections=self.connections, timeout_seconds=5.0, dice=lambda: 0.0,
            check_loop=lambda: None,
        )  # fmt: skip
        wanted = {"follow": True, "timeout": None, "missing": lambda _: None, **how}
        self.subscription: Subscription = Subscription(context, self._open, member=member, **wanted)

    def _open(self, peer) -> Call:
        assert self._scripts, "one call more than the script has"
        self.calls.append(Call(peer.address, self._scripts.pop(0)))
        return self.calls[-1]

    @property
    def asked(self) -> list[str]:
        return [call.address for call in self.calls]

    async def positions(self, count: int | None = None) -> list[int]:
        found: list[int] = []
        replies = self.subscription.replies()
        async with asyncio.timeout(10), contextlib.aclosing(replies):
            async for each in replies:
                found.append(each.position)
                if len(found) == count:
                    break
        return found


@pytest.fixture
def clock(monkeypatch):
    """Return how far the subscription's clock is ahead of the loop's, in a list of one."""
    ahead = [0.0]
    monkeypatch.setattr(module, "loop_time", lambda: asyncio.get_running_loop().time() + ahead[0])
    return ahead


async def test_who_only_reads_what_is_there_is_done_at_its_end() -> None:
    """The end of the stream is the end of what was asked for."""
    rig = Rig([reply(1), reply(2)], follow=False)
    assert await rig.positions() == [1, 2]
    assert rig.calls[0].is_cancelled


async def test_who_follows_goes_on_behind_the_end_of_a_stream() -> None:
    """A member that ends a stream that has no end is left, as is one that fails."""
    rig = Rig([reply(1)], [reply(2), failed(Overloaded("full"))], [reply(3), NEVER])
    assert await rig.positions(3) == [1, 2, 3]
    assert rig.asked == ["a:1", "a:1", "a:1"]
    assert all(call.is_cancelled for call in rig.calls)


async def test_a_silent_member_is_left_and_one_that_promised_to_be_slow_is_not(monkeypatch) -> None:
    """A stream is silent once several of the signs of life are missing that it promised."""
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.05)
    rig = Rig([reply(1), NEVER], [reply(2), NEVER])
    assert await rig.positions(2) == [1, 2]
    slow = Rig([reply(1, beat_ms=100_000), NEVER])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            async for _ in slow.subscription.replies():
                pass
    assert len(slow.calls) == 1
    hasty = Rig([reply(1, beat_ms=1), NEVER], [reply(2), NEVER])
    assert await hasty.positions(2) == [1, 2]


async def test_a_refusal_for_good_ends_it() -> None:
    """Another member would say the same."""
    rig = Rig([failed(Rejected("no"))])
    with pytest.raises(Rejected):
        await rig.positions()


async def test_who_is_named_is_read_alone() -> None:
    """Where it fails it is asked again; where it sends elsewhere nobody else is asked."""
    rig = Rig([failed(Overloaded("full"))], [reply(1), NEVER], member="n2")
    assert await rig.positions(1) == [1]
    assert rig.asked == ["b:1", "b:1"]
    rig = Rig([failed(NotLeader("no state here"))], member="n2")
    with pytest.raises(NotLeader):
        await rig.positions()


async def test_a_refusal_may_name_who_is_to_be_read() -> None:
    """Its address is learned, and the search for a leader finds it."""
    rig = Rig(
        [failed(NotLeader("elsewhere", leader=LeaderHint("n9", "z:1", 2)))], [reply(1), NEVER]
    )
    rig.net.replies["z:1"] = says("n9", leads="n9", term=2)
    found = rig.subscription.replies()
    read = asyncio.ensure_future(anext(found))
    while not rig.calls:
        await asyncio.sleep(0.001)
    rig.net.replies["a:1"] = says("n1")
    assert (await asyncio.wait_for(read, 5)).position == 1
    assert rig.asked == ["a:1", "z:1"]
    await found.aclose()


async def test_patience_ends_with_the_last_reason() -> None:
    """Nobody answers for so long: the error says why, and that nothing happened."""
    rig = Rig(*[[failed(Overloaded("full"))]] * 1000, timeout=0.2)
    await rig.connections.leader(asyncio.get_running_loop().time() + 5)
    with pytest.raises(Overloaded, match="last refusal: full") as caught:
        await rig.positions()
    assert caught.value.definite


async def test_patience_counts_from_the_newest_reply(clock) -> None:
    """A reader that hears something now and then may go on for ever."""
    rig = Rig(*[[reply(number)] for number in range(1, 7)])
    found = rig.subscription.replies()
    for number in range(1, 7):
        assert (await anext(found)).position == number
        clock[0] += 2.0
    await found.aclose()


async def test_nobody_leads_but_somebody_answers() -> None:
    """A reader is served by whoever there is, after a short look for a leader."""
    rig = Rig([reply(1), NEVER])
    for address, name in (("a:1", "n1"), ("b:1", "n2")):
        rig.net.replies[address] = says(name, **MEMBERS)
    assert await rig.positions(1) == [1]
    rig = Rig(timeout=0.05)
    rig.net.replies.clear()
    with pytest.raises(Unavailable):
        await rig.positions()


async def test_who_stands_still_while_another_leads_is_left(clock) -> None:
    """A member that is cut off beats and says nothing new; the leader goes on from there."""
    rig = Rig([reply(1)] * 3, [reply(2), NEVER], timeout=100.0)
    found = rig.subscription.replies()
    assert (await anext(found)).position == 1
    rig.net.replies = {
        "a:1": says("n1", **MEMBERS),
        "b:1": says("n2", leads="n2", term=2, **MEMBERS),
    }
    clock[0] += module.STANDSTILL_SECONDS / 2
    assert (await anext(found)).position == 1
    clock[0] += module.STANDSTILL_SECONDS / 2
    assert (await anext(found)).position == 2
    assert rig.asked == ["a:1", "b:1"]
    await found.aclose()


@pytest.mark.parametrize("how", ["leads itself", "is named", "is read to its end", "brings news"])
async def test_who_stands_still_for_a_reason_is_kept(clock, how) -> None:
    """The leader may have nothing new; and one that brings something stands not still."""
    member = "n1" if how == "is named" else None
    follow = how != "is read to its end"
    rig = Rig([reply(1)] * 9 + [NEVER], member=member, follow=follow, timeout=1000.0)
    found = rig.subscription.replies()
    await anext(found)
    if how != "leads itself":
        rig.net.replies["b:1"] = says("n2", leads="n2", term=2, **MEMBERS)
    for _ in range(8):
        clock[0] += module.STANDSTILL_SECONDS * 0.6
        await anext(found)
        if how == "brings news":
            rig.subscription.note_progress()
    assert rig.asked == ["a:1"]
    await found.aclose()


async def test_who_leads_is_asked_for_once_in_a_while(clock) -> None:
    """A leader that has nothing new for long is no reason to ask everybody at each beat."""
    rig = Rig([reply(1)] * 9 + [NEVER], timeout=1000.0)
    found = rig.subscription.replies()
    await anext(found)
    asked = len(rig.net.asked)
    for _ in range(4):
        clock[0] += module.STANDSTILL_SECONDS * 0.6
        await anext(found)
    assert len(rig.net.asked) - asked == 2 * len(MEMBERS)
    await found.aclose()


async def test_a_gap_is_given_up_at_who_never_comes_to_its_end(clock, monkeypatch) -> None:
    """One that still has it and stands still may be cut off: the others are asked again."""

    async def who_has(*_):
        return "n2"

    monkeypatch.setattr(module, "who_has", who_has)
    purged = failed(Compacted("purged", oldest_sequence=5))
    rig = Rig([purged], [reply(3)] * 3, [reply(9), NEVER], missing=lambda _: 1, timeout=1000.0)
    found = rig.subscription.replies()
    assert (await anext(found)).position == 3
    clock[0] += module.STANDSTILL_SECONDS
    assert (await anext(found)).position == 9
    assert rig.asked == ["a:1", "b:1", "a:1"]
    await found.aclose()


async def test_what_a_named_member_purged_is_told_of_that_one() -> None:
    """Nobody else is looked for, nor where there is nothing to look for."""
    rig = Rig([failed(Compacted("purged", oldest_sequence=7))], member="n2", missing=lambda _: 1)
    with pytest.raises(Compacted, match="n2 alone was asked") as caught:
        await rig.positions()
    assert caught.value.oldest_sequence == 7
    rig = Rig([failed(Compacted("purged", oldest_sequence=7))])
    with pytest.raises(Compacted, match="purged$"):
        await rig.positions()


async def test_a_gap_is_read_from_who_has_it_and_no_further(monkeypatch) -> None:
    """Behind what was purged anybody may be read again, who leads before others."""
    sought = []

    async def who_has(_connections, sequence, deadline, lacking):
        sought.append((sequence, dict(lacking)))
        patience = deadline - asyncio.get_running_loop().time()
        assert patience == pytest.approx(5.0, abs=2.0)
        return "n2"

    monkeypatch.setattr(module, "who_has", who_has)
    purged = failed(Compacted("purged", oldest_sequence=5))
    rig = Rig([purged], [reply(3), reply(4), reply(4)], [reply(5), NEVER], missing=lambda _: 1)
    assert await rig.positions(3) == [3, 4, 5]
    assert rig.asked == ["a:1", "b:1", "a:1"]
    assert sought == [(1, {})]


async def test_who_purged_it_meanwhile_is_passed_over(monkeypatch) -> None:
    """It is told with the oldest that it has; one that hands out nothing counts as having none."""
    sought = []

    async def who_has(_connections, sequence, _deadline, lacking):
        sought.append((sequence, dict(lacking)))
        return "n2" if len(sought) < 4 else "n1"

    monkeypatch.setattr(module, "who_has", who_has)
    purged, refused = (
        failed(Compacted("purged", oldest_sequence=5)),
        failed(NotLeader("no state here")),
    )
    unsaid = failed(Compacted("purged"))
    wanted = [1, 1, 1, 2]
    rig = Rig(
        [purged], [purged], [unsaid], [refused], [purged], [reply(9), NEVER],
        missing=lambda _: wanted[min(len(sought), 3)],
    )  # fmt: skip
    assert await rig.positions(1) == [9]
    assert sought[0] == (1, {})
    assert sought[1] == (1, {"n2": 5})
    assert sought[2] == (1, {"n2": 2})
    assert sought[3] == (2, {})


async def test_a_gap_of_unknown_end_is_read_until_its_stream_ends(monkeypatch) -> None:
    """Who reads on to the end there is not done with it: the others may have more."""

    async def who_has(*_):
        return "n2"

    monkeypatch.setattr(module, "who_has", who_has)
    purged = failed(Compacted("purged"))
    rig = Rig([purged], [reply(3), reply(4)], [reply(5)], follow=False, missing=lambda _: 1)
    assert await rig.positions() == [3, 4, 5]
    assert rig.asked == ["a:1", "b:1", "a:1"]
