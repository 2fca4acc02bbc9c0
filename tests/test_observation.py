"""Events and measures: each is told somewhere, and whatever is told is one of them."""

from __future__ import annotations

import ast
import functools
import pathlib

import pytest

import raftlog
from raftlog.interfaces.observation import Event, Kind, Measure, Severity
from tests.sources import walked

TOP = pathlib.Path(raftlog.__file__).parent
TOLD_BY = {
    "event": {"Event"},
    "count": {"Measure"},
    "gauge": {"Measure"},
    "measure": {"Measure"},
}


@functools.cache
def calls() -> tuple[tuple[str, ast.Call], ...]:
    """Return every call of an observer's methods, with the method's name."""
    found: list[tuple[str, ast.Call]] = []
    for path in TOP.rglob("*.py"):
        for node in walked(path):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            if isinstance(node.func, ast.Attribute) and node.func.attr in TOLD_BY:
                if "observer" in ast.unparse(node.func.value).lower():
                    found.append((node.func.attr, node))
            elif isinstance(node.func, ast.Name) and node.func.id == "gauge":
                found.append(("gauge", node))
    return tuple(found)


def told(enumeration: str) -> set[str]:
    """Return the members of an enumeration that the sources name."""
    return {
        node.attr
        for path in TOP.rglob("*.py")
        for node in walked(path)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == enumeration
    }


def test_whatever_is_told_is_declared() -> None:
    """An observer is given a member, never a string of somebody's own."""
    found = calls()
    assert len(found) > 40
    for name, call in found:
        first = call.args[0]
        if ast.unparse(first) == "alarm.event":
            continue  # the board of alarms: each names its event where it is declared
        assert isinstance(first, ast.Attribute), ast.unparse(call)
        assert ast.unparse(first.value) in TOLD_BY[name], ast.unparse(call)


@pytest.mark.parametrize("enumeration", [Event, Measure])
def test_every_member_is_told_somewhere(enumeration) -> None:
    """An event or a measure that nobody tells is dead, or a call was forgotten."""
    assert {member.name for member in enumeration} <= told(enumeration.__name__)


def test_each_measure_is_told_in_its_own_way() -> None:
    """Counters are counted, gauges set, histograms measured."""
    ways = {Kind.COUNTER: "count", Kind.GAUGE: "gauge", Kind.HISTOGRAM: "measure"}
    for name, call in calls():
        if name != "event":
            member = ast.unparse(call.args[0]).split(".")[1]
            assert ways[Measure[member].kind] == name, ast.unparse(call)


def test_names_outside_are_told_apart() -> None:
    """No counter of an event takes a measure's name, and counters end as Prometheus wants them."""
    counters = [event.counter for event in Event if event.counter]
    names = [*counters, *Measure]
    assert len(set(names)) == len(names)
    assert all(name.endswith("_total") for name in counters)
    for measure in Measure:
        assert measure.endswith("_total") == (measure.kind is Kind.COUNTER)
        assert measure.kind is not Kind.HISTOGRAM or measure.endswith("_seconds")


def test_what_stops_or_halts_a_member_is_an_error() -> None:
    """The level says whom to wake: these four end a member's work."""
    loud = {event for event in Event if event.severity is Severity.ERROR}
    assert loud == {
        Event.NODE_FAILED,
        Event.MACHINE_HALTED,
        Event.MACHINE_STUCK,
        Event.DAMAGE_MARK_FAILED,
    }
