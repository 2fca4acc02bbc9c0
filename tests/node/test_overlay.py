"""Reads through the overlay equal reads of a map that holds everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raftlog.interfaces import SCAN_BYTES_MAX, Table
from raftlog.node.overlay import Overlay, StateView, Writes, paged_range

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
