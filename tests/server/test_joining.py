"""Joining a cluster that runs: what the directory is made from, and what is refused."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil

import pytest

import raftlog
from raftlog.config.schema import Settings
from raftlog.errors import (
    ConfigInvalid,
    ConnectFailed,
    MachineMismatch,
    MemberRemoved,
    MembershipRejected,
)
from raftlog.local.layout import find_base_port
from raftlog.machines.registry import load
from raftlog.server import joining
from raftlog.server.compose import RunningNode, compose
from raftlog.storage.lmdb import LmdbStorage


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


async def test_a_join_that_was_cut_short_is_repeated(settings, first, second) -> None:
    """The directory that was made for it, and its instance id, are those of the first attempt."""
    machine = load(second.machine)
    await joining.make_directory(second, machine)
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


async def test_what_cannot_join_is_told_why(settings, first, second) -> None:
    """An address that nobody can dial, a member that is not there, another machine."""
    for listen in ("0.0.0.0:7101", "[::]:7101", "127.0.0.1:0"):
        with pytest.raises(ConfigInvalid, match="--advertise"):
            await joining.make_directory(
                dataclasses.replace(second, listen=listen), load(second.machine)
            )
    with pytest.raises(MachineMismatch, match="pass the same --machine"):
        await compose(dataclasses.replace(second, machine="log"))
    assert not LmdbStorage.exists(second.data_dir)


async def test_nobody_there_to_join_is_a_connection_that_failed(second, monkeypatch) -> None:
    """Within a bounded time, and no directory is left behind."""
    monkeypatch.setattr(joining, "JOIN_SECONDS", 0.5)
    with pytest.raises(ConnectFailed):
        await compose(second)
    assert not LmdbStorage.exists(second.data_dir)
