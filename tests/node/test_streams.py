"""The named streams: each once, with its own transactions' sequences, in bounded pages."""

from __future__ import annotations

import pytest

from raftlog import groups
from raftlog.core.entries import EntryKind
from raftlog.errors import Compacted
from raftlog.groups import TransactionKind
from raftlog.interfaces import LogReader
from raftlog.node import streams
from raftlog.node.streams import StreamPage, matching_offsets, read_streams
from raftlog.types import Index
from tests.node.parts import Log


def add(log: Log, *names: str) -> None:
    """Append one entry with a transaction for each stream."""
    tags = [(TransactionKind.OPAQUE, name) for name in names]
    payload = groups.pack([b"x"] * len(names), tags)
    log.add(EntryKind.TRANSACTIONS, payload, count=len(names))


def stream_page(log: LogReader, high: Index, after: str, count_max: int) -> StreamPage:
    """Read a page at once."""
    reading = read_streams(log, high, after, count_max)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            page: StreamPage = end.value
            return page


@pytest.fixture
def log() -> Log:
    made = Log()
    add(made, "a", "bb", "")
    add(made, "")
    add(made, "a")
    add(made, "cc", "bb", "bb")
    return made


def test_a_stream_reaches_from_its_first_to_its_last_transaction(log: Log) -> None:
    """Sequences are those of the stream's own transactions, not of the entries around them."""
    found, more = stream_page(log.storage, log.storage.last_index, "", 10)
    assert not more
    base = log.storage.entry(log.storage.boundary.index + 1).first_sequence
    assert [
        (each.name, each.first_sequence - base, each.last_sequence - base) for each in found
    ] == [
        ("a", 0, 4),
        ("bb", 1, 7),
        ("cc", 5, 5),
    ]
    entry = log.storage.entry(log.storage.last_index)
    assert found[2].last_timestamp == entry.timestamp


def test_pages_go_on_behind_a_name(log: Log) -> None:
    """Any size of page lists the same; only the last one says that there is no more."""
    for size in (1, 2, 3, 4):
        names, after, more = [], "", True
        while more:
            page, more = stream_page(log.storage, log.storage.last_index, after, size)
            assert 0 < len(page) <= size
            names += [each.name for each in page]
            after = names[-1]
        assert names == ["a", "bb", "cc"]


def test_what_is_not_committed_is_not_told(log: Log) -> None:
    """A stream ends where the commit does."""
    high = log.storage.last_index - 1
    found, _ = stream_page(log.storage, high, "", 10)
    assert [each.name for each in found] == ["a", "bb"]
    assert found[1].first_sequence == found[1].last_sequence


def test_a_page_reads_little(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends once it has read its bytes, and says that there is more."""
    monkeypatch.setattr(streams, "READ_BYTES_MAX", 1)
    found, more = stream_page(log.storage, log.storage.last_index, "", 10)
    assert [each.name for each in found] == ["a"]
    assert more


def test_an_entry_is_read_once_for_a_page(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many streams of one group cost as much as one of them."""
    add(log, *(f"s{number:03}" for number in range(200)))
    read: list[Index] = []
    entry = log.storage.entry
    monkeypatch.setattr(log.storage, "entry", lambda index: read.append(index) or entry(index))
    found, _ = stream_page(log.storage, log.storage.last_index, "cc", 200)
    assert [each.first_sequence for each in found] == [each.last_sequence for each in found]
    assert [each.first_sequence for each in found] == list(
        range(found[0].first_sequence, found[0].first_sequence + 200)
    )
    assert read == [log.storage.last_index]


def test_what_is_purged_between_two_steps_is_left_out(log: Log) -> None:
    """The page goes on with what the streams still have."""
    reading = read_streams(log.storage, log.storage.last_index, "", 10)
    next(reading)  # the entry in which "a" begins is read, and not the one in which it ends
    log.purge(Index(log.storage.last_index - 1))
    with pytest.raises(StopIteration) as end:
        while True:
            next(reading)
    found, more = end.value.value
    assert ([each.name for each in found], more) == (["bb", "cc"], False)


def test_what_was_found_before_a_purge_is_told(log: Log) -> None:
    """The next page begins behind it."""
    add(log, "dddd")
    reading = read_streams(log.storage, log.storage.last_index, "", 10)
    for _ in range(3):
        next(reading)  # "a" and "bb" are read whole
    log.purge(log.storage.last_index)
    with pytest.raises(StopIteration) as end:
        while True:
            next(reading)
    found, more = end.value.value
    assert [each.name for each in found][:2] == ["a", "bb"]
    assert more


def test_a_page_that_is_purged_again_and_again_ends(log: Log, monkeypatch) -> None:
    """Nothing is found, and it says so."""

    def purged(_: Index) -> None:
        raise Compacted("purged", oldest_sequence=9)

    monkeypatch.setattr(log.storage, "entry", purged)
    with pytest.raises(Compacted):
        stream_page(log.storage, log.storage.last_index, "", 10)


def test_a_stream_that_only_a_table_names_is_none(log: Log) -> None:
    """A group of another client's may name one to which none of its transactions belongs."""
    tags = [(TransactionKind.OPAQUE, name) for name in ("used", "bare")]
    payload = bytearray(groups.pack([b"x", b"x"], tags))
    payload[-3] = payload[-4]  # tags stand before the payloads: both are of the first's stream
    parsed = groups.parse(bytes(payload))
    assert {each.stream for each in parsed.transactions()} == {"used"}
    assert {name for _, name in parsed.tag_table} == {"used", "bare"}
    log.add(EntryKind.TRANSACTIONS, bytes(payload), count=2)
    for count_max in (10, 1):  # the page that would hold the bare one alone goes on behind it
        found, more = stream_page(log.storage, log.storage.last_index, "cc", count_max)
        assert ([each.name for each in found], more) == (["used"], False)


def test_offsets_are_of_the_stream_or_of_all(log: Log) -> None:
    """Transactions of a group, by stream."""
    entry = log.storage.entry(log.storage.last_index)
    assert list(matching_offsets(entry, "bb")) == [1, 2]
    assert list(matching_offsets(entry, None)) == [0, 1, 2]
