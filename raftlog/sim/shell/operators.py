"""Operators: the SDK's verbs for a cluster, in processes of their own, two of them at once.

An operator looks at the cluster's status, and some time later orders something, most often bound to
the version that it saw; meanwhile the other one may have been quicker. Some ask again what they
asked before. In the end the first one sets right what both have done: nobody is barred any more,
and a member whose directory was lost is removed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from raftlog.client.client import Client
from raftlog.client.values import MembershipChange
from raftlog.errors import RaftLogError
from raftlog.interfaces import MemberOrder, MemberVerb
from raftlog.sim.shell.user import SLACK_SECONDS, UserHost
from raftlog.status import ClusterStatus

if TYPE_CHECKING:
    from raftlog.sim.shell.member import NodeHost
    from raftlog.sim.shell.world import ShellWorld

FOR_LEARNERS = (MemberVerb.PROMOTE, MemberVerb.REMOVE, MemberVerb.DEMOTE, MemberVerb.UPDATE)
FOR_VOTERS = (MemberVerb.REMOVE, MemberVerb.REMOVE, MemberVerb.DEMOTE, MemberVerb.UPDATE)
TIMEOUTS = (0.3, 1.0, 3.0)
LOOK_SECONDS = 0.2
PAUSE_SECONDS_MAX = 2.0
SETTLE_SECONDS = 2.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """The precautions of an order, and how long its answer is waited for."""

    version: int = 0
    dry_run: bool = False
    force: bool = False
    seconds: float = 1.0


class OperatorHost(UserHost):
    """One operator."""

    def __init__(self, world: ShellWorld, number: int, name: str, endpoints: str) -> None:
        super().__init__(world, number, name, endpoints)
        self.asked = 0
        self._orders: set[asyncio.Task[None]] = set()
        self._kinds = random.Random(f"{world.knobs.seed}:{name}:witness")
        """Rolled only where members are added as witnesses."""
        self._places = random.Random(f"{world.knobs.seed}:{name}:address")
        """Rolled only where addresses are ordered."""
        self._is_open = False

    async def _run(self) -> None:
        self.client = Client(
            self._endpoints, timeout=3.0, open_channel=self.open_channel, dice=self.dice.random
        )
        await self.client.keep_to(self.cluster_id).open()
        self._is_open = True
        await self._opened()
        while not self.world.is_ending:  # noqa: ASYNC110 - it is set outside this loop
            await asyncio.sleep(0.1)
        if self._orders:
            await asyncio.wait(self._orders)
        if self is self.world.operators[0]:
            await self._settle()
        self.is_done = True
        await self._may_close()
        await self._close()

    async def _opened(self) -> None:
        """Do what is to be done before anything is ordered."""

    def order(self, dice: random.Random) -> None:
        """Order something, as the dice say. Called on the loop."""
        if self._is_open and not self.world.is_ending:
            task = self.loop.create_task(self._guarded(self._order(dice)), name="order")
            self._orders.add(task)
            task.add_done_callback(self._orders.discard)

    async def _order(self, dice: random.Random) -> None:
        share = dice.random()
        if share < 0.6:
            await self._change(dice)
        elif share < 0.8:
            await self._transfer(dice)
        else:
            await self._switch(dice)

    async def _within(self, seconds: float, work: Coroutine[object, object, object]) -> bool:
        """Ask for something that ends in time, and return whether it was answered."""
        begun = self.loop.time()
        self.asked += 1
        try:
            await work
        except RaftLogError as error:
            self.world.count("operator_refused" if error.definite else "operator_unsure")
            return False
        else:
            self.world.count("operator_answered")
            return True
        finally:
            took = self.loop.time() - begun
            if took > seconds + SLACK_SECONDS:
                self.world.fail(f"a call hangs: {self.name} waited {took:.2f} s, not {seconds:g} s")

    # ------------------------------------------------------------ the membership

    async def _change(self, dice: random.Random) -> None:
        try:
            status = await self.client.cluster.status(timeout=dice.choice(TIMEOUTS))
        except RaftLogError:
            return
        host = dice.choice(self.world.members)
        orders = self._chosen(dice, status, host)
        if orders[0].verb is MemberVerb.ADD and dice.random() < 0.7:
            self._take_in(host)
        is_bound = dice.random() < 0.7
        how = How(
            version=status.membership_version if is_bound else 0,
            dry_run=dice.random() < 0.1,
            force=is_bound and dice.random() < 0.4,
            seconds=dice.choice(TIMEOUTS),
        )
        timeout = self.world.knobs.node.core.election_timeout_seconds
        await asyncio.sleep(dice.random() ** 3 * 4 * timeout)
        if orders[0].verb is MemberVerb.ADD:
            host.joins = orders[0].promote
        await self._tell(orders, how)
        if dice.random() < 0.3:
            self.world.count("order_repeated")
            await asyncio.sleep(dice.random() * 4 * timeout)
            await self._tell(orders, how)

    def _take_in(self, host: NodeHost) -> None:
        """Empty a directory that was removed, as every refusal says."""
        if self.world.desk.chosen.is_removed(host.node_id, host.instance_id):
            self.world.count("removed_emptied")
            host.empty(joined=True)

    def _chosen(
        self, dice: random.Random, status: ClusterStatus, host: NodeHost
    ) -> tuple[MemberOrder, ...]:
        """Return what is ordered for a machine, by what the operator sees of it."""
        node_id, kinds = host.node_id, {m.node_id: m.kind for m in status.members}
        if node_id not in kinds:
            add = MemberOrder(
                verb=MemberVerb.ADD,
                node_id=node_id,
                address=host.moves_to,
                promote=dice.random() < 0.8,
                instance_id=host.instance_id if dice.random() < 0.5 else "",
                has_machine=self._kind(host),
            )
            return (add,)
        address = self._address(host)
        if address is not None:
            return (MemberOrder(verb=MemberVerb.UPDATE, node_id=node_id, address=address),)
        verb = dice.choice(FOR_LEARNERS if kinds[node_id] == "learner" else FOR_VOTERS)
        if verb is MemberVerb.UPDATE:
            region = dice.choice(("north", "south", "east"))
            return (MemberOrder(verb=verb, node_id=node_id, region=region),)
        learners = [each for each, kind in kinds.items() if kind == "learner" and each != node_id]
        if verb is MemberVerb.REMOVE and learners and dice.random() < 0.5:
            new = MemberOrder(verb=MemberVerb.PROMOTE, node_id=dice.choice(learners))
            return (new, MemberOrder(verb=verb, node_id=node_id))
        return (MemberOrder(verb=verb, node_id=node_id),)

    def _address(self, host: NodeHost) -> str | None:
        """Return what address of a machine is ordered, or None: another thing of it is.

        It may be where it is, where it will come back, or where it neither is nor will be. One that
        runs contradicts what is not so.
        """
        share = 0.1 if host.is_up else 0.8
        if not self.world.knobs.orders_addresses or self._places.random() > share:
            return None
        return self._places.choice(self.world.addresses_of(host))

    def _kind(self, host: NodeHost) -> bool | None:
        """Return whether a member that is added has a machine; None says nothing of it."""
        if not host.disk.identity.has_machine:
            return False  # its directories are made for a witness
        if not self.world.knobs.adds_witnesses:
            return None
        return self._kinds.choice((False, False, None))

    async def _tell(self, orders: tuple[MemberOrder, ...], how: How) -> None:
        """Give an order, and compare what is told of it with what is so."""
        world = self.world
        told = world.desk.telling(orders)

        async def ask() -> None:
            try:
                done = await self._call(orders, how)
            except RaftLogError as error:
                told.is_refused = error.definite
                world.count(f"change_{error.code}")
                raise
            finally:
                told.ended = world.scheduler.now
            world.count("change_done" if done.changed else "change_was_so")
            if done.changed and orders[0].verb is MemberVerb.UPDATE and orders[0].address:
                world.count("address_ordered")
            if not how.dry_run:
                world.desk.check_done(orders, done.version)

        await self._within(how.seconds, ask())

    async def _call(self, orders: tuple[MemberOrder, ...], how: How) -> MembershipChange:
        cluster, order = self.client.cluster, orders[0]
        also: dict[str, Any] = {
            "version": how.version,
            "dry_run": how.dry_run,
            "timeout": how.seconds,
        }
        if order.verb is MemberVerb.UPDATE:
            return await cluster.update_member(
                order.node_id, address=order.address, region=order.region, **also
            )
        also["force"] = how.force
        if len(orders) > 1:
            return await cluster.replace_member(orders[1].node_id, order.node_id, **also)
        if order.verb is MemberVerb.ADD:
            return await cluster.add_member(
                order.node_id,
                order.address or "",
                promote=order.promote,
                instance_id=order.instance_id,
                witness=None if order.has_machine is None else not order.has_machine,
                **also,
            )
        verbs = {
            MemberVerb.REMOVE: cluster.remove_member,
            MemberVerb.PROMOTE: cluster.promote_member,
            MemberVerb.DEMOTE: cluster.demote_member,
        }
        return await verbs[order.verb](order.node_id, **also)

    # ------------------------------------------------------------ leadership

    async def _transfer(self, dice: random.Random) -> None:
        """Hand leadership over, maybe to a member that lags, and sometimes think better of it."""
        cluster, seconds = self.client.cluster, dice.choice(TIMEOUTS)
        target = dice.choice([None, *(m.node_id for m in self.world.members)])
        mock = dice.random() < 0.8
        transfer = self._within(seconds, cluster.transfer(target, mock=mock, timeout=seconds))
        if dice.random() < 0.5:
            await transfer
            return
        task = self.loop.create_task(transfer, name="transfer")
        timeout = self.world.knobs.node.core.election_timeout_seconds
        await asyncio.sleep(dice.random() ** 2 * timeout)
        await self._within(seconds, cluster.cancel_transfer(timeout=seconds))
        await task

    async def _switch(self, dice: random.Random) -> None:
        """Say who may stand for election, and for how long nobody may."""
        cluster, seconds = self.client.cluster, dice.choice(TIMEOUTS)
        name = dice.choice(self.world.members).name
        pause = PAUSE_SECONDS_MAX * dice.random()
        calls: tuple[Callable[[], Coroutine[object, object, object]], ...] = (
            lambda: cluster.drain(name, timeout=seconds),
            lambda: cluster.undrain(name, timeout=seconds),
            lambda: cluster.pause_elections(pause, timeout=seconds),
            lambda: cluster.resume_elections(timeout=seconds),
            lambda: cluster.set_campaigning(name, may_campaign=False, timeout=seconds),
            lambda: cluster.set_campaigning(name, may_campaign=True, timeout=seconds),
        )
        # Some ask for the status too, with a time of its own.
        await self._within(2 * seconds, dice.choice(calls)())

    # ------------------------------------------------------------ in the end

    async def _settle(self) -> None:
        """Set right what was done, until every member is one that can serve."""
        desk = self.world.desk
        released: set[str] = set()
        await self._within(2 * SETTLE_SECONDS, self.client.cluster.resume_elections(timeout=2.0))
        while not (desk.is_settled and released.issuperset(m.name for m in desk.members)):
            for host in desk.members:
                if host.name not in released and await self._release(host.name):
                    released.add(host.name)
            chosen = desk.chosen
            for member in chosen.members:
                owner = desk.host(member.node_id)
                if owner is None:
                    continue
                if not member.instance_id:
                    self._take_in(owner)
                elif member.instance_id != owner.instance_id:
                    remove = MemberOrder(verb=MemberVerb.REMOVE, node_id=member.node_id)
                    await self._tell((remove,), How(seconds=SETTLE_SECONDS))
            await asyncio.sleep(LOOK_SECONDS)

    async def _release(self, name: str) -> bool:
        """Let a member stand for election again, whatever kept it from that."""
        cluster, seconds = self.client.cluster, SETTLE_SECONDS
        may = await self._within(
            seconds, cluster.set_campaigning(name, may_campaign=True, timeout=seconds)
        )
        return may and await self._within(seconds, cluster.undrain(name, timeout=seconds))
