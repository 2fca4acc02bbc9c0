"""Alarms: each is declared, raised somewhere, and its advice can be followed."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator

import click
import pytest

import raftlog
from raftlog.cli.main import root
from raftlog.interfaces import Event
from raftlog.interfaces.alarms import Alarm, Alarms
from tests.node.harness import Notebook
from tests.sources import walked

TOP = pathlib.Path(raftlog.__file__).parent
DECLARED = TOP / "interfaces" / "alarms.py"
_COMMAND = re.compile(r"`raftlog ((?:[a-z][a-z-]+)(?: [a-z][a-z-]+)*)")


def sources() -> Iterator[tuple[pathlib.Path, ast.AST]]:
    """Yield every node of the product's sources, with its file."""
    for path in TOP.rglob("*.py"):
        for node in walked(path):
            yield path, node


def unknown_command(words: str) -> str | None:
    """Return the first word that names no command, or None; what follows a command is its own."""
    command: click.Command = root
    for word in words.split():
        if not isinstance(command, click.Group):
            return None
        found = command.get_command(click.Context(command), word)
        if found is None:
            return word
        command = found
    return None


def test_every_alarm_is_raised_somewhere() -> None:
    """An alarm that nobody raises is dead, and so is one that nobody takes back."""
    raised, cleared = set(), set()
    for path, node in sources():
        if path == DECLARED or not isinstance(node, ast.Call) or not node.args:
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"raise_", "set", "clear"}:
            text = ast.unparse(node.args[0])
            names = {text.removeprefix("Alarm.")} if text.startswith("Alarm.") else set()
            raised |= names if node.func.attr != "clear" else set()
            cleared |= names if node.func.attr != "raise_" else set()
    refused = {"PEER_REFUSED", "TWINS"}  # `Refusals` picks one of the two
    assert {alarm.name for alarm in Alarm} == raised | refused
    assert {alarm.name for alarm in Alarm} == cleared | {"FAILED"}  # nothing mends that


@pytest.mark.parametrize("alarm", Alarm)
def test_every_alarm_says_what_it_means_and_what_to_do(alarm: Alarm) -> None:
    """Whole sentences, and a severity by the event that tells of it."""
    for sentence in (alarm.meaning, alarm.advice):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
    assert alarm.severity is alarm.event.severity


def test_commands_that_advice_and_errors_name_exist() -> None:
    """Whoever follows advice at night finds the verb: in alarms, in errors, in help."""
    named = [
        (path, words)
        for path, node in sources()
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for words in _COMMAND.findall(node.value)
    ]
    assert len(named) > 10
    assert any(path == DECLARED for path, _ in named)
    for path, words in named:
        assert unknown_command(words) is None, f"{path.name}: raftlog {words}"
    assert unknown_command("alarm lists") == "lists"


def test_no_error_advises_what_this_version_cannot_do() -> None:
    """Members cannot be removed or added yet, so no sentence tells anybody to do so."""
    for path, node in sources():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert "remove the member" not in node.value, path


def test_the_board_tells_each_change_once() -> None:
    """Raised is one event whatever the reason becomes, and cleared another."""
    notebook, now = Notebook(), [7]
    alarms = Alarms(notebook, lambda: now[0])
    for why in ("91 of 100", "95 of 100"):
        alarms.set(Alarm.DESCRIPTORS_SHORT, why)
        now[0] += 1
    assert [each.since for each in alarms.raised] == [7]
    for peer in ("n2", "n3"):
        alarms.raise_about(peer, Alarm.TWINS, "copied", 60.0)
    assert alarms.why(Alarm.DESCRIPTORS_SHORT) == "95 of 100"
    assert [name for name, _ in notebook.events] == [Event.DESCRIPTORS_SHORT]
    assert notebook.events[0][1]["advice"] == Alarm.DESCRIPTORS_SHORT.advice
    assert not alarms.unfit
    for _ in range(2):
        alarms.set(Alarm.DESCRIPTORS_SHORT, None)
        alarms.clear(Alarm.TWINS, about="n2")
    assert notebook.named("alarm_cleared") == [
        {"alarm": "descriptors_short", "about": None}, {"alarm": "twins", "about": "n2"},
    ]  # fmt: skip
    [left] = alarms.raised
    assert left.text("n1") == f"n1 twins: n3: copied. {Alarm.TWINS.advice}"
    assert Alarm.TWINS in alarms
    alarms.raise_(Alarm.DISK_FULL, "1 MiB left")
    assert [each.alarm for each in alarms.unfit] == [Alarm.DISK_FULL]


def test_what_nobody_can_take_back_ends_by_itself() -> None:
    """A peer that was refused and does not come again is forgotten; one that comes is not."""
    notebook = Notebook()
    alarms = Alarms(notebook)
    alarms.expire(1000.0)
    for peer in ("n8", "n9"):
        alarms.raise_about(peer, Alarm.PEER_REFUSED, "of another cluster", 60.0)
    alarms.raise_(Alarm.DISK_FULL, "1 MiB left")
    alarms.expire(1059.0)
    alarms.raise_about("n9", Alarm.PEER_REFUSED, "of another cluster", 60.0)
    alarms.expire(1061.0)
    assert [(each.alarm, each.about) for each in alarms.raised] == [
        (Alarm.PEER_REFUSED, "n9"), (Alarm.DISK_FULL, ""),
    ]  # fmt: skip
    assert notebook.named("alarm_cleared") == [{"alarm": "peer_refused", "about": "n8"}]
    alarms.expire(1119.0)
    assert [each.alarm for each in alarms.raised] == [Alarm.DISK_FULL]
