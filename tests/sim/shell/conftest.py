"""Worlds that are cleared away after each test."""

from __future__ import annotations

import pytest

from .lonely import LonelyWorld


@pytest.fixture
def lonely():
    """Return a maker of lonely worlds."""
    made = []

    def make(*names, **network):
        world = LonelyWorld(names or ("a", "b"), **network)
        made.append(world)
        return world

    yield make
    for world in made:
        world.dispose()


@pytest.fixture
def led(world):
    """Return the test's world once somebody leads."""
    for member in world.members:
        member.begin()
    while not world.leaders():
        assert world.scheduler.step()
    yield world
    world._collect()
