"""One process of a node: the drive loop over the core, cut at any of its effects.

This is `raftlog.node.drive` without asyncio: each input goes into the core, then a turn takes every
Ready and does what it asks in the legal order of `core/ready.py`. Between any two effects (send,
persist, persisted, send after) the process may crash: `fuse` counts them down. A paused process
hears nothing, then everything at once, and its timers start anew if the pause was long.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftlog.checksum import chain
from raftlog.core.changes import Trial
from raftlog.core.entries import EntryKind
from raftlog.core.floor import may_pass_over
from raftlog.core.membership import Membership
from raftlog.core.messages import AppendRequest, InstallSnapshot, Message
from raftlog.core.raft import Raft
from raftlog.core.ready import Persist, ReadOutcome, SnapshotNeeded
from raftlog.core.state import RaftState
from raftlog.core.watched import WatchedRaft
from raftlog.errors import RaftLogError, StorageCorrupt, StorageError
from raftlog.node.enrolment import Enrolment
from raftlog.node.inputs import Inputs
from raftlog.sim.checker import View
from raftlog.sim.core.desk import Desk
from raftlog.sim.core.disk import Commit, Disk
from raftlog.sim.core.knobs import Knobs
from raftlog.sim.core.machine import machine_over
from raftlog.sim.core.operators import Silent
from raftlog.sim.core.trials import look, step_watched
from raftlog.storage.memory import MemoryStorage
from raftlog.types import Index, NodeId, Role, Term

if TYPE_CHECKING:
    from raftlog.sim.core.world import World

READY_MAX = 16
TIMER_SLACK_SECONDS = 1e-6
APPLY_BYTES = 1 << 20


class Crashed(Exception):
    """The process ends between two of its effects."""


class ElectionDice:
    """The core's dice, of whose range only a part is used, so that elections collide at times."""

    __slots__ = ("_draw", "spread")

    def __init__(self, draw: Callable[[], float], spread: float) -> None:
        self._draw = draw
        self.spread = spread

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number from the lower part of a..b."""
        return a + (b - a) * self.spread * self._draw()


class Process:
    """A node's disk, clock and, while it is up, its core."""

    __slots__ = (
        "_clock_base",
        "_clock_start",
        "_is_apply_due",
        "_is_turn_due",
        "_is_turn_now",
        "_knobs",
        "_timer_due",
        "began_at",
        "decided",
        "decided_in",
        "desk",
        "dice",
        "disk",
        "election_dice",
        "enrolment",
        "fuse",
        "held",
        "incarnation",
        "inputs",
        "is_applying_paused",
        "is_paused",
        "is_stranger",
        "is_up",
        "known_lives",
        "looked_at",
        "machine",
        "node_id",
        "number",
        "paused_at",
        "pending",
        "raft",
        "rate",
        "seen",
        "sending",
        "state",
        "was_restarted",
        "world",
    )

    def __init__(
        self, world: World, number: int, node_id: NodeId, storage: MemoryStorage, knobs: Knobs
    ) -> None:
        self.world = world
        self.number = number
        self.node_id = node_id
        self._knobs = knobs
        self.dice = random.Random(f"{knobs.seed}:node{number}")
        self.election_dice = ElectionDice(self.dice.random, knobs.election_spread)
        self.rate = self._draw_rate()
        self.incarnation = 0
        self.is_up = False
        self.is_paused = False
        self.was_restarted = False
        self.is_stranger = False
        self.looked_at: Trial | None = None
        """The newest transfer whose outcome was counted."""
        self.decided: Trial | None = None
        self.decided_in: list[Membership] = []
        """The newest trial that was won or lost, and the memberships of that moment."""
        self.disk = Disk(self, storage, knobs)
        self.known_lives: dict[int, int] = {}
        self.seen = View()

    def _draw_rate(self) -> float:
        """Return how fast this clock runs; with leases on, within the declared bound."""
        if self._knobs.core.lease_seconds:
            return 1 + self.dice.random() * self._knobs.core.clock_drift_max
        return 1 + self._knobs.clock_spread * (2 * self.dice.random() - 1)

    @property
    def storage(self) -> MemoryStorage:
        """Return the node's storage."""
        return self.disk.storage

    def local(self) -> float:
        """Return the time on this node's clock."""
        return self._clock_base + (self.world.scheduler.now - self._clock_start) * self.rate

    @property
    def has_state(self) -> bool:
        """Whether it is up, and so knows what its disk holds."""
        return self.is_up

    @property
    def instance_id(self) -> str:
        """Return which data directory this node has."""
        return self.storage.identity.instance_id

    def admits(self, peer: Process) -> bool:
        """Whether a handshake with that peer goes well on this side."""
        enrolment = self.enrolment
        if enrolment is not None and enrolment.is_fresh and peer.waits_to_join:
            return False  # who waits to be named dials nobody, and nobody dials it
        if (
            enrolment is None
            or enrolment.check(peer.node_id, peer.instance_id, peer.state.membership_index) is None
        ):
            return True
        self.world.count("stranger_refused")
        return False

    @property
    def waits_to_join(self) -> bool:
        """Whether this node was started to join, and no leader has reached it yet."""
        return self.storage.identity.joined and self.raft.last_index == 0

    def _enrolment_changed(self) -> None:
        if self.enrolment is not None:
            self.enrolment.update()

    # ------------------------------------------------------------ life and death

    def start(self) -> None:
        """Begin a life over what the disk holds."""
        self.incarnation += 1
        self._clock_start = self.world.scheduler.now
        self._clock_base = 1000 * self.dice.random()
        self.began_at = self.local()
        recovered = self.storage.recovered()
        self.machine = machine_over(self.storage)
        watch = self.world.watch
        self.raft: Raft = (Raft if watch is None else WatchedRaft)(
            node_id=self.node_id,
            settings=self._knobs.core,
            log=self.storage,
            hard_state=recovered.hard_state,
            seal=chain,
            random=self.election_dice,
            now=self.local(),
            damaged=recovered.damaged,
            applied=recovered.applied,
        )
        if watch is not None and isinstance(self.raft, WatchedRaft):
            self.raft.watch(watch, self.instance_id, self.local())
        self.state: RaftState = self.raft.observe()
        self.inputs = Inputs(self.raft, self, self)
        self.enrolment: Enrolment | None = None
        if self.world.operator.is_needed:
            self.enrolment = Enrolment(self.inputs, self.storage.identity, Silent())
        self.desk = Desk(self, self.world.clients.sessions.settings)
        self.pending: dict[Index, int] = {}
        self.sending: set[int] = set()
        self.held: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self.fuse = 0
        self.is_up = True
        self.is_paused = self.is_applying_paused = False
        self._is_turn_due = self._is_turn_now = self._is_apply_due = False
        self.paused_at = 0.0
        self._timer_due = float("inf")
        self.known_lives.clear()
        self.world.checker.started(self)
        self.input(self._nothing)

    def _nothing(self) -> None:
        """Begin with a turn."""

    def poke(self) -> None:
        """Leave the turn to `input`, within which all of this happens."""

    def fail(self, error: BaseException) -> None:
        """Let the world see which rule is broken."""
        raise error

    def monotonic(self) -> float:
        """Return the time on this node's clock."""
        return self.local()

    def wall_microseconds(self) -> int:
        """Return the time as entries carry it."""
        return int(self.world.scheduler.now * 1e6)

    def restart(self) -> None:
        """Open the disk again and begin anew."""
        if self.is_up:
            return
        self.world.note("restarts", self, None)
        try:
            self.disk.open()
            self.was_restarted = True
            self.start()
        except StorageCorrupt as error:
            self.world.note("does not start", self, error)
            self.world.count("start_refused")
            self.world.operator.refused(self)
            return
        self.world.network.process_began(self)

    def crash(self) -> None:
        """Die here: only the disk is left."""
        if not self.is_up:
            return
        self.is_up = False
        self.world.note("crashes", self, None)
        self.disk.crash()
        self.pending.clear()
        self.held.clear()
        self.world.network.process_died(self)

    def _fail(self, error: RaftLogError) -> None:
        """Stop as a node does whose disk failed; a damaged record is remembered if possible."""
        self.world.note("stops", self, error)
        self.world.count("node_stopped")
        if isinstance(error, StorageCorrupt) and self.dice.random() < 0.5:
            with contextlib.suppress(StorageError):
                self.storage.mark_damaged(error.message)
        if not isinstance(error, StorageCorrupt):
            self.disk.in_flight = None
        self.crash()
        self.world.restart_later(self)

    # ------------------------------------------------------------ inputs

    def input(self, action: Callable[..., object], *args: object) -> None:
        """Give the core one input, then have a turn."""
        if not self.is_up:
            return
        if self.is_paused:
            self.held.append((action, args))
            return
        try:
            action(*args)
            if self._knobs.turn_seconds and not self._is_turn_now:
                self._turn_soon()
            else:
                self._turn()
            self.world.checked(self)
        except Crashed:
            self.world.count("crash_at_boundary")
            self.crash()
            self.world.restart_later(self)
        except StorageError as error:
            self._fail(error)

    def receive(self, source: Process, message: Message) -> None:
        """Take a message from the network, unless the disk has no room for what it brings."""
        if self.is_up and self._lacks_room(message):
            self.world.count("append_refused_full")
            return
        self.world.note("receives", self, (source.node_id, message))
        self.input(self._step, source.node_id, message)

    def _lacks_room(self, message: Message) -> bool:
        """Whether the disk must refuse the entries of a message, as `Node` has it."""
        if self.storage.disk.free_bytes is None:
            return False
        if not isinstance(message, AppendRequest) or not message.entries:
            return False
        return self.storage.refusal(sum(entry.size for entry in message.entries)) is not None

    def lacks_room_for(self, size: int) -> bool:
        """Whether a leader's disk must refuse a proposal of that size, as `Writes` has it."""
        if self.storage.refusal(size) is None or self.state.role is not Role.LEADER:
            return False
        self.world.count("proposal_refused_full")
        return True

    def _step(self, source: NodeId, message: Message) -> None:
        if self.enrolment is None:
            self._watched(source, message)
        elif self.enrolment.hears(source, message):
            self.world.orders.heard(self, source, message)
            self._watched(source, message)
            self.enrolment.stepped()
        else:
            self.world.count("stranger_unheard")

    def _watched(self, source: NodeId, message: Message) -> None:
        step_watched(self.state, message, lambda: self.raft.step(source, message, self.local()))
        look(self)

    def peer_connected(self, peer: Process) -> None:
        """Learn that both channels to a peer are up."""
        self.world.note("connects", self, peer.node_id)
        self.input(self._connected, peer, peer.instance_id)

    def _connected(self, peer: Process, instance_id: str) -> None:
        if self.enrolment is not None and peer.enrolment is not None:
            fresh = peer.enrolment.is_fresh and peer.instance_id == instance_id
            self.enrolment.identified(peer.node_id, instance_id, fresh=fresh)
            self.world.orders.connected(self, peer, instance_id)
        self.raft.peer_connected(peer.node_id, self.local())

    def peer_lost(self, peer: Process) -> None:
        """Learn that both channels from a peer ended."""
        self.world.note("loses", self, peer.node_id)
        self.input(self._lost, peer.node_id)

    def _lost(self, peer: NodeId) -> None:
        self.raft.peer_lost(peer, self.local())

    def commit_done(self, incarnation: int, commit: Commit) -> None:
        """Learn from the disk that a commit is durable."""
        if incarnation == self.incarnation and self.is_up:
            self.world.note("persisted", self, commit.merged)
            self.input(self._durable, commit)

    def _durable(self, commit: Commit) -> None:
        self.disk.finish(commit)
        now = self.local()
        for persist in commit.persists:
            if self.fuse:
                self._boundary()
            self.raft.persisted(persist.token, now)
            for peer, message in persist.messages:
                self._send(peer, message)

    def _timer(self, incarnation: int, due: float) -> None:
        if incarnation == self.incarnation and due == self._timer_due:
            self._timer_due = float("inf")
            self.world.note("wakes", self, None)
            self.input(self._nothing)

    def _turn_soon(self) -> None:
        if not self._is_turn_due:
            self._is_turn_due = True
            after = self._knobs.turn_seconds * self.dice.random()
            self.world.scheduler.after(after, self._late_turn, self.incarnation)

    def _late_turn(self, incarnation: int) -> None:
        if incarnation != self.incarnation or not self._is_turn_due:
            return
        self._is_turn_due = False
        self._is_turn_now = True
        self.input(self._nothing)
        self._is_turn_now = False

    # ------------------------------------------------------------ pauses

    def pause(self, seconds: float) -> None:
        """Stand still: hear nothing for a while."""
        if self.is_up and not self.is_paused:
            self.is_paused = True
            self.paused_at = self.local()
            self.world.scheduler.after(seconds, self._resume, self.incarnation)

    def _resume(self, incarnation: int) -> None:
        if incarnation != self.incarnation or not self.is_up or not self.is_paused:
            return
        self.is_paused = False
        self.world.note("resumes", self, None)
        self.input(self._catch_up)

    def _catch_up(self) -> None:
        now = self.local()
        is_stalled = now - self.paused_at > self._knobs.stall_seconds
        is_first = self.dice.random() < 0.5
        if is_stalled and is_first:
            self.raft.stalled(now)
        held, self.held = self.held, []
        for action, args in held:
            action(*args)
            self.world.checker.check(self)
        if is_stalled and not is_first:
            self.raft.stalled(now)
        if is_stalled:
            self.world.count("pause_stalled")

    # ------------------------------------------------------------ the turn

    def _boundary(self) -> None:
        self.fuse -= 1
        if not self.fuse:
            raise Crashed

    def _send(self, peer: NodeId, message: Message) -> None:
        if self.fuse:
            self._boundary()
        self.world.send(self, peer, message)

    def _turn(self) -> None:
        now = self.local()
        raft = self.raft
        due = raft.deadline()
        if due <= now:
            raft.tick(now)
        elif not raft.has_ready():
            self._end_turn(now, due)
            return
        for _ in range(READY_MAX):
            if not raft.has_ready():
                break
            self._take(now)
        else:
            self._turn_soon()
        self._end_turn(now, raft.deadline())

    def _end_turn(self, now: float, due: float) -> None:
        if self.disk.in_flight is None:
            self.disk.begin()
        if due < self._timer_due:
            self._timer_due = due
            seconds = max(due - now, 0.0) / self.rate + TIMER_SLACK_SECONDS
            self.world.scheduler.after(seconds, self._timer, self.incarnation, due)

    def _take(self, now: float) -> None:
        ready = self.raft.take_ready(now)
        for peer, message in ready.messages:
            self._send(peer, message)
        persist = ready.persist
        if persist is not None:
            if self.fuse:
                self._boundary()
            self._submit(persist)
        if ready.standing is not None:
            self.world.note("stands", self, ready.standing)
            self._enrolment_changed()
            self.desk.standing_changed(ready.standing)
            if ready.standing.role is not Role.LEADER:
                self.pending.clear()
        if ready.commit_index > self.machine.index:
            self._apply()
        for outcome in ready.reads:
            self._answer(outcome)
        for needed in ready.snapshots:
            self._send_snapshot(needed)

    def _submit(self, persist: Persist) -> None:
        if persist.install is not None:
            self.is_applying_paused = True
        self.world.checker.persisting(self, persist)
        self.disk.submit(persist)

    def _answer(self, outcome: ReadOutcome) -> None:
        self.world.clients.read_answered(self, outcome)

    # ------------------------------------------------------------ applying

    def _apply(self) -> None:
        if self.is_applying_paused or self.machine.index < self.raft.log.boundary.index:
            return  # a snapshot is on its way to the disk, and the log holds only what follows it
        machine, room = self.machine, self.disk.knobs.disk.apply_max
        commit = self.raft.commit_index
        if commit != self.seen.commit:
            self.world.checker.check(self)  # what is applied below must count as chosen by then
        high = Index(min(commit, machine.index + room))
        while machine.index < high:
            low = Index(machine.index + 1)
            for entry in self.raft.log.entries(low, high, APPLY_BYTES):
                applied = machine.apply(entry)
                self.world.checker.applied(self, entry)
                self.world.clients.grew(entry)
                self.desk.applied(entry, applied)
                if entry.kind is EntryKind.MEMBERSHIP:
                    self._enrolment_changed()
                wanted = self.pending.pop(entry.index, None)
                if wanted is not None:
                    self.world.clients.applied(self, entry, wanted)
        self.desk.look()
        self.disk.consider_snapshot()
        if machine.index < commit and not self._is_apply_due:
            self._is_apply_due = True
            self.world.scheduler.after(
                self.disk.knobs.disk.commit_seconds, self._apply_more, self.incarnation
            )

    def _apply_more(self, incarnation: int) -> None:
        if incarnation == self.incarnation:
            self._is_apply_due = False
            if self.machine.index < self.raft.commit_index:
                self.input(self._apply)

    def installed(self) -> None:
        """Go on from the state of a snapshot that replaced everything."""
        self.machine.load(self.storage)
        self.desk.passed_over(self.machine.index)
        self.desk.look()
        self.is_applying_paused = self.disk.has_install
        self._enrolment_changed()
        self.world.checker.installed(self)
        if self.was_restarted:
            self.world.count("snapshot_to_restarted")

    # ------------------------------------------------------------ snapshots

    def _send_snapshot(self, needed: SnapshotNeeded) -> None:
        peer = self.world.by_id[needed.peer]
        newest = self.disk.newest
        if not peer.storage.identity.has_machine and self.machine.keeps_state:
            self._send_boundary(needed, peer)
            return
        if peer.storage.identity.has_machine and not self.machine.keeps_state:
            self.world.count("witness_lacks_state")
            self._send_later(peer)
            return
        if newest is None or newest.boundary.index < self.storage.boundary.index:
            if self.storage.refusal(1) is not None:
                self._send_later(peer)
                return
            newest = self.disk.take_snapshot()
        self.world.note("streams snapshot", self, needed)
        self.world.snapshots.send(self, peer, needed.term, newest)

    def _send_boundary(self, needed: SnapshotNeeded, peer: Process) -> None:
        """Stream a bare snapshot to a witness, which keeps no state."""
        bare = self.storage.bare_snapshot()
        since = self.local() - self._knobs.core.election_timeout_seconds
        self.storage.pin_snapshot(bare.snapshot_id)
        if not may_pass_over(self.raft, peer.node_id, bare.boundary.index, since):
            self.storage.unpin_snapshot(bare.snapshot_id)
            self.world.count("witness_waits")
            self._send_later(peer)
            return
        self.world.count("boundary_sent")
        self.world.snapshots.send(self, peer, needed.term, bare)
        self.storage.unpin_snapshot(bare.snapshot_id)  # what is under way is read already

    def _send_later(self, peer: Process) -> None:
        self.world.scheduler.after(
            self._knobs.core.heartbeat_seconds, self._no_snapshot, self.incarnation, peer
        )

    def _no_snapshot(self, incarnation: int, peer: Process) -> None:
        """Tell the core that there is no snapshot to send."""
        if incarnation == self.incarnation:
            self.snapshot_finished(peer, delivered=False)

    def take_snapshot_message(self, source: NodeId, term: Term, snapshot_id: str) -> None:
        """Take a snapshot that is staged and verified."""
        held = self.storage.disk.snapshots.get(snapshot_id)
        if held is not None:
            message = InstallSnapshot(term=term, boundary=held[0].boundary, snapshot_id=snapshot_id)
            self.raft.step(source, message, self.local())

    def snapshot_finished(self, peer: Process, *, delivered: bool) -> None:
        """Learn that an outgoing stream ended; what did not arrive may have rotted here."""
        if not delivered and self.is_up:
            self.disk.check_newest()
        self.input(self._finished, peer.node_id, delivered)

    def _finished(self, peer: NodeId, delivered: bool) -> None:  # noqa: FBT001, called by position
        self.raft.snapshot_finished(peer, delivered, self.local())
