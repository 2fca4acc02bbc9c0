"""An open segment keeps what was added, whatever a crash leaves behind it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftlog.errors import StorageCorrupt
from raftlog.storage.backup_file import BackupReader, Origin, pack_entries
from raftlog.storage.segment_file import SegmentWriter
from tests.storage.builders import FIRST, Writer

ORIGIN = Origin(
    cluster_id="cluster",
    predecessors=(),
    node_id="n1",
    created_microseconds=1,
    writer="0",
    start=FIRST,
)
ENTRIES = Writer().many(9, [b"a", b"b" * 50])
CHUNKS = [pack_entries(list(ENTRIES[at : at + 3])) for at in (0, 3, 6)]


def entries_of(path, *, is_open):
    """Return what is in a segment."""
    with path.open("rb") as file:
        reader = BackupReader(file, is_open=is_open)
        if not is_open:
            reader.verify()
        return [entry for page in reader.entries() for entry in page]


def test_what_was_added_is_there_before_and_after_it_is_closed(tmp_path):
    """Open or closed, it is read by the same reader."""
    segment = SegmentWriter.begin(tmp_path / "a", ORIGIN)
    assert entries_of(tmp_path / "a", is_open=True) == []
    for chunk in CHUNKS:
        segment.append(chunk)
    assert segment.reached.index == 9
    assert entries_of(tmp_path / "a", is_open=True) == list(ENTRIES)
    segment.finish(tmp_path / "b")
    assert not (tmp_path / "a").exists()
    assert entries_of(tmp_path / "b", is_open=False) == list(ENTRIES)


@given(length=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_it_is_resumed_behind_the_last_sound_chunk(tmp_path_factory, length):
    """Cut anywhere: what was whole stays, the rest is added again, and the end verifies."""
    place = tmp_path_factory.mktemp("segment")
    segment = SegmentWriter.begin(place / "a", ORIGIN)
    head = segment.size_bytes
    ends = [head]
    for chunk in CHUNKS:
        segment.append(chunk)
        ends.append(segment.size_bytes)
    segment.close()
    length %= ends[-1] + 1
    with (place / "a").open("r+b") as file:
        file.truncate(length)
    resumed = SegmentWriter.resume(place / "a")
    if length < head:
        assert resumed is None
        return
    whole = max(at for at, end in enumerate(ends) if end <= length)
    assert resumed.reached.index == 3 * whole
    for chunk in CHUNKS[whole:]:
        resumed.append(chunk)
    resumed.finish(place / "b")
    assert entries_of(place / "b", is_open=False) == list(ENTRIES)


def test_a_crash_between_the_end_and_the_name_costs_nothing(tmp_path, monkeypatch):
    """The end that was written is cut off again, and more can be added."""
    segment = SegmentWriter.begin(tmp_path / "a", ORIGIN)
    segment.append(CHUNKS[0])
    size = segment.size_bytes
    monkeypatch.setattr("pathlib.Path.rename", lambda *_arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        segment.finish(tmp_path / "b")
    monkeypatch.undo()
    resumed = SegmentWriter.resume(tmp_path / "a")
    assert (resumed.size_bytes, resumed.reached.index) == (size, 3)
    for chunk in CHUNKS[1:]:
        resumed.append(chunk)
    resumed.finish(tmp_path / "b")
    assert entries_of(tmp_path / "b", is_open=False) == list(ENTRIES)


def test_what_does_not_follow_is_not_added(tmp_path):
    """A gap or another log is refused, and the segment is as it was."""
    segment = SegmentWriter.begin(tmp_path / "a", ORIGIN)
    segment.append(CHUNKS[0])
    size = segment.size_bytes
    for wrong in (CHUNKS[2], CHUNKS[0], CHUNKS[1][:-1]):
        with pytest.raises(StorageCorrupt):
            segment.append(wrong)
    assert segment.size_bytes == size
    segment.append(CHUNKS[1])
    segment.close()
    assert entries_of(tmp_path / "a", is_open=True) == list(ENTRIES[:6])


def test_much_that_a_crash_left_is_cut_off(tmp_path):
    """Blocks that were allocated and never written may lie behind what is sound."""
    segment = SegmentWriter.begin(tmp_path / "a", ORIGIN)
    for chunk in CHUNKS:
        segment.append(chunk)
    segment.close()
    with (tmp_path / "a").open("ab") as file:
        file.write(bytes(10_000))
    resumed = SegmentWriter.resume(tmp_path / "a")
    assert (tmp_path / "a").stat().st_size == resumed.size_bytes
    resumed.finish(tmp_path / "b")
    assert entries_of(tmp_path / "b", is_open=False) == list(ENTRIES)
