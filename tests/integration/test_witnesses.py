"""A witness of real processes has no machine: it keeps the log, and nothing of the state."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from raftlog.client.client import Client, connect
from raftlog.errors import MembershipRejected
from raftlog.interfaces import CONSUMER_PREFIX, Table
from raftlog.local import LocalCluster
from raftlog.storage.lmdb import LmdbStorage
from tests.integration.bookkeeping import (
    answer,
    check_everywhere,
    load,
    more_acknowledged,
    raftlog,
    wait_until,
)

SMALL = ("retention.snapshot_log_bytes=1048576", "retention.log_bytes_max=1048576")
"""Logs are purged all the time."""
VALUE = b"x" * (256 << 10)
PATIENCE_SECONDS = 60.0


async def until_kind(client: Client, node_id: str, kind: str) -> None:
    """Wait until a member is of that kind."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            status = await client.cluster.status()
            if {each.node_id: each.kind for each in status.members}.get(node_id) == kind:
                return
            await asyncio.sleep(0.05)


async def fill(client: Client, count: int) -> None:
    """Write more state and more log than is kept."""
    for number in range(count):
        await client.kv.put(b"key/%d" % (number % 7), VALUE)


def check_no_state(data_dir: pathlib.Path, *, was_killed: bool = False) -> int:
    """Check that a witness' directory holds no state; return where its log begins.

    One that was killed may have in its log alone what a stop would have applied on disk.
    """
    storage = LmdbStorage.open(data_dir, read_only=True)
    try:
        assert not storage.identity.has_machine
        assert was_killed or storage.recovered().applied.index > 0
        assert storage.scan(Table.STATE, b"", None, count_max=1) == []
        assert storage.scan(Table.CHANGE, b"", None, count_max=1) == []
        kept = storage.scan(Table.SESSION, b"", None, count_max=100)
        places = [key for key, _ in kept]
        assert places == [CONSUMER_PREFIX + b"reader"] or (was_killed and not places)
        assert all(info.is_bare for info in storage.snapshots())
        return int(storage.boundary.index)
    finally:
        storage.close()


async def come_back_by_a_boundary(
    cluster: LocalCluster, client: Client, name: str, behind: str
) -> None:
    """Purge past a witness and a learner with a machine that are away, and bring both back.

    The witness waits while the learner is away, however often it asks; then it is brought back by a
    snapshot that holds no state.
    """
    had = (await client.log.info(member=name)).last_sequence
    await asyncio.to_thread(cluster.stop, [name, behind])
    began = check_no_state(cluster.node(name).data_dir)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while min([(await client.log.info(member=m)).first_sequence for m in ("n1", "n2")]) <= had:
            await fill(client, 8)
            await client.log.reset_consumer("reader", from_now=True)
            await asyncio.sleep(0.05)
    await asyncio.to_thread(cluster.restart, name)
    await wait_until(
        "the witness waits",
        lambda: max(log_lines(cluster, leader, "witness_waits") for leader in ("n1", "n2")) > 2,
    )
    assert (await client.log.info(member=name)).last_sequence <= had
    assert log_lines(cluster, name, "snapshot_installed") == 0
    await asyncio.to_thread(cluster.restart, behind)
    for each in (behind, name):
        await wait_until(
            f"{each} has a snapshot",
            lambda each=each: log_lines(cluster, each, "snapshot_installed") == 1,
        )
    last = (await client.log.info()).last_sequence
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await client.log.info(member=name)).last_sequence < last:
            await asyncio.sleep(0.05)
    (known,) = await client.log.consumers(member=name)
    assert known.name == "reader"
    await asyncio.to_thread(cluster.stop, [name])
    assert check_no_state(cluster.node(name).data_dir) > began
    await asyncio.to_thread(cluster.restart, name)


async def a_learner(cluster: LocalCluster, client: Client) -> str:
    """Have a node with a machine join, and take its vote back; return its id."""
    (made,) = await asyncio.to_thread(cluster.grow, len(cluster.nodes) + 1)
    await asyncio.to_thread(cluster.restart, made)
    await until_kind(client, made, "voter")
    await client.cluster.demote_member(made)
    await until_kind(client, made, "learner")
    return made


def log_lines(cluster: LocalCluster, node_id: str, event: str) -> int:
    """Return how often a node told of an event."""
    return cluster.node(node_id).log_file.read_text(errors="replace").count(event)


async def test_a_witness_votes_and_stores_the_log_and_never_has_state(make_cluster) -> None:
    """Under load: the leader dies, the witness dies and comes back, and is purged past.

    It waits then for a machine that lacks the same, and catches up once that is back.
    """
    cluster: LocalCluster = make_cluster(*SMALL, nodes=2)
    async with connect(cluster.endpoints) as client:
        (name,) = await asyncio.to_thread(cluster.grow, 3)
        await client.cluster.add_member(name, cluster.node(name).address, witness=True)
        await asyncio.to_thread(cluster.restart, name)
        await until_kind(client, name, "witness")
        with pytest.raises(MembershipRejected, match="stays what it was made as"):
            await client.cluster.add_member(name, cluster.node(name).address, witness=False)
        await client.log.tail(0, consumer="reader").begun()
        async with load(client) as notes:
            await more_acknowledged(notes)
            leader = await asyncio.to_thread(cluster.wait_leader)
            await asyncio.to_thread(cluster.kill, leader)
            await more_acknowledged(notes)
            await asyncio.to_thread(cluster.restart, leader)
            await asyncio.to_thread(cluster.kill, name)
            check_no_state(cluster.node(name).data_dir, was_killed=True)
            await more_acknowledged(notes)
            await asyncio.to_thread(cluster.restart, name)
            await more_acknowledged(notes)
        assert not notes.unknown
        assert not notes.refused
        await check_everywhere(cluster, notes)
        behind = await a_learner(cluster, client)
        await come_back_by_a_boundary(cluster, client, name, behind)
        await fill(client, 4)
        assert (await client.kv.get(b"key/0")).value == VALUE
    refused = raftlog(cluster, "backup", "create", "--member", name, str(cluster.directory / "b"))
    assert refused.returncode == 4, refused.stderr
    assert b"is a witness and has no state" in refused.stderr
    assert answer(raftlog(cluster, "status", "-o", "json"))["has_quorum"]
    await asyncio.to_thread(cluster.stop, [name])
    check_no_state(cluster.node(name).data_dir)
    verified = raftlog(cluster, "log", "verify", "--data-dir", str(cluster.node(name).data_dir))
    assert verified.returncode == 0, verified.stdout
