"""What of an entry a subscriber sees, and how batches are cut."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftlog import groups
from raftlog.core.entries import Entry, EntryKind
from raftlog.groups import Tag, TransactionKind
from raftlog.rpc.services import tail
from raftlog.rpc.services.tail import Filter, replies, single
from raftlog.types import Index, Term

OPAQUE, COMMAND = TransactionKind.OPAQUE, TransactionKind.COMMAND
TAGS: list[Tag] = [(OPAQUE, ""), (OPAQUE, "a"), (OPAQUE, "b"), (COMMAND, ""), (COMMAND, "a")]


def entry_of(
    tags: list[Tag], first: int = 10, kind: EntryKind = EntryKind.TRANSACTIONS, size: int = 1
) -> Entry:
    payloads = [b"%d" % (first + at) * size for at in range(len(tags))]
    payload = groups.pack(payloads, tags) if kind is EntryKind.TRANSACTIONS else b"?"
    count = len(tags) if kind is EntryKind.TRANSACTIONS else 0
    return Entry(
        term=Term(2),
        index=Index(first),
        kind=kind,
        first_sequence=first,
        count=count,
        timestamp=6,
        payload=payload,
        checksum=0,
    )


def seen(wanted: Filter, entry: Entry) -> list[tuple[int, bytes, Tag]]:
    """What a client makes of what it is sent."""
    shown = wanted.apply(entry)
    if shown is None:
        return []
    group = groups.parse(shown.group)
    sequences = list(shown.sequences) or [
        entry.first_sequence + offset for offset in range(group.count)
    ]
    return [
        (sequence, one.payload, (one.kind, one.stream))
        for sequence, one in zip(sequences, group.transactions(), strict=True)
    ]


def test_against_a_naive_filter(seed: int) -> None:
    """For random groups and filters, what is shown is what a loop over transactions keeps."""
    rng = random.Random(seed)
    for _ in range(500):
        tags = rng.choices(TAGS[: rng.randint(1, 5)], k=rng.randint(1, 6))
        entry = entry_of(tags)
        wanted = Filter(
            after=rng.randint(7, 17),
            stream=rng.choice([None, "", "a", "b", "c"]),
            commands=rng.random() < 0.5,
        )
        expected = [
            (10 + at, b"%d" % (10 + at), tag)
            for at, tag in enumerate(tags)
            if 10 + at > wanted.after
            and (wanted.stream is None or wanted.stream == tag[1])
            and (wanted.commands or tag[0] is OPAQUE)
        ]
        assert seen(wanted, entry) == expected


def test_a_whole_entry_is_sent_as_it_is_stored() -> None:
    """Nothing is packed anew where everything matches."""
    entry = entry_of([(OPAQUE, "a"), (OPAQUE, "b")])
    for wanted in (Filter(), Filter(commands=True)):
        shown = wanted.apply(entry)
        assert shown is not None
        assert shown.group == entry.payload
        assert not shown.sequences
        shown = shown.message()
        assert (shown.term, shown.index, shown.first_sequence, shown.timestamp) == (2, 10, 10, 6)


@pytest.mark.parametrize("kind", [kind for kind in EntryKind if kind != EntryKind.TRANSACTIONS])
def test_other_kinds_of_entries_are_not_shown(kind: EntryKind) -> None:
    """A subscriber sees transactions only."""
    assert Filter(commands=True).apply(entry_of([], kind=kind)) is None


def test_single_shows_one_transaction() -> None:
    """One transaction comes alone, with its sequence, stream and kind."""
    shown = single(entry_of(TAGS), 12)
    assert list(shown.sequences) == [12]
    [one] = groups.parse(shown.group).transactions()
    assert (one.payload, one.stream, one.kind) == (b"12", "b", OPAQUE)


def test_a_batch_is_cut_by_size_and_positions_cover_each_part() -> None:
    """Parts stay near the bound, a larger entry goes alone, and each names how far it reaches."""
    sizes = [100, 100, 5000, 100]
    entries = [entry_of([(OPAQUE, "")], first=10 + at, size=s) for at, s in enumerate(sizes)]
    parts = list(replies(entries, 99, Filter(), 600))
    assert [[e.first_sequence for e in part] for part, _ in parts] == [[10, 11], [12], [13]]
    assert [position for _, position in parts] == [11, 12, 99]


def test_an_intermediate_position_never_skips_a_match() -> None:
    """A client that resumes after any part's position misses nothing that matches."""
    rng = random.Random(5)
    entries, first = [], 10
    for _ in range(40):
        tags = rng.choices(TAGS, k=rng.randint(1, 4))
        entries.append(entry_of(tags, first=first, size=20))
        first += len(tags)
    wanted = Filter(stream="a")
    everything = [one for entry in entries for one in seen(wanted, entry)]
    delivered = 0
    for part, position in replies(entries, first - 1, wanted, 100):
        delivered += sum(len(groups.parse(e.group).lengths) for e in part)
        rest = [one for entry in entries for one in seen(Filter(stream="a", after=position), entry)]
        assert rest == everything[delivered:]
    assert delivered == len(everything)


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_what_just_fits_is_one_part_and_one_transaction_is_never_packed_anew(
    monkeypatch: pytest.MonkeyPatch, beyond: int
) -> None:
    """It is sent as it is stored, without sequences; only what is larger comes in parts."""
    monkeypatch.setattr(tail, "PART_BYTES_MIN", 1)
    entry = entry_of([(OPAQUE, "a")], size=100)
    size = len(entry.payload) - beyond
    sent = [part for reply, _ in replies([entry], 10, Filter(), size) for part in reply]
    assert b"".join(part.group for part in sent) == entry.payload
    assert not any(part.sequences for part in sent)
    shape = [(part.group_offset, part.group_bytes) for part in sent]
    whole = len(entry.payload)
    assert shape == ([(0, whole), (size, whole)] if beyond == 1 else [(0, 0)])


def test_an_empty_batch_is_one_empty_part() -> None:
    """A heartbeat reaches the client as a position."""
    assert list(replies([], 7, Filter(), 100)) == [([], 7)]


@settings(max_examples=150)
@given(
    sizes=st.lists(st.integers(0, 900), min_size=1, max_size=9),
    after=st.integers(8, 18),
    stream=st.sampled_from([None, "", "a"]),
    bytes_max=st.integers(1, 700),
)
def test_an_entry_is_cut_between_transactions_and_inside_them(
    sizes, after, stream, bytes_max
) -> None:
    """However an entry is cut, a client puts the same transactions together, at any position."""
    payloads = [bytes([at]) * size for at, size in enumerate(sizes)]
    tags = [TAGS[at % 2] for at in range(len(sizes))]
    packed = groups.pack(payloads, tags)
    entry = dataclasses.replace(entry_of([(OPAQUE, "")]), payload=packed, count=len(sizes))
    after = min(after, entry.next_sequence - 1)
    wanted = Filter(after=after, stream=stream)
    got: list[tuple[int, bytes]] = []
    held: list[bytes] = []
    reached = after
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "PART_BYTES_MIN", 64)
        cut = list(replies([entry], entry.next_sequence - 1, wanted, bytes_max))
    for reply, position in cut:
        # A reply is one part, or holds no more than about its bound.
        assert len(reply) < 2 or sum(len(each.group) for each in reply) <= bytes_max
        for each in reply:
            assert len(each.group) <= max(bytes_max, 64)
            held.append(each.group)
            if each.group_offset + len(each.group) < each.group_bytes:
                continue
            group = groups.parse(b"".join(held))
            held = []
            sequences = each.sequences or range(each.first_sequence, each.first_sequence + 99)
            got += list(zip(sequences, group.payloads(), strict=False))
        assert position >= reached
        reached = position
        assert [one for one in got if one[0] <= position] == [
            one for one in truth(sizes, tags, wanted) if one[0] <= position
        ]
    assert not held
    assert got == truth(sizes, tags, wanted)


def truth(sizes: list[int], tags: list[Tag], wanted: Filter) -> list[tuple[int, bytes]]:
    """What of an entry at sequence 10 matches."""
    return [
        (10 + at, bytes([at]) * size)
        for at, size in enumerate(sizes)
        if 10 + at > wanted.after and wanted.wants(tags[at])
    ]
