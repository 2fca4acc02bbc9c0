"""Channels to the members, and who leads: the one place that probes.

Theory of operation. Every address that may hold a member is probed in parallel with a short
deadline, each at its own pace, so that a dead or silent one delays nobody. The first node that says
it leads and takes writes is the leader until a call fails there. All callers that look for the
leader at once share one search, and the search lives as long as somebody waits for it.

While nobody answers at all, each address is looked at once by hand (`wire.diagnosis`), so that the
error says why it cannot be reached, and what to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import grpc

from raftlog.client.astray import Astray
from raftlog.client.explanations import explained
from raftlog.client.routing import (
    AddressBook,
    Answer,
    Backoff,
    Dice,
    Limits,
    Recourse,
    judge,
    newest_leader,
    stranger,
    timed_out,
)
from raftlog.client.unreached import Diagnosis, UnreachedLeader
from raftlog.client.whose import Label, LabelledChannel, Whose
from raftlog.errors import (
    ConnectFailed,
    NotFound,
    NotLeader,
    RaftLogError,
    Unavailable,
    WrongCluster,
)
from raftlog.wire import channel as wire_channel
from raftlog.wire import status
from raftlog.wire.channel import OpenChannel, TlsMaterial
from raftlog.wire.diagnosis import diagnose
from raftlog.wire.pb import (
    admin_pb2_grpc,
    backup_pb2_grpc,
    kv_pb2_grpc,
    log_pb2_grpc,
    machine_pb2_grpc,
    types_pb2,
)

PROBE_SECONDS = 0.25
ANSWERED_SECONDS = 1.0
"""A cluster of which no node answered for so long counts as out of reach."""

SETTLE_SECONDS = 0.05
"""For so long the first search of all waits for endpoints that have not answered yet."""

NAMED_PROBE_SECONDS = 1.0
"""A member that is called by its name has longer to say that this is its name."""

NAMED_PROBE_FRACTION = 0.5
"""What is left of the time is for the call, whoever is slow to say a name."""

NAME_SECONDS = 1.0
"""So long it is taken at its word, unless a call fails there: else each call would cost two."""

PROBE_PAUSE_SECONDS = 0.01
PROBE_PAUSE_MAX_SECONDS = 0.1
PROBE_PAUSE_FACTOR = 1.02
DIAGNOSIS_PERIOD_SECONDS = 5.0
"""An address that goes on being out of reach is looked at again no sooner."""

ATTEMPT_SECONDS = 1.0
"""The first attempt of a read; a leader that is silent for longer is looked for again."""

T = TypeVar("T")

_NO_CONNECTION = {grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN}


class Peer:
    """One address: its channel and the stubs on it."""

    def __init__(
        self,
        address: str,
        tls: TlsMaterial | None,
        open_channel: OpenChannel = wire_channel.open_channel,
        label: Callable[[], Label | None] = lambda: None,
    ) -> None:
        self.address = address
        self.name = ""
        self.named_at = float("-inf")  # when it last said so
        # Sizes are checked against what the leader says it takes, before anything is sent.
        options = wire_channel.channel_options(wire_channel.UNLIMITED)
        self.channel = open_channel(address, tls, options)
        labelled = LabelledChannel(self.channel, label)
        self.log = log_pb2_grpc.LogStub(labelled)  # type: ignore[no-untyped-call]
        self.kv = kv_pb2_grpc.KvStub(labelled)  # type: ignore[no-untyped-call]
        self.machine = machine_pb2_grpc.MachineStub(labelled)  # type: ignore[no-untyped-call]
        self.admin = admin_pb2_grpc.AdminStub(labelled)  # type: ignore[no-untyped-call]
        self.backup = backup_pb2_grpc.BackupStub(labelled)  # type: ignore[no-untyped-call]
        # A probe asks whose the node is, so it says nothing of whose it should be.
        self.probe = admin_pb2_grpc.AdminStub(self.channel)  # type: ignore[no-untyped-call]

    async def wait_connected(self, deadline: float) -> None:
        """Wait until there is a connection, so that what fails afterwards may have been sent.

        Raises:
            ConnectFailed: there is none; nothing was sent.
        """
        now = asyncio.get_running_loop().time
        state = self.channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            if state in _NO_CONNECTION or now() >= deadline:
                raise ConnectFailed(f"cannot connect to {self.address}; nothing was sent")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(deadline - now(), 0)):
                    await self.channel.wait_for_state_change(state)
            state = self.channel.get_state(try_to_connect=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Leader:
    """Who took part in the last answer worth following: a leader, or any node that answered."""

    peer: Peer
    node_id: str
    term: int
    gtid_server_id: int = 0
    """The cluster's, as it said."""


Accept = Callable[[Answer], bool]


def _takes_writes(answer: Answer) -> bool:
    return answer.ready


def _answers(_answer: Answer) -> bool:
    return True


class Search:
    """A running search that several callers share."""

    def __init__(self, task: asyncio.Task[Leader]) -> None:
        self.task = task
        self.waiting = 0


class Connections:
    """Everything a client knows of the cluster's addresses. Loop-bound."""

    def __init__(
        self,
        endpoints: tuple[str, ...],
        tls: TlsMaterial | None = None,
        open_channel: OpenChannel = wire_channel.open_channel,
        dice: Dice = random.random,
        cluster_id: str | None = None,
    ) -> None:
        self.dice = dice
        self.whose = Whose(cluster_id)
        self.book = AddressBook(endpoints)
        self._tls = tls
        self._open_channel = open_channel
        self._peers: dict[str, Peer] = {}
        self.astray = Astray(self.whose, self._peers, self.forget)
        self._leader: Leader | None = None
        self._reachable: Leader | None = None
        self._searches: dict[Accept, Search] = {}
        self._answered_at = float("-inf")
        self._diagnoses: dict[str, Diagnosis] = {}
        self._unreached = UnreachedLeader()
        self._closed = False
        self.limits = Limits()
        """What the last leader takes; the defaults until one is known."""
        self.knows_limits = False

    def peer(self, address: str) -> Peer:
        """Return the peer at `address`; its channel connects at the first call."""
        found = self._peers.get(address)
        if found is None:
            self._check_open()
            found = self._peers[address] = Peer(
                address, self._tls, self._open_channel, lambda: self.whose.label
            )
        return found

    async def leader(self, deadline: float) -> Leader:
        """Return a node that leads and takes writes; look for one until `deadline`.

        Raises:
            ConnectFailed: no address answered at all.
            Unavailable: somebody answered, but nobody led.
        """
        if self._leader is None:
            self._leader = await self._find(_takes_writes, deadline)
        return self._leader

    @property
    def known_leader(self) -> Leader | None:
        """The leader, if one is known; nobody is asked."""
        return self._leader

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    async def anyone(self, deadline: float) -> Leader:
        """Return any node that answers, the leader if one is known."""
        if self._leader is not None:
            return self._leader
        if self._reachable is None:
            self._reachable = await self._find(_answers, deadline)
        return self._reachable

    async def member(self, node_id: str, deadline: float) -> Peer:
        """Return the peer of one member.

        Raises:
            NotFound: the membership is known and does not list it.
            Unavailable: another node answers at its address; nothing was asked of that one.
        """
        address = self.book.address_of(node_id)
        if address is None:
            found = await self._find(_answers, deadline)
            address = self._listed(node_id, found.node_id)
        backoff, looked = Backoff(0.05, 2.0, 0.5, self.dice), False
        while (other := await self._other_at(address, node_id, deadline)) is not None:
            # It is asked for while there is time: the member may be starting, or have moved.
            pause = backoff.pause()
            if looked and deadline - asyncio.get_running_loop().time() < pause + 2 * PROBE_SECONDS:
                raise stranger(node_id, other, address, happened=False)
            await asyncio.sleep(pause if looked else 0)
            await self._look_again(deadline)
            address, looked = self._listed(node_id, other), True
        return self.peer(address)

    def _listed(self, node_id: str, by: str) -> str:
        address = self.book.address_of(node_id)
        if address is None:
            known = ", ".join(self.book.member_ids) or "none"
            raise NotFound(f"{by} knows no member {node_id!r}; members: {known}")
        return address

    async def _other_at(self, address: str, node_id: str, deadline: float) -> str | None:
        """Return who answers there in that member's place; one that is silent is asked anyway."""
        now, peer = asyncio.get_running_loop().time(), self.peer(address)
        if peer.name == node_id and now - peer.named_at < NAME_SECONDS:
            return None
        seconds = min(max(deadline - now, 0.0) * NAMED_PROBE_FRACTION, NAMED_PROBE_SECONDS)
        try:
            answer = await self._probe(address, seconds)
        except asyncio.CancelledError:
            self.explain_cancelled()
            raise
        is_other = answer is not None and answer.served_by not in {"", node_id}
        return answer.served_by if answer is not None and is_other else None

    async def _look_again(self, deadline: float) -> None:
        """Ask everybody where the members are: one may have come back at another address."""
        left = deadline - asyncio.get_running_loop().time()
        self.book.doubt()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(left, 0)):
                await self.newest_leader()

    def forget(self, address: str) -> None:
        """Note that a call to `address` failed in a way that another node may not."""
        if address in self._peers:
            self._peers[address].named_at = float("-inf")
        if self._leader is not None and self._leader.peer.address == address:
            self._leader = None
        if self._reachable is not None and self._reachable.peer.address == address:
            self._reachable = None

    def take_hint(self, error: RaftLogError) -> None:
        """Learn from an error that names a leader."""
        if error.leader is not None:
            self.book.learn_hint(error.leader.address)

    async def newest_leader(self) -> Answer | None:
        """Ask every address once and return the ready leader of the highest term, if any."""
        answers = await asyncio.gather(*map(self._probe, self.book.addresses()))
        self.whose.settle()
        return newest_leader(
            answer
            for answer in answers
            if answer is not None and not self.whose.is_foreign(answer.address)
        )

    def no_answer(self) -> RaftLogError:
        """Return why there is no leader, as known now; nothing was sent."""
        if not self._is_silent(asyncio.get_running_loop().time()):
            wrong = self.whose.refusal(self.book.addresses())
            return wrong or Unavailable("no leader answered in time")
        addresses = self.book.addresses()
        whom = addresses[0] if len(addresses) == 1 else f"any of {', '.join(addresses)}"
        error = ConnectFailed(f"cannot connect to {whom}")
        return self._explained(error, addresses)

    async def ask_leader(self, call: Callable[[Peer, float], Awaitable[T]], deadline: float) -> T:
        """Make a call that changes nothing on the leader; repeat it across failovers."""
        return await self._ask(self.leader, call, deadline)

    async def ask_anyone(self, call: Callable[[Peer, float], Awaitable[T]], deadline: float) -> T:
        """Make a call that changes nothing on whoever answers.

        Who sends this client elsewhere, as a witness that is asked for state, is not asked again.
        """
        asked: dict[str, str] = {}
        unable: set[str] = set()

        async def choose(deadline: float) -> Leader:
            if unable:
                found = await self._find(lambda answer: answer.served_by not in unable, deadline)
            else:
                found = await self.anyone(deadline)
            asked[found.peer.address] = found.node_id
            return found

        async def ask(peer: Peer, seconds: float) -> T:
            try:
                return await call(peer, seconds)
            except grpc.aio.AioRpcError as error:
                if isinstance(status.from_rpc_error(error, sent=False), NotLeader):
                    unable.add(asked[peer.address])
                raise

        return await self._ask(choose, ask, deadline)

    async def ask(
        self, member: str | None, call: Callable[[Peer, float], Awaitable[T]], deadline: float
    ) -> T:
        """Make a call that changes nothing on that member, or without one on any that answers."""
        if member is None:
            return await self.ask_anyone(call, deadline)
        return await self.ask_member(member, call, deadline)

    async def ask_member(
        self, node_id: str, call: Callable[[Peer, float], Awaitable[T]], deadline: float
    ) -> T:
        """Make a call that changes nothing on one member; repeat it until `deadline`.

        Raises:
            Unavailable: it gave no answer in time, or another node answers at its address.
            NotLeader: only a leader answers this call, and that member is none; nobody else is
                asked, since the caller named the member.
        """
        tried: set[str] = set()

        async def choose(deadline: float) -> Leader:
            if self.book.address_of(node_id) in tried:
                await self._look_again(deadline)
            peer = await self.member(node_id, deadline)
            tried.add(peer.address)
            return Leader(peer, node_id, 0)

        async def ask(peer: Peer, seconds: float) -> T:
            reply = await call(peer, seconds)
            said = getattr(reply, "served_by", "")
            if said not in {"", node_id}:  # it was silent when it was asked for its name
                self.forget(peer.address)
                raise stranger(node_id, said, peer.address, happened=True)
            return reply

        now, backoff = asyncio.get_running_loop().time, Backoff(0.05, 2.0, 0.5, self.dice)
        while True:
            try:
                return await self._ask(choose, ask, deadline, final=(NotLeader,))
            except Unavailable as error:
                pause = backoff.pause()
                if error.definite or now() + pause + PROBE_SECONDS >= deadline:
                    raise  # of those that are not, another node answered in the member's place
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close every channel; searches end."""
        self._closed = True
        self._leader = self._reachable = None
        for search in self._searches.values():
            search.task.cancel()
        for diagnosis in self._diagnoses.values():
            diagnosis.task.cancel()
        peers, self._peers = self._peers, {}
        await asyncio.gather(*(peer.channel.close() for peer in peers.values()))
        await self.astray.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the client is closed")

    def explain_cancelled(self) -> None:
        """Raise `Unavailable` if a call was cancelled because its channel was closed.

        gRPC then raises CancelledError, as if somebody had cancelled the caller.
        """
        task = asyncio.current_task()
        if self._closed and not (task is not None and task.cancelling()):
            raise Unavailable("the client was closed meanwhile")

    async def _ask(
        self,
        choose: Callable[[float], Awaitable[Leader]],
        call: Callable[[Peer, float], Awaitable[T]],
        deadline: float,
        final: tuple[type[RaftLogError], ...] = (),
    ) -> T:
        now = asyncio.get_running_loop().time
        backoff = Backoff(0.01, 2.0, 0.2, self.dice)
        attempt_seconds = ATTEMPT_SECONDS
        refusal: RaftLogError | None = None
        while True:
            try:
                peer = (await choose(deadline)).peer
            except (Unavailable, WrongCluster) as error:
                if refusal is None or isinstance(error, ConnectFailed | WrongCluster):
                    raise
                raise timed_out(refusal) from None
            remaining = deadline - now()
            if remaining <= 0:
                raise self._last_word(refusal, peer)
            try:
                return await call(peer, min(remaining, attempt_seconds))
            except grpc.aio.AioRpcError as error:
                refusal = status.from_rpc_error(error, sent=False)
            except asyncio.CancelledError:
                self.explain_cancelled()
                raise
            if judge(refusal) is Recourse.FINAL or isinstance(refusal, final):
                raise refusal
            if isinstance(refusal, ConnectFailed):
                self._diagnose(peer.address)
            attempt_seconds *= 2
            self.take_hint(refusal)
            self.forget(peer.address)
            await asyncio.sleep(min(backoff.pause(), max(deadline - now(), 0)))

    async def _find(self, accept: Accept, deadline: float) -> Leader:
        self._check_open()
        search = self._searches.get(accept)
        if search is None:
            task = asyncio.create_task(self._search(accept))
            search = self._searches[accept] = Search(task)
        search.waiting += 1
        remaining = deadline - asyncio.get_running_loop().time()
        try:
            await asyncio.wait(
                {search.task}, timeout=max(remaining, 0) if remaining < 1e9 else None
            )
        finally:
            search.waiting -= 1
            if search.task.done() or not search.waiting:
                search.task.cancel()
                if self._searches.get(accept) is search:
                    del self._searches[accept]
        if search.task.done() and not search.task.cancelled():
            return search.task.result()
        raise Unavailable("the client is closed") if self._closed else self.no_answer()

    async def _search(self, accept: Accept) -> Leader:
        loop = asyncio.get_running_loop()
        running: dict[asyncio.Task[Answer | None], str] = {}
        due: dict[str, float] = {}
        pause = Backoff(PROBE_PAUSE_SECONDS, PROBE_PAUSE_FACTOR, PROBE_PAUSE_MAX_SECONDS, self.dice)
        try:
            while True:
                now = loop.time()
                busy = set(running.values())
                idle = [address for address in self.book.addresses() if address not in busy]
                for address in idle:
                    if due.get(address, now) <= now:
                        running[asyncio.create_task(self._probe(address))] = address
                next_due = min(
                    (due[address] for address in idle if due.get(address, now) > now),
                    default=now + PROBE_SECONDS,
                )
                if not running:
                    await asyncio.sleep(next_due - now)
                    continue
                done, _ = await asyncio.wait(
                    running, timeout=next_due - now, return_when=asyncio.FIRST_COMPLETED
                )
                for task in [each for each in running if each in done]:  # in order
                    address = running.pop(task)
                    answer = task.result()
                    due[address] = loop.time() + pause.pause()
                    if answer is None and self._is_silent(loop.time()):
                        self._diagnose(address)
                    wrong = self.whose.refusal(self.book.addresses())
                    if wrong is not None and self.whose.is_elsewhere(self.book.addresses()):
                        raise wrong
                    if answer is not None and accept(answer):
                        await self._settle(running)
                        if self.whose.is_foreign(address):
                            continue
                        if answer.ready:
                            self.limits, self.knows_limits = answer.limits, True
                        peer = self.peer(address)
                        return Leader(peer, answer.served_by, answer.term, answer.gtid_server_id)
        finally:
            for task in running:
                task.cancel()

    async def _settle(self, running: Iterable[asyncio.Task[Answer | None]]) -> None:
        """Make up our mind which cluster is meant, before anything is asked of it.

        The first to answer must not decide alone which of two clusters is written to, so the other
        endpoints have a moment to answer too.
        """
        if self.whose.cluster_id is None and (others := set(running)):
            await asyncio.wait(others, timeout=SETTLE_SECONDS)
        self.whose.settle()

    def _is_silent(self, now: float) -> bool:
        return now - self._answered_at >= ANSWERED_SECONDS

    def _diagnose(self, address: str) -> None:
        """Find out, beside all that goes on, why an address cannot be reached."""
        now = asyncio.get_running_loop().time()
        running = self._diagnoses.get(address)
        if self._closed or (running and now < running.begun_at + DIAGNOSIS_PERIOD_SECONDS):
            return
        task = asyncio.create_task(diagnose(address, self._tls, self._open_channel))
        self._diagnoses[address] = Diagnosis(task, now)

    def _explained(self, error: ConnectFailed, addresses: tuple[str, ...]) -> ConnectFailed:
        """Return the error with what is known of the reason, at each of these addresses."""
        looked = {each: self._diagnoses[each] for each in addresses if each in self._diagnoses}
        return explained(error, {each: it.finding for each, it in looked.items()}, addresses)

    def _last_word(self, refusal: RaftLogError | None, peer: Peer) -> RaftLogError:
        if not isinstance(refusal, ConnectFailed):
            return timed_out(refusal)
        return self._explained(ConnectFailed(f"cannot connect to {peer.address}"), (peer.address,))

    async def _probe(self, address: str, seconds: float = PROBE_SECONDS) -> Answer | None:
        peer, now = self.peer(address), asyncio.get_running_loop().time
        label = self._unreached.label(now())
        try:
            reply = await peer.probe.Leader(types_pb2.Empty(), timeout=seconds, metadata=label)
        except grpc.aio.AioRpcError as error:
            self._unreached.missed(address, error.code(), now())
            return None
        self._answered_at = now()
        self._diagnoses.pop(address, None)
        is_led = bool(reply.leader.node_id)
        if not self.astray.is_ours(peer, reply.cluster_id, is_led=is_led):
            return None
        peer.name, peer.named_at = reply.served_by, self._answered_at
        self.book.learn(
            {member.node_id: member.address for member in reply.members},
            term=reply.leader.term,
            leads=is_led and reply.leader.node_id == reply.served_by,
        )
        self.book.learn_hint(reply.leader.address)
        answer = Answer(
            address=address,
            served_by=reply.served_by,
            ready=reply.ready,
            leader_id=reply.leader.node_id,
            leader_address=reply.leader.address,
            term=reply.leader.term,
            gtid_server_id=reply.gtid_server_id,
            limits=Limits(
                transaction_bytes_max=reply.limits.transaction_bytes_max,
                group_bytes_max=reply.limits.group_bytes_max,
            )
            if reply.HasField("limits")
            else Limits(),
        )
        self._unreached.answered(answer)
        return answer
