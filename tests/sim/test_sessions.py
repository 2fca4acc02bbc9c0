"""Clients with sessions: the node's own gate and table under retries, and a history of it all."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.entries import Entry, EntryKind
from raftlog.errors import LeadershipLost, NotLeader, RaftLogError
from raftlog.history import CompareAndSet, Found, Get, Operation, Outcome, Put, Written
from raftlog.interfaces import GroupReceipt
from raftlog.sim.checker import CheckFailed
from raftlog.sim.core.clients import item_of
from raftlog.sim.core.desk import SILENCE, Desk
from raftlog.sim.core.knobs import draw_knobs
from raftlog.sim.core.machine import Machine
from raftlog.sim.core.process import Process
from raftlog.sim.core.sessions import SessionClient, draw_session_knobs, read_key
from raftlog.sim.core.world import World
from raftlog.types import Index, Term

CALM_SEED = next(
    seed
    for seed in range(1000)
    if (knobs := draw_knobs(seed)).is_fault_free
    and draw_session_knobs(knobs).clients > 1
    and draw_session_knobs(knobs).window > 2
    and knobs.read_share
)


def calm_world() -> World:
    """Return a world in which nothing goes wrong, begun."""
    world = World(dataclasses.replace(draw_knobs(CALM_SEED), turn_seconds=0.0))
    for process in world.members:
        process.start()
    world.clients.begin()
    return world


def acknowledged(world: World, kind: type = Put) -> list[Operation]:
    """Return the operations of a kind that were answered."""
    return [
        o
        for o in world.clients.history
        if isinstance(o.call, kind) and o.outcome is Outcome.OK and (o.session or kind is Get)
    ]


def run_until_written(world: World, count: int = 3) -> Process:
    """Run until so many puts are acknowledged and return the leader."""
    while len(acknowledged(world)) < count:
        assert world.scheduler.step()
    return world.leaders()[0]


def an_open_client(world: World) -> SessionClient:
    """Return a client that has a session."""
    return next(client for client in world.clients.sessions._clients if client._session)


# ---------------------------------------------------------------- the whole


def test_what_a_seed_says_of_sessions_repeats_itself() -> None:
    """Some worlds have no sessions, and the dice are their own."""
    drawn = [draw_session_knobs(draw_knobs(seed)) for seed in range(40)]
    assert drawn == [draw_session_knobs(draw_knobs(seed)) for seed in range(40)]
    assert {knobs.clients for knobs in drawn} == {0, 1, 2, 4}


def test_a_history_that_the_log_does_not_explain_fails_the_seed() -> None:
    """One receipt that names another place is enough."""
    world = calm_world()
    run_until_written(world)
    world.clients.check_history()
    operation = acknowledged(world)[-1]
    operation.answer = Written(operation.answer.sequence + 1)
    with pytest.raises(CheckFailed, match="client history: a write is at sequence"):
        world.clients.check_history()


def test_a_history_without_an_order_fails_the_seed() -> None:
    """One read of what was never there is enough, and the reason is in the text."""
    world = calm_world()
    run_until_written(world)
    while not acknowledged(world, Get):
        assert world.scheduler.step()
    acknowledged(world, Get)[-1].answer = Found("never", 10**6)
    with pytest.raises(CheckFailed, match=r"linearizability: of key (?s:.*)No order explains"):
        world.clients.check_history()


# ---------------------------------------------------------------- clients


def test_the_same_bytes_are_applied_once() -> None:
    """However often and to whomever they are sent; the answer is the one that was kept."""
    world = calm_world()
    leader = run_until_written(world)
    client = an_open_client(world)
    answers: list[GroupReceipt | RaftLogError] = []
    client._unanswered.clear()
    client._ask(leader)
    ((number, waiting),) = client._unanswered.items()
    for _ in range(3):
        leader.input(lambda: leader.desk.writes.submit(waiting.data, answers.append))
    while len(answers) < 3:
        assert world.scheduler.step()
    leader.input(lambda: leader.desk.writes.submit(waiting.data, answers.append))
    assert answers[0] == answers[-1]
    assert isinstance(answers[0], GroupReceipt)
    assert answers[0].number == number
    assert [i.item for i in world.clients.log_items()].count(waiting.operation.item) == 1


def test_another_groups_receipt_is_noticed() -> None:
    """A client knows its own number, and fails the run where it is told another's."""
    world = calm_world()
    leader = run_until_written(world)
    client = an_open_client(world)
    client._unanswered.clear()
    client._ask(leader)
    (waiting,) = client._unanswered.values()
    wrong = GroupReceipt(number=9999, first_sequence=1, count=1, term=1, index=1)
    client._told(leader, waiting, 1, False, wrong)
    with pytest.raises(CheckFailed, match="exactly once: it was answered with another's receipt"):
        while world.scheduler.step():
            pass


def test_giving_up_tells_doubt_from_failure() -> None:
    """What only ever met a definite refusal failed; the rest stays unknown."""
    world = calm_world()
    leader = run_until_written(world)
    follower = next(process for process in world.members if process is not leader)
    client = an_open_client(world)
    client._unanswered.clear()
    world.clients.sessions.dice.random = lambda: 0.99  # no copies on their way
    client._ask(follower)
    (refused,) = client._unanswered.values()
    leader.pause(100.0)
    client._ask(leader)
    (_, doubtful) = client._unanswered.values()
    client._abandon()
    assert refused.operation.outcome is Outcome.FAIL
    assert doubtful.operation.outcome is Outcome.UNKNOWN


# ---------------------------------------------------------------- desk and machine


def test_writes_open_with_the_no_op_and_close_with_the_role() -> None:
    """A leader that has not applied its own no-op takes no group; one that steps down tells all."""
    world = calm_world()
    leader = run_until_written(world)
    desk: Desk = leader.desk
    assert desk.is_open
    assert SILENCE.count("ignored") is None
    answers: list[GroupReceipt | RaftLogError] = []
    leader.input(lambda: desk.writes.propose_session(answers.append))
    leader.input(lambda: leader.raft.step_down(leader.local()))
    assert [type(answer) for answer in answers] == [LeadershipLost]
    assert not desk.is_open
    leader.input(lambda: desk.writes.propose_session(answers.append))
    assert isinstance(answers[-1], NotLeader)


def test_readers_wait_until_their_index_is_applied() -> None:
    """A read index that is ahead of the state is not answered yet."""
    world = calm_world()
    leader = run_until_written(world)
    looked: list[int] = []
    ahead = Index(leader.machine.index + 1)
    leader.desk.wait(leader.machine.index, lambda _: looked.append(0))
    leader.desk.wait(ahead, lambda process: looked.append(process.machine.index))
    assert looked == [0]
    while len(looked) < 2:
        assert world.scheduler.step()
    assert looked[1] >= ahead


def test_sessions_and_keys_survive_a_restart_and_a_snapshot() -> None:
    """What was saved is what was applied: tables, replies and records."""
    world = calm_world()
    leader = run_until_written(world, 6)
    before = leader.machine
    keys = {o.call.key for o in acknowledged(world)}
    while before.saved_index < before.index or not any(before.find(k.encode()) for k in keys):
        assert world.scheduler.step()
    sessions = {name: s.last_number for name, s in before.sessions.sessions.items()}
    replies = {name: set(s.replies) for name, s in before.sessions.sessions.items()}
    found = {key: read_key(leader, key) for key in keys}
    leader.crash()
    leader.disk.open()
    leader.machine = Machine(leader.storage)
    after = leader.machine.sessions.sessions
    assert leader.machine.index == before.index
    assert {name: session.last_number for name, session in after.items()} == sessions
    assert {name: set(session.replies) for name, session in after.items()} == replies
    assert {key: read_key(leader, key) for key in keys} == found


def test_compares_are_told_what_they_found() -> None:
    """Matched or not, the answer has what the search needs."""
    world = calm_world()
    run_until_written(world)
    while len({o.answer.changed for o in acknowledged(world, CompareAndSet)}) < 2:
        assert world.scheduler.step()
    for operation in acknowledged(world, CompareAndSet):
        answer = operation.answer
        assert isinstance(answer, Written)
        assert answer.changed or answer.revision != operation.call.revision


def test_items_are_named_after_their_groups() -> None:
    """A session's group, a plain proposal, and what no client sent."""
    entry = Entry(
        index=Index(1),
        term=Term(1),
        kind=EntryKind.TRANSACTIONS,
        payload=b"3:17:...",
        count=1,
        first_sequence=1,
        timestamp=0,
        checksum=0,
    )
    assert item_of(entry) == "3:17"
    assert item_of(dataclasses.replace(entry, payload=b"probe")) == ""
    world = calm_world()
    run_until_written(world)
    operation = acknowledged(world)[0]
    assert operation.item == f"{operation.session}/{operation.number}"
    assert operation.item in {item.item for item in world.clients.log_items()}
