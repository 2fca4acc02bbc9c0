"""Joining a cluster that runs: what the directory is made from, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import signal
import socket
import sys
import types

import pytest

import raftlog
from raftlog.config.schema import Settings
from raftlog.errors import (
    ConfigInvalid,
    ConnectFailed,
    IdentityMismatch,
    MachineMismatch,
    MemberRemoved,
    MembershipRejected,
    NotLeader,
    RaftLogError,
    VersionTooOld,
)
from raftlog.local.layout import find_base_port
from raftlog.server import joining
from raftlog.server.compose import RunningNode, compose
from raftlog.server.preflight import check_file
from raftlog.storage.lmdb import LmdbStorage
from raftlog.types import Consistency
from tests.node.harness import Notebook

KILLED_AS_IT_WAS_ADDED = """
import os, signal, sys
from raftlog.cli import main
from raftlog.server import joining

added = joining.ask_in

async def ask_in(*given, **how):
    await added(*given, **how)
    os.kill(os.getpid(), signal.SIGKILL)

joining.ask_in = ask_in
main.run(sys.argv[1:])
"""


@pytest.fixture
async def first(settings):
    """Return the one node of a cluster."""
    running = await compose(settings)
    async with raftlog.connect(settings.listen, timeout=20) as client:
        await client.log.append(b"before")
    yield running
    await running.stop(hand_over=False)


@pytest.fixture
def second(settings, tmp_path) -> Settings:
    """Return the settings of a node that joins it."""
    base = find_base_port(1)
    return dataclasses.replace(
        settings,
        node_id="n2",
        data_dir=str(tmp_path / "n2"),
        listen=f"127.0.0.1:{base}",
        http="",
        bootstrap_token="",
        initial_cluster=(),
        join=settings.listen,
    )


async def read_all(running: RunningNode, address: str) -> list[bytes]:
    """Return the first that a member itself knows committed, once it knows that it is one."""
    async with asyncio.timeout(20):
        while running.node.membership.member(running.node.identity.node_id) is None:
            await asyncio.sleep(0.01)
    async with raftlog.connect(address, timeout=20) as client:
        tail = client.log.tail(member=running.node.identity.node_id)
        async for transaction in tail:
            return [transaction.payload]
    return []


async def test_a_node_joins_as_a_learner_and_holds_the_log(settings, first, second) -> None:
    """It is added by its directory, gets the log from its first entry, and founds nothing."""
    joined = await compose(second)
    try:
        assert await read_all(joined, second.listen) == [b"before"]
        member = first.node.membership.member("n2")
        assert member.instance_id == joined.node.identity.instance_id
        assert first.node.membership.kind("n2") == "learner"
        assert not joined.node.is_fresh
    finally:
        await joined.stop(hand_over=False)


async def test_one_member_that_answers_is_enough(settings, first, second) -> None:
    """Of several that are named one may be gone and one frozen, which takes calls for ever."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        named = f"127.0.0.1:1,127.0.0.1:{frozen.getsockname()[1]},{settings.listen}"
        joined = await compose(dataclasses.replace(second, join=named))
        try:
            assert await read_all(joined, second.listen) == [b"before"]
        finally:
            await joined.stop(hand_over=False)


async def test_a_join_that_was_cut_short_is_repeated(settings, first, second) -> None:
    """The directory that was made for it, and its instance id, are those of the first attempt."""
    await joining.make_directory(second)
    storage = LmdbStorage.open(second.data_dir)
    instance_id = storage.identity.instance_id
    assert storage.identity.joined
    assert storage.origin == first.storage.origin
    await joining.ask_in(second, storage)
    storage.close()
    joined = await compose(second)
    assert joined.node.identity.instance_id == instance_id
    assert await read_all(joined, second.listen) == [b"before"]
    await joined.stop(hand_over=False)
    # Once its own log names it, it needs nobody to start.
    alone = dataclasses.replace(second, join="127.0.0.1:1")
    again = await compose(alone)
    await again.stop(hand_over=False)


async def test_a_join_that_died_as_it_was_added_needs_no_leader_to_start(
    settings, first, second, monkeypatch
) -> None:
    """It starts and waits, though its log does not name it yet, and whoever leads sends the log."""
    monkeypatch.setattr(joining, "AGAIN_SECONDS", 0.3)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED_AS_IT_WAS_ADDED, "serve", "--node-id", second.node_id),
        *("--data-dir", second.data_dir, "--listen", second.listen, "--join", second.join),
        *("--http", ""),
    )
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGKILL
    member = first.node.membership.member("n2")
    assert member is not None
    await first.stop(hand_over=False)
    joined = await compose(second)
    try:
        assert joined.node.is_outside
        again = await compose(settings)
        try:
            assert await read_all(joined, second.listen) == [b"before"]
        finally:
            await again.stop(hand_over=False)
    finally:
        await joined.stop(hand_over=False)


async def test_a_join_that_died_before_it_was_added_goes_on_asking(
    settings, first, second, monkeypatch
) -> None:
    """Its directory was made; it starts without a leader, and is added when there is one."""
    monkeypatch.setattr(joining, "AGAIN_SECONDS", 0.3)
    await joining.make_directory(second)
    await first.stop(hand_over=False)
    joined = await compose(second)
    assert joined.endings == [joined.node.failed, joined.asking.refused]
    try:
        again = await compose(settings)
        try:
            assert await read_all(joined, second.listen) == [b"before"]
        finally:
            await again.stop(hand_over=False)
    finally:
        await joined.stop(hand_over=False)


async def test_a_node_that_asks_hears_a_refusal_that_will_not_change(
    settings, first, second, monkeypatch
) -> None:
    """It is not asked for again; while nobody leads it is, ever more rarely, and told of."""
    monkeypatch.setattr(joining, "AGAIN_SECONDS", 0.2)
    monkeypatch.setattr(joining, "PAUSE_SECONDS", 0.05)
    await joining.make_directory(second)
    storage = LmdbStorage.open(second.data_dir)
    identity = storage.identity
    storage.close()
    await first.stop(hand_over=False)
    observer = Notebook()
    asking = joining.Asking(
        second, types.SimpleNamespace(identity=identity, is_outside=True), observer
    )
    asking.start()
    await until(lambda: len(observer.named("join_waits")) > 2)
    pauses = [each["again_seconds"] for each in observer.named("join_waits")]
    assert pauses[0] < pauses[2]
    assert not asking.refused.done()
    again = await compose(dataclasses.replace(settings, http=""))
    try:
        async with raftlog.connect(settings.listen, timeout=20) as client:
            await asking.stop()
            await client.cluster.add_member("n2", second.listen, instance_id="another")
            asking.start()
            error = await asyncio.wait_for(asking.refused, 20)
        assert isinstance(error, MembershipRejected)
        assert "raftlog member replace n2 n2" in error.message
        waits = len(observer.named("join_waits"))
        assert "raftlog member replace n2 n2" in observer.named("join_waits")[-1]["why"]
        await asyncio.wait_for(asyncio.shield(asking._task), 5)
        assert len(observer.named("join_waits")) == waits
    finally:
        await again.stop(hand_over=False)


async def test_an_emptied_member_does_not_come_back_by_joining(settings, first, second) -> None:
    """Its id is known by another directory: the refusal names the command that helps."""
    joined = await compose(second)
    await read_all(joined, second.listen)
    await joined.stop(hand_over=False)
    shutil.rmtree(second.data_dir)
    with pytest.raises(MembershipRejected, match="raftlog member replace n2 n2"):
        await compose(second)


async def test_a_removed_directory_does_not_start(settings, first, second) -> None:
    """Its own log tells it that it is out; the sentence says what to do."""
    joined = await compose(second)
    try:
        await read_all(joined, second.listen)
        async with raftlog.connect(settings.listen, timeout=20) as client:
            await client.cluster.remove_member("n2")
            async with asyncio.timeout(20):
                while not joined.node.is_removed:
                    await asyncio.sleep(0.01)
    finally:
        await joined.stop(hand_over=False)
    with pytest.raises(MemberRemoved, match="empty the directory and start it with --join"):
        await compose(second)


async def test_a_raftlog_that_cannot_read_the_level_makes_no_directory(
    settings, first, second, monkeypatch
) -> None:
    """It says what it needs before anything is made, and the cluster does not hear of it."""
    monkeypatch.setattr("raftlog.levels.FEATURE_LEVEL_MAX", 1)
    with pytest.raises(VersionTooOld, match="this raftlog reads up to 1"):
        await compose(second)
    assert not LmdbStorage.exists(second.data_dir)


async def test_what_cannot_join_is_told_why(settings, first, second) -> None:
    """An address that nobody can dial, a member that is not there, another machine."""
    for listen in ("0.0.0.0:7101", "[::]:7101", "127.0.0.1:0"):
        with pytest.raises(ConfigInvalid, match="--advertise"):
            await joining.make_directory(dataclasses.replace(second, listen=listen))
    with pytest.raises(MachineMismatch, match="pass the same --machine"):
        await compose(dataclasses.replace(second, machine="log"))
    assert not LmdbStorage.exists(second.data_dir)


async def test_nobody_there_to_join_is_a_connection_that_failed(second, monkeypatch) -> None:
    """Within a bounded time, and no directory is left behind."""
    monkeypatch.setattr(joining, "JOIN_SECONDS", 0.5)
    with pytest.raises(ConnectFailed):
        await compose(second)
    assert not LmdbStorage.exists(second.data_dir)


async def until(condition) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_only_founder_comes_back_by_joining_and_does_not_lead_alone(
    settings, second
) -> None:
    """By the founding membership it is a quorum by itself: it must not stand for election by it."""
    first = await compose(dataclasses.replace(settings, http=""))
    other = await compose(dataclasses.replace(second, promote=True))
    await until(lambda: "n2" in first.node.membership.voters)
    async with raftlog.connect(second.listen, timeout=20) as client:
        await client.cluster.remove_member("n1", timeout=20)
        await until(lambda: first.node.is_removed)
        await first.stop(hand_over=False)
        again = dataclasses.replace(
            settings, http="", data_dir=f"{settings.data_dir}-new", join=second.listen
        )
        first = await compose(again)
        try:
            await until(lambda: "n1" in first.node.membership.learners)
            assert not first.node.is_outside
            assert first.node.standing.leader == "n2"
            await client.log.append(b"after")
            assert not first.node.failed.done()
        finally:
            await first.stop(hand_over=False)
            await other.stop(hand_over=False)


async def test_a_node_that_nobody_has_named_yet_tells_of_no_members(
    settings, first, second, monkeypatch
) -> None:
    """What its log says may be of a cluster that this one was restored from: none is led there."""

    async def asked_in_vain(*_, **__) -> None:
        return None

    monkeypatch.setattr(joining, "ask_in", asked_in_vain)
    monkeypatch.setattr(joining, "_ask", asked_in_vain)
    outside = await compose(second)
    try:
        assert outside.node.is_outside
        assert [member.node_id for member in outside.node.membership.members] == ["n1"]
        assert outside.node.leader_hint() is None
        assert outside.node.status().members == ()
        async with raftlog.connect(second.listen, timeout=1) as client:
            with pytest.raises(RaftLogError):
                await client.log.append(b"to nobody")
        assert not outside.node._ports.transport.is_connected("n1")
    finally:
        await outside.stop(hand_over=False)


async def test_a_directory_of_another_cluster_is_not_added(first, second, tmp_path) -> None:
    """A join that was cut short is gone on with where it began, or not at all."""
    await joining.make_directory(second)
    base = find_base_port(1)
    address = f"127.0.0.1:{base}"
    other = await compose(
        dataclasses.replace(
            second,
            node_id="b1",
            data_dir=str(tmp_path / "b1"),
            listen=address,
            bootstrap_token="another",
            initial_cluster=(("b1", address),),
            join="",
        )
    )
    try:
        with pytest.raises(IdentityMismatch, match="pass --join of the right one"):
            await compose(dataclasses.replace(second, join=address))
        assert other.node.membership.member("n2") is None
    finally:
        await other.stop(hand_over=False)


async def test_acks_of_a_removed_directory_are_not_the_new_ones(first, settings, second) -> None:
    """Both processes live, and are reached by one name: the old one's streams end then."""
    where = f"localhost:{second.listen.rpartition(':')[2]}"
    old = await compose(dataclasses.replace(second, advertise=where))
    new = None
    try:
        await until(lambda: old.node.info().last_sequence == 1)
        async with raftlog.connect(settings.listen, timeout=20) as client:
            await client.cluster.remove_member("n2")
            await client.cluster.add_member("n2", where)
            new = await compose(
                dataclasses.replace(
                    second,
                    data_dir=f"{second.data_dir}-new",
                    listen=f"[::1]:{where.rpartition(':')[2]}",
                    advertise=where,
                )
            )
            name = first.node.membership.member("n2").instance_id
            assert name == new.node.identity.instance_id
            await client.log.append(b"after")
            core = first.node._parts.inputs.core
            with contextlib.suppress(TimeoutError):  # the name may go on leading to the old one
                async with asyncio.timeout(2):
                    while not core.progress_of("n2").match_index:
                        await asyncio.sleep(0.01)
            assert core.progress_of("n2").match_index <= new.node._parts.inputs.core.last_index
    finally:
        await old.stop(hand_over=False)
        if new is not None:
            await new.stop(hand_over=False)


async def add_witness(settings: Settings, second: Settings) -> None:
    """Say that the second is to be a witness."""
    async with raftlog.connect(settings.listen, timeout=20) as client:
        await client.cluster.add_member("n2", second.listen, witness=True)


async def test_a_witness_has_no_machine_and_loads_none(settings, first, second) -> None:
    """Neither when it joins nor later: its host need not have the machine's code at all."""
    second = dataclasses.replace(second, machine="nowhere.to.be.found:Machine")
    await add_witness(settings, second)
    for start in range(2):
        witness = await compose(second)
        try:
            assert await read_all(witness, second.listen) == [b"before"]
            assert not witness.node.identity.has_machine
            await until(lambda node=witness.node: first.node.membership.kind("n2") == "witness")
            assert witness.node.status().machine == first.node.status().machine
            async with raftlog.connect(second.listen, timeout=20) as client:
                await client.kv.put(b"k", b"%d" % start)
                with pytest.raises(NotLeader, match="n2 is a witness"):
                    await witness.node.query(b"", Consistency.STALE, 5)
        finally:
            await witness.stop(hand_over=False)
        check_file(second)
    with pytest.raises(ConfigInvalid):
        check_file(dataclasses.replace(settings, machine=second.machine))


async def test_below_the_level_a_witness_keeps_state_as_it_did(
    settings, second, monkeypatch
) -> None:
    """A raftlog that knows no directory without a machine may be among the members yet."""
    monkeypatch.setattr("raftlog.server.directory.FEATURE_LEVEL_MAX", 1)
    founder = await compose(settings)
    try:
        await add_witness(settings, second)
        witness = await compose(second)
        try:
            await until(lambda: founder.node.membership.kind("n2") == "witness")
            assert witness.node.identity.has_machine
        finally:
            await witness.stop(hand_over=False)
    finally:
        await founder.stop(hand_over=False)


async def test_a_directory_made_with_a_machine_does_not_join_as_a_witness(
    settings, first, second
) -> None:
    """The order came too late: what was made is refused, and says what helps."""
    await joining.make_directory(second)
    await add_witness(settings, second)
    storage = LmdbStorage.open(second.data_dir)
    try:
        assert storage.identity.has_machine
        with pytest.raises(MembershipRejected, match="stays what it was made as.*empty directory"):
            await joining.ask_in(second, storage)
    finally:
        storage.close()


async def test_a_directory_made_for_a_witness_joins_as_nothing_else(
    settings, first, second
) -> None:
    """Its member was removed meanwhile, and added with a machine: it has none to offer."""
    await add_witness(settings, second)
    await joining.make_directory(second)
    async with raftlog.connect(settings.listen, timeout=20) as client:
        await client.cluster.remove_member("n2")
        await client.cluster.add_member("n2", second.listen)
    with pytest.raises(MembershipRejected, match="n2 is no witness"):
        await compose(second)
