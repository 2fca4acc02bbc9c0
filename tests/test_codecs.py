"""Everything that is stored or sent: it comes back as it was, and damage never does worse than
fail.

For each codec: round trip; random bytes; a cut; flipped bits; and, where the outer form is JSON or
msgpack, values of any other shape inside a sound outer form. What a decoder may raise is declared
beside it; anything else (or a decoding that eats memory) is a fault.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import tracemalloc
from collections.abc import Callable

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftlog import groups
from raftlog.checksum import crc32c
from raftlog.core.entries import Boundary, Entry, EntryKind, HardState
from raftlog.core.membership import Member, Membership
from raftlog.errors import InvalidGroup, InvalidInput, StorageCorrupt, StorageError
from raftlog.interfaces import GroupReceipt, Result, Table
from raftlog.node import sessions
from raftlog.rpc import convert
from raftlog.storage import records, snapshot_file
from raftlog.storage.boundary import decode_boundary, encode_boundary
from raftlog.storage.lmdb.hard_state import decode_hard_state, encode_hard_state
from raftlog.storage.snapshot_file import SnapshotFileReader, SnapshotFileWriter
from raftlog.types import NodeId
from tests.rpc.test_convert import any_message

MIB = 1 << 20
U64 = st.integers(0, (1 << 64) - 1)
U32 = st.integers(0, (1 << 32) - 1)
NAMES = st.text(st.characters(codec="utf-8"), max_size=9)


@st.composite
def memberships(draw: st.DrawFn) -> Membership:
    """Any membership: simple or joint, with learners and witnesses."""
    ids = draw(st.lists(NAMES, min_size=1, max_size=7, unique=True))
    members = tuple(
        Member(
            node_id=NodeId(name), address=draw(NAMES), has_machine=draw(st.booleans()),
            region=draw(NAMES), instance_id=draw(NAMES),
        )
        for name in sorted(ids)
    )  # fmt: skip
    parts = {name: draw(st.integers(1, 4)) for name in ids}
    outgoing = frozenset(name for name, part in parts.items() if part & 2)
    return Membership(
        members=members,
        voters=frozenset(name for name, part in parts.items() if part & 1),
        outgoing=outgoing,
        learners=frozenset(name for name, part in parts.items() if part == 4),
        learners_next=frozenset(name for name in outgoing if draw(st.booleans())),
    )


boundaries = st.builds(
    Boundary,
    index=U64, term=U64, checksum=U32, next_sequence=U64,
    timestamp=st.integers(-(1 << 63), (1 << 63) - 1), membership=memberships(), feature_level=U32,
    machine_name=NAMES, machine_version=U64, binlog_file=U64, binlog_position=U64,
)  # fmt: skip
entries = st.builds(
    Entry,
    term=U64, index=U64, kind=st.sampled_from(EntryKind), first_sequence=U64, count=U32,
    timestamp=st.integers(-(1 << 63), (1 << 63) - 1), payload=st.binary(max_size=90),
    checksum=U32, codec=st.integers(0, 255),
)  # fmt: skip
hard_states = st.builds(HardState, term=U64, vote=st.none() | NAMES.map(NodeId), commit=U64)
results = st.just(Result(deferred=True)) | st.builds(
    Result, value=st.binary(max_size=9), rejected=st.none() | NAMES
)
receipts = st.builds(
    GroupReceipt,
    number=U64, first_sequence=U64, count=U32, term=U64, index=U64,
    results=st.lists(results, max_size=3).map(tuple),
)  # fmt: skip
replies = st.builds(sessions.Reply.of, U64, receipts)
changes = st.lists(U64, max_size=4).map(lambda ids: (sessions.SessionChange.EXPIRE, sorted(ids)))
tags = st.tuples(st.sampled_from(groups.TransactionKind), st.sampled_from(["", "orders", "käse"]))
packed = st.lists(st.tuples(st.binary(max_size=9), tags), min_size=1, max_size=5)


def encode_group(transactions) -> bytes:
    return groups.pack([payload for payload, _ in transactions], [tag for _, tag in transactions])


def decode_group(data: bytes):
    group = groups.parse(data)
    return [(t.payload, (t.kind, t.stream)) for t in group.transactions()]


def encode_record(entry: Entry) -> bytes:
    return entry.index.to_bytes(8, "big") + records.encode_entry(entry)


def decode_record(data: bytes) -> Entry:
    return records.decode_entry(int.from_bytes(data[:8], "big"), data[8:])


def encode_snapshot(made) -> bytes:
    boundary, state, machine = made
    file = io.BytesIO()
    writer = SnapshotFileWriter(file, cluster_id="c", boundary=boundary, created_microseconds=1)
    writer.write_records(Table.SESSION, [])
    writer.write_records(Table.STATE, state)
    if machine is not None:
        writer.write_machine(machine)
    writer.finish()
    return file.getvalue()


def decode_snapshot(data: bytes):
    reader = SnapshotFileReader(io.BytesIO(data))
    reader.verify(snapshot_id=reader.info.snapshot_id, cluster_id="c")
    state = [pair for pairs in reader.records(Table.STATE) for pair in pairs]
    machine = [b"".join(reader.machine_chunks())] if reader.has_machine else None
    return reader.boundary, state, machine


snapshots = st.tuples(
    boundaries,
    st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=4),
    st.none() | st.binary(min_size=1, max_size=30).map(lambda data: [data]),
)


@dataclasses.dataclass(frozen=True)
class Codec:
    """Values, both directions, and the errors that decoding declares."""

    values: st.SearchStrategy
    encode: Callable
    decode: Callable
    errors: tuple[type[Exception], ...]


CODECS = {
    "message": Codec(any_message, convert.encode, convert.decode, (InvalidInput,)),
    "membership": Codec(memberships(), Membership.encode, Membership.decode, (InvalidInput,)),
    "boundary": Codec(boundaries, encode_boundary, decode_boundary, (StorageError,)),
    "record": Codec(entries, encode_record, decode_record, (StorageError,)),
    "hard state": Codec(hard_states, encode_hard_state, decode_hard_state, (StorageCorrupt,)),
    "group": Codec(packed, encode_group, decode_group, (InvalidGroup,)),
    "snapshot": Codec(snapshots, encode_snapshot, decode_snapshot, (StorageError,)),
    "reply": Codec(replies, lambda reply: reply.encoded, sessions.Reply.decode, (StorageCorrupt,)),
    "session entry": Codec(
        changes,
        lambda change: sessions.encode_expire(change[1]),
        sessions.decode_change,
        (InvalidInput,),
    ),
}
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())


@every_codec
@settings(max_examples=40)
@given(data=st.data())
def test_what_is_encoded_comes_back(codec: Codec, data: st.DataObject) -> None:
    """Decoding what was encoded gives the same value, and encoding that the same bytes."""
    value = data.draw(codec.values)
    stored = codec.encode(value)
    again = codec.decode(stored)
    assert again == value
    assert codec.encode(again) == stored


@every_codec
@settings(max_examples=60)
@given(noise=st.binary(max_size=120))
def test_random_bytes_do_no_worse_than_fail(codec: Codec, noise: bytes) -> None:
    """Random bytes are a value or a declared error."""
    with contextlib.suppress(*codec.errors):
        codec.decode(noise)


@every_codec
@settings(max_examples=60)
@given(data=st.data())
def test_damage_does_no_worse_than_fail(codec: Codec, data: st.DataObject) -> None:
    """A value that was cut, or in which bits flipped or bytes were repeated, is another or
    fails."""
    stored = bytearray(codec.encode(data.draw(codec.values)))
    place = st.integers(0, max(len(stored) - 1, 0))
    match data.draw(st.sampled_from(["cut", "flip", "repeat"]), "damage"):
        case "cut":
            del stored[data.draw(place, "from") :]
        case "flip":
            for at in data.draw(st.lists(place, min_size=1, max_size=3), "places"):
                if stored:
                    stored[at] ^= 1 << data.draw(st.integers(0, 7), "bit")
        case "repeat":
            low = data.draw(place, "low")
            stored[low:low] = stored[low : data.draw(place, "high")]
    with contextlib.suppress(*codec.errors):
        codec.decode(bytes(stored))


# ---------------------------------------------------------------- sound outside, odd inside

scalars = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([0, 1, -1, 1 << 32, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
)
shapes = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
shapes_in_bytes = st.recursive(
    scalars | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=3), inner),
    max_leaves=6,
)


def odd_lists(value: list, draw: Callable) -> list:
    """Return the list with one of its fields replaced by something of any shape."""
    if not value:
        return [draw(shapes_in_bytes)]
    at = draw(st.integers(0, len(value) - 1))
    return [*value[:at], draw(shapes_in_bytes), *value[at + 1 :]]


@settings(max_examples=150)
@given(membership=memberships(), data=st.data())
def test_a_membership_of_other_shapes_is_invalid(membership: Membership, data) -> None:
    """JSON that is not quite a membership is InvalidInput now, not a failure at its first use."""
    fields = json.loads(membership.encode())
    target = data.draw(st.sampled_from([fields, *fields["members"]]), "where")
    name = data.draw(st.sampled_from(sorted(target)), "field")
    target[name] = data.draw(shapes, "value")
    with contextlib.suppress(InvalidInput):
        found = Membership.decode(json.dumps(fields).encode())
        assert Membership.decode(found.encode()) == found
        for one in found.members:
            words = (one.node_id, one.address, one.region, one.instance_id)
            assert all(type(word) is str for word in words)
            assert type(one.has_machine) is bool


@settings(max_examples=150)
@given(boundary=boundaries, data=st.data())
def test_a_boundary_of_other_shapes_is_corrupt(boundary: Boundary, data) -> None:
    """A list that is not quite a boundary is StorageCorrupt, whatever its fields are."""
    fields = odd_lists(msgpack.unpackb(encode_boundary(boundary)), data.draw)
    with contextlib.suppress(StorageError):
        found = decode_boundary(msgpack.packb(fields))
        assert decode_boundary(encode_boundary(found)) == found
        for field in dataclasses.fields(found):
            assert type(getattr(found, field.name)) is type(getattr(boundary, field.name))


@settings(max_examples=100)
@given(reply=replies, data=st.data())
def test_a_reply_of_other_shapes_is_corrupt(reply: sessions.Reply, data) -> None:
    """A list that is not quite a kept reply is StorageCorrupt."""
    fields = odd_lists(msgpack.unpackb(reply.encoded), data.draw)
    with contextlib.suppress(StorageCorrupt):
        found = sessions.Reply.decode(msgpack.packb(fields))
        assert sessions.Reply.decode(found.encoded) == found
        for field in dataclasses.fields(found.receipt):
            value = getattr(found.receipt, field.name)
            assert type(value) is type(getattr(reply.receipt, field.name))


@settings(max_examples=100)
@given(data=st.data())
def test_a_session_entry_of_other_shapes_is_invalid(data) -> None:
    """A SESSION entry names a change and sessions, or is InvalidInput."""
    fields = odd_lists(odd_lists(["expire", [1, 2]], data.draw), data.draw)
    with contextlib.suppress(InvalidInput):
        _, found = sessions.decode_change(msgpack.packb(fields))
        assert all(isinstance(session, int) and session >= 0 for session in found)


class Rows:
    """A storage whose session table holds these rows."""

    def __init__(self, rows: list[tuple[bytes, bytes]]) -> None:
        self.rows = sorted(rows)

    def scan(self, table, start: bytes, end, *, count_max: int, reverse=False, hidden=()):
        return [row for row in self.rows if row[0] >= start][:count_max]


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.binary(min_size=7, max_size=17) | st.sampled_from([bytes(8), bytes(16)]),
        st.binary(max_size=9)
        | shapes_in_bytes.map(msgpack.packb)
        | replies.map(lambda r: r.encoded),
        max_size=4,
    )
)
def test_any_session_table_loads_or_is_corrupt(rows) -> None:
    """Rows of a session table that no raftlog wrote are StorageCorrupt at load, nothing else."""
    with contextlib.suppress(StorageCorrupt):
        sessions.SessionTable().load(Rows(list(rows.items())))


@settings(max_examples=150)
@given(made=snapshots, data=st.data())
def test_a_snapshot_whose_checksums_hold_may_still_lie(made, data) -> None:
    """Head and trailer of any shape under sound checksums are a snapshot or a storage error."""
    sound = encode_snapshot(made)
    prefix, footer = snapshot_file._PREFIX, snapshot_file._FOOTER
    _, _, length, _ = prefix.unpack_from(sound)
    offset, total, _, _ = footer.unpack(sound[-footer.size :])
    head = msgpack.unpackb(sound[prefix.size : prefix.size + length])
    chunk = snapshot_file._CHUNK
    table = msgpack.unpackb(sound[offset + chunk.size : -footer.size])
    if data.draw(st.booleans(), "in the head"):
        head = odd_lists(head, data.draw)
    else:
        row = data.draw(st.integers(0, len(table) - 1), "row") if table else 0
        table = [*table[:row], odd_lists(table[row] if table else [], data.draw), *table[row + 1 :]]
    packed_head, packed_table = msgpack.packb(head), msgpack.packb(table)
    magic = (snapshot_file.MAGIC, snapshot_file.VERSION)
    body = sound[prefix.size + length : offset]
    forged = b"".join(
        (
            prefix.pack(*magic, len(packed_head), crc32c(packed_head)),
            packed_head,
            body,
            chunk.pack(snapshot_file.TRAILER_SECTION, len(packed_table), crc32c(packed_table)),
            packed_table,
            footer.pack(
                prefix.size + len(packed_head) + len(body), total, 0, snapshot_file.MAGIC_END
            ),
        )
    )
    with contextlib.suppress(StorageError, InvalidInput):
        reader = SnapshotFileReader(io.BytesIO(forged))
        for section in (1, 2, snapshot_file.MACHINE_SECTION):
            for payload in reader._chunks(section):
                assert len(payload) <= len(forged)


DEEP = [b"[" * 100_000, b'{"members":' * 20_000, b"\x91" * 100_000, b"\x81\xa1k" * 50_000]
WIDE = [
    b"\xdd\xff\xff\xff\xff",  # a msgpack list that claims 2^32 - 1 fields
    b"\xc6\xff\xff\xff\xff",  # bytes that claim as many
    msgpack.packb([1, 1, 1, 1, 1, 1, 1 << 40, 1, "", 1, 1, 1]),  # a number where bytes belong
    groups._HEADER.pack(1, 255, 0, 65_536, 0, 0, 0),
    snapshot_file._PREFIX.pack(snapshot_file.MAGIC, 1, (1 << 32) - 1, 0),
]


@every_codec
@pytest.mark.parametrize("hostile", [*DEEP, *WIDE], ids=lambda data: data[:6].hex())
def test_small_lies_cost_little_memory(codec: Codec, hostile: bytes) -> None:
    """What claims to be deep or huge is refused without the memory that it claims."""
    tracemalloc.start()
    try:
        with contextlib.suppress(*codec.errors):
            codec.decode(hostile)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB
