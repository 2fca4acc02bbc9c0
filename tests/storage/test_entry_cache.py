"""The entry cache: a contiguous, bounded run at the log's end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raftlog.storage.entry_cache import EntryCache
from tests.storage.builders import Writer


def test_oldest_entries_go_first() -> None:
    """Over the bound the cache keeps the newest entries that fit."""
    entries = Writer().many(10, b"x" * 100)
    cache = EntryCache(3 * entries[0].size)
    cache.extend(entries)
    assert [index for index in range(1, 11) if cache.get(index)] == [8, 9, 10]
    assert cache.size_bytes == 3 * entries[0].size


def test_entry_larger_than_the_cache_is_not_kept() -> None:
    """One entry over the bound leaves the cache empty, and it goes on working."""
    writer = Writer()
    cache = EntryCache(500)
    cache.extend((writer.make(b"x" * 1000),))
    assert (len(cache), cache.size_bytes) == (0, 0)
    small = writer.make(b"y")
    cache.extend((small,))
    assert cache.get(2) is small


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "truncate", "purge", "clear"]), st.integers(1, 6)),
        max_size=30,
    )
)
def test_it_is_always_a_run_of_the_logs_end(steps) -> None:
    """After any appends, truncations and purges the cache holds a run that ends at the last."""
    writer = Writer()
    cache = EntryCache(8 * 200)
    purged = 0
    for what, number in steps:
        last = writer.entries[-1].index if writer.entries else 0
        match what:
            case "append":
                cache.extend(writer.many(number))
            case "truncate":
                low = max(purged, last - number) + 1
                writer.back_to(low - 1)
                cache.truncate(low)
                if not writer.entries:
                    writer, purged = Writer(), 0
                    cache.clear()
            case "purge":
                purged = min(last, purged + number)
                cache.purge(purged)
            case "clear":
                cache.clear()
        held = [e for e in writer.entries if cache.get(e.index) is e]
        assert len(held) == len(cache)
        assert cache.size_bytes == sum(e.size for e in held) <= 8 * 200
        if held:
            assert [e.index for e in held] == list(
                range(held[0].index, writer.entries[-1].index + 1)
            )
