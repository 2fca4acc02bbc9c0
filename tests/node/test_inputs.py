"""The way in: an input cannot be given without the turn that follows it, from nowhere else."""

from __future__ import annotations

import ast
import inspect
import pathlib

import pytest

import raftlog.node
from raftlog.core.entries import EntryKind
from raftlog.core.trial import Wish
from raftlog.errors import InvariantBroken, NotLeader
from raftlog.node.inputs import Inputs
from raftlog.types import NodeId
from tests.node.parts import HandClock, Turns, boundary

NODE = pathlib.Path(raftlog.node.__file__).parent
HOLDERS = {"inputs.py", "drive.py", "parts.py"}
"""The way in, the way out, and who builds both."""

ARGUMENTS = {
    "step": (NodeId("n2"), object(), lambda: None),
    "peer_connected": (NodeId("n2"),),
    "peer_lost": (NodeId("n2"),),
    "propose": (EntryKind.NOOP, b"", 0, lambda _entry: None),
    "read_index": (7,),
    "transfer": (None,),
    "prepare_transfer": (Wish(seconds=1.0),),
    "cancel_transfer": (),
    "step_down": (),
    "compacted": (boundary(),),
}
KEYWORDS = {"snapshot_finished": {"delivered": True}}
NO_TURN = {"enrol", "tell_applied", "tell_fitness"}
"""No news to the core before its next deadline."""


class Core:
    """Takes any input, and writes down what it was and when."""

    def __init__(self, turns: Turns) -> None:
        self.calls: list[tuple[str, int]] = []
        self.turns = turns
        self.error: Exception | None = None

    def __getattr__(self, name):
        def take(*_args):
            if self.error is not None:
                raise self.error
            self.calls.append((name, self.turns.count))

        return take


class Rig:
    def __init__(self) -> None:
        self.turns = Turns()
        self.core = Core(self.turns)
        self.inputs = Inputs(self.core, HandClock(), self.turns)


@pytest.fixture
def rig():
    return Rig()


def inputs_there_are() -> list[str]:
    """Return the names of all inputs."""
    members = inspect.getmembers(Inputs, inspect.isfunction)
    return [name for name, _ in members if not name.startswith("_") and name not in NO_TURN]


@pytest.mark.parametrize("name", inputs_there_are())
def test_every_input_is_followed_by_a_turn(rig, name):
    """The core has taken it before the turn, and exactly one turn is asked for."""
    arguments = ARGUMENTS.get(name, (NodeId("n2"),))
    getattr(rig.inputs, name)(*arguments, **KEYWORDS.get(name, {}))
    assert rig.core.calls == [(name, 0)]
    assert rig.turns.count == 1


def test_a_proposal_is_known_before_the_turn_that_may_apply_it(rig):
    """Or a sole member would apply an entry that nobody waits for yet."""
    seen = []
    rig.inputs.propose(EntryKind.NOOP, b"", 0, lambda _entry: seen.append(rig.turns.count))
    assert seen == [0]


def test_what_a_message_changes_is_known_before_the_turn(rig):
    """Whoever may campaign is decided with the membership that just came."""
    seen = []
    rig.inputs.step(NodeId("n2"), object(), lambda: seen.append(rig.turns.count))
    assert seen == [0]


def test_a_refusal_reaches_its_caller_and_costs_no_turn(rig):
    """What the core refuses changed nothing."""
    rig.core.error = NotLeader("n1 does not lead")
    for give in (lambda: rig.inputs.transfer(None), lambda: rig.inputs.read_index(1)):
        with pytest.raises(NotLeader):
            give()
    assert rig.turns.count == 0


def test_a_broken_rule_in_a_message_stops_the_node(rig):
    """The peer's stream is not told; the node is."""
    rig.core.error = InvariantBroken("divergence at committed index 3")
    rig.inputs.step(NodeId("n2"), object(), lambda: None)
    assert [type(error) for error in rig.turns.failures] == [InvariantBroken]
    assert rig.turns.count == 0


def test_nobody_else_holds_the_core_or_asks_for_a_turn():
    """Rule of inputs.py: a part sees the core through `CoreView`, and gives inputs here."""
    rows = []
    for path in sorted(NODE.glob("*.py")):
        if path.name in HOLDERS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "raftlog.core.raft":
                rows.append(f"{path.name}:{node.lineno} imports the core")
            if isinstance(node, ast.Attribute) and node.attr in {"poke", "_raft"}:
                rows.append(f"{path.name}:{node.lineno} uses {node.attr}")
    assert rows == []
