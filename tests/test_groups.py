"""The framing of a group: what is packed parses back, and what lies never parses."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from raftlog import groups
from raftlog.errors import InvalidGroup, InvalidInput, TooLarge
from raftlog.groups import (
    COMMAND_TAG,
    HEADER_BYTES,
    OPAQUE_TAG,
    Tag,
    Transaction,
    TransactionKind,
    pack,
    parse,
)

U64 = st.integers(0, 2**64 - 1)
NAMES = st.text(max_size=20).filter(str.isprintable)
TAGS = st.tuples(st.sampled_from(list(TransactionKind)), NAMES)


def header(
    *,
    version: int = 1,
    tag_count: int = 1,
    zero: int = 0,
    count: int = 1,
    number: int = 0,
    lowest: int = 0,
) -> bytes:
    """Return a group's header, written without the code under test."""
    return struct.pack("<BBHIQQQ", version, tag_count, zero, count, 0, number, lowest)


def lengths(*values: int) -> bytes:
    """Return a table of lengths."""
    return struct.pack(f"<{len(values)}I", *values)


OPAQUE = b"\x00\x00"


def why(data: bytes) -> str:
    """Parse what must be refused; return the reason."""
    with pytest.raises(InvalidGroup) as caught:
        parse(data)
    assert caught.value.definite
    return caught.value.message


@given(st.lists(st.tuples(st.binary(max_size=50), TAGS), min_size=1, max_size=30), U64, U64, U64)
def test_what_is_packed_parses_back(
    pairs: list[tuple[bytes, Tag]], session: int, number: int, lowest: int
) -> None:
    """Payloads, kinds, streams and numbers come back in order, whatever they are."""
    payloads, tags = [payload for payload, _ in pairs], [tag for _, tag in pairs]
    lowest = min(lowest, number)
    data = pack(payloads, tags, session=session, number=number, lowest_unanswered=lowest)
    group = parse(data)
    assert group.data == data
    assert (group.count, group.session) == (len(pairs), session)
    assert (group.number, group.lowest_unanswered) == (number, lowest)
    assert group.payloads() == payloads
    assert list(group.transactions()) == [
        Transaction(offset, kind, stream, payload)
        for offset, (payload, (kind, stream)) in enumerate(pairs)
    ]
    assert group.has_commands is any(kind is TransactionKind.COMMAND for kind, _ in tags)
    opaque = groups.TransactionKind.OPAQUE
    wanted = [name for kind, name in tags if name and kind is opaque]
    assert group.streams == tuple(dict.fromkeys(wanted))
    assert len(group.tag_table) == len(set(tags))


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=30), TAGS)
def test_one_tag_for_all(payloads: list[bytes], tag: Tag) -> None:
    """A single tag gives the same bytes as the same tag for each, and no column of tags."""
    data = pack(payloads, tag)
    assert data == pack(payloads, [tag] * len(payloads))
    group = parse(data)
    assert (group.tag_table, group.tags) == ((tag,), b"")
    assert {one.kind for one in group.transactions()} == {tag[0]}


def test_the_framing_is_what_version_1_wrote() -> None:
    """A golden: the bytes of version 1, so that they cannot change unnoticed."""
    data = pack(
        [b"ab", b"", b"c"],
        [(TransactionKind.OPAQUE, "s"), COMMAND_TAG, (TransactionKind.OPAQUE, "s")],
        session=7,
        number=3,
        lowest_unanswered=2,
    )
    assert data == bytes.fromhex(
        "01 02 0000 03000000 0700000000000000 0300000000000000 0200000000000000"
        "00 01 73  01 00"
        "02000000 00000000 01000000"
        "00 01 00"
        "6162 63"
    )


def test_empty_payloads_are_legal_and_an_empty_group_is_not() -> None:
    """A zero-byte transaction has its place; a group without any is refused by both sides."""
    assert parse(pack([b"", b""])).payloads() == [b"", b""]
    with pytest.raises(InvalidInput, match="at least one"):
        pack([])
    assert "claims 0 transactions" in why(header(count=0) + OPAQUE)


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1])
def test_shorter_than_a_header(size: int) -> None:
    """What cannot hold a header says so."""
    assert f"group of {size} bytes is shorter" in why(pack([b"x"])[:size])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header(version=0) + OPAQUE + lengths(0), "framing version 0 is not known"),
        (header(version=2) + OPAQUE + lengths(0), "framing version 2 is not known"),
        (header(zero=1) + OPAQUE + lengths(0), "is not known"),
        (header(count=65_537) + OPAQUE, "claims 65537 transactions; 1 to 65536 are legal"),
        (header(count=2**32 - 1) + OPAQUE, "claims 4294967295 transactions"),
        (header(number=1, lowest=2) + OPAQUE + lengths(0), "lowest unanswered number 2 is above"),
        (header(tag_count=0) + lengths(0), "group has no tag"),
        (header(tag_count=2) + OPAQUE, "ends inside its table of tags"),
        (header() + b"\x00", "ends inside its table of tags"),
        (header() + b"\x02\x00" + lengths(0), "tag of kind 2"),
        (header() + b"\x00\x05abc", "tag of kind 0 with a name of 5 bytes"),
        (header() + b"\x00\xc9" + b"x" * 201 + lengths(0), "with a name of 201 bytes"),
        (header() + b"\x00\x01\xff" + lengths(0), "stream name is not UTF-8"),
        (header() + b"\x00\x01\n" + lengths(0), "unprintable characters"),
        (header(count=2) + OPAQUE + lengths(0), "ends inside its table of 2 lengths"),
        (header(tag_count=2) + OPAQUE * 2 + lengths(0), "ends inside its table of 1 lengths"),
        (header() + OPAQUE + lengths(5) + b"four", "lengths add up to 5 bytes, 4 bytes follow"),
        (header() + OPAQUE + lengths(3) + b"four", "lengths add up to 3 bytes, 4 bytes follow"),
        (header(count=1) + OPAQUE + lengths(2, 2) + b"four", "add up to 2 bytes, 8 bytes follow"),
        (
            header(count=2) + OPAQUE + lengths(2**32 - 1, 2**32 - 1) + b"xx",
            "add up to 8589934590 bytes",
        ),
        (header(tag_count=2) + OPAQUE * 2 + lengths(1) + b"\x02" + b"x", "names tag 2 of 2"),
    ],
)
def test_what_lies_is_refused(data: bytes, reason: str) -> None:
    """Each lie about versions, counts, lengths and tags is refused with what is wrong."""
    assert reason in why(data)


@settings(max_examples=200)
@given(
    st.lists(st.binary(max_size=8), min_size=1, max_size=6),
    st.lists(TAGS, min_size=1, max_size=3),
    st.data(),
)
def test_a_cut_or_longer_group_never_parses(
    payloads: list[bytes], table: list[Tag], draw: st.DataObject
) -> None:
    """Every proper prefix of a group is refused, and so is a group with bytes after it."""
    data = pack(payloads, [table[at % len(table)] for at in range(len(payloads))])
    cut = draw.draw(st.integers(0, len(data) - 1))
    assert why(data[:cut])
    assert why(data + b"\x00")


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=6), st.data())
def test_a_lie_about_the_count_never_parses(payloads: list[bytes], draw: st.DataObject) -> None:
    """With another count, the lengths no longer add up."""
    data = pack(payloads)
    # A longer table could eat payloads that happen to look like lengths: keep them from it.
    assume(all(byte for payload in payloads for byte in payload))
    claimed = draw.draw(st.integers(0, 2**32 - 1).filter(lambda count: count != len(payloads)))
    lie = data[:4] + struct.pack("<I", claimed) + data[8:]
    assert why(lie)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_parses_whole(noise: bytes) -> None:
    """Random bytes are refused, or are a group that accounts for every byte of them."""
    for data in (noise, header(count=2) + noise, header(tag_count=2) + OPAQUE + noise):
        try:
            group = parse(data)
        except InvalidGroup:
            continue
        assert group.payload_offset + sum(map(len, group.payloads())) == len(data)
        assert len(group.payloads()) == group.count == len(list(group.transactions()))


def test_flipped_bytes_are_refused_or_parse_whole(seed: int) -> None:
    """A good group with a few bytes changed never raises anything but InvalidGroup."""
    dice = random.Random(seed)
    good = pack(
        [b"one", b"", b"three"],
        [OPAQUE_TAG, COMMAND_TAG, (TransactionKind.OPAQUE, "stréam")],
    )
    refused = 0
    for _ in range(3_000):
        data = bytearray(good)
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            group = parse(bytes(data))
        except InvalidGroup:
            refused += 1
            continue
        assert sum(map(len, group.payloads())) == len(good) - group.payload_offset
        assert all(name.isprintable() for _, name in group.tag_table)
    assert refused > 1_000


@given(st.binary(max_size=60), U64, U64)
def test_peek_reads_claims_and_never_raises(noise: bytes, session: int, number: int) -> None:
    """The numbers of a group come from any bytes, so that its refusal finds its caller."""
    data = pack([b"x", b"y"], session=session, number=number)
    assert groups.peek(data) == (2, session, number)
    assert groups.peek(data[:HEADER_BYTES] + noise) == (2, session, number)
    assert groups.peek(data[: HEADER_BYTES - 1]) == (0, 0, 0)
    assert len(groups.peek(noise)) == 3


def test_a_transaction_over_the_limit() -> None:
    """The limit itself is legal; one byte more is refused as too large, not as malformed."""
    data = pack([b"x" * 10, b"y" * 100])
    assert parse(data, transaction_bytes_max=100).count == 2
    with pytest.raises(TooLarge, match="transaction of 100 bytes is over the limit of 99 bytes"):
        parse(data, transaction_bytes_max=99)


def test_the_largest_counts() -> None:
    """The most transactions and the most tags that the framing holds do parse."""
    most = groups.TRANSACTION_COUNT_MAX
    assert parse(pack([b""] * most)).count == most
    assert "claims 65537" in why(pack([b""] * (most + 1)))
    tags = [(TransactionKind.OPAQUE, str(at)) for at in range(groups.TAG_COUNT_MAX)]
    group = parse(pack([b"x"] * len(tags), tags))
    assert [one.stream for one in group.transactions()] == [name for _, name in tags]


@pytest.mark.parametrize("name", ["", "orders", "ä" * 100, "a b", "日本"])
def test_stream_names_that_are_legal(name: str) -> None:
    """A checked name survives the framing."""
    tag = (TransactionKind.OPAQUE, groups.check_stream(name))
    assert parse(pack([b"x"], tag)).tag_table == (tag,)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("ä" * 101, "over 200 bytes"), ("a\nb", "unprintable"), ("\x00", "unprintable")],
)
def test_stream_names_that_are_not(name: str, reason: str) -> None:
    """A name that the framing would refuse is the caller's mistake beforehand."""
    with pytest.raises(InvalidInput, match=reason):
        groups.check_stream(name)
