"""What a reader of a transcript is told beside the property that broke."""

from __future__ import annotations

import ast
import pathlib

import raftlog.sim
from raftlog.sim.properties import NOTICED, WHY, why

ENGINE = pathlib.Path(raftlog.sim.__file__).parent
PLACES = {"broken": 0, "require": 1}


def named() -> set[str]:
    """Return the name of every property that a check of either engine may call broken."""
    found = set()
    for path in sorted(ENGINE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = PLACES.get(node.func.id)
                if place is not None and isinstance(node.args[place], ast.Constant):
                    found.add(node.args[place].value)
    return found


def test_every_property_says_why_it_matters() -> None:
    """No check breaks without a sentence that tells a newcomer what it would have cost."""
    assert len(named()) > 20
    assert named() - set(WHY) == set()


def test_the_sentence_follows_from_the_failure() -> None:
    """The name before the colon decides; what raftlog itself noticed has one sentence for all."""
    assert why("election safety: n1 and n2 lead term 3") == WHY["election safety"]
    assert why("InvariantBroken: vote of term 1 changes from n2") == WHY["one vote per term"]
    assert "own code" in (why("InvariantBroken: something else") or "")
    assert {name for _, name in NOTICED} <= set(WHY)
    assert why("TypeError: a fault of the simulator") is None
