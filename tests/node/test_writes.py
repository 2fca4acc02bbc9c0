"""The way in: every refusal is definite, every answer comes once, and the gate is never passed."""

from __future__ import annotations

import asyncio
import types

import pytest

from raftlog import groups
from raftlog.core.entries import EntryKind
from raftlog.errors import (
    DiskFull,
    Indeterminate,
    InvalidInput,
    MachineHalted,
    NotLeader,
    Overloaded,
    ProposalDropped,
    RaftLogError,
    Rejected,
    SessionExpired,
    Unavailable,
)
from raftlog.interfaces import GroupReceipt, Identity, Measure, Result
from raftlog.node.application import AppliedEntry
from raftlog.node.sessions import SessionChange, SessionTable, decode_change
from raftlog.node.settings import NodeSettings
from raftlog.node.writes import Writes
from raftlog.types import Role
from tests.node.harness import Notebook
from tests.node.parts import (
    MEMBERSHIP,
    HandClock,
    boundary,
    new_inputs,
    new_ports,
    seal_entry,
)

FRAME = groups.pack([b"x"])


class Core:
    """A leader that appends whatever it is given, or refuses."""

    def __init__(self) -> None:
        self.role = Role.LEADER
        self.leader = None
        self.is_outside = False
        self.last, self.membership = boundary(), MEMBERSHIP
        self.refusal: RaftLogError | None = None

    def propose(self, kind, payload, count, now, timestamp):
        if self.refusal is not None:
            raise self.refusal
        self.last = seal_entry(self.last, payload, term=1, kind=kind, count=count)
        return self.last


class Rig:
    def __init__(self, *, has_machine: bool = True, **settings) -> None:
        self.core = Core()
        self.full: str | None = None
        self.halted: str | None = None
        self.stuck: str | None = None
        self.leadership = types.SimpleNamespace(is_open=True, is_promoting=True)
        self.clock = HandClock()
        self.notes = Notebook()
        self.table = SessionTable()
        self.answers: list = []
        self.who = Identity(cluster_id="c", node_id="n1", instance_id="i", has_machine=has_machine)
        self.writes = Writes(
            new_ports(
                storage=types.SimpleNamespace(refusal=lambda size: self.full, identity=self.who),
                clock=self.clock,
                observer=self.notes,
                settings=NodeSettings(**settings),
            ),
            new_inputs(self.core),
            self,
            self.leadership,
        )

    @property
    def sessions(self):
        return self.table

    def submit(self, frame: bytes = FRAME):
        """Submit a group; return its answer if there is one at once."""
        before = len(self.answers)
        self.writes.submit(frame, self.answers.append)
        assert len(self.answers) <= before + 1
        return self.answers[-1] if len(self.answers) > before else None

    def apply(self, entry) -> None:
        group = groups.parse(entry.payload) if entry.kind is EntryKind.TRANSACTIONS else None
        receipt = GroupReceipt(
            number=0 if group is None else group.number,
            first_sequence=1,
            count=entry.count,
            term=entry.term,
            index=entry.index,
        )
        if group is not None and group.session:
            self.table.record(group, receipt)
        self.writes.applied([AppliedEntry(entry, group, receipt)])


@pytest.fixture
async def rig():
    rig = Rig(inbox_groups_max=2)
    rig.writes.open()
    return rig


async def test_refusals_before_the_append_are_definite(rig):
    """Whatever is refused here left no trace in the log."""
    rig.full = "disk nearly full"
    assert isinstance(rig.submit(), DiskFull)
    rig.full = None
    rig.core.refusal = ProposalDropped("leadership is on its way to n2")
    assert isinstance(rig.submit(), ProposalDropped)
    rig.core.refusal = None
    rig.leadership.is_open = False
    assert isinstance(rig.submit(), NotLeader)
    rig.halted = "boom"
    assert isinstance(rig.submit(), MachineHalted)
    rig.writes.close()
    assert isinstance(rig.submit(), Unavailable)
    assert all(answer.definite for answer in rig.answers)
    assert rig.core.last.index == 0


async def test_the_queue_is_bounded(rig):
    """One more than the limit is overloaded, and room comes back with the answers."""
    assert rig.submit() is None
    first = rig.core.last
    assert rig.submit() is None
    assert isinstance(rig.submit(), Overloaded)
    rig.apply(first)
    assert isinstance(rig.answers[-1], GroupReceipt)
    assert rig.submit() is None


async def test_what_no_link_would_carry_is_refused_whole():
    """A group over the frame's limit never becomes an entry, even if its transactions are small."""
    bounds = {"group_bytes_max": 1000, "transaction_bytes_max": 1000}
    rig = Rig(**bounds)
    rig.writes.open()
    limit = NodeSettings(**bounds).frame_bytes_max
    base = len(groups.pack([bytes(1000)] * 5))
    large = groups.pack([*[bytes(1000)] * 5, bytes(limit - base - 4)])
    assert len(large) == limit
    assert rig.submit(large) is None
    larger = groups.pack([*[bytes(1000)] * 5, bytes(limit - base - 3)])
    refused = rig.submit(larger)
    assert isinstance(refused, InvalidInput)
    assert refused.definite
    assert f"{limit + 1} bytes is over the limit of {limit}" in refused.message
    assert rig.core.last.index == 1


async def test_a_member_that_does_not_lead_closes_no_session(rig):
    """The client hears where the leader is, rather than believe that its session is closed."""
    rig.table.open(7)
    rig.core.role = Role.FOLLOWER
    with pytest.raises(NotLeader):
        rig.writes.close_session(7)


async def test_an_own_entry_is_answered_once_it_is_applied(rig):
    """A session's opening, or any entry without transactions: its receipt says where it lies."""
    opening = asyncio.ensure_future(rig.writes.open_session(5.0))
    own = asyncio.ensure_future(rig.writes.append_own(EntryKind.NOOP, b"", 5.0))
    async with asyncio.timeout(5.0):
        while rig.core.last.index < 2:
            await asyncio.sleep(0)
    assert not opening.done()
    last = rig.core.last
    for index in (1, 2):
        entry = types.SimpleNamespace(
            term=1, index=index, kind=EntryKind.NOOP, first_sequence=1, count=0
        )
        rig.writes.applied([AppliedEntry(entry, None, None)])
    assert await opening == 1
    receipt = await own
    assert (receipt.term, receipt.index, receipt.count) == (1, last.index, 0)
    assert len(rig.writes) == 0


async def test_an_own_entry_that_is_refused_or_lost_raises_what_became_of_it(rig):
    """A caller inside the node is told as clients are: refused, lost with the reign, or unknown."""
    rig.full = "disk nearly full"
    with pytest.raises(DiskFull):
        await rig.writes.append_own(EntryKind.NOOP, b"", 5.0)
    with pytest.raises(DiskFull):
        await rig.writes.open_session(5.0)
    rig.full = None
    assert rig.core.last.index == 0
    with pytest.raises(Indeterminate):
        await rig.writes.open_session(0.01)
    lost = asyncio.ensure_future(rig.writes.open_session(5.0))
    async with asyncio.timeout(5.0):
        while rig.core.last.index < 2:
            await asyncio.sleep(0)
    rig.writes.fail_all(Unavailable("leadership ended", definite=False))
    with pytest.raises(Unavailable, match="leadership ended"):
        await lost


async def test_a_machine_hears_what_its_command_did(rig):
    """Its value, its rejection, or that it did nothing, and may be tried again."""
    for result, expected in (
        (Result(value=b"3"), None),
        (Result(rejected="no such key"), Rejected),
        (Result(deferred=True), Overloaded),
    ):
        before = rig.core.last.index
        task = asyncio.ensure_future(rig.writes.execute(b"command"))
        async with asyncio.timeout(5.0):
            while rig.core.last.index == before:
                await asyncio.sleep(0)
        entry = rig.core.last
        receipt = GroupReceipt(
            number=0, first_sequence=1, count=1, term=1, index=entry.index, results=(result,)
        )
        rig.writes.applied([AppliedEntry(entry, None, receipt)])
        if expected is None:
            assert await task == b"3"
            continue
        with pytest.raises(expected) as raised:
            await task
        assert raised.value.definite


async def test_who_waits_for_what_a_snapshot_covers_is_told_that_nobody_knows(rig):
    """Those behind it go on waiting."""
    rig.submit()
    rig.submit()
    rig.writes.passed_over(1, Indeterminate("a snapshot covers it"))
    assert [type(answer) for answer in rig.answers] == [Indeterminate]
    assert len(rig.writes) == 1


async def test_what_is_answered_and_what_fails_is_counted(rig):
    """Both metrics count groups, once each: what was refused, lost with the reign, and applied."""
    counts = rig.notes.counts
    rig.submit()
    first = rig.core.last
    rig.submit()
    rig.submit()  # refused: the queue is full
    rig.apply(first)
    rig.writes.applied([])
    rig.writes.fail_all(Indeterminate("leadership ended"))
    rig.writes.fail_all(Indeterminate("leadership ended"))
    assert counts == {Measure.PROPOSALS_APPLIED: 1, Measure.PROPOSALS_FAILED: 2}


async def test_without_its_gate_a_leader_takes_no_group(rig):
    """A session's group that passed no gate could be appended twice."""
    rig.writes.fail_all(Indeterminate("leadership ended"))
    assert isinstance(rig.submit(), NotLeader)
    rig.writes.open()
    assert rig.submit() is None


async def test_a_responder_that_raises_keeps_no_other_from_its_answer(rig):
    """One bad caller must not cost the others theirs, nor the node its life."""
    raised = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: raised.append(context["exception"]))

    def bad(_outcome):
        raise RuntimeError("cancelled long ago")

    rig.writes.submit(FRAME, bad)
    rig.submit()
    rig.writes.fail_all(Indeterminate("the node stops"))
    assert [type(error) for error in raised] == [RuntimeError]
    assert isinstance(rig.answers[-1], Indeterminate)
    loop.set_exception_handler(None)


async def test_a_retry_joins_and_both_are_answered_once(rig):
    """The second attempt of a pending group appends nothing."""
    rig.table.open(7)
    frame = groups.pack([b"x"], session=7, number=1, lowest_unanswered=1)
    rig.submit(frame)
    rig.submit(frame)
    assert rig.core.last.index == 1
    rig.apply(rig.core.last)
    assert len(rig.answers) == 2
    assert rig.submit(frame) == rig.table.sessions[7].replies[1].receipt


async def test_the_machine_may_write_before_clients_may(rig):
    """While on_promote runs, only this member's own machine gets in."""
    rig.leadership.is_open = False
    assert isinstance(rig.submit(), NotLeader)
    rig.writes.submit(FRAME, rig.answers.append, own=True)
    assert rig.core.last.index == 1
    rig.leadership.is_promoting = False
    rig.writes.submit(FRAME, rig.answers.append, own=True)
    assert isinstance(rig.answers[-1], NotLeader)


async def test_a_command_for_another_machine_is_refused():
    """A kv command on a cluster of another machine never reaches that machine; opaque ones do."""
    rig = Rig()
    rig.writes.open()
    rig.writes._machine = "inventory"
    refused = rig.submit(groups.pack([b"put"], groups.KV_COMMAND_TAG))
    assert isinstance(refused, InvalidInput)
    assert refused.definite
    assert "inventory" in refused.message
    assert rig.submit(groups.pack([b"anything"], groups.COMMAND_TAG)) is None
    assert rig.submit(groups.pack([b"opaque"])) is None


@pytest.fixture
async def crowd():
    """Return a leader with as many sessions as it takes, and the time in its hands."""
    rig = Rig(sessions_max=3)
    for session in (1, 2, 3):
        rig.table.open(session)
    rig.clock.now = 100.0
    rig.writes.open()
    return rig


def proposed(rig, monkeypatch) -> list[tuple[SessionChange, list[int]]]:
    """Return the changes of sessions that are proposed from now on."""
    found: list[tuple[SessionChange, list[int]]] = []
    propose = rig.core.propose

    def proposing(kind, payload, count, now, timestamp):
        entry = propose(kind, payload, count, now, timestamp)
        if kind is EntryKind.SESSION:
            found.append(decode_change(payload))
        return entry

    monkeypatch.setattr(rig.core, "propose", proposing)
    return found


async def test_a_new_session_takes_the_place_of_idle_ones(crowd, monkeypatch):
    """Where there are as many as may be; who was heard of lately stays, and nobody is lied to."""
    found = proposed(crowd, monkeypatch)
    crowd.writes.propose_session(crowd.answers.append)
    assert isinstance(crowd.answers[-1], Overloaded)
    assert found == []
    crowd.clock.now += 5.0
    busy = groups.pack([b"x"], session=2, number=1, lowest_unanswered=1)
    crowd.submit(busy)
    crowd.clock.now += 5.0
    crowd.writes.propose_session(crowd.answers.append)
    assert found == [(SessionChange.EXPIRE, [1, 3]), (SessionChange.OPEN, [])]
    group_of_1 = groups.pack([b"x"], session=1, number=1, lowest_unanswered=1)
    assert isinstance(crowd.submit(group_of_1), SessionExpired)
    crowd.writes.propose_session(crowd.answers.append)  # those that go are not ended twice
    assert isinstance(crowd.answers[-1], Overloaded)
    crowd.table.expire([1])
    crowd.writes.propose_session(crowd.answers.append)
    assert len(found) == 3


async def test_closed_sessions_end_together(crowd, monkeypatch):
    """At the next chore, in one entry, and only those that wait for nothing."""
    found = proposed(crowd, monkeypatch)
    crowd.submit(groups.pack([b"x"], session=2, number=1, lowest_unanswered=1))
    for session in (1, 2, 3, 99):
        crowd.writes.close_session(session)
    assert found == []
    crowd.writes.end_closed_sessions()
    crowd.writes.end_closed_sessions()
    assert found == [(SessionChange.EXPIRE, [1, 3])]


async def test_idle_sessions_end_after_their_time(crowd, monkeypatch):
    """By the running time of the leader that looks, and while it leads."""
    found = proposed(crowd, monkeypatch)
    seconds = NodeSettings().session_expiry_seconds
    crowd.clock.now += seconds - 1.0
    crowd.writes.expire_sessions()
    assert found == []
    crowd.clock.now += 1.0
    crowd.leadership.is_open = False
    crowd.writes.expire_sessions()
    crowd.writes.end_closed_sessions()
    assert found == []
    crowd.leadership.is_open = True
    crowd.core.refusal = ProposalDropped("leadership is on its way to n2")
    crowd.writes.expire_sessions()  # it is tried again
    crowd.core.refusal = None
    crowd.writes.expire_sessions()
    assert found == [(SessionChange.EXPIRE, [1, 2, 3])]
