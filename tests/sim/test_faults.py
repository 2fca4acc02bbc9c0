"""One vocabulary of faults, and each engine does what it draws."""

from __future__ import annotations

import pytest

from raftlog.sim import stage
from raftlog.sim.core import knobs as core
from raftlog.sim.core.nemesis import CoreNemesis
from raftlog.sim.core.world import World
from raftlog.sim.faults import Fault
from raftlog.sim.shell import knobs as shell
from raftlog.sim.shell.nemesis import ShellNemesis
from raftlog.sim.shell.world import ShellWorld

DRAWN = {
    CoreNemesis: {*core.FAULTS, *core.BESIDES},
    ShellNemesis: {*shell.FAULTS, *shell.BESIDES},
}


@pytest.mark.parametrize("nemesis", DRAWN)
def test_each_engine_can_do_what_it_draws(nemesis) -> None:
    """No seed may draw a fault that its engine has no action for, nor know one it never draws."""
    assert set(nemesis._known(object.__new__(nemesis))) == DRAWN[nemesis]


def test_no_fault_is_a_word_only() -> None:
    """Each is done by one engine at least."""
    assert set().union(*DRAWN.values()) == set(Fault)


@pytest.mark.parametrize(("world", "knobs"), [(World, core), (ShellWorld, shell)])
def test_both_worlds_are_stages(world, knobs) -> None:
    """What a part may ask of its world is there in either engine."""
    draw = core.draw_knobs if knobs is core else shell.draw_shell_knobs
    made = world(draw(3))
    for name in (*vars(stage.Stage), *stage.Stage.__annotations__):
        if not name.startswith("_"):
            assert hasattr(made, name), name
