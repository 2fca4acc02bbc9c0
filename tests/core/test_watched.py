"""A watched core tells what it does in lines for a machine, and stops at a broken invariant."""

from __future__ import annotations

import json

import pytest

from raftlog.checksum import chain
from raftlog.core import roles
from raftlog.core.entries import EntryKind, HardState
from raftlog.core.messages import VoteRequest
from raftlog.core.raft import Raft
from raftlog.core.watched import CoreWatch, WatchedRaft
from raftlog.errors import InvariantBroken
from raftlog.sim.exhaustive.nodes import SETTINGS, Dice, TinyNode
from raftlog.types import Position


def begin(
    watch: CoreWatch, kind: type[Raft] = WatchedRaft, count: int = 1
) -> tuple[Raft, TinyNode]:
    """Return a core over an empty disk, watched if it can be."""
    node = TinyNode.cluster(count)[0]
    made = kind(
        node_id=node.node_id,
        settings=SETTINGS,
        log=node.disk,
        hard_state=HardState(),
        seal=chain,
        random=Dice(),
        now=0.0,
    )
    if isinstance(made, WatchedRaft):
        made.watch(watch, "d1", 0.0)
    return made, node


def lead(made: Raft, node: TinyNode) -> None:
    """Let a sole member elect itself and commit one proposal."""
    made.tick(10.0)
    for turn in range(4):
        if turn == 2:
            made.propose(EntryKind.TRANSACTIONS, b"x", 1, 10.0, 0)
        ready = made.take_ready(10.0)
        if ready.persist is not None:
            node.disk.write(ready.persist)
            made.persisted(ready.persist.token, 10.0)


def test_each_step_leaves_a_line():
    """What went in and where the node stands afterwards is in a line that JSON can hold."""
    lines: list[dict] = []
    made, node = begin(CoreWatch(line=lines.append))
    lead(made, node)
    assert json.loads(json.dumps(lines)) == lines
    round_of_one = ["Ready", "Persisted"]
    expected = ["Start", "Tick", *round_of_one, *round_of_one, "Propose", *round_of_one]
    assert [line["action"] for line in lines] == expected
    start, *_, last = lines
    assert start["instance"] == "d1"
    assert start["entries"] == []
    assert start["membership"] == {"voters": ["n1"], "outgoing": [], "learners": []}
    assert last["role"] == "leader"
    assert last["commit"] == 2
    assert last["last"][:2] == [1, 2]
    assert "membership" not in last, "told when it changes"
    elected = next(line for line in lines if "appended" in line)
    assert len(elected["appended"]) == 1


def test_a_start_lists_the_log_it_finds():
    """Whoever has not seen the earlier lines learns the log from the first one."""
    lines: list[dict] = []
    made, node = begin(CoreWatch(line=lines.append))
    lead(made, node)
    again = WatchedRaft(
        node_id=node.node_id,
        settings=SETTINGS,
        log=node.disk,
        hard_state=node.disk.hard_state,
        seal=chain,
        random=Dice(),
        now=0.0,
    )
    again.watch(CoreWatch(line=lines.append), "d1", 0.0)
    assert [entry[0] for entry in lines[-1]["entries"]] == [1, 1]
    assert lines[-1]["entries"][-1][1] == lines[-1]["last"][2]
    again.watch(CoreWatch(line=lines.append, lists_log=False), "d1", 0.0)
    assert "entries" not in lines[-1]


def test_what_changes_nothing_leaves_no_line():
    """A tick before its time, a round without news: no line."""
    lines: list[dict] = []
    made, _ = begin(CoreWatch(line=lines.append), count=3)
    made.tick(0.0)
    made.take_ready(0.0)
    made.peer_connected("n2", 0.0)
    made.peer_lost("n2", 0.0)
    assert [line["action"] for line in lines] == ["Start"]


def test_a_watched_core_does_what_a_plain_one_does():
    """Watching changes no answer: the same inputs, the same messages."""
    request = VoteRequest(term=3, last=Position(0, 0))
    sent = []
    for kind in (Raft, WatchedRaft):
        made, _ = begin(CoreWatch(checks=True, line=lambda line: None), kind, count=3)
        made.step("n2", request, 0.0)
        ready = made.take_ready(0.0)
        sent.append((ready.messages, ready.persist))
        made.persisted(ready.persist.token, 0.0)
        made.step_down(0.0)
    assert sent[0] == sent[1]


def test_a_promise_is_in_the_line_of_the_round_that_made_it_durable():
    """A vote leaves with Persisted, not with the request that asked for it."""
    lines: list[dict] = []
    made, _ = begin(CoreWatch(line=lines.append), count=3)
    made.step("n2", VoteRequest(term=3, last=Position(0, 0)), 0.0)
    made.persisted(made.take_ready(0.0).persist.token, 0.0)
    assert ["sent" in line for line in lines] == [False, False, False, True]
    assert lines[-1]["sent"] == [["n2", {"type": "VoteResponse", "term": 3, "granted": True}]]


def test_a_broken_invariant_stops_the_core(monkeypatch):
    """With checks on, the input that breaks a rule raises; with checks off nobody looks."""
    real = roles.enter_term

    def forget(state, term, vote):
        real(state, term, vote)
        state.durable_term = term + 1

    monkeypatch.setattr(roles, "enter_term", forget)
    request = VoteRequest(term=3, last=Position(0, 0))
    careless, _ = begin(CoreWatch(), count=3)
    careless.step("n2", request, 0.0)
    careful, _ = begin(CoreWatch(checks=True), count=3)
    with pytest.raises(InvariantBroken, match="durable term is above the term"):
        careful.step("n2", request, 0.0)


def test_a_step_back_is_seen_between_two_inputs():
    """The checks compare each state with the one before it: a term that falls is noticed."""
    made, _ = begin(CoreWatch(checks=True), count=3)
    made.step("n2", VoteRequest(term=3, last=Position(0, 0)), 0.0)
    made.observe().term = 2
    made.observe().durable_term = 0
    with pytest.raises(InvariantBroken, match="the term fell"):
        made.take_ready(0.0)
