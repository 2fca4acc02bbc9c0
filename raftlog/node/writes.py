"""The way in: a group is checked, admitted, proposed, and answered once it is applied.

Nothing is done here per transaction. What does not parse never becomes an entry; what is refused
leaves no trace, so every refusal is definite.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from raftlog import groups
from raftlog.core.entries import Entry, EntryKind
from raftlog.errors import (
    DiskFull,
    Indeterminate,
    InvalidInput,
    MachineHalted,
    NotLeader,
    Overloaded,
    RaftLogError,
    Rejected,
    Unavailable,
)
from raftlog.groups import Group
from raftlog.interfaces import Event, GroupReceipt, Measure, Respond
from raftlog.node.application import AppliedEntry
from raftlog.node.inputs import Inputs
from raftlog.node.ports import Ports, hint_of, is_witness
from raftlog.node.proposals import Proposal, Proposals
from raftlog.node.sessions import SessionGate, SessionTable, encode_expire, encode_open
from raftlog.types import Role

EXPIRED_PER_ENTRY_MAX = 1000
EVICTED_MAX = 500
EXECUTE_SECONDS = 10.0


class Opening(Protocol):
    """What `Leadership` says of whether this member takes writes."""

    @property
    def is_open(self) -> bool:
        """Whether clients may write."""
        ...

    @property
    def is_promoting(self) -> bool:
        """Whether this member's own machine may."""
        ...


class Applying(Protocol):
    """What the applier knows that decides on a write."""

    halted: str | None
    """Why nothing is applied any more."""
    stuck: str | None
    """Why nothing is applied for now."""
    sessions: SessionTable


class Writes:
    """Proposals and the leader's session gate. Bound to the event loop."""

    def __init__(
        self, ports: Ports, inputs: Inputs, applier: Applying, leadership: Opening
    ) -> None:
        self._machine = ports.machine.name
        self._storage = ports.storage
        self._clock = ports.clock
        self._observer = ports.observer
        self._settings = ports.settings
        self._inputs = inputs
        self._core = inputs.core
        self._applier = applier
        self._leadership = leadership
        self._proposals = Proposals()
        self._gate: SessionGate | None = None
        self._closed = False
        self.no_room: str | None = None
        """Why no write could come to be durable, though this member's own disk may have room."""
        self._ended: set[int] = set()
        """Sessions that their clients closed."""

    def __len__(self) -> int:
        return len(self._proposals)

    # ------------------------------------------------------------ in

    def submit(self, data: bytes, respond: Respond, *, own: bool = False) -> None:
        """Propose a group; `respond` is called exactly once.

        `own`: it comes from this member's machine, which may write before clients may.
        """
        try:
            if len(data) > self._settings.frame_bytes_max:
                raise InvalidInput(
                    f"group of {len(data)} bytes is over the limit of "
                    f"{self._settings.frame_bytes_max} bytes"
                )
            group = groups.parse(data, transaction_bytes_max=self._settings.transaction_bytes_max)
            receipt = self._propose_group(group, respond, own=own)
        except RaftLogError as error:
            self._observer.count(Measure.PROPOSALS_FAILED)
            respond(error)
            return
        if receipt is not None:
            respond(receipt)

    def _propose_group(self, group: Group, respond: Respond, *, own: bool) -> GroupReceipt | None:
        self.require_open(own=own)
        if group.has_commands:
            self._check_machines(group)
        gate = self._gate
        if group.session and gate is not None:
            admission = gate.admit(group)
            if admission.receipt is not None:
                return admission.receipt
            if admission.join_index is not None:
                if not self._proposals.join(admission.join_index, respond):
                    raise Unavailable("the first attempt is being applied", definite=False)
                return None
        self._require_room(len(group.data))

        def appended(entry: Entry) -> None:
            if group.session and gate is not None:
                gate.appended(group, entry.index)
            self._proposals.add(Proposal(entry.term, entry.index, group, [respond]))

        self._inputs.propose(EntryKind.TRANSACTIONS, group.data, group.count, appended)
        return None

    def _check_machines(self, group: Group) -> None:
        for name in group.machines:
            if name != self._machine:
                raise InvalidInput(f"this cluster runs the machine {self._machine!r}, not {name!r}")

    def require_open(self, *, own: bool = False) -> None:
        """Raise what a client is told where this member does not take writes.

        `own`: the writes of this member's own machine, which begin before those of clients.
        """
        if self._closed:
            raise Unavailable("this node is stopping")
        is_open = self._leadership.is_open and self._gate is not None
        if own:
            is_open = self._leadership.is_promoting
        core = self._core
        if is_open and core.role is Role.LEADER:
            if self._applier.stuck:
                raise MachineHalted(self._applier.stuck, definite=True)
            return
        hint = hint_of(core)
        if core.role is Role.LEADER:
            if self._applier.halted:
                raise MachineHalted(self._applier.halted, definite=True)
            self._require_machine()
            raise NotLeader("this node was elected and is not ready yet", leader=hint)
        if hint is None:
            raise NotLeader("this node does not lead, and no leader is known")
        raise NotLeader(
            f"this node does not lead; {hint.node_id} at {hint.address} does", leader=hint
        )

    def _require_machine(self) -> None:
        """Raise NotLeader, and name nobody, where no machine makes this leader ready one day."""
        identity = self._storage.identity
        if is_witness(self._core, identity):
            raise NotLeader(
                f"{identity.node_id} is a witness, and leads only until a member with a machine "
                "takes over: ask another one"
            )

    def _require_room(self, size: int) -> None:
        if len(self._proposals) >= self._settings.inbox_groups_max:
            raise Overloaded(f"{len(self._proposals)} groups wait already; try again in a moment")
        if self._proposals.size_bytes >= self._settings.inbox_bytes_max:
            raise Overloaded(
                f"groups of {self._proposals.size_bytes} bytes wait already; try again in a moment"
            )
        refusal = self.no_room or self._storage.refusal(size)
        if refusal is not None:
            raise DiskFull(refusal)

    def propose_plain(
        self, kind: EntryKind, payload: bytes, respond: Respond | None = None
    ) -> None:
        """Propose an entry that holds no transactions."""

        def appended(entry: Entry) -> None:
            if respond is not None:
                self._proposals.add(Proposal(entry.term, entry.index, None, [respond]))

        self._inputs.propose(kind, payload, 0, appended)

    def propose_session(self, respond: Respond) -> None:
        """Propose a session's opening; the receipt's index is the session."""
        try:
            self.require_open()
            self._require_room(0)
            if len(self._applier.sessions.sessions) >= self._settings.sessions_max:
                self._evict()
            self.propose_plain(EntryKind.SESSION, encode_open(), respond)
        except RaftLogError as error:
            respond(error)

    def _evict(self) -> None:
        """Make room for new sessions: those go that were idle longest and wait for nothing."""
        gate = self._gate
        idle = [] if gate is None else gate.evictable()[:EVICTED_MAX]
        if not idle:
            raise Overloaded(
                f"{self._settings.sessions_max} sessions are in use; try again in a moment"
            )
        self._observer.event(Event.SESSIONS_EVICTED, count=len(idle))
        self._end_sessions(idle)

    def close_session(self, session: int) -> None:
        """Note that a session is not used any more; the next chore ends it with others."""
        self.require_open()
        if session in self._applier.sessions.sessions and len(self._ended) < EXPIRED_PER_ENTRY_MAX:
            self._ended.add(session)

    def _end_sessions(self, sessions: Sequence[int]) -> None:
        self.propose_plain(EntryKind.SESSION, encode_expire(sessions))
        if self._gate is not None:
            self._gate.ended(sessions)

    async def append_own(
        self, kind: EntryKind, payload: bytes, timeout_seconds: float
    ) -> GroupReceipt:
        """Propose an entry that holds no transactions, and wait until it is applied here."""
        return await self._answered(
            lambda respond: self.propose_own(kind, payload, respond), timeout_seconds
        )

    def propose_own(self, kind: EntryKind, payload: bytes, respond: Respond) -> None:
        """Propose an entry that holds no transactions, where this member takes writes."""
        self.require_open()
        self._require_room(len(payload))
        self.propose_plain(kind, payload, respond)

    async def open_session(self, timeout_seconds: float) -> int:
        """Open a session and return its id."""
        receipt = await self._answered(self.propose_session, timeout_seconds)
        return receipt.index

    async def execute(self, command: bytes) -> bytes:
        """Replicate and apply a command of this member's own machine while it leads."""
        frame = groups.pack([command], groups.COMMAND_TAG)
        receipt = await self._answered(
            lambda respond: self.submit(frame, respond, own=True), EXECUTE_SECONDS
        )
        result = receipt.results[0]
        if result.rejected is not None:
            raise Rejected(result.rejected)
        if result.deferred:
            raise Overloaded("the command had no effect: its entry did as much as one may")
        return result.value

    async def _answered(
        self, propose: Callable[[Respond], None], timeout_seconds: float
    ) -> GroupReceipt:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[GroupReceipt | RaftLogError] = loop.create_future()

        def respond(outcome: GroupReceipt | RaftLogError) -> None:
            if not future.done():
                future.set_result(outcome)

        propose(respond)
        try:
            outcome = await asyncio.wait_for(future, timeout_seconds)
        except TimeoutError:
            raise Indeterminate("no outcome in time; it may still happen") from None
        if isinstance(outcome, RaftLogError):
            raise outcome
        return outcome

    # ------------------------------------------------------------ out

    def applied(self, batch: Sequence[AppliedEntry]) -> None:
        """Answer for entries that were just applied."""
        answered = 0
        for applied in batch:
            entry = applied.entry
            proposal = self._proposals.take(entry.term, entry.index)
            if self._gate is not None and applied.group is not None and applied.group.session:
                self._gate.applied(applied.group)
            if proposal is not None:
                answered += 1
                proposal.resolve(
                    applied.receipt
                    or GroupReceipt(
                        number=0,
                        first_sequence=entry.first_sequence,
                        count=entry.count,
                        term=entry.term,
                        index=entry.index,
                    )
                )
        if answered:
            self._observer.count(Measure.PROPOSALS_APPLIED, answered)

    def open(self) -> None:
        """Leadership is ready: the session table is complete, so the gate can be built on it."""
        self._gate = SessionGate(
            self._applier.sessions,
            window=self._settings.session_groups_max,
            now=self._clock.monotonic,
        )

    def fail_all(self, error: RaftLogError) -> None:
        """Leadership ended: nobody here will hear how these end."""
        self._gate = None
        if len(self._proposals):
            self._observer.count(Measure.PROPOSALS_FAILED, len(self._proposals))
        self._proposals.fail_all(error)

    def passed_over(self, index: int, error: RaftLogError) -> None:
        """A snapshot covers these; whether they are in it cannot be told."""
        self._proposals.fail_all(error, up_to=index)

    def close(self) -> None:
        """Refuse what comes from now on."""
        self._closed = True

    def expire_sessions(self) -> None:
        """Propose the end of sessions that this leader has not heard of for long."""
        if self._gate is not None and self._leadership.is_open:
            self._try_end(self._gate.idle_sessions(self._settings.session_expiry_seconds))

    def end_closed_sessions(self) -> None:
        """Propose the end of sessions that their clients closed."""
        ended, self._ended = self._ended, set()
        if self._gate is not None and self._leadership.is_open:
            self._try_end(self._gate.unused(ended))

    def _try_end(self, sessions: Sequence[int]) -> None:
        if not sessions:
            return
        try:
            self._end_sessions(sessions[:EXPIRED_PER_ENTRY_MAX])
        except RaftLogError as error:
            self._observer.event(Event.SESSION_EXPIRY_POSTPONED, error=str(error))
