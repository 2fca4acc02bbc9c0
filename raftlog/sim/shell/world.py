"""The second engine's world: real nodes and real clients, each process on a loop of its own.

A run has two phases, as engine 1's has. First the nemesis and the callers do as the seed says for
some virtual seconds. Then everything is healed, callers finish, and the world owes: a leader and an
append within a bound, every member at the same state and log, tails at its end, clean stops that
leave nothing behind. Last, the history of what clients were told is compared with the log.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import hashlib
import pathlib
import random
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from raftlog.checksum import crc32c
from raftlog.core.entries import Boundary
from raftlog.core.membership import Member, Membership
from raftlog.core.messages import Message
from raftlog.errors import RaftLogError
from raftlog.history import Call, Operation
from raftlog.interfaces import Identity
from raftlog.levels import FEATURE_LEVEL_MAX
from raftlog.machines.kv import KvMachine
from raftlog.node.settings import NodeSettings
from raftlog.sim.checker import Checker, CheckFailed
from raftlog.sim.outcome import Outcome
from raftlog.sim.scheduler import Scheduler
from raftlog.sim.shell.backups import BackupHost
from raftlog.sim.shell.desk import Desk
from raftlog.sim.shell.ending import Ending
from raftlog.sim.shell.host import Host
from raftlog.sim.shell.knobs import ShellKnobs
from raftlog.sim.shell.loop import ExceptionContext
from raftlog.sim.shell.member import NodeHost
from raftlog.sim.shell.nemesis import ShellNemesis
from raftlog.sim.shell.network import Network
from raftlog.sim.shell.operators import OperatorHost
from raftlog.sim.shell.record import LogRecord
from raftlog.sim.shell.traps import Traps
from raftlog.sim.shell.user import UserHost
from raftlog.sim.shell.workload import ClientHost
from raftlog.sim.transcript import Transcript
from raftlog.types import Index, NodeId, Role, Term

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process

CLUSTER = "sim"
TRANSCRIPT_LINES = 80
EVENTS_LIMIT = 3_000_000
PORTS = (7001, 7002)
"""Where a machine may be reached, now here and now there."""
APART = "two clusters exchange nothing"
ROLE_NUMBERS = {role: number for number, role in enumerate(Role)}
_DIGEST = struct.Struct("<dBQQQB")


class ShellWorld:
    """Everything there is; built from its knobs."""

    ports: tuple[int, ...] = PORTS
    first_number = 0
    """Of its first process: another world may be beside it."""

    def __init__(
        self,
        knobs: ShellKnobs,
        *,
        kept: frozenset[int] | None = None,
        full_transcript: bool = False,
    ) -> None:
        self.knobs = knobs
        self.scheduler = self._new_scheduler()
        self.counters: collections.Counter[str] = collections.Counter()
        self.transcript = Transcript(None if full_transcript else TRANSCRIPT_LINES)
        self.events = 0
        self.is_ending = False
        self._is_collecting = False
        self.failure: str | None = None
        self.detail = ""
        self._dice = random.Random(f"{knobs.seed}:shell-world")
        self._digest = hashlib.blake2b(digest_size=16)
        self.network = self._new_network()
        self.record = LogRecord()
        self.operations: list[Operation] = []
        names = [NodeId(f"n{number + 1}") for number in range(knobs.voters + knobs.spares)]
        addresses = {name: f"{name}:{self.ports[0]}" for name in names}
        self.first_boundary = self._new_boundary(
            {name: addresses[name] for name in names[: knobs.voters]}
        )
        self.checker = Checker(
            self.count, self.first_boundary.checksum, self.first_boundary.membership
        )
        self.members = [
            NodeHost(
                self,
                self.first_number + number,
                Identity(
                    cluster_id=CLUSTER,
                    node_id=name,
                    instance_id=f"{name}-1",
                    joined=number >= knobs.voters,
                    has_machine=knobs.has_machine(number),
                ),
                addresses[name],
            )
            for number, name in enumerate(names)
        ]
        self.checker.processes = cast("list[Process]", self.members)
        self._by_address = {
            f"{m.name}:{port}": m for m in self.members for port in self._ports_used()
        }
        self.desk = Desk(self)
        if knobs.operators:
            self.checker.membership_chosen = self.desk.membership_chosen
        self.endpoints = self._new_endpoints()
        first = self.first_number + len(names)
        self.clients, self.operators = self._new_users(first)
        self.keepers = self._new_keepers(first + len(self.clients) + len(self.operators))
        self.traps = Traps(self)
        self.nemesis = ShellNemesis(self, knobs, kept)
        self.ending = Ending(self, knobs)
        self._started = time.process_time()

    def _new_scheduler(self) -> Scheduler:
        return Scheduler()

    def _new_network(self) -> Network:
        return Network(self, self.knobs.network)

    def _new_boundary(self, addresses: dict[NodeId, str]) -> Boundary:
        """Return where every log begins."""
        is_new = self.knobs.has_witnesses and not self.knobs.has_old_witnesses
        level = FEATURE_LEVEL_MAX if is_new else 1
        return _first_boundary(addresses, witnesses=self.knobs.witnesses, level=level)

    def _ports_used(self) -> tuple[int, ...]:
        """Return at which ports a machine may be found, now or later."""
        return self.ports if self.knobs.operators else self.ports[:1]

    def _new_endpoints(self) -> str:
        """Return which addresses those know who use the SDK."""
        return ",".join(self._by_address)

    def _new_users(self, first: int) -> tuple[list[ClientHost], list[OperatorHost]]:
        """Return the processes that use the SDK; their machines have the numbers from `first`."""
        knobs, endpoints = self.knobs, self.endpoints
        clients = [
            ClientHost(self, first + number, f"c{number + 1}", endpoints)
            for number in range(knobs.work.clients)
        ]
        first += len(clients)
        operators = [
            OperatorHost(self, first + number, f"o{number + 1}", endpoints)
            for number in range(knobs.operators)
        ]
        return clients, operators

    def _new_keepers(self, first: int) -> list[BackupHost]:
        """Return the processes that take backups; their machines have the numbers from `first`."""
        return [
            BackupHost(self, first + number, f"b{number + 1}", self.endpoints)
            for number in range(self.knobs.backups)
        ]

    # ------------------------------------------------------------ what its parts call

    def count(self, name: str) -> None:
        """Count something that sometimes happens."""
        if not self._is_collecting:
            self.counters[name] += 1

    def note(self, kind: str, host: Host | None, content: object) -> None:
        """Remember for the transcript."""
        if not self._is_collecting:
            self.transcript.add((self.scheduler.now, kind, host.name if host else "-", content))

    def fail(self, failure: str, error: BaseException | None = None) -> None:
        """Note the first property that was broken; the run ends after this event."""
        if self.failure is None and not self._is_collecting:
            self._keep_failure(failure, error)

    def _keep_failure(self, failure: str, error: BaseException | None) -> None:
        if self.failure is None:
            self.failure = failure
            if error is not None:
                self.detail = "".join(traceback.format_exception(error))

    def unhandled(self, host: Host, context: ExceptionContext) -> None:
        """Take what asyncio would have logged: nobody looked at it."""
        error = context.get("exception")
        self._keep_failure(
            f"unhandled: {host.name}: {context.get('message')}: {error!r}",
            error if isinstance(error, BaseException) else None,
        )

    def handler_failed(self, host: Host, method: str, error: BaseException) -> None:
        """Take an exception that no handler of a service should raise."""
        self.fail(f"handler: {host.name}: {method} raised {error!r}", error)

    def machine_of(self, address: str) -> Host:
        """Return the machine that an address leads to."""
        return self._by_address[address]

    def settings_of(self, host: NodeHost) -> NodeSettings:
        """Return what a node runs with: where operators are, it is told where everybody is."""
        settings = self.knobs.node
        if not self.knobs.operators:
            return settings
        peers = tuple((m.name, m.address) for m in self.members if m is not host)
        return dataclasses.replace(settings, advertise=host.address, peers=peers)

    def move(self, host: NodeHost) -> None:
        """Let a machine be reached at another address from its next life on."""
        old, new = self.addresses_of(host)
        host.moves_to = new if host.address == old else old

    def addresses_of(self, host: NodeHost) -> list[str]:
        """Return where a machine may be reached."""
        return [f"{host.name}:{port}" for port in self.ports]

    def backup_taken(self, path: pathlib.Path) -> None:
        """Take note of a backup, which is gone once this returns."""

    def mislead(self, host: NodeHost, seconds: float) -> None:
        """Let a machine's address lead into the world beside this one; here there is none."""

    def crossed(self, host: Host, method: str, *, is_introduction: bool) -> None:
        """Take an answer that was given to a process of another world, beside this one.

        It may tell whose node it is, where that is asked; nothing else.
        """
        if is_introduction:
            self.count("introduced_astray")
        else:
            self.fail(f"{APART}: {host.name} answers one of another cluster by {method}")

    @property
    def users(self) -> list[UserHost]:
        """Return every process that uses the SDK."""
        return [*self.clients, *self.operators, *self.keepers]

    def leaders(self) -> list[NodeHost]:
        """Return the live nodes that think they lead."""
        return [m for m in self.members if m.is_leading]

    def new_operation(self, client: str, call: Call, invoked: float) -> Operation:
        """Begin an operation of the history."""
        operation = Operation(len(self.operations) + 1, client, call, invoked)
        self.operations.append(operation)
        return operation

    def newest_boundary(self) -> int:
        """Return the first sequence that every member still holds, or will soon."""
        return max(member.disk.boundary.next_sequence for member in self.members)

    def restart_later(self, host: Host) -> None:
        """Let a dead process begin again after a while."""
        delay = self.knobs.restart_seconds * (0.1 + 1.9 * self._dice.random())
        self.scheduler.after(delay, self._restart, host, host.life)

    def _restart(self, host: Host, life: int) -> None:
        if not host.is_up and host.life == life and not self.ending.is_stopping:
            self.note("restarts", host, None)
            host.begin()

    def exited(self, host: NodeHost) -> None:
        """A member stopped cleanly."""
        if not self.ending.is_stopping and not host.is_refused:
            self.restart_later(host)

    # ------------------------------------------------------------ checks

    @contextlib.contextmanager
    def _checking(self) -> Iterator[None]:
        try:
            yield
        except CheckFailed as error:
            self.fail(str(error))
        except RaftLogError as error:
            self.count("check_read_damage")
            self.note("cannot check", None, str(error))

    def started(self, host: NodeHost) -> None:
        """Check what a member begins with."""
        with self._checking():
            self.checker.started(cast("Process", host))

    def check_sent(self, host: NodeHost, peer: NodeId, message: Message) -> None:
        """Check that a message may leave."""
        with self._checking():
            self.checker.sent(cast("Process", host), peer, message)

    def will_purge(self, process: Process, index: Index) -> None:
        """Check that a member's log may be dropped up to there."""
        with self._checking():
            self.checker.will_purge(process, index)

    def passed(self, host: Host) -> None:
        """Check the process whose loop just ran, and add the event to the digest."""
        if not isinstance(host, NodeHost):
            asked = host.asked if isinstance(host, ClientHost | OperatorHost | BackupHost) else 0
            self._add(host.number, asked, 0, 0, 0)
            return
        if host.node is None or not host.is_up:
            return
        state = host.state
        with self._checking():
            self.record.look(state)
            self.checker.check(cast("Process", host))
        self._add(
            host.number,
            state.term,
            state.log.last_checksum,
            state.commit_index,
            ROLE_NUMBERS[state.role],
        )

    def _add(self, number: int, first: int, second: int, third: int, fourth: int) -> None:
        self._digest.update(_DIGEST.pack(self.scheduler.now, number, first, second, third, fourth))

    # ------------------------------------------------------------ the run

    def run(self) -> Outcome:
        """Run to the end or to the first failure."""
        was_enabled = gc.isenabled()
        gc.disable()  # so that nothing is finalised at a moment that the seed does not decide
        dice = random.getstate()
        try:
            self._run()
        except Exception as error:  # noqa: BLE001, whatever it is, the seed that found it is kept
            self.fail(f"{type(error).__name__}: {error}", error)
        finally:
            standing = self._standing()
            if random.getstate() != dice:
                self.fail("the run does not repeat: somebody rolled dice that are not the seed's")
            self._collect()
            if was_enabled:
                gc.enable()
        lines: tuple[str, ...] = ()
        if self.failure is not None or self.transcript.notes.maxlen is None:
            lines = (*self.transcript.lines(), *standing)
        return Outcome(
            seed=self.knobs.seed,
            digest=self._digest.hexdigest(),
            events=self.events,
            virtual_seconds=self.scheduler.now,
            cpu_seconds=time.process_time() - self._started,
            counters=dict(self.counters),
            failure=self.failure,
            detail=self.detail or self.failure or "",
            faults=tuple(self.nemesis.done),
            transcript=lines,
        )

    def _run(self) -> None:
        self.count("engine_shell")
        for member in self.members:
            member.begin()
        for client in self.users:
            client.begin()
        self.nemesis.begin()
        self.scheduler.at(self.knobs.seconds, self.ending.begin)
        step = self.scheduler.step
        while self.failure is None and not self._is_over():
            if not step():
                self.fail("deadlock: nothing is scheduled, and the run is not over")
            self.events += 1
            if self.events > EVENTS_LIMIT:
                self.fail(f"liveness: {self.events} events and no end")
        if self.failure is None:
            self._judge()

    def _is_over(self) -> bool:
        return self.ending.is_over

    def _judge(self) -> None:
        self.ending.verdict()

    def _standing(self) -> list[str]:
        return self.ending.describe()

    def _hosts(self) -> list[Host]:
        """Return every process there is."""
        return [*self.members, *self.users]

    def _collect(self) -> None:
        """Drop every loop; what nobody retrieved is told now.

        The `finally` blocks of what died run at last, in a world that takes no notice of them.
        """
        self._is_collecting = True
        hook, sys.unraisablehook = sys.unraisablehook, _overlook
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for host in self._hosts():
                if host.is_up:
                    host.is_up = False
                    host.loop.abandon()
                if host.life:  # a run may fail before all of its hosts have begun
                    host.dispose()
            self.network.dispose()
            self.scheduler.clear()
            gc.collect()
        sys.unraisablehook = hook


def _overlook(_unraisable: object) -> None:
    """Say nothing of a generator that cannot be closed any more."""


def _first_boundary(addresses: dict[NodeId, str], *, witnesses: int, level: int) -> Boundary:
    """Return where every log begins: with the founders, the last ones of which are witnesses."""
    able = len(addresses) - witnesses
    members = [
        Member(node_id=name, address=address, has_machine=number < able)
        for number, (name, address) in enumerate(addresses.items())
    ]
    membership = Membership.of_voters(members)
    return Boundary(
        index=Index(0),
        term=Term(0),
        checksum=crc32c(membership.encode()),
        next_sequence=1,
        timestamp=0,
        membership=membership,
        feature_level=level,
        machine_name=KvMachine.name,
        machine_version=KvMachine.version,
    )
