"""Figures name the Python they were made with."""

from __future__ import annotations

import sysconfig

import pytest

from raftlog.cli import interpreter
from raftlog.cli.interpreter import Interpreter


def test_flags_are_believed_where_they_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that names its profile needs no measuring."""
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: "-O3 -fprofile-use")
    monkeypatch.setattr(interpreter, "calibrate", lambda: pytest.fail("measured all the same"))
    found = interpreter.interpreter()
    assert (found.optimised, found.by) == (True, "build flags")
    assert "an optimised build (by its build flags)" in str(found)


@pytest.mark.parametrize(("ratio", "optimised"), [(1400.0, True), (1850.0, False)])
def test_else_speed_tells(monkeypatch: pytest.MonkeyPatch, ratio: float, optimised: bool) -> None:
    """Flags that say nothing prove nothing: Debian's optimised Python has none."""
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: None)
    monkeypatch.setattr(interpreter, "calibrate", lambda: ratio)
    found = interpreter.interpreter()
    assert isinstance(found, Interpreter)
    assert (found.optimised, found.by) == (optimised, "speed")


def test_the_loop_is_measured() -> None:
    """The ratio of a real run is a plausible one."""
    assert 100 < interpreter.calibrate() < 20_000
