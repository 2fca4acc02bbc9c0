"""Pages that are exactly full, one short of it, and one over, in every subscription."""

from __future__ import annotations

import pytest

from raftlog import groups
from raftlog.interfaces import Table, TailStart
from raftlog.node.settings import NodeSettings
from raftlog.node.subscriptions import LOOK_ENTRIES
from tests.node.test_subscriptions import Rig, groups_of_changes

STREAM_PAGE, CHANGE_PAGE = NodeSettings().stream_page, NodeSettings().change_page


def around(page: int) -> list[int]:
    """Return the counts at which a walk by pages could lose one or never end."""
    return [1, page - 1, page, page + 1, 2 * page, 2 * page + 1]


@pytest.fixture
async def rig() -> Rig:
    """Return subscriptions over a log of their own."""
    return Rig()


@pytest.mark.parametrize("behind", [0, 1])
@pytest.mark.parametrize("count", around(STREAM_PAGE))
async def test_a_tail_of_a_stream_misses_none(rig: Rig, count: int, behind: int) -> None:
    """However many entries of the stream there are, and whether others lie behind them."""
    wanted = [b"%d" % number for number in range(count)]
    for payload in wanted:
        rig.made.append((payload,), term=1, at=None, stream="s")
    for _ in range(behind):
        rig.append(b"other")
    rig.commit(count + behind)
    assert await rig.read(stream="s") == wanted
    assert await rig.read(count // 2, stream="s") == wanted[count // 2 :]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("stream", [None, "s"])
async def test_a_tail_cut_by_bytes_misses_none(
    rig: Rig, count: int, off: int, stream: str | None
) -> None:
    """Batches hold what fits and no more: just full is full."""
    wanted = [b"%02d" % number for number in range(count)]
    for payload in wanted:
        rig.made.append((payload,), term=1, at=None, stream="s")
    rig.commit(count)
    size = rig.storage.entry(1).size
    found, sizes = [], []
    options = {"stream": stream, "follow": False, "bytes_max": 8 * size + off}
    async for batch in rig.subscriptions.tail(0, **options):
        sizes.append(len(batch.entries))
        for entry in batch.entries:
            found += groups.parse(entry.payload).payloads()
    assert found == wanted
    full = 8 if off >= 0 else 7
    assert sizes == [full] * (count // full) + [count % full] * (count % full > 0)


@pytest.mark.parametrize("records", [1, 3])
@pytest.mark.parametrize("count", around(CHANGE_PAGE))
async def test_a_feed_misses_no_change(rig: Rig, count: int, records: int) -> None:
    """A page may end behind any record, also between those of one entry."""
    wanted = []
    for number in range(count):
        at = number // records
        if number % records == 0:
            first = rig.storage.last_index + 1
            rig.append(*[b"x"] * records)
        sequence = at * records + number % records + 1
        key = first.to_bytes(8, "big") + bytes([number % records] * (number % records > 0))
        rig.overlay.absorb({Table.CHANGE: {key: groups_of_changes(sequence)}})
        wanted.append(sequence)
    rig.commit(rig.storage.last_index)
    for after in (0, count // 2, max(0, count - 1)):
        batches = [batch async for batch in rig.subscriptions.changes(after, follow=False)]
        found = [change.sequence for batch in batches for change in batch.changes]
        assert found == wanted[after:]
        for batch in batches:  # who resumes at a position misses nothing, and repeats nothing
            told = [c.sequence for c in batch.changes]
            assert not told or batch.position >= told[-1] - 1


@pytest.mark.parametrize("count", around(LOOK_ENTRIES))
async def test_the_last_so_many_are_found(rig: Rig, count: int) -> None:
    """A tail that begins N before the end begins there, whatever was walked back at a time."""
    for number in range(2 * LOOK_ENTRIES + 2):
        rig.append(b"%d" % number)
    rig.commit(rig.storage.last_index)
    start = await rig.subscriptions.start_of(TailStart(last=count), None)
    assert start == rig.storage.last_index - count
    assert len(await rig.read(start)) == count
