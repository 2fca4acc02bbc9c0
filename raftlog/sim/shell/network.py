"""Connections between processes, as TCP gives them to gRPC: ordered, slow, cut and reset.

What is sent on a connection arrives in order, after a drawn delay. A cut holds it back until it
heals or a keepalive gives the connection up; a reset loses what is on its way, a suffix, and both
ends are told. A process that dies is noticed at once or, if its machine went with it, by silence.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from raftlog.sim.shell.host import Host

if TYPE_CHECKING:
    from raftlog.sim.shell.knobs import NetworkKnobs
    from raftlog.sim.shell.world import ShellWorld

CONNECT_SECONDS = 2.0
RETRY_SECONDS = 0.1
QUICK_SECONDS = 0.002
NEVER_CONNECTED = "failed to connect to all addresses; last error: UNKNOWN: simulated"


class End(Protocol):
    """One end of a connection."""

    def connection_lost(self, why: str) -> None:
        """Nothing comes or goes any more."""


class Accepting(Protocol):
    """What listens on an address."""

    def accept(self, connection: Connection) -> End:
        """Take a new connection; return its far end."""


class Link:
    """One direction between two machines."""

    __slots__ = ("clogged_until", "cut")

    def __init__(self) -> None:
        self.cut = False
        self.clogged_until = 0.0


class Way:
    """One direction of one connection. `held`: what a cut keeps back."""

    __slots__ = ("end", "held", "host", "last", "life")

    def __init__(self, host: Host) -> None:
        self.host = host
        self.life = host.life
        self.last = 0.0
        self.held: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self.end: End | None = None


class Connection:
    """From a client's end (0) to a server's (1)."""

    __slots__ = ("is_up", "ways")

    def __init__(self, client: Host, server: Host) -> None:
        self.is_up = True
        self.ways = (Way(client), Way(server))


class Network:
    """All machines and what is between them."""

    def __init__(self, world: ShellWorld, settings: NetworkKnobs) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._dice = random.Random(f"{world.knobs.seed}:network")
        self.settings = settings
        self._links: dict[tuple[int, int], Link] = {}
        self._connections: list[Connection] = []
        self._tidy_at = 64
        self._listening: dict[str, tuple[Host, Accepting]] = {}
        self.detours: dict[str, str] = {}
        """Where an address leads that leads astray."""

    def link(self, source: int, target: int) -> Link:
        """Return one direction between two machines."""
        found = self._links.get((source, target))
        if found is None:
            found = self._links[source, target] = Link()
        return found

    def _delay(self, source: Host, target: Host) -> float:
        settings, draw = self.settings, self._dice.random
        first = draw()
        seconds = settings.delay_seconds * (0.2 + 1.6 * first * first)
        if settings.tail_chance and draw() < settings.tail_chance:
            seconds += settings.tail_seconds * draw()
        clogged = self.link(source.number, target.number).clogged_until - self._scheduler.now
        return seconds + max(0.0, clogged)

    # ------------------------------------------------------------ connecting

    def listen(self, address: str, host: Host, accepting: Accepting) -> None:
        """Accept connections to an address from now on."""
        self._listening[address] = (host, accepting)

    def close(self, address: str) -> None:
        """Accept none any more."""
        self._listening.pop(address, None)

    def connect(self, client: Host, address: str, done: Callable[[Connection | str], None]) -> None:
        """Try to connect; `done` gets a connection, or why there is none, on the client's loop."""
        started = client.now()
        client.at(started, self._try, client, self.detours.get(address, address), done, started)

    def _try(
        self,
        client: Host,
        address: str,
        done: Callable[[Connection | str], None],
        started: float,
    ) -> None:
        now = self._scheduler.now
        server = self._world.machine_of(address)
        if now - started > CONNECT_SECONDS:
            client.post(done, f"{NEVER_CONNECTED}: timed out")
            return
        if self._is_cut(client, server):
            self._scheduler.after(
                RETRY_SECONDS, self._retry, client, client.life, address, done, started
            )
            return
        there, back = self._delay(client, server), self._delay(server, client)
        client.at(now + there, self._arrive, client, address, done, now + there + back)

    def _retry(
        self,
        client: Host,
        life: int,
        address: str,
        done: Callable[[Connection | str], None],
        started: float,
    ) -> None:
        if client.is_up and client.life == life:
            self._try(client, address, done, started)

    def _is_cut(self, one: Host, other: Host) -> bool:
        numbers = (one.number, other.number)
        return self.link(*numbers).cut or self.link(*numbers[::-1]).cut

    def _arrive(
        self, client: Host, address: str, done: Callable[[Connection | str], None], back: float
    ) -> None:
        found = self._listening.get(address)
        if found is None or not found[0].is_up:
            client.at(back, client.post, done, f"{NEVER_CONNECTED}: Connection refused")
            return
        server, accepting = found
        connection = Connection(client, server)
        connection.ways[1].end = accepting.accept(connection)
        self._add(connection)
        client.at(back, self._connected, connection, done)

    def _connected(self, connection: Connection, done: Callable[[Connection | str], None]) -> None:
        if connection.is_up:
            connection.ways[0].host.post(done, connection)
        else:
            connection.ways[0].host.post(done, f"{NEVER_CONNECTED}: Connection reset by peer")

    def _add(self, connection: Connection) -> None:
        self._connections.append(connection)
        if len(self._connections) > self._tidy_at:
            self._connections = [each for each in self._connections if each.is_up]
            self._tidy_at = 2 * len(self._connections) + 64

    # ------------------------------------------------------------ sending

    def send(
        self, connection: Connection, side: int, call: Callable[..., None], *args: object
    ) -> None:
        """Have `call` called at the far end, after everything that `side` sent before."""
        if not connection.is_up:
            return
        near, far = connection.ways[side], connection.ways[1 - side]
        if not near.host.is_up or near.life != near.host.life:
            return
        near.host.boundary()
        if far.host.life != far.life:
            self._world.count("connection_to_the_dead")
            self.reset(connection, "Connection reset by peer")
            return
        moment = max(near.host.now() + self._delay(near.host, far.host), far.last)
        far.last = moment
        self._scheduler.at(moment, self._deliver, connection, side, call, args)

    def _deliver(
        self,
        connection: Connection,
        side: int,
        call: Callable[..., None],
        args: tuple[object, ...],
    ) -> None:
        near, far = connection.ways[side], connection.ways[1 - side]
        if not connection.is_up or far.host.life != far.life:
            self._world.count("message_lost")
            return
        if far.held or self.link(near.host.number, far.host.number).cut:
            far.held.append((call, args))
            return
        far.host.post(call, *args)

    # ------------------------------------------------------------ ends

    def reset(self, connection: Connection, why: str) -> None:
        """End a connection: what is on its way is lost, and both ends are told soon."""
        if not connection.is_up:
            return
        connection.is_up = False
        for way in connection.ways:
            way.held.clear()
            if way.end is not None and way.host.is_up and way.host.life == way.life:
                moment = way.host.now() + QUICK_SECONDS * self._dice.random()
                way.host.at(moment, way.host.post, way.end.connection_lost, why)

    def hang_up(self, connection: Connection, side: int) -> None:
        """Close a connection from one side, in order: the other reads what was sent before."""
        if connection.is_up:
            self.send(connection, side, self._hung_up, connection, side)

    @staticmethod
    def _hung_up(connection: Connection, side: int) -> None:
        if connection.is_up:
            connection.is_up = False
            end = connection.ways[1 - side].end
            if end is not None:
                end.connection_lost("Socket closed")

    def host_died(self, host: Host) -> None:
        """Tell the far ends: soon, or only by their keepalive if the machine went too."""
        for address, (owner, _) in list(self._listening.items()):
            if owner is host:
                del self._listening[address]
        is_silent = self._dice.random() < self.settings.silent_deaths
        for connection in [each for each in self._connections if each.is_up]:
            if host not in {connection.ways[0].host, connection.ways[1].host}:
                continue
            wait = self.settings.keepalive_seconds if is_silent else QUICK_SECONDS
            self._scheduler.after(
                wait * self._dice.random(), self.reset, connection, "Connection reset by peer"
            )

    def dispose(self) -> None:
        """Let go of everything."""
        self._connections.clear()
        self._listening.clear()

    # ------------------------------------------------------------ faults

    def cut(self, source: int, target: int) -> None:
        """Let nothing through in one direction."""
        link = self.link(source, target)
        if link.cut or source == target:
            return
        link.cut = True
        patience = self.settings.keepalive_seconds * (0.2 + self._dice.random())
        self._scheduler.after(patience, self._keepalive, source, target)

    def _keepalive(self, source: int, target: int) -> None:
        if self.link(source, target).cut:
            self._world.count("keepalive_gave_up")
            self.reset_between(source, target, "keepalive watchdog timeout")

    def reset_between(self, a: int, b: int, why: str) -> None:
        """Reset every connection between two machines."""
        for connection in self._connections:
            numbers = (connection.ways[0].host.number, connection.ways[1].host.number)
            if connection.is_up and numbers in {(a, b), (b, a)}:
                self._world.count("stream_reset")
                self.reset(connection, why)

    def half_reset_between(self, a: int, b: int) -> None:
        """Let whoever opened a connection lose it; what it sent arrives, and the far end waits on.

        That one is told by its keepalive only, so the next connection comes beside this one.
        """
        for connection in [each for each in self._connections if each.is_up]:
            near, far = connection.ways
            if {near.host.number, far.host.number} != {a, b} or near.end is None:
                continue
            end, near.end = near.end, None
            if near.host.is_up and near.host.life == near.life:
                near.host.post(end.connection_lost, "Connection reset by peer")
            patience = self.settings.keepalive_seconds * (0.2 + self._dice.random())
            self._scheduler.after(patience, self.reset, connection, "keepalive watchdog timeout")

    def heal(self) -> None:
        """Let everything through again, in the order it was held back."""
        self.detours.clear()
        for link in self._links.values():
            link.cut = False
            link.clogged_until = 0.0
        for connection in self._connections:
            for way in connection.ways:
                held, way.held = way.held, []
                if connection.is_up and way.host.life == way.life:
                    for call, args in held:
                        way.host.post(call, *args)

    def clog(self, source: int, target: int, seconds: float) -> None:
        """Hold up what is sent from now on."""
        self.link(source, target).clogged_until = self._scheduler.now + seconds
