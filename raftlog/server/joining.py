"""Joining a cluster that runs: a directory made for it, and the request to be added.

The directory comes first, with the instance id by which the cluster will know it, so that a join
that was cut short is simply repeated. It is made from the origin of the running cluster and marked
as joined: it founds nothing, and helps nobody to.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from typing import Protocol

from raftlog.client.client import Client, connect
from raftlog.client.routing import Backoff, Dice
from raftlog.client.values import Origin
from raftlog.config.schema import Settings
from raftlog.config.values import split_address
from raftlog.core.entries import Boundary
from raftlog.core.membership import Membership
from raftlog.errors import (
    ConfigInvalid,
    IdentityMismatch,
    Indeterminate,
    MachineHalted,
    MachineMismatch,
    MembershipRejected,
    NotLeader,
    Overloaded,
    ProposalDropped,
    RaftLogError,
    StorageError,
    Unavailable,
)
from raftlog.interfaces import Event, Identity, Observer, StateMachine, Storage, versions_of
from raftlog.levels import WITNESS_LEVEL, check_readable
from raftlog.machines.registry import load as load_machine
from raftlog.server.directory import removed
from raftlog.storage.lmdb import LmdbStorage
from raftlog.types import Index, NodeId, Term

JOIN_SECONDS = 30.0
AGAIN_SECONDS = 3.0
"""A directory that was made to join waits no longer for a leader before it starts."""

PAUSE_SECONDS = 1.0
PAUSE_SECONDS_MAX = 15.0
"""Between two requests, which come ever more rarely."""
PASSING = (
    Unavailable,
    Indeterminate,
    NotLeader,
    ProposalDropped,
    Overloaded,
    MachineHalted,
    StorageError,
)
"""What is over by itself one day. Whatever else is said will be said again: the start ends."""
FOR_GOOD = (IdentityMismatch, MembershipRejected)
"""What ends even a node that runs and may be needed, once it was said so often on end."""
SAID_TIMES = 3
ClientOf = Callable[[Settings], Client]
"""Returns a client of the cluster that is to be joined."""
ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - not listened on, but refused


async def make_directory(settings: Settings) -> None:
    """Make the data directory of a node that joins, unless it is there.

    It is made without a machine if the membership says that this is to be a witness; then no
    machine is loaded (decision 40).

    Raises:
        ConnectFailed: nobody answers at the address that was given.
        MachineMismatch: the cluster runs another machine, or a version this code has not.
        VersionTooOld: the cluster's feature level is above what this raftlog reads.
    """
    if LmdbStorage.exists(settings.data_dir):
        return
    _own_address(settings)
    async with _client(settings) as client:
        origin = await client.cluster.origin(timeout=JOIN_SECONDS)
        status = await client.cluster.status(timeout=JOIN_SECONDS)
    known = next((each for each in status.members if each.node_id == settings.node_id), None)
    has_machine = known is None or known.has_machine or not _may_lack_machine(origin)
    if has_machine:
        _check_machine(origin, load_machine(settings.machine))
    check_readable(max(origin.feature_level, origin.feature_level_in_force))
    LmdbStorage.create(
        settings.data_dir,
        identity=Identity(
            cluster_id=origin.cluster_id,
            node_id=NodeId(settings.node_id),
            instance_id=secrets.token_hex(8),
            joined=True,
            predecessors=origin.predecessors,
            has_machine=has_machine,
        ),
        boundary=Boundary(
            index=Index(0),
            term=Term(0),
            checksum=origin.checksum,
            next_sequence=1,
            timestamp=0,
            membership=Membership.decode(origin.membership),
            feature_level=origin.feature_level,
            machine_name=origin.machine_name,
            machine_version=origin.machine_version,
        ),
    )


def _may_lack_machine(origin: Origin) -> bool:
    """Whether every member knows what a directory without a machine is."""
    return origin.feature_level_in_force >= WITNESS_LEVEL


def _check_machine(origin: Origin, machine: StateMachine) -> None:
    if origin.machine_name != machine.name or origin.machine_version not in versions_of(machine):
        raise MachineMismatch(
            f"the cluster began with the machine {origin.machine_name!r} in version "
            f"{origin.machine_version}, and this node has {machine.name!r} in "
            f"{', '.join(map(str, versions_of(machine)))}: pass the same --machine"
        )


async def ask_in(settings: Settings, storage: Storage, *, seconds: float = JOIN_SECONDS) -> None:
    """Have the leader add this node, unless the membership names its directory already.

    Raises:
        MemberRemoved: the directory was removed, as it knows itself.
        IdentityMismatch: the directory was made to join another cluster.
        MembershipRejected: the id is a member's by another directory, or this one was removed.
        Unavailable: no leader answers in time.
    """
    identity = storage.identity
    membership = storage.recovered().applied.membership
    if membership.is_removed(identity.node_id, identity.instance_id):
        raise removed(settings)
    known = membership.member(identity.node_id)
    if known is not None and known.instance_id == identity.instance_id:
        return
    await _ask(settings, identity, seconds)


async def _ask(
    settings: Settings, identity: Identity, seconds: float, client_of: ClientOf | None = None
) -> None:
    async with (client_of or _client)(settings) as client:
        origin = await client.cluster.origin(timeout=seconds)
        if origin.cluster_id != identity.cluster_id:
            raise IdentityMismatch(
                f"{settings.data_dir} was made to join the cluster {identity.cluster_id}, and "
                f"{settings.join} is of {origin.cluster_id}: pass --join of the right one, or "
                "empty the directory"
            )
        await client.cluster.add_member(
            identity.node_id,
            _own_address(settings),
            promote=settings.promote,
            # What the directory is cannot be changed: an order that says otherwise is refused.
            witness=not identity.has_machine if _may_lack_machine(origin) else None,
            instance_id=identity.instance_id,
            timeout=seconds,
        )


class Outside(Protocol):
    """A node that does not know yet whether it is a member."""

    @property
    def identity(self) -> Identity:
        """Return who it is."""
        ...

    @property
    def is_outside(self) -> bool:
        """Whether no membership that it knows names it."""
        ...


class Asking:
    """Goes on asking to be added, beside a node that runs, until it knows that it is a member.

    A node that died before its log named it may have been added already, so whoever leads sends it
    the log once it runs; and the cluster may need it to have a leader at all. `refused` resolves
    with a refusal that will not change; then the node is to stop.
    """

    def __init__(
        self,
        settings: Settings,
        node: Outside,
        observer: Observer,
        client_of: ClientOf | None = None,
        dice: Dice = random.random,
    ) -> None:
        self._settings = settings
        self._client_of = client_of
        self._dice = dice
        self._node = node
        self._observer = observer
        self._task: asyncio.Task[None] | None = None
        self.refused: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._ask_on(), name="join")

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _ask_on(self) -> None:
        backoff, said = Backoff(PAUSE_SECONDS, 2.0, PAUSE_SECONDS_MAX, self._dice), 0
        while self._node.is_outside:
            pause = backoff.pause()
            try:
                await _ask(self._settings, self._node.identity, AGAIN_SECONDS, self._client_of)
            except RaftLogError as error:
                said = said + 1 if isinstance(error, FOR_GOOD) else 0
                if said == SAID_TIMES and self._node.is_outside:
                    self.refused.set_result(error)
                    return
                self._observer.event(
                    Event.JOIN_WAITS, why=error.message, again_seconds=round(pause, 2)
                )
            await asyncio.sleep(pause)


def _client(settings: Settings) -> Client:
    tls = settings.tls
    if not tls.is_configured:
        return connect(settings.join)
    return connect(settings.join, cacert=tls.cacert, cert=tls.cert, key=tls.key)


def _own_address(settings: Settings) -> str:
    address = settings.advertised or settings.listen
    if split_address(address)[0].strip("[]") in ANYWHERE or address.endswith(":0"):
        raise ConfigInvalid(
            f"{address} is no address that others reach this node by: --advertise HOST:PORT is "
            "needed to join"
        )
    return address
