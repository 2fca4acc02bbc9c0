"""Pages that are exactly full, one short of it, and one over, in every reader of the storages."""

from __future__ import annotations

import pytest

from raftlog.interfaces import SCAN_BYTES_MAX, Table
from raftlog.types import Index
from tests.storage.builders import Writer, round_of, vote

PAGE = 4


def store(rig, pairs: dict[bytes, bytes]) -> None:
    """Put pairs into the table of the state, as the effects of one entry."""
    writer = Writer()
    entry = writer.make()
    rig.storage.commit(
        round_of(
            entry,
            hard_state=vote(1, commit=1),
            applied=writer.boundary_at(1),
            writes={Table.STATE: pairs},
        )
    )


@pytest.mark.parametrize("count", [1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 2 * PAGE + 1])
def test_a_walk_over_entries_misses_none(rig, count: int) -> None:
    """Pages by bytes: one that holds just so many entries is neither cut short nor overfull."""
    entries = Writer().many(count)
    rig.storage.commit(round_of(*entries, hard_state=vote(1, commit=count)))
    size = entries[0].size
    for bytes_max, wanted in ((PAGE * size, PAGE), (PAGE * size - 1, PAGE - 1), (size - 1, 1)):
        walked: list[int] = []
        while len(walked) < count:
            page = rig.storage.entries(Index(len(walked) + 1), Index(count), bytes_max)
            assert len(page) == min(wanted, count - len(walked))
            walked += [entry.index for entry in page]
        assert walked == list(range(1, count + 1))


@pytest.mark.parametrize("count", [0, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE])
def test_a_walk_over_a_stream_misses_none(rig, count: int) -> None:
    """Pages by count, of a stream between whose entries others lie; both ends are included."""
    writer = Writer()
    wanted = []
    for number in range(2 * PAGE):
        if number < count:
            wanted.append(writer.make(stream="s").index)
        writer.make(stream="other")
    last = writer.entries[-1].index
    rig.storage.commit(round_of(*writer.entries, hard_state=vote(1, commit=last)))
    walked: list[int] = []
    low = 1
    while page := rig.storage.stream_indexes("s", Index(low), last, PAGE):
        assert len(page) == min(PAGE, count - len(walked))
        walked += page
        low = page[-1] + 1
    assert walked == wanted
    for index in wanted:
        assert rig.storage.stream_indexes("s", index, index, PAGE) == [index]


@pytest.mark.parametrize("count", [0, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 2 * PAGE + 1])
def test_a_walk_over_the_streams_misses_none(rig, count: int) -> None:
    """Pages by count of the streams that touch an entry up to the last one asked for."""
    writer, wanted = Writer(), [f"s{number:02}" for number in range(count)]
    for name in wanted:
        writer.make(stream=name)
    for name in wanted:
        writer.make(stream=name)
    last = writer.make(stream="later").index
    rig.storage.commit(round_of(*writer.entries, hard_state=vote(1, commit=last)))
    walked: list[str] = []
    after = ""
    while page := rig.storage.streams(after, Index(last - 1), PAGE):
        assert len(page) == min(PAGE, count - len(walked))
        for at, span in enumerate(page, start=len(walked) + 1):
            assert (span.first, span.last) == (at, at + count)
        walked += [span.name for span in page]
        after = walked[-1]
    assert walked == wanted


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("count", [0, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE])
def test_a_walk_over_a_table_misses_none(rig, count: int, reverse: bool) -> None:  # noqa: FBT001
    """Pages by count, both ways, with the end excluded."""
    pairs = [(bytes([at]), b"v%d" % at) for at in range(1, count + 1)]
    store(rig, dict(pairs))
    walked: list[tuple[bytes, bytes]] = []
    start, end = b"", bytes([count + 1])
    while page := rig.storage.scan(Table.STATE, start, end, count_max=PAGE, reverse=reverse):
        assert len(page) == min(PAGE, count - len(walked))
        walked += page
        if reverse:
            end = page[-1][0]
        else:
            start = page[-1][0] + b"\0"
    assert walked == (pairs[::-1] if reverse else pairs)


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_page_by_size_ends_with_the_pair_that_fills_it(rig, beyond: int) -> None:
    """Values of just the limit end the page; a byte less, and one more pair belongs to it."""
    half = SCAN_BYTES_MAX // 2
    pairs = {b"a": bytes(half), b"b": bytes(half + beyond), b"c": b"c", b"d": b"d"}
    store(rig, pairs)
    page = [key for key, _ in rig.storage.scan(Table.STATE, b"", None, count_max=100)]
    assert page == ([b"a", b"b", b"c"] if beyond < 0 else [b"a", b"b"])
