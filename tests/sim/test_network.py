"""Links: order, loss, cuts, resets, each as its mode promises."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.messages import HeartbeatResponse, ReadIndexResponse
from raftlog.sim.core.knobs import NetworkKnobs, draw_knobs
from raftlog.sim.core.network import Network
from raftlog.sim.core.world import World
from raftlog.types import Term


class Rig:
    """Two nodes that only note what reaches them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **fields: object) -> None:
        knobs = draw_knobs(0)
        settings = NetworkKnobs(
            **{
                "is_stream": False,
                "delay_seconds": 0.01,
                "tail_seconds": 0.0,
                "tail_chance": 0.0,
                **fields,
            }
        )
        self.world = World(dataclasses.replace(knobs, network=settings, faults=()))
        self.network: Network = self.world.network
        self.received: list[int] = []
        self.events: list[str] = []
        for process in self.world.members:
            process.is_up = True
            process.incarnation = 1
        self.a, self.b = self.world.members[:2]
        kind = type(self.a)
        monkeypatch.setattr(kind, "receive", lambda p, s, m: self.received.append(m.context))
        monkeypatch.setattr(kind, "peer_lost", lambda p, q: self.note("lost", p, q))
        monkeypatch.setattr(kind, "peer_connected", lambda p, q: self.note("up", p, q))

    def note(self, what: str, process: object, peer: object) -> None:
        """Remember an event of the pair that is looked at."""
        if {process, peer} == {self.a, self.b}:
            self.events.append(what)

    def send(self, *contexts: int) -> None:
        """Send from a to b."""
        for context in contexts:
            self.network.send(self.a, self.b, HeartbeatResponse(term=Term(1), context=context))

    def run(self) -> list[int]:
        """Let everything arrive."""
        while self.world.scheduler.step():
            pass
        return self.received


def test_a_stream_keeps_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent on one channel arrives in order, however delays are drawn."""
    rig = Rig(monkeypatch, is_stream=True, tail_seconds=1.0, tail_chance=0.5)
    rig.send(*range(200))
    assert rig.run() == list(range(200))


def test_datagrams_overtake_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each datagram has a delay of its own; none is lost unless loss is drawn."""
    rig = Rig(monkeypatch)
    rig.send(*range(200))
    assert sorted(rig.run()) == list(range(200)) != rig.received


def test_datagrams_are_lost_and_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some never arrive, some twice, some once more much later."""
    rig = Rig(monkeypatch, loss=0.2, duplicates=0.2, late_duplicates=0.2)
    rig.send(*range(500))
    rig.run()
    assert 300 < len(set(rig.received)) < 500
    assert len(rig.received) > len(set(rig.received))
    assert rig.world.scheduler.now > 1
    assert rig.world.counters["message_lost"] > 0


def test_a_cut_holds_a_stream_back_until_it_heals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short cut loses nothing and keeps the order; the other direction is not touched."""
    rig = Rig(monkeypatch, is_stream=True)
    rig.network.cut(0, 1)
    rig.send(1, 2, 3)
    rig.network.send(rig.b, rig.a, ReadIndexResponse(term=Term(1), context=9, index=None))
    rig.world.scheduler.after(0.05, rig.network.heal)
    assert rig.run() == [9, 1, 2, 3]
    assert rig.events == []


def test_a_reset_loses_what_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends learn of the loss, then of the new connection; a suffix is gone."""
    rig = Rig(monkeypatch, is_stream=True)
    rig.send(1, 2)
    rig.world.scheduler.after(0.1, rig.send, 3, 4)
    rig.world.scheduler.after(0.1, rig.network.reset, 0, 1)
    assert rig.run() == [1, 2]
    assert rig.events == ["lost", "lost", "up", "up"]
    rig.send(5)
    assert rig.run()[-1] == 5


def test_a_long_cut_resets_the_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keepalive ends a stream through which nothing gets; it comes back after the heal."""
    rig = Rig(monkeypatch, is_stream=True)
    rig.network.cut(0, 1)
    rig.send(1)
    rig.world.scheduler.after(20.0, rig.network.heal)
    assert rig.run() == []
    assert rig.events == ["lost", "lost", "up", "up"]
    assert rig.network.reaches(rig.a, rig.b)


def test_datagrams_of_an_earlier_life_introduce_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first word of a new life is a new connection; later ones are not."""
    rig = Rig(monkeypatch)
    rig.send(1)
    rig.run()
    assert rig.events == ["up"]
    rig.send(2)
    rig.run()
    assert rig.events == ["up"]
    rig.a.incarnation = 2
    rig.send(3)
    rig.run()
    assert rig.events == ["up", "up"]
