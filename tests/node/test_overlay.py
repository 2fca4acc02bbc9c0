"""Reads through the overlay equal reads of a map that holds everything."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.errors import InvariantBroken
from raftlog.interfaces import SCAN_BYTES_MAX, Table
from raftlog.node.overlay import (
    PAGE_MAX,
    RUN_KEYS,
    WRITE_OVERHEAD_BYTES,
    Overlay,
    StateView,
    Writes,
    paged_range,
)

KEYS = st.binary(min_size=1, max_size=2)
WRITES = st.dictionaries(KEYS, st.one_of(st.none(), st.binary(max_size=2)), max_size=12)


class DictTables:
    """A TableReader over a dict, for STATE only."""

    def __init__(self, content: dict[bytes, bytes]) -> None:
        self.content = content

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self.content.get(key) if table is Table.STATE else None

    def scan(self, table, start, end, *, count_max, reverse=False, hidden=()):
        found = sorted(
            (
                (key, value)
                for key, value in self.content.items()
                if table is Table.STATE
                and key >= start
                and (end is None or key < end)
                and key not in hidden
            ),
            reverse=reverse,
        )
        page, size = [], 0
        for key, value in found[:count_max]:
            page.append((key, value))
            size += len(value)
            if size >= SCAN_BYTES_MAX:
                break
        return page


def writes(changes: dict[bytes, bytes | None]) -> Writes:
    """Return a layer of these writes."""
    layer = Writes()
    layer.update(changes)
    return layer


def truth(*layers: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    """Return what the layers, lowest first, come to."""
    merged: dict[bytes, bytes | None] = {}
    for layer in layers:
        merged.update(layer)
    return {key: value for key, value in merged.items() if value is not None}


@given(
    stored=st.dictionaries(KEYS, st.binary(max_size=2), max_size=30),
    flushing=WRITES,
    dirty=WRITES,
    top=WRITES,
    start=st.one_of(st.just(b""), KEYS),
    end=st.one_of(st.none(), KEYS),
    limit=st.one_of(st.none(), st.integers(0, 8)),
    reverse=st.booleans(),
)
def test_every_read_sees_the_newest_layer(stored, flushing, dirty, top, start, end, limit, reverse):
    """Point and range reads answer as if all layers were one sorted map."""
    overlay = Overlay(DictTables(dict(stored)))
    overlay.absorb({Table.STATE: flushing})
    overlay.take()
    overlay.absorb({Table.STATE: dirty})
    expected = truth(stored, flushing, dirty, top)
    for key in {*stored, *flushing, *dirty, *top}:
        assert overlay.get(Table.STATE, key, top) == expected.get(key)
    wanted = sorted(
        (
            (key, value)
            for key, value in expected.items()
            if key >= start and (end is None or key < end)
        ),
        reverse=reverse,
    )
    got = list(
        paged_range(overlay, (start, end), limit=limit, reverse=reverse, tops=(writes(top),))
    )
    assert got == (wanted if limit is None else wanted[:limit])


def test_a_range_pages_without_gap_or_repeat():
    """A range longer than a page yields each key once, in order, in both directions."""
    stored = {i.to_bytes(2, "big"): b"s" for i in range(0, 1500, 2)}
    overlay = Overlay(DictTables(stored))
    overlay.absorb({Table.STATE: {i.to_bytes(2, "big"): b"d" for i in range(1, 1500, 2)}})
    view = StateView(overlay)
    keys = [key for key, _ in view.range()]
    assert keys == [i.to_bytes(2, "big") for i in range(1500)]
    assert [key for key, _ in view.range(reverse=True)] == keys[::-1]


def test_a_flush_stays_visible_until_it_is_durable():
    """Between take and settle a read still sees the writes; after settle the storage answers."""
    tables = DictTables({})
    overlay = Overlay(tables)
    overlay.absorb({Table.STATE: {b"k": b"v"}})
    assert overlay.is_dirty
    layer = overlay.take()
    assert not overlay.is_dirty
    assert overlay.get(Table.STATE, b"k") == b"v"
    overlay.settle()
    assert overlay.get(Table.STATE, b"k") is None
    tables.content.update({key: value for key, value in layer[Table.STATE].items() if value})
    assert overlay.get(Table.STATE, b"k") == b"v"


class CountingTables(DictTables):
    """Counts the values it was asked for."""

    values = 0

    def scan(self, table, start, end, *, count_max, reverse=False, hidden=()):
        page = super().scan(table, start, end, count_max=count_max, reverse=reverse, hidden=hidden)
        self.values += len(page)
        return page


def test_what_was_removed_costs_no_value():
    """A range over rows that are removed above reads none of their values."""
    stored = {i.to_bytes(2, "big"): b"s" for i in range(3000)}
    tables = CountingTables(stored)
    overlay = Overlay(tables)
    changes: dict[bytes, bytes | None] = dict.fromkeys(stored, None)
    changes[(2000).to_bytes(2, "big")] = b"new"
    del changes[(2999).to_bytes(2, "big")]
    overlay.absorb({Table.STATE: changes})
    for reverse in (False, True):
        tables.values = 0
        found = list(StateView(overlay).range(reverse=reverse))
        assert sorted(value for _, value in found) == [b"new", b"s"]
        assert tables.values <= 4


@pytest.mark.parametrize("cut", ["by count", "by bytes"])
@pytest.mark.parametrize("reverse", [False, True])
def test_what_lies_behind_a_page_of_the_storage_waits_for_it(cut, reverse):
    """A write far behind what was read of the storage is not told before what lies between."""
    count, size = (1000, 2) if cut == "by count" else (9, SCAN_BYTES_MAX // 3)
    stored = {key(i): b"\xff" * size for i in range(1, count)}
    overlay = Overlay(DictTables(stored))
    first, last = key(0), key(count)
    overlay.absorb({Table.STATE: {first: b"", last: b""}})
    keys = [first, *stored, last]
    found = [at for at, _ in StateView(overlay).range(reverse=reverse)]
    assert found == (keys[::-1] if reverse else keys)
    end = None if reverse else last + b"\x00"
    page = overlay.scan(Table.STATE, first, end, count_max=2 * PAGE_MAX, reverse=reverse)
    told = [at for at, _ in page]
    assert told == (keys[::-1] if reverse else keys)[: len(told)]
    assert len(told) >= 2


def key(number: int) -> bytes:
    """Return a key by its place."""
    return number.to_bytes(2, "big")


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_page_of_the_storage_that_is_just_full_is_not_the_last(off):
    """Full by bytes, where a write lies behind it: what is between them is told."""
    half = SCAN_BYTES_MAX // 2
    stored = {key(1): b"x" * half, key(2): b"x" * (half + off), key(3): b"between"}
    overlay = Overlay(DictTables(stored))
    overlay.absorb({Table.STATE: {key(9): b"behind"}})
    found = overlay.scan(Table.STATE, b"", None, count_max=100)
    whole = [key(1), key(2), key(3), key(9)]
    # The page may end where it is full, and nowhere else.
    assert [at for at, _ in found] == whole[: 3 if off < 0 else 2]
    assert [at for at, _ in StateView(overlay).range()] == whole


def test_a_layer_tells_what_is_in_it_and_nothing_that_was():
    """Also where its keys were sorted before, and whichever way they came."""
    layer = Writes()
    layer.set(b"b", b"1")
    layer.update({b"a": b"2", b"c": None})
    everything = [(b"a", b"2"), (b"b", b"1"), (b"c", None)]
    assert layer.page(b"", None, 9, reverse=False) == everything
    assert layer.page(b"", None, 9, reverse=True) == everything[::-1]
    assert layer.page(b"b", b"c", 9, reverse=False) == everything[1:2]
    assert layer.page(b"", None, 2, reverse=True) == everything[:0:-1]
    layer.clear()
    assert not layer
    assert layer.page(b"", None, 9, reverse=False) == []
    layer.set(b"d", b"3")
    assert layer.page(b"", None, 9, reverse=False) == [(b"d", b"3")]


@pytest.mark.parametrize("count", [RUN_KEYS - 1, RUN_KEYS, RUN_KEYS + 1, 3 * RUN_KEYS])
def test_many_writes_are_kept_in_few_runs(count):
    """Each key once in a page, however often it was written, and no page sorts all of them."""
    layer = Writes()
    for begin in range(0, count, 100):
        layer.update({key(i): b"v" for i in range(begin, min(begin + 100, count))})
    assert len(layer._new) < RUN_KEYS
    layer.update({key(7): b"again"})
    page = layer.page(b"", None, count, reverse=False)
    assert [at for at, _ in page] == [key(i) for i in range(count)]
    assert page[7] == (key(7), b"again")
    assert len(layer._runs) <= count.bit_length()
    for longer, shorter in itertools.pairwise(layer._runs):
        assert len(longer) >= 2 * len(shorter)


def test_what_waits_for_the_disk_is_counted():
    """To the byte, with what each write takes besides; a removal has no value."""
    overlay = Overlay(DictTables({}))
    overlay.absorb({Table.STATE: {b"key": b"value", b"gone": None}, Table.CHANGE: {}})
    assert overlay.dirty_bytes == 2 * WRITE_OVERHEAD_BYTES + 3 + 5 + 4
    overlay.absorb({Table.CHANGE: {b"k": b""}})
    assert overlay.dirty_bytes == 3 * WRITE_OVERHEAD_BYTES + 3 + 5 + 4 + 1
    overlay.take()
    assert overlay.dirty_bytes == 0


def test_one_flush_is_under_way_at_a_time():
    """Until it is durable, or a snapshot takes the place of all of it."""
    overlay = Overlay(DictTables({}))
    overlay.absorb({Table.STATE: {b"k": b"v"}})
    overlay.take()
    overlay.absorb({Table.STATE: {b"k": b"w"}})
    with pytest.raises(InvariantBroken, match="at once"):
        overlay.take()
    overlay.clear()
    assert (overlay.is_dirty, overlay.dirty_bytes) == (False, 0)
    assert overlay.get(Table.STATE, b"k") is None
    overlay.absorb({Table.STATE: {b"k": b"x"}})
    assert overlay.take()[Table.STATE] == {b"k": b"x"}
    overlay.settle()
    overlay.absorb({Table.STATE: {b"k": b"y"}})
    assert overlay.take()[Table.STATE] == {b"k": b"y"}
