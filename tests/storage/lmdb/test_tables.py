"""The tables against a sorted dict."""

from __future__ import annotations

import dataclasses

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from raftlog.interfaces import Round, Table
from raftlog.storage.lmdb.tables import LmdbTables
from tests.storage.builders import FIRST

keys = st.binary(min_size=1, max_size=4)
writes = st.dictionaries(keys, st.none() | st.binary(max_size=20), max_size=10)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(writes, max_size=4), keys | st.just(b""), st.none() | keys, st.integers(0, 6))
def test_scans_agree_with_a_sorted_dict(lmdb_rig, rounds, start, end, count_max) -> None:
    """After any writes, any scan in either direction gives what a sorted dict gives."""
    storage = lmdb_rig.storage
    tables = LmdbTables(storage._environment, storage._databases)
    model: SortedDict = SortedDict()
    with storage._environment.begin(write=True, buffers=True) as txn:
        txn.drop(storage._databases.tables[Table.STATE], delete=False)
        for round_writes in rounds:
            tables.write(txn, Table.STATE, round_writes)
            for key, value in round_writes.items():
                if value is None:
                    model.pop(key, None)
                else:
                    model[key] = value
    pairs = [
        (key, value) for key, value in model.items() if key >= start and (not end or key < end)
    ]
    forward = tables.scan(Table.STATE, start, end, count_max=count_max)
    backward = tables.scan(Table.STATE, start, end, count_max=count_max, reverse=True)
    assert forward == pairs[:count_max]
    assert backward == pairs[::-1][:count_max]
    assert all(tables.get(Table.STATE, key) == value for key, value in model.items())


def test_size_grows_with_what_is_stored(lmdb_rig) -> None:
    """The size counts pages in use, so it follows the values."""
    storage = lmdb_rig.storage
    before = storage.size_bytes()
    big = {b"k%d" % i: b"v" * 1000 for i in range(100)}
    storage.commit(_writes(big))
    assert storage.size_bytes() - before > 100_000
    storage.commit(_writes(dict.fromkeys(big)))
    assert storage.size_bytes() - before < 20_000


def _writes(state):
    return Round(writes={Table.STATE: state}, applied=dataclasses.replace(FIRST))
