"""Tables are declared once, and lie on disk and in snapshots as they always have."""

from __future__ import annotations

import hashlib
import io

import pytest

from raftlog.core.entries import Boundary
from raftlog.core.membership import Member, Membership
from raftlog.errors import InvariantBroken
from raftlog.interfaces import Table
from raftlog.storage.lmdb import layout
from raftlog.storage.snapshot_file import MACHINE_SECTION, TRAILER_SECTION, SnapshotFileWriter

BOUNDARY = Boundary(
    index=7,
    term=2,
    checksum=9,
    next_sequence=5,
    timestamp=3,
    membership=Membership.of_voters([Member(node_id="n1", address="h:1")]),
    feature_level=1,
    machine_name="kv",
    machine_version=1,
)


def writer(file: io.BytesIO) -> SnapshotFileWriter:
    return SnapshotFileWriter(file, cluster_id="c1", boundary=BOUNDARY, created_microseconds=11)


def test_names_on_disk_do_not_change() -> None:
    """A directory of an earlier version is opened by the same names."""
    assert layout.DATABASES == (b"meta", b"log", b"stream", b"state", b"session", b"change")


def test_a_snapshots_bytes_do_not_change() -> None:
    """The same state gives the same file as in the version that first wrote one."""
    file = io.BytesIO()
    made = writer(file)
    made.write_records(Table.SESSION, [(b"s", b"1"), (b"t", b"2")])
    made.write_records(Table.STATE, [(b"k%d" % i, b"v" * i) for i in range(50)])
    made.write_machine([b"machine"])
    made.finish()
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    assert digest == "dca2b39ab1eb8150932f75ca8d9ce34fbb7292ee4e4dce25dc6a1b1f59874988"


def test_no_two_sections_share_a_number() -> None:
    """Nor does a table take the machine's or the trailer's."""
    numbers = [table.section for table in Table if table.section is not None]
    assert len({*numbers, MACHINE_SECTION, TRAILER_SECTION}) == len(numbers) + 2


def test_what_purges_with_the_log_is_in_no_snapshot() -> None:
    """A snapshot replaces the log, and with it what only the log's entries need."""
    for table in Table:
        assert table.purges_with_log == (table.section is None)
    with pytest.raises(InvariantBroken, match="no snapshot carries the table change"):
        writer(io.BytesIO()).write_records(Table.CHANGE, [(b"k", b"v")])
