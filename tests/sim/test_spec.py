"""The executable specification: it keeps Raft's properties, allows our core, and refuses liars."""

from __future__ import annotations

import copy
import functools
import json
import pathlib
import re
from collections.abc import Callable

import pytest

from raftlog.checksum import chain
from raftlog.core import election, follower
from raftlog.core.messages import AppendResponse, VoteResponse
from raftlog.core.watched import CoreWatch, WatchedRaft
from raftlog.sim.core.knobs import draw_knobs
from raftlog.sim.core.world import World
from raftlog.sim.exhaustive.nodes import SETTINGS, Dice, TinyNode
from raftlog.sim.runs.cli import main as sim_main
from raftlog.sim.runs.specified import run_specified_seed, write_trace
from raftlog.sim.spec import chains, cli, explore, merging, refusal, validator
from raftlog.sim.spec.chains import Chains, Config
from raftlog.sim.spec.explore import Scope
from raftlog.sim.spec.model import Disk, System

from .seen import seen

Line = dict
SEEDS = range(40)


@functools.cache
def trace(seed: int) -> list[Line]:
    """Return one seed's lines."""
    lines: list[Line] = []
    world = World(draw_knobs(seed))
    world.watch = CoreWatch(line=lines.append, lists_log=False)
    assert world.run().failure is None
    return lines


# ---------------------------------------------------------------- the specification itself


@pytest.mark.parametrize(("servers", "terms", "restarts"), [(2, 2, 1), (3, 1, 0)])
def test_every_state_of_a_tiny_cluster_keeps_the_properties(servers, terms, restarts):
    """Election safety, log matching, leader completeness and the rest hold in each state."""
    found = explore.explore(
        Scope(servers=servers, terms=terms, entries=int(servers == 2), restarts=restarts)
    )
    assert found.states > 200
    assert found.depth > 10


def test_the_command_line_explores(monkeypatch, capsys):
    """`--explore` visits every state of the specification and says whether all is well."""
    assert cli.main(["--explore", "2", "1", "1", "0"]) == 0
    assert "every property held" in capsys.readouterr().out
    monkeypatch.setattr(chains.Config, "is_quorum", lambda *_: True)
    assert cli.main(["--explore", "2", "1", "0", "0"]) == 1
    assert capsys.readouterr().out.startswith("BROKEN: ")
    with pytest.raises(SystemExit):
        cli.main([])


def test_the_exploration_would_see_two_leaders(monkeypatch):
    """With a quorum of half of the servers the exploration finds two leaders of one term."""
    monkeypatch.setattr(
        chains.Config, "is_quorum", lambda self, group: 2 * len(self.voters & group) >= 2
    )
    with pytest.raises(refusal.NotAllowed) as caught:
        explore.explore(Scope(servers=2, terms=1, entries=0, restarts=0))
    assert caught.value.action in {"ElectionSafety", "OneVotePerTerm"}


def test_the_exploration_would_see_a_vote_forgotten(monkeypatch):
    """A restart that finds no vote leads to two votes of one voter."""
    real = System.restart

    def forget(self, name, found, commit, *, is_damaged):
        real(self, name, found, commit, is_damaged=is_damaged)
        self.servers[name].vote = None

    monkeypatch.setattr(System, "restart", forget)
    with pytest.raises(refusal.NotAllowed, match="OneVotePerTerm|ElectionSafety"):
        explore.explore(Scope(servers=2, terms=1, entries=0, restarts=1))


def test_logs_are_one_object_each():
    """Equal logs are the same object; shared beginnings are found; a checksum names one log."""
    known = Chains()
    root = known.root(0, 0, 7, Config(frozenset("abc")))
    one = known.extend(root, 1, 11)
    left, right = known.extend(one, 1, 12), known.extend(one, 2, 22)
    assert known.extend(one, 1, 12) is left
    assert left.shared(right) is one
    assert left.holds(root)
    assert not left.holds(right)
    assert right.at(1) is one
    with pytest.raises(refusal.NotAllowed, match="does not hold"):
        root.at(1)
    with pytest.raises(refusal.NotAllowed, match="two logs"):
        known.extend(left.previous.previous, 2, 11)


def test_memberships_change_one_server_at_a_time_or_jointly():
    """A step of two voters is refused; a joint configuration keeps the old half, then leaves it."""
    three, four = Config(frozenset("abc")), Config(frozenset("abcd"))
    five = Config(frozenset("abcde"))
    joint = Config(frozenset("abcde"), outgoing=frozenset("abc"))
    assert four.may_follow(three)
    assert not five.may_follow(three)
    assert joint.may_follow(three)
    assert not joint.may_follow(four)
    assert five.may_follow(joint)
    assert not three.may_follow(joint)
    assert not joint.is_quorum({"c", "d", "e"})
    assert joint.is_quorum({"a", "b", "d"})


def test_a_restart_finds_a_prefix_of_what_was_written():
    """Writes under way may have happened in order, or not; nothing else may be on the disk."""
    system = System()
    root = system.chains.root(0, 0, 7, Config(frozenset("a")))
    system.start("a", Disk(0, None, root), 0)
    system.timeout("a")
    system.hand_out("a", 1)
    server = system.servers["a"]
    for found in (Disk(0, None, root), Disk(1, "a", root)):
        system.copy().restart("a", found, 0, is_damaged=False)
    with pytest.raises(refusal.NotAllowed, match="Restart"):
        system.copy().restart("a", Disk(1, None, root), 0, is_damaged=False)
    assert server.role == "candidate"


# ---------------------------------------------------------------- our core, seed by seed


@pytest.mark.parametrize("seed", range(4))
def test_the_specification_allows_what_the_core_does(seed):
    """Each step of each core of a seed is an allowed one, and watching changes nothing."""
    outcome = run_specified_seed(seed)
    assert outcome.failure is None, outcome.detail
    assert outcome.digest == seen(seed).digest
    assert outcome.counters["trace_lines"] > 300


def ack_at_once(state, leader, match_index):
    """Ack before the entries are durable."""
    state.send(leader, AppendResponse(term=state.term, success=True, match_index=match_index))


def vote_at_once(state, peer, message):
    """Tell a vote before it is durable."""
    if isinstance(message, VoteResponse):
        state.send(peer, message)
    else:
        REAL_SEND_DURABLE(state, peer, message)


REAL_SEND_DURABLE = election.send_durable


@pytest.mark.parametrize(
    ("module", "name", "broken", "why"),
    [
        (follower, "acknowledge", ack_at_once, "HandleAppendEntriesRequest: .* acks"),
        (election, "send_durable", vote_at_once, "tells a vote that its disk lacks"),
    ],
    ids=["ack before durable", "vote before durable"],
)
def test_the_specification_refuses_a_broken_core(monkeypatch, module, name, broken, why):
    """A core that tells what is not durable takes a step that the specification does not have."""
    monkeypatch.setattr(module, name, broken)
    failures = [run_specified_seed(seed).failure or "" for seed in range(3)]
    told = [failure for failure in failures if failure.startswith("specification: ")]
    assert told
    assert any(re.search(why, failure) for failure in told), told


# ---------------------------------------------------------------- traces that lie


def vote_twice(lines: list[Line]) -> bool:
    """Let a voter tell a second candidate that it has its vote."""
    for line in lines:
        for peer, message in line.get("sent", []):
            if message["type"] == "VoteResponse" and message["granted"]:
                other = next(n for n in ("n1", "n2", "n3") if n not in {peer, line["node"]})
                line["sent"].append([other, message])
                return True
    return False


def commit_too_early(lines: list[Line]) -> bool:
    """Let a leader commit what it has just appended."""
    for line in lines:
        if line["action"] == "Ready" and "persist" in line and line.get("match") and line["commit"]:
            line["commit"] = line["last"][1]
            return True
    return False


def truncate_committed(lines: list[Line]) -> bool:
    """Let a follower lose a committed entry."""
    ends: dict[tuple[str, int], list[int]] = {}
    for line in lines:
        node, (term, index, checksum) = line["node"], line["last"]
        ends[node, index] = [term, index, checksum]
        if line["action"] == "Receive" and line["role"] == "follower" and line["commit"] == index:
            earlier = ends.get((node, index - 1))
            if line["message"]["type"] == "AppendRequest" and earlier is not None:
                line["last"] = earlier
                return True
    return False


def forget_the_vote(lines: list[Line]) -> bool:
    """Let a node find no vote where it had cast one."""
    for line in lines:
        if line["action"] == "Start" and line["vote"] is not None:
            line["vote"] = None
            line["durable"][1] = None
            return True
    return False


def forget_an_entry(lines: list[Line]) -> bool:
    """Let a node start with a shorter log than its disk had."""
    ends: dict[tuple[str, int], list[int]] = {}
    for line in lines:
        node, (term, index, checksum) = line["node"], line["last"]
        half = index // 2
        if line["action"] == "Start" and (node, half) in ends and not line["is_damaged"]:
            line["last"] = ends[node, half]
            line["commit"] = min(line["commit"], half)
            return True
        ends[node, index] = [term, index, checksum]
    return False


def lead_without_votes(lines: list[Line]) -> bool:
    """Let a candidate lead as soon as it stands."""
    for line in lines:
        if line["role"] == "candidate" and not line["votes"]:
            line["role"] = "leader"
            del line["votes"]
            return True
    return False


def fall_back_a_term(lines: list[Line]) -> bool:
    """Let a node's term fall."""
    for line in lines:
        if line["action"] == "Tick" and line["term"] > 1:
            line["term"] -= 1
            return True
    return False


def ack_what_was_not_sent(lines: list[Line]) -> bool:
    """Let a follower ack one entry more than it was sent."""
    for line in lines:
        for _, message in line.get("sent", []):
            if message["type"] == "AppendResponse" and message["success"]:
                message["match"] += 1
                return True
    return False


def hear_what_nobody_said(lines: list[Line]) -> bool:
    """Let a node receive a vote that was never sent."""
    for line in lines:
        if line["action"] == "Receive" and line["message"]["type"] == "VoteResponse":
            line["message"]["term"] += 7
            return True
    return False


def leave_a_field_out(lines: list[Line]) -> bool:
    """Leave a field out."""
    del lines[len(lines) // 2]["commit"]
    return True


def persist_out_of_order(lines: list[Line]) -> bool:
    """Complete a write that was not begun."""
    for line in lines:
        if line["action"] == "Persisted":
            line["token"] += 1
            return True
    return False


def add_two_voters(lines: list[Line]) -> bool:
    """Let a leader change the membership by two voters in one step."""
    for line in lines:
        if line["action"] == "Propose" and line["commit"]:
            line["appended"][0] = [
                *line["appended"][0][:2],
                {"voters": ["n1", "n2", "n3", "n8", "n9"], "outgoing": [], "learners": []},
            ]
            return True
    return False


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (vote_twice, "OneVotePerTerm|tells a vote that its disk lacks"),
        (commit_too_early, "AdvanceCommitIndex: .*no quorum"),
        (truncate_committed, "must end with|last"),
        (forget_the_vote, "Restart: "),
        (forget_an_entry, "Restart: "),
        (lead_without_votes, "BecomeLeader: "),
        (fall_back_a_term, "term: "),
        (ack_what_was_not_sent, "HandleAppendEntriesRequest: .*acks"),
        (hear_what_nobody_said, "was not sent"),
        (leave_a_field_out, "not a trace line"),
        (persist_out_of_order, "Persisted: "),
        (add_two_voters, "ChangeMembership: "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_trace_that_lies_is_refused(lie: Callable[[list[Line]], bool], why: str) -> None:
    """A trace into which one broken rule was written is refused, at that line."""
    for seed in SEEDS:
        lines = copy.deepcopy(trace(seed))
        if lie(lines):
            break
    else:
        pytest.fail("no seed has a line for that")
    merging.validate(trace(seed))
    with pytest.raises(merging.Refused, match=why) as caught:
        merging.validate(lines)
    assert caught.value.line not in trace(seed) or lie is leave_a_field_out


# ---------------------------------------------------------------- files


def test_lines_of_several_files_are_merged_by_their_messages(tmp_path: pathlib.Path) -> None:
    """Files with unrelated clocks are put in order by what was sent, whatever their order."""
    lines = trace(0)
    names = sorted({line["node"] for line in lines}, reverse=True)
    files = []
    for number, name in enumerate(names):
        path = tmp_path / f"{name}.ndjson"
        own = [
            dict(line, time=line["time"] + 1e6 * number) for line in lines if line["node"] == name
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in own))
        files.append(str(path))
    assert cli.main(files) == 0


def test_the_command_line_shows_the_line_and_the_state_before(tmp_path, capsys):
    """A refused line is printed with the reason and the state before; a broken file is an error."""
    path = tmp_path / "trace.ndjson"
    assert sim_main(["--seeds", "1", "--trace-out", str(path)]) == 0
    capsys.readouterr()
    assert cli.main([str(path)]) == 0
    assert "lines allowed: " in capsys.readouterr().out
    lines = [dict(line) for line in cli.read_lines(path)]
    lines[-1]["term"] = 0
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli.main([str(path)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("NOT ALLOWED: term: ")
    assert "before: Server(name=" in said
    path.write_text("nonsense\n")
    assert cli.main([str(path)]) == 2
    assert "trace.ndjson:1" in capsys.readouterr().err


@pytest.mark.parametrize("lists_log", [True, False])
def test_a_trace_may_begin_where_there_is_a_log_already(lists_log):
    """A first line that lists the log suffices; one that only names its end does not."""
    node = TinyNode.cluster(1)[0]
    node.time_out()
    node.complete()
    node.complete()
    lines: list[Line] = []
    raft = WatchedRaft(
        node_id=node.node_id,
        settings=SETTINGS,
        log=node.disk,
        hard_state=node.disk.hard_state,
        seal=chain,
        random=Dice(),
        now=0.0,
    )
    raft.watch(CoreWatch(line=lines.append, lists_log=lists_log), "d1", 0.0)
    raft.tick(10.0)
    raft.persisted(raft.take_ready(10.0).persist.token, 10.0)
    assert lines[-1]["last"][1] == 2, "a no-op behind the one that was there"
    if lists_log:
        assert merging.validate(lines).actions["BecomeLeader"] == 1
    else:
        with pytest.raises(merging.Refused, match="a log that nobody had"):
            merging.validate(lines)


def test_write_trace_says_what_became_of_the_seed(tmp_path):
    """A written trace is that of the seed: same digest, one line for each step."""
    outcome = write_trace(3, tmp_path / "t")
    assert outcome.digest == seen(3).digest
    assert len(list(cli.read_lines(tmp_path / "t"))) == len(trace(3))


def test_the_simulators_command_line_checks_the_specification(capsys):
    """`--check-spec` says how many steps were held against the specification."""
    sim_main(["--seeds", "0..1", "--check-spec"])
    assert "steps of the core held against the specification" in capsys.readouterr().out


def test_a_validator_knows_what_it_took():
    """The validator counts the specification's actions by their published names."""
    known = validator.Validator()
    for line in trace(1):
        known.feed(line)
    assert known.lines == len(trace(1))
    assert {"BecomeLeader", "ClientRequest", "AdvanceCommitIndex"} <= set(known.actions)
