"""Links between nodes: datagrams, harsher than any stream, and streams as gRPC has them.

In datagram mode each message draws its own fate: lost, delayed, overtaken, delivered twice, or once
more a minute later. In stream mode each directed pair has two ordered channels (bulk, control); a
cut holds messages back until it heals or the keepalive resets the pair, which loses everything
still on its way (a suffix), and both ends are told of the loss and of the new connection.

Where records may rot a datagram is dropped if its sender, or the process it was meant for, has died
since: a real stream ends before its peer's next handshake, and the repair of a damaged member rests
on that (decision 8).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from raftlog.core.messages import BULK_MESSAGES, Message
from raftlog.sim.core.knobs import Ending, Knobs
from raftlog.sim.faults import Fault

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.core.world import World

BULK = frozenset(BULK_MESSAGES)
LATE_SHARE = 0.2
"""How many pairs of a cluster yet to be founded meet late."""


class Link:
    """One direction between two nodes."""

    __slots__ = ("clogged_until", "cut", "held", "last")

    def __init__(self) -> None:
        self.cut = False
        self.clogged_until = 0.0
        self.last = [0.0, 0.0]
        self.held: list[tuple[int, Message]] = []
        """What a cut stream holds back, with the epoch it was sent in."""


class Pair:
    """A connection between two nodes, both directions; used in stream mode."""

    __slots__ = ("epoch", "is_up")

    def __init__(self) -> None:
        self.is_up = True
        self.epoch = 0


class Network:
    """All links; `send` is the only way from one process to another."""

    def __init__(self, world: World, knobs: Knobs) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._dice = random.Random(f"{knobs.seed}:network")
        self._knobs = knobs
        self.settings = knobs.network
        self._enrols = world.operator.is_needed
        self._drops_dead = self._enrols or Fault.ROT in knobs.faults or knobs.ending is Ending.RUIN
        count = knobs.voters + knobs.spares
        self.links = [[Link() for _ in range(count)] for _ in range(count)]
        pairs = {(a, b): Pair() for a in range(count) for b in range(a + 1, count)}
        self.pairs = [
            [pairs.get((min(a, b), max(a, b)), Pair()) for b in range(count)] for a in range(count)
        ]

    def begin(self) -> None:
        """Let everybody meet, some late, where a cluster is founded by handshakes."""
        if not self._enrols:
            return
        late = self._knobs.core.election_timeout_seconds * 8 * self._dice.random()
        for a, row in enumerate(self.pairs):
            for b in range(a):
                row[b].is_up = False
                patience = late if self._dice.random() < LATE_SHARE else 0.001
                self._scheduler.after(self._dice.random() * patience, self._connect, a, b)

    # ------------------------------------------------------------ messages

    def send(self, source: Process, target: Process, message: Message) -> None:
        """Put a message on its way."""
        if self.settings.is_stream:
            self._send_stream(source, target, message)
        else:
            self._send_datagram(source, target, message)

    def _delay(self) -> float:
        draw, settings = self._dice.random, self.settings
        first = draw()
        seconds = settings.delay_seconds * (0.2 + 1.6 * first * first)
        if settings.tail_chance and draw() < settings.tail_chance:
            seconds += settings.tail_seconds * draw()
        return seconds

    def _send_datagram(self, source: Process, target: Process, message: Message) -> None:
        settings, draw = self.settings, self._dice.random
        link = self.links[source.number][target.number]
        if link.cut or (settings.loss and draw() < settings.loss):
            self._world.count("message_lost")
            return
        after = self._scheduler.after
        lives = source.incarnation, target.incarnation
        delay = self._delay()
        if link.clogged_until > self._scheduler.now:
            delay += link.clogged_until - self._scheduler.now
        after(delay, self._deliver_datagram, source, lives, target, message)
        if settings.duplicates and draw() < settings.duplicates:
            self._world.count("message_duplicated")
            after(self._delay(), self._deliver_datagram, source, lives, target, message)
        if settings.late_duplicates and draw() < settings.late_duplicates:
            self._world.count("message_duplicated_late")
            late = settings.late_seconds * draw() ** 2
            after(late, self._deliver_datagram, source, lives, target, message)

    def _deliver_datagram(
        self, source: Process, lives: tuple[int, int], target: Process, message: Message
    ) -> None:
        link = self.links[source.number][target.number]
        life, met = lives
        is_of_now = source.is_up and life == source.incarnation and met == target.incarnation
        if not target.is_up or link.cut or (self._drops_dead and not is_of_now):
            self._world.count("message_lost")
            return
        if self._enrols and not self._may_meet(source, target):
            return
        if target.known_lives.get(source.number, 0) < life:
            target.known_lives[source.number] = life
            target.peer_connected(source)
        target.receive(source, message)

    def _send_stream(self, source: Process, target: Process, message: Message) -> None:
        pair = self.pairs[source.number][target.number]
        if not pair.is_up:
            self._world.count("message_lost")
            return
        link = self.links[source.number][target.number]
        channel = 0 if type(message) in BULK else 1
        now = self._scheduler.now
        at = max(max(now, link.clogged_until) + self._delay(), link.last[channel])
        link.last[channel] = at
        self._scheduler.at(at, self._deliver_stream, source, target, message, pair.epoch)

    def _deliver_stream(
        self, source: Process, target: Process, message: Message, epoch: int
    ) -> None:
        link = self.links[source.number][target.number]
        if epoch != self.pairs[source.number][target.number].epoch or not target.is_up:
            self._world.count("message_lost")
        elif link.cut:
            link.held.append((epoch, message))
        else:
            target.receive(source, message)

    def is_connected(self, one: Process, other: Process) -> bool:
        """Whether one node takes the other for connected."""
        is_up = self.pairs[one.number][other.number].is_up or not self.settings.is_stream
        return other.is_up and is_up

    def reaches(self, source: Process, target: Process) -> bool:
        """Whether a snapshot's stream from one node to another would get through now."""
        is_up = self.pairs[source.number][target.number].is_up or not self.settings.is_stream
        is_open = target.is_up and is_up and not self.links[source.number][target.number].cut
        return is_open and (not self._enrols or self._may_meet(source, target))

    @staticmethod
    def _may_meet(one: Process, other: Process) -> bool:
        """Whether a handshake goes well on both sides."""
        return one.admits(other) and other.admits(one)

    # ------------------------------------------------------------ faults

    def cut(self, source: int, target: int) -> None:
        """Let nothing through in one direction."""
        link = self.links[source][target]
        if link.cut or source == target:
            return
        link.cut = True
        if self.settings.is_stream:
            patience = self._knobs.core.election_timeout_seconds * (1 + 3 * self._dice.random())
            self._scheduler.after(patience, self._keepalive, source, target)

    def _keepalive(self, source: int, target: int) -> None:
        if self.links[source][target].cut:
            self.reset(source, target)

    def heal(self) -> None:
        """Let everything through again, in the order it was held back."""
        processes = self._world.members
        for source, row in enumerate(self.links):
            for target, link in enumerate(row):
                link.cut = False
                link.clogged_until = 0.0
                held, link.held = link.held, []
                for epoch, message in held:
                    self._scheduler.after(
                        0.0,
                        self._deliver_stream,
                        processes[source],
                        processes[target],
                        message,
                        epoch,
                    )

    def clog(self, source: int, target: int, seconds: float) -> None:
        """Hold up what is sent from now on."""
        self.links[source][target].clogged_until = self._scheduler.now + seconds

    def reset(self, a: int, b: int) -> None:
        """End both streams of a pair: what is on its way is lost, and both ends are told."""
        pair, processes = self.pairs[a][b], self._world.members
        quick = self._knobs.core.heartbeat_seconds * 0.1
        if self.settings.is_stream:
            if not pair.is_up:
                return
            pair.is_up = False
            pair.epoch += 1
            self.links[a][b].held.clear()
            self.links[b][a].held.clear()
            self._world.count("stream_reset")
        for one, other in ((a, b), (b, a)):
            self._scheduler.after(
                quick * self._dice.random(), processes[one].peer_lost, processes[other]
            )
        self._scheduler.after(quick * (1 + 9 * self._dice.random()), self._connect, a, b)

    def _connect(self, a: int, b: int) -> None:
        pair, (one, other) = self.pairs[a][b], (self._world.members[a], self._world.members[b])
        if self.settings.is_stream and pair.is_up:
            return
        if not (one.is_up and other.is_up):
            return
        is_refused = self._enrols and not self._may_meet(one, other)
        if is_refused or self.links[a][b].cut or self.links[b][a].cut:
            again = self._knobs.core.heartbeat_seconds * (0.2 + self._dice.random())
            again *= 5 if is_refused else 1
            self._scheduler.after(again, self._connect, a, b)
            return
        pair.is_up = True
        self.links[a][b].last = [0.0, 0.0]
        self.links[b][a].last = [0.0, 0.0]
        one.known_lives[b], other.known_lives[a] = other.incarnation, one.incarnation
        one.peer_connected(other)
        other.peer_connected(one)

    def process_died(self, process: Process) -> None:
        """Tell peers of a crash, soon or (the machine is gone too) by their keepalive only."""
        timeout = self._knobs.core.election_timeout_seconds
        for peer in self._world.members:
            if peer is process:
                continue
            draw = self._dice.random()
            if draw < 0.6:
                self._scheduler.after(
                    0.01 * timeout * draw, self._end_seen, peer, process, process.incarnation
                )
            elif self.settings.is_stream:
                self._scheduler.after(
                    timeout * (1 + draw), self._end_seen, peer, process, process.incarnation
                )

    def _end_seen(self, peer: Process, process: Process, life: int) -> None:
        if process.incarnation != life:
            return
        if self.settings.is_stream:
            pair = self.pairs[peer.number][process.number]
            if pair.is_up:
                pair.is_up = False
                pair.epoch += 1
        if not process.is_up:
            peer.peer_lost(process)

    def process_began(self, process: Process) -> None:
        """Connect a process that has just begun; streams to its earlier life end at that moment."""
        if not self.settings.is_stream and not self._enrols:
            return
        quick = self._knobs.core.heartbeat_seconds * 0.2
        for peer in self._world.members:
            if peer is process:
                continue
            pair = self.pairs[peer.number][process.number]
            if pair.is_up and self.settings.is_stream:
                pair.is_up = False
                pair.epoch += 1
                peer.peer_lost(process)
            self._scheduler.after(
                quick * self._dice.random(), self._connect, process.number, peer.number
            )
