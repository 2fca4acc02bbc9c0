"""Any correct use of a storage: LMDB and memory say the same at every step, as a plain model does.

The rounds are those that a core may ask for (the rules refuse all others): hard state, truncation
above commit, entries, writes with their applied index, purges below a snapshot, installs. Between
them the directory is closed and opened, or the process is killed.
"""

from __future__ import annotations

import pathlib
import tempfile

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raftlog.core.entries import Boundary, EntryKind, HardState
from raftlog.errors import Compacted
from raftlog.interfaces import Round, Table
from raftlog.storage.streams import stream_names
from raftlog.types import Index, NodeId, Term
from tests.effort import effort
from tests.storage.builders import FIRST, Writer, round_of
from tests.storage.conftest import LmdbRig, MemoryRig

KEYS = st.sampled_from([b"", b"a", b"b", b"a\x00", b"\xff" * 40])
VALUES = st.none() | st.binary(max_size=20)
WRITES = st.dictionaries(
    st.sampled_from([Table.STATE, Table.SESSION]),
    st.dictionaries(KEYS.filter(bool), VALUES, max_size=4),
    max_size=2,
)
STREAMS = ("", "orders", "käse")


class Twins(RuleBasedStateMachine):
    """Two storages that get the same rounds, and lists and maps that say what they must hold."""

    @initialize()
    def begin(self) -> None:
        """Make both."""
        self.directory = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.directory.name)
        self.rigs = [LmdbRig(path / "data"), MemoryRig(path)]
        self.log = Writer()
        self.hard = HardState()
        self.kept_back = False
        self.applied = FIRST
        self.tables: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}
        self.snapshots: list[str] = []
        self.boundary_of: dict[str, Boundary] = {}

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            for rig in self.rigs:
                rig.close()
            self.directory.cleanup()

    # -------------------------------------------------------- what rounds may say

    @property
    def last(self) -> int:
        return self.log.entries[-1].index if self.log.entries else self.log.start.index

    @property
    def term(self) -> int:
        return self.log.entries[-1].term if self.log.entries else self.log.start.term

    def commit(self, round_: Round) -> None:
        for rig in self.rigs:
            rig.storage.commit(round_)

    def hard_state(self, data: st.DataObject, last: int, term: int) -> HardState | None:
        """Return a hard state that may follow, with a commit index up to `last`."""
        if data.draw(st.booleans(), "no hard state"):
            return None
        commit = data.draw(st.integers(self.hard.commit, max(last, self.hard.commit)), "commit")
        if data.draw(st.booleans(), "new term"):
            vote = data.draw(st.sampled_from([None, "n1", "n2"]), "vote")
            new_term = max(term, self.hard.term) + 1
        else:
            vote, new_term = self.hard.vote, self.hard.term
            vote = vote or data.draw(st.sampled_from([None, "n1", "ü" * 20]), "vote")
        return HardState(
            term=Term(new_term), vote=NodeId(vote) if vote else None, commit=Index(commit)
        )

    def took(self, round_: Round) -> None:
        """Note what a synced round brought."""
        self.hard = round_.hard_state or self.hard
        self.kept_back = False
        if round_.applied is not None:
            self.applied = round_.applied
        for table, writes in round_.writes.items():
            for key, value in writes.items():
                if value is None:
                    self.tables[table].pop(key, None)
                else:
                    self.tables[table][key] = value

    # -------------------------------------------------------- rounds

    @rule(data=st.data(), count=st.integers(1, 4), writes=WRITES)
    def more_entries(self, data: st.DataObject, count: int, writes) -> None:
        self.a_round(data, count, cut=False, writes=writes)

    @rule(data=st.data(), count=st.integers(0, 4), writes=WRITES)
    def other_entries(self, data: st.DataObject, count: int, writes) -> None:
        self.a_round(data, count, cut=True, writes=writes)

    def a_round(self, data: st.DataObject, count: int, cut: bool, writes) -> None:
        """Truncate, append, write the effects of what is committed, all at once."""
        truncate_from = None
        lowest = max(self.hard.commit, self.log.start.index, self.applied.index) + 1
        if cut and lowest <= self.last:
            truncate_from = data.draw(st.integers(lowest, self.last), "truncate from")
            self.log.back_to(truncate_from - 1)
        term = self.term + data.draw(st.integers(0, 1), "term grows") if count else self.term
        fresh = []
        for _ in range(count):
            kind = data.draw(st.sampled_from([EntryKind.TRANSACTIONS, EntryKind.NOOP]), "kind")
            payload = data.draw(st.binary(max_size=9), "payload")
            stream = data.draw(st.sampled_from(STREAMS), "stream")
            fresh.append(self.log.make(payload, term=max(term, 1), kind=kind, stream=stream))
        hard = self.hard_state(data, self.last, max(term, self.hard.term))
        applied = None
        if self.last > self.applied.index and data.draw(st.booleans(), "applies"):
            applied = self.log.boundary_at(
                data.draw(st.integers(self.applied.index + 1, self.last), "applied")
            )
            key = applied.index.to_bytes(8, "big")
            writes = {**writes, Table.CHANGE: {key: b"rows"}}
        round_ = round_of(
            *fresh,
            truncate_from=truncate_from,
            hard_state=hard,
            writes=writes if applied else {},
            applied=applied,
        )
        self.commit(round_)
        self.took(round_)

    @rule(data=st.data())
    def a_hint(self, data: st.DataObject) -> None:
        """A commit hint alone costs no commit, and need not survive a crash."""
        newest = max(self.hard.commit, self.last)
        commit = data.draw(st.just(newest) | st.integers(self.hard.commit, newest), "hint")
        hint = HardState(term=self.hard.term, vote=self.hard.vote, commit=Index(commit))
        self.hint_before = self.hard if not self.kept_back else self.hint_before
        self.commit(Round(hard_state=hint, needs_sync=False))
        self.hard, self.kept_back = hint, True

    @rule(machine=st.none() | st.lists(st.binary(max_size=9), max_size=3))
    def takes_a_snapshot(self, machine) -> None:
        self.snapshot(machine)

    def snapshot(self, machine) -> None:
        """The two snapshots hold the same; only the time of their making may differ."""
        found = [
            rig.storage.take_snapshot(None if machine is None else iter(machine))
            for rig in self.rigs
        ]
        assert found[0].boundary == found[1].boundary == self.applied
        for rig, info in zip(self.rigs, found, strict=True):
            chunks = rig.storage.snapshot_machine_bytes(info.snapshot_id)
            assert (chunks is None) == (machine is None)
            assert b"".join(chunks or ()) == b"".join(machine or ())

    @precondition(lambda self: self.log.entries)
    @rule(data=st.data(), covers=st.booleans())
    def purge(self, data: st.DataObject, covers: bool) -> None:
        """Drop what the newest snapshot covers; the boundary takes its place."""
        if covers:
            round_ = Round(applied=self.log.boundary_at(self.last))
            self.commit(round_)
            self.took(round_)
            self.snapshot(None)
        held = self.rigs[0].storage.snapshots()
        high = min(held[-1].boundary.index, self.last) if held else 0
        if high <= self.log.start.index:
            return
        boundary = self.log.boundary_at(data.draw(st.integers(self.log.start.index + 1, high)))
        self.commit(Round(purge_to=boundary))
        self.took(Round())
        kept = [entry for entry in self.log.entries if entry.index > boundary.index]
        self.log = Writer(boundary, tuple(kept))
        changes = self.tables[Table.CHANGE]
        for key in [k for k in changes if int.from_bytes(k, "big") <= boundary.index]:
            del changes[key]

    @rule(data=st.data(), ahead=st.integers(0, 3), chunk=st.integers(9, 999), goes_on=st.booleans())
    def install(self, data: st.DataObject, ahead: int, chunk: int, goes_on: bool) -> None:
        """A leader's snapshot replaces log and tables; its stream may break and resume."""
        state = data.draw(st.dictionaries(KEYS.filter(bool), st.binary(max_size=9), max_size=3))
        index = max(self.hard.commit, self.applied.index, self.log.start.index) + ahead + 1
        leader = MemoryRig(pathlib.Path())
        theirs = Writer()
        theirs.many(index, b"theirs", term=max(self.term, 1))
        boundary = theirs.boundary_at(index)
        leader.storage.commit(
            round_of(*theirs.entries, writes={Table.STATE: state}, applied=boundary)
        )
        info = leader.storage.take_snapshot(None)
        for rig in self.rigs:
            self.stage(rig, leader, info, chunk)
        follows = (theirs.make(term=max(self.term, 1)),) if goes_on else ()
        term = max(self.hard.term, theirs.entries[-1].term)
        vote = self.hard.vote if term == self.hard.term else None
        hard = HardState(term=Term(term), vote=vote, commit=boundary.index)
        round_ = round_of(*follows, install_snapshot_id=info.snapshot_id, hard_state=hard)
        self.commit(round_)
        self.took(round_)
        self.applied, self.log = boundary, Writer(boundary, follows)
        self.tables = {Table.STATE: dict(state), Table.SESSION: {}, Table.CHANGE: {}}

    def stage(self, rig: LmdbRig, leader: MemoryRig, info, chunk: int) -> None:
        """Bring the snapshot over, in two streams."""
        for count in (2, info.size_bytes):
            staged = rig.storage.stage_snapshot(info.snapshot_id, info.size_bytes)
            for _ in range(count):
                part = leader.storage.read_snapshot(info.snapshot_id, staged.offset, chunk)
                if part:
                    staged.write(staged.offset, part)
        assert staged.finish() == info

    # -------------------------------------------------------- endings

    @rule(kill=st.booleans(), seldom=st.integers(0, 3))
    def restart(self, kill: bool, seldom: int) -> None:
        """What a commit took is there again; only a kill may lose a hint that was kept back."""
        if seldom < 3 and not self.kept_back:
            return
        for rig in self.rigs:
            rig.crash() if kill else rig.reopen()
        if kill and self.kept_back:
            self.hard = self.hint_before
        self.kept_back = False
        for rig in self.rigs:
            found = rig.storage.recovered()
            assert (found.damaged, found.damage) == (False, "")
            assert found.hard_state == self.hard
            assert found.boundary == self.log.start
            assert found.applied == self.applied

    @precondition(lambda self: self.log.entries)
    @rule(data=st.data(), size=st.sampled_from([1, 100, 200, 1 << 20]))
    def reads(self, data: st.DataObject, size: int) -> None:
        """A range of entries is cut by bytes, at least one; sequences and streams are found."""
        low = data.draw(st.integers(self.log.start.index + 1, self.last), "low")
        high = data.draw(st.integers(low, self.last), "high")
        wanted = [e for e in self.log.entries if low <= e.index <= high]
        keep, room = 1, size - wanted[0].size
        while keep < len(wanted) and wanted[keep].size <= room:
            room -= wanted[keep].size
            keep += 1
        sequence = data.draw(
            st.integers(self.log.start.next_sequence, self.log.entries[-1].next_sequence), "number"
        )
        owner = next((e.index for e in self.log.entries if e.next_sequence > sequence), None)
        for rig in self.rigs:
            storage = rig.storage
            assert storage.entries(low, high, size) == wanted[:keep]
            assert storage.find_sequence(sequence) == (owner or self.last + 1)
            assert storage.scrub(low, high - low + 1) == high + 1
            with pytest.raises(Compacted):
                storage.entries(self.log.start.index, high, size)
        for stream in STREAMS:
            found = [rig.storage.stream_indexes(stream, low, high, 99) for rig in self.rigs]
            assert found[0] == found[1]

    def spans(self, after: str, high: int) -> list[tuple[str, int, int]]:
        """Return what the model says of the streams behind `after`."""
        touched: dict[bytes, list[int]] = {}
        for entry in self.log.entries:
            for name in stream_names(entry.kind, entry.codec, entry.payload):
                if entry.index <= high:
                    touched.setdefault(name, []).append(entry.index)
        return [
            (name.decode(), touched[name][0], touched[name][-1])
            for name in sorted(touched, key=lambda name: (len(name), name))
            if (len(name), name.decode()) > (len(after), after)
        ]

    # -------------------------------------------------------- always

    @invariant()
    def both_hold_what_the_model_holds(self) -> None:
        """Log, boundary, positions and tables are the model's."""
        start = self.log.start
        for rig in self.rigs:
            storage = rig.storage
            assert (storage.boundary, storage.last_index) == (start, self.last)
            assert [storage.entry(e.index) for e in self.log.entries] == self.log.entries
            assert storage.term(start.index) == start.term
            assert storage.checksum(start.index) == start.checksum
            for entry in self.log.entries:
                assert storage.term(entry.index) == entry.term
                assert storage.checksum(entry.index) == entry.checksum
            assert storage.log_bytes() == sum(len(e.payload) for e in self.log.entries)
            for table, rows in self.tables.items():
                assert storage.scan(table, b"", None, count_max=999) == sorted(rows.items())
                for after, high in (("", self.last), ("a", self.last), ("", self.last - 1)):
                    assert storage.streams(after, high, 9) == self.spans(after, high)
                some = {key for key in rows if key[-1] % 2}
                shown = sorted((key, value) for key, value in rows.items() if key not in some)
                assert storage.scan(table, b"", None, count_max=999, hidden=some) == shown
                assert storage.get(table, b"a") == rows.get(b"a")


TestTwins = Twins.TestCase
TestTwins.settings = effort(40, 30)
