"""Sessions: the gate admits each number once, and the table answers repeats (decision 18)."""

from __future__ import annotations

import dataclasses

import msgpack
import pytest

from raftlog import groups
from raftlog.errors import (
    InvalidInput,
    InvariantBroken,
    Overloaded,
    ProposalDropped,
    SessionExpired,
    SessionMismatch,
    StorageCorrupt,
)
from raftlog.interfaces import GroupReceipt, Result, Table
from raftlog.node.sessions import (
    APPEND,
    EVICT_IDLE_SECONDS,
    EVICT_UNUSED_SECONDS,
    Reply,
    SessionChange,
    SessionGate,
    SessionTable,
    decode_change,
    digest_of,
    encode_expire,
    encode_open,
)

SESSION = 7


def group(number: int, payload: bytes = b"x", lowest: int = 1):
    """Return a one-transaction group of the session."""
    return groups.parse(
        groups.pack([payload], session=SESSION, number=number, lowest_unanswered=lowest)
    )


def receipt(number: int) -> GroupReceipt:
    """Return an answer to that number."""
    return GroupReceipt(
        number=number,
        first_sequence=100 + number,
        count=1,
        term=3,
        index=10 + number,
        results=(Result(value=b"r"), Result(rejected="no")),
    )


class Rig:
    """A table with one open session, a gate, and a clock set by hand."""

    def __init__(self, window: int = 4) -> None:
        self.now = 0.0
        self.table = SessionTable()
        self.table.open(SESSION)
        self.window = window
        self.gate = self.new_gate()

    def new_gate(self) -> SessionGate:
        return SessionGate(self.table, window=self.window, now=lambda: self.now)

    def apply(self, number: int, **kwargs) -> dict[bytes, bytes | None]:
        applied = group(number, **kwargs)
        writes = self.table.record(applied, receipt(number))
        self.gate.applied(applied)
        return writes


class Tables:
    """A TableReader over what a table wrote."""

    def __init__(self, content: dict[bytes, bytes]) -> None:
        self.content = content

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self.content.get(key)

    def scan(self, table, start, end, *, count_max, reverse=False, hidden=()):
        rows = (row for row in self.content.items() if row[0] >= start and row[0] not in hidden)
        return sorted(rows)[:count_max]


def test_numbers_are_taken_in_order():
    """The next number is admitted; a gap is refused definitely; nothing is marked by a refusal."""
    rig = Rig()
    assert rig.gate.admit(group(1)) is APPEND
    with pytest.raises(ProposalDropped) as refused:
        rig.gate.admit(group(2))
    assert refused.value.definite
    rig.gate.appended(group(1), 11)
    assert rig.gate.admit(group(2)) is APPEND


def test_a_retry_joins_the_pending_entry():
    """A byte-identical retry of an appended number is not appended again."""
    rig = Rig()
    assert rig.gate.admit(group(1)) is APPEND
    rig.gate.appended(group(1), 11)
    assert rig.gate.admit(group(1)).join_index == 11


def test_a_retry_after_apply_gets_the_kept_answer():
    """The answer is the first one, results and rejections included, also on a new leader's gate."""
    rig = Rig()
    rig.gate.admit(group(1))
    rig.gate.appended(group(1), 11)
    rig.apply(1)
    assert rig.gate.admit(group(1)).receipt == receipt(1)
    assert rig.new_gate().admit(group(1)).receipt == receipt(1)


@pytest.mark.parametrize("applied", [False, True])
def test_a_changed_retry_is_refused(applied):
    """Other bytes under a used number are an error, pending or applied."""
    rig = Rig()
    rig.gate.admit(group(1))
    rig.gate.appended(group(1), 11)
    if applied:
        rig.apply(1)
    with pytest.raises(SessionMismatch):
        rig.gate.admit(group(1, b"y"))


def test_a_reply_dropped_by_the_client_is_indefinite():
    """A number below the client's own mark cannot be answered: nobody may call it failed."""
    rig = Rig()
    for number in (1, 2):
        rig.gate.admit(group(number, lowest=number))
        rig.gate.appended(group(number, lowest=number), 10 + number)
        rig.apply(number, lowest=number)
    with pytest.raises(SessionMismatch) as refused:
        rig.gate.admit(group(1))
    assert not refused.value.definite


def test_the_window_is_bounded():
    """A session with a full window of unanswered groups is told to wait."""
    rig = Rig(window=2)
    for number in (1, 2):
        rig.gate.admit(group(number))
        rig.gate.appended(group(number), number)
    with pytest.raises(Overloaded):
        rig.gate.admit(group(3))


def test_an_unknown_session_is_expired():
    """A session that no entry opened, or that one ended, is not served."""
    rig = Rig()
    rig.table.expire([SESSION])
    with pytest.raises(SessionExpired):
        rig.new_gate().admit(group(1))


def test_a_duplicate_at_apply_is_an_invariant_failure():
    """The gate is the only place where duplicates may be stopped; apply refuses to hide one."""
    rig = Rig()
    rig.apply(1)
    with pytest.raises(InvariantBroken):
        rig.table.record(group(1), receipt(1))


def test_the_table_survives_a_restart():
    """What the writes hold is the table, replies and numbers included."""
    rig = Rig()
    content: dict[bytes, bytes] = {}
    for writes in (
        SessionTable().open(SESSION),
        rig.apply(1),
        rig.apply(2),
        rig.apply(3, lowest=3),
    ):
        for key, value in writes.items():
            if value is None:
                del content[key]
            else:
                content[key] = value
    loaded = SessionTable()
    loaded.load(Tables(content))
    assert loaded.sessions.keys() == {SESSION}
    assert loaded.sessions[SESSION].last_number == 3
    assert loaded.sessions[SESSION].replies == {
        3: Reply.of(digest_of(group(3, lowest=3)), receipt(3))
    }
    assert all(value is None for value in loaded.expire([SESSION]).values())


def test_a_session_that_was_only_opened_survives_a_restart():
    """Its client may write its first group after every member was started anew."""
    loaded = SessionTable()
    loaded.load(Tables(dict(SessionTable().open(SESSION))))
    assert loaded.sessions[SESSION].last_number == 0
    gate = SessionGate(loaded, window=4, now=lambda: 0.0)
    assert gate.admit(group(1)) is APPEND


def test_rows_lie_where_every_member_looks_for_them():
    """The table is in snapshots and backups, so its keys are the same for all versions."""
    rig = Rig()
    session, reply = SESSION.to_bytes(8, "big"), SESSION.to_bytes(8, "big") + bytes(7) + b"\x01"
    assert SessionTable().open(SESSION).keys() == {session}
    assert rig.apply(1).keys() == {session, reply}
    assert rig.table.expire([SESSION]) == {session: None, reply: None}


@pytest.mark.parametrize(
    "stored",
    [
        b"\xc1",
        msgpack.packb([1, 2, 3]),
        msgpack.packb([1, 2, 3, 4, 5, -6, []]),
        msgpack.packb([1, 2, 3, 4, 5, 6, [("text", None)]]),
        msgpack.packb([1, 2, 3, 4, 5, 6, [(b"value", 7)]]),
        msgpack.packb([1, 2, 3, 4, 5, 6, [(b"value", 0)]]),
        msgpack.packb([1, 2, 3, 4, 5, 6, [(b"value",)]]),
    ],
)
def test_an_answer_that_does_not_parse_is_given_to_nobody(stored):
    """A rotten reply stops the member that holds it, rather than tell a client what never was."""
    with pytest.raises(StorageCorrupt, match="does not parse"):
        Reply.decode(stored)
    rows = dict(SessionTable().open(SESSION))
    rows[SESSION.to_bytes(8, "big") + (1).to_bytes(8, "big")] = stored
    with pytest.raises(StorageCorrupt):
        SessionTable().load(Tables(rows))


def test_a_deferred_command_is_told_so_again():
    """A repeated group gets the first answer for those of its commands that had no effect, too."""
    first = receipt(1)
    first = dataclasses.replace(first, results=(Result(deferred=True), Result(value=b"")))
    assert Reply.of(5, first).receipt == first


def test_what_an_ended_session_held_counts_no_more():
    """The bound over all sessions is for answers that are kept, whoever came and went."""
    rig = Rig()
    rig.apply(1)
    held = rig.table.size_bytes
    assert held == len(Reply.of(digest_of(group(1)), receipt(1)).encoded)
    rig.apply(2)
    assert rig.table.size_bytes == 2 * held
    rig.apply(3, lowest=3)
    assert rig.table.size_bytes == held
    rig.table.expire([SESSION])
    assert rig.table.size_bytes == 0


def test_idle_sessions_are_those_the_leader_did_not_hear():
    """Only silence under this leader counts; a pending group keeps the session alive."""
    rig = Rig()
    rig.now = 99.0
    assert rig.gate.idle_sessions(100.0) == []
    rig.now = 100.0
    assert rig.gate.idle_sessions(100.0) == [SESSION]
    rig.gate.admit(group(1))
    rig.gate.appended(group(1), 11)
    rig.now = 250.0
    assert rig.gate.idle_sessions(100.0) == []


def test_after_a_failover_a_session_is_idle_from_the_new_leadership_on():
    """What another leader heard is not known here, so all who live get the whole time once more."""
    rig = Rig()
    rig.now = 1000.0
    rig.gate = rig.new_gate()
    rig.now = 1099.0
    assert rig.gate.idle_sessions(100.0) == []
    rig.now = 1100.0
    assert rig.gate.idle_sessions(100.0) == [SESSION]
    rig.gate = rig.new_gate()
    assert rig.gate.idle_sessions(100.0) == []


def test_looking_does_not_begin_the_idle_clock_anew():
    """One that was opened under this leader is idle from the first look on, however many follow."""
    rig = Rig()
    late = SESSION + 1
    rig.table.open(late)
    for rig.now in (50.0, 99.0, 149.0):
        assert late not in rig.gate.idle_sessions(100.0)
    rig.now = 150.0
    assert rig.gate.idle_sessions(100.0) == [SESSION, late]


def test_a_retry_keeps_its_session_alive():
    """A client that only asks again for what was answered is heard all the same."""
    rig = Rig()
    rig.gate.admit(group(1))
    rig.gate.appended(group(1), 11)
    rig.apply(1)
    rig.now = 90.0
    assert rig.gate.admit(group(1)).receipt == receipt(1)
    rig.now = 189.0
    assert rig.gate.idle_sessions(100.0) == []
    rig.now = 190.0
    assert rig.gate.idle_sessions(100.0) == [SESSION]


def test_session_entries_round_trip_and_refuse_rubbish():
    """What opens and ends sessions parses back; anything else is InvalidInput."""
    assert decode_change(encode_open()) == (SessionChange.OPEN, [])
    assert decode_change(encode_expire([3, 1])) == (SessionChange.EXPIRE, [1, 3])
    for rubbish in (b"", b"\xc1", b"\x92", b"\x93\x01\x02\x03"):
        with pytest.raises(InvalidInput):
            decode_change(rubbish)


def test_who_waits_for_nothing_may_be_evicted():
    """The longest idle first: one never used soon, one that is used once retries have ended."""
    rig = Rig()
    fresh, busy = SESSION + 1, SESSION + 2
    rig.now = 1.0
    rig.table.open(fresh)
    rig.table.open(busy)
    rig.gate = rig.new_gate()
    rig.gate.admit(group(1))
    rig.gate.appended(group(1), 11)
    other = groups.parse(groups.pack([b"x"], session=busy, number=1, lowest_unanswered=1))
    rig.gate.admit(other)
    rig.gate.appended(other, 12)
    rig.apply(1)
    rig.now = 1.0 + EVICT_UNUSED_SECONDS - 0.25
    assert rig.gate.evictable() == []
    rig.now = 1.0 + EVICT_UNUSED_SECONDS
    assert rig.gate.evictable() == [fresh]
    rig.now = 1.0 + EVICT_IDLE_SECONDS - 0.25
    assert rig.gate.evictable() == [fresh]
    rig.now = 1.0 + EVICT_IDLE_SECONDS
    assert rig.gate.evictable() == [SESSION, fresh]
    rig.now = 1e6
    assert busy not in rig.gate.evictable()
    rig.gate.ended([fresh])
    assert rig.gate.evictable() == [SESSION]


def test_a_closed_session_that_waits_for_an_answer_is_in_use():
    """Only those that are there and have nothing on its way are ended for their client."""
    rig = Rig()
    assert rig.gate.unused([SESSION, SESSION + 1]) == [SESSION]
    rig.gate.admit(group(1))
    rig.gate.appended(group(1), 11)
    assert rig.gate.unused([SESSION]) == []
    rig.apply(1)
    assert rig.gate.unused([SESSION]) == [SESSION]
    late = SESSION + 1  # one of which this leader has not heard yet
    rig.table.open(late)
    assert rig.gate.unused([late, SESSION]) == [late, SESSION]


def test_nothing_is_admitted_behind_the_entry_that_ends_a_session():
    """It is not applied yet, and what came behind it would count for no session."""
    rig = Rig()
    rig.gate.ended([SESSION])
    with pytest.raises(SessionExpired):
        rig.gate.admit(group(1))
    rig.now = 1e6
    assert rig.gate.idle_sessions(1.0) == []
    rig.table.expire([SESSION])
    assert rig.gate.idle_sessions(1.0) == []
    rig.table.open(SESSION)  # no id comes twice; here it shows that nothing is kept of the old one
    assert rig.gate.admit(group(1)) == APPEND
