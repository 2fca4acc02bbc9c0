"""The record codec: what is written comes back, and no bytes at all can do worse than raise."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.core.entries import Entry, EntryKind
from raftlog.errors import StorageCorrupt, StorageError
from raftlog.storage import records
from tests.storage.builders import Writer

entries = st.builds(
    Entry,
    term=st.integers(0, 2**64 - 1),
    index=st.integers(0, 2**64 - 1),
    kind=st.sampled_from(EntryKind),
    first_sequence=st.integers(0, 2**64 - 1),
    count=st.integers(0, 2**32 - 1),
    timestamp=st.integers(-(2**63), 2**63 - 1),
    payload=st.binary(max_size=300),
    checksum=st.integers(0, 2**32 - 1),
    codec=st.integers(0, 255),
)


@given(entries)
def test_every_entry_comes_back(entry) -> None:
    """Encoding and decoding any entry gives the same entry, from bytes and from a view."""
    record = records.encode_entry(entry)
    assert len(record) == records.HEADER_BYTES + len(entry.payload)
    assert records.decode_entry(entry.index, record) == entry
    assert records.decode_entry(entry.index, memoryview(record)) == entry
    header = records.decode_header(entry.index, record[:0] + record)
    assert (header.term, header.checksum, header.length) == (
        entry.term,
        entry.checksum,
        len(entry.payload),
    )


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_random_bytes_never_decode(data, index) -> None:
    """Bytes that are no record raise StorageCorrupt and nothing else."""
    with pytest.raises(StorageCorrupt):
        records.decode_entry(index, data)


@given(entries, st.data())
def test_any_flipped_bit_is_found(entry, data) -> None:
    """One flipped bit anywhere in a record fails verification."""
    record = bytearray(records.encode_entry(entry))
    bit = data.draw(st.integers(0, len(record) * 8 - 1))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(StorageError):
        records.decode_entry(entry.index, bytes(record))


@given(entries, st.data())
def test_any_cut_is_found(entry, data) -> None:
    """A record that lost bytes at its end fails verification."""
    record = records.encode_entry(entry)
    cut = data.draw(st.integers(0, len(record) - 1))
    with pytest.raises(StorageCorrupt):
        records.decode_entry(entry.index, record[:cut])


def test_record_under_a_wrong_index_is_found() -> None:
    """A sound record at the wrong place, a misdirected write, is damage."""
    with pytest.raises(StorageCorrupt, match="is that of index 1"):
        records.decode_entry(2, records.encode_entry(Writer().make()))


@pytest.mark.parametrize("field", [0, 1])
def test_what_a_newer_version_wrote_is_not_damage(field, monkeypatch) -> None:
    """A sound record of an unknown format or kind stops the node with a clear error."""
    entry = Writer().make()
    monkeypatch.setattr(records, "FORMAT", 9 if field == 0 else 1)
    record = records.encode_entry(dataclasses.replace(entry, kind=EntryKind.VERSION))
    monkeypatch.undo()
    if field == 1:
        monkeypatch.delitem(records._KINDS, EntryKind.VERSION.value)
    with pytest.raises(StorageError, match="newer one wrote it") as refused:
        records.decode_entry(1, record)
    assert not isinstance(refused.value, StorageCorrupt)


@given(st.binary(max_size=50), st.binary(max_size=50), st.binary(max_size=50))
def test_protected_values_belong_to_their_key(key, value, other) -> None:
    """A protected value comes back under its key, and under another key it is damage."""
    stored = records.protect(key, value)
    assert records.unprotect(key, stored, "it") == value
    if key != other:
        with pytest.raises(StorageCorrupt, match="it fails"):
            records.unprotect(other, stored, "it")


def test_short_protected_value_is_damage() -> None:
    """A value shorter than its checksum raises instead of slicing into nothing."""
    with pytest.raises(StorageCorrupt, match="too short"):
        records.unprotect(b"k", b"abc", "the value")
