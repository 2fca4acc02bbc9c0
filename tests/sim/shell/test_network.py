"""Connections: ordered, cut, reset, and what the dead leave behind."""

from __future__ import annotations

from raftlog.sim.shell.network import Connection


class Ear:
    """Accepts connections and hears of their end."""

    def __init__(self) -> None:
        self.lost = []

    def accept(self, connection):
        return self

    def connection_lost(self, why):
        self.lost.append(why)


def connect(world, *, listen=True):
    """Return what an attempt to connect from a to b came to, and the two ends."""
    near, far, found = Ear(), Ear(), []
    if listen:
        world.network.listen("b", world.hosts["b"], far)
    world.network.connect(world.hosts["a"], "b", found.append)
    world.until(lambda: found)
    if isinstance(found[0], Connection):
        found[0].ways[0].end = near
    return found[0], near, far


def test_what_is_sent_arrives_in_order(lonely):
    """Whatever the delays, nothing overtakes on a connection."""
    world = lonely(tail_chance=0.5, tail_seconds=1.0)
    connection, _, _ = connect(world)
    seen = []
    for number in range(30):
        world.network.send(connection, 0, seen.append, number)
    world.until(lambda: len(seen) == 30)
    assert seen == list(range(30))


def test_nobody_listens(lonely):
    """A refused connection says so in gRPC's words, which the table of errors knows."""
    found, _, _ = connect(lonely(), listen=False)
    assert "failed to connect to all addresses" in found


def test_a_cut_holds_back_until_it_heals(lonely):
    """One direction waits, in order; the other goes on."""
    world = lonely(keepalive_seconds=1000.0)
    connection, _, _ = connect(world)
    seen, back = [], []
    world.network.cut(0, 1)
    for number in range(3):
        world.network.send(connection, 0, seen.append, number)
    world.network.send(connection, 1, back.append, "back")
    world.until(lambda: back)
    assert seen == []
    world.network.heal()
    world.until(lambda: len(seen) == 3)
    assert seen == [0, 1, 2]


def test_a_long_cut_ends_in_a_reset(lonely):
    """The keepalive gives the connection up, tells both ends, and what was held is lost."""
    world = lonely(keepalive_seconds=2.0)
    connection, near, far = connect(world)
    seen = []
    world.network.cut(0, 1)
    world.network.send(connection, 0, seen.append, "lost")
    world.until(lambda: near.lost and far.lost)
    world.network.heal()
    assert not connection.is_up
    assert seen == []


def test_connecting_across_a_cut_takes_until_it_heals_or_times_out(lonely):
    """A connect waits for a while, then fails."""
    world = lonely()
    found = []
    world.network.listen("b", world.hosts["b"], Ear())
    world.network.cut(1, 0)
    world.network.connect(world.hosts["a"], "b", found.append)
    world.until(lambda: found)
    assert "timed out" in found[0]
    assert world.scheduler.now > 1.9


def test_the_living_hear_of_a_death(lonely):
    """The far end of a dead process's connection is told soon."""
    world = lonely()
    _, near, _ = connect(world)
    world.hosts["b"].die()
    world.until(lambda: near.lost)
    assert world.scheduler.now < 1.0


def test_a_silent_death_is_noticed_when_its_successor_is_spoken_to(lonely):
    """A connection to an earlier life is reset by what is sent on it."""
    world = lonely(silent_deaths=1.0, keepalive_seconds=1000.0)
    connection, near, _ = connect(world)
    world.hosts["b"].die()
    world.hosts["b"].begin()
    world.network.send(connection, 0, print, "to the dead")
    world.until(lambda: near.lost)
    assert world.counters["connection_to_the_dead"] == 1
    assert world.scheduler.now < 1.0


def test_hanging_up_comes_after_what_was_sent(lonely):
    """An orderly end loses nothing."""
    world = lonely()
    connection, _, far = connect(world)
    seen = []
    world.network.send(connection, 0, seen.append, "first")
    world.network.hang_up(connection, 0)
    world.until(lambda: far.lost)
    assert seen == ["first"]
