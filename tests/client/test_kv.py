"""The key-value calls, their reads' routes, leases and watches."""

from __future__ import annotations

import asyncio

import pytest

from raftlog import kv
from raftlog.client import kv as client_kv
from raftlog.client.client import Client
from raftlog.client.kv import bounds
from raftlog.client.lease import Lease
from raftlog.client.values import ChangeKind
from raftlog.client.watch import Watch
from raftlog.errors import Indeterminate, InvalidInput, NotFound, NotLeader, Rejected, Unavailable
from raftlog.machines.kv import layout
from tests.client.conftest import until
from tests.client.fake_cluster import FakeCluster


async def test_put_get_delete(cluster: FakeCluster, client: Client) -> None:
    """A revision is the sequence of the transaction that made it."""
    await client.log.append(b"x")
    put = await client.kv.put(b"k", b"v")
    assert put.revision == put.receipt.sequence == 2
    entry = await client.kv.get(b"k")
    assert entry is not None
    assert (entry.value, entry.revision, entry.version) == (b"v", 2, 1)
    deleted = await client.kv.delete(b"k")
    assert (deleted.deleted, deleted.revision) == (1, 3)
    assert await client.kv.get(b"k") is None


async def test_concurrent_puts_share_a_group_with_appends(
    cluster: FakeCluster, client: Client
) -> None:
    """Commands and opaque transactions travel together, each with its own result."""
    await client.log.append(b"0")
    results = await asyncio.gather(
        client.kv.put(b"a", b"1"),
        client.log.append(b"x"),
        client.kv.put(b"b", b"2", lease=77),
        client.kv.delete(b"a"),
        return_exceptions=True,
    )
    assert len(cluster.group_counts) == 2
    assert results[0].revision == 2
    assert results[1].sequence == 3
    assert isinstance(results[2], Rejected)
    assert results[2].definite
    assert results[3].deleted == 1


async def test_compare_and_swap(cluster: FakeCluster, client: Client) -> None:
    """It swaps at the revision named, and otherwise says what is there."""
    made = await client.kv.compare_and_swap(b"k", b"1", revision=0)
    assert made
    assert made.revision == made.receipt.sequence
    stale = await client.kv.compare_and_swap(b"k", b"2", revision=0)
    assert not stale
    assert stale.current is not None
    assert (stale.revision, stale.current.value) == (made.revision, b"1")
    assert (await client.kv.compare_and_swap(b"k", b"2", revision=made.revision)).succeeded
    missing = await client.kv.compare_and_swap(b"other", b"2", revision=9)
    assert (missing.succeeded, missing.revision, missing.current) == (False, 0, None)


async def test_transaction_takes_one_branch(cluster: FakeCluster, client: Client) -> None:
    """All conditions decide together; results come in the order of the operations."""
    put = await client.kv.put(b"k", b"v")
    taken = await client.kv.transaction(
        when=[
            kv.Revision(b"k", put.revision),
            kv.Value(b"k", b"v"),
            kv.Exists(b"k"),
            kv.Missing(b"m"),
            kv.RevisionBelow(b"k", put.revision + 1),
        ],
        then=[kv.Get(b"k"), kv.Put(b"m", b"w"), kv.Delete(b"k"), kv.Get(b"k")],
    )
    assert taken
    assert [result.entry.value if result.entry else None for result in taken.results] == [
        b"v",
        None,
        None,
        None,
    ]
    assert taken.results[2].deleted == 1
    refused = await client.kv.transaction(when=[kv.Missing(b"m")], otherwise=[kv.Get(b"m")])
    assert not refused
    assert refused.results[0].entry.value == b"w"


@pytest.mark.parametrize("page", [1, 7, 10, 19, 20, 21])
async def test_range_reads_page_by_page(cluster: FakeCluster, client: Client, page: int) -> None:
    """A long range is complete and in order, both ways, with its limit; a page may be just full."""
    cluster.kv.page = page
    keys = [b"app/%02d" % n for n in range(20)]
    await asyncio.gather(*(client.kv.put(key, b"v") for key in [*keys, b"aaa", b"zzz"]))
    ranges = client.kv.range
    assert [each.key async for each in ranges(prefix=b"app/")] == keys
    assert [each.key async for each in ranges(prefix=b"app/", reverse=True)] == keys[::-1]
    for limit in (0, 1, 9, 10, 19, 20, 21):
        assert [each.key async for each in ranges(prefix=b"app/", limit=limit)] == keys[:limit]
    assert [each.key async for each in ranges(start=keys[3], end=keys[5])] == keys[3:5]
    assert await client.kv.count(prefix=b"app/") == 20


@pytest.mark.parametrize("page", [1, 3, 10, 19, 20, 21])
async def test_a_count_is_of_all_keys(cluster: FakeCluster, client: Client, page: int) -> None:
    """However many keys the machine counts at a time, also where the last page is just full."""
    cluster.kv.page = page
    keys = [b"app/%02d" % n for n in range(20)]
    await asyncio.gather(*(client.kv.put(key, b"v") for key in [*keys, b"aaa", b"zzz"]))
    assert await client.kv.count(prefix=b"app/") == 20
    assert await client.kv.count() == 22
    assert await client.kv.count(start=keys[3], end=keys[5]) == 2
    assert await client.kv.count(prefix=b"nothing/") == 0


def test_prefix_bounds() -> None:
    """A prefix ends before its successor; one of 0xFF alone has no end."""
    assert bounds(b"ab", b"", None) == (b"ab", b"ac")
    assert bounds(b"a\xff", b"", None) == (b"a\xff", b"b")
    assert bounds(b"\xff", b"", None) == (b"\xff", b"")
    assert bounds(b"", b"", None) == (b"", b"")
    with pytest.raises(InvalidInput):
        bounds(b"a", b"b", None)


async def test_reads_go_where_their_consistency_says(cluster: FakeCluster, client: Client) -> None:
    """Linearizable reads need the leader; stale ones answer without; a member is asked by name."""
    await client.kv.put(b"k", b"v")
    assert await client.kv.get(b"k", member="n3")
    cluster.elect("n2")
    assert await client.kv.get(b"k")
    cluster.elect(None)
    with pytest.raises(Unavailable) as caught:
        await client.kv.get(b"k", timeout=0.2)
    assert caught.value.definite
    assert await client.kv.get(b"k", consistency="stale", timeout=0.5)
    with pytest.raises(Unavailable):
        await client.kv.get(b"k", consistency="follower", timeout=0.2)
    with pytest.raises(InvalidInput, match="linearizable"):
        await client.kv.get(b"k", consistency="eventual")


async def test_who_has_no_state_is_asked_once(cluster: FakeCluster) -> None:
    """A stale read that meets a witness goes on to another member, also while nobody leads."""
    await cluster.nodes["n3"].stop()
    cluster.elect(None)
    cluster.witnesses["n1"] = 0
    for _ in range(10):
        before = cluster.witnesses["n1"]
        async with Client(cluster.nodes["n1"].address, timeout=5) as client:
            assert await client.kv.get(b"k", consistency="stale") is None
        assert cluster.witnesses["n1"] == before + 1
    async with Client(cluster.endpoints, timeout=5) as client:
        with pytest.raises(NotLeader, match="ask n2"):
            await client.kv.get(b"k", member="n1", consistency="stale")
        with pytest.raises(NotLeader, match="ask n2"):
            await anext(aiter(client.kv.watch(b"k", member="n1", after_revision=0)))


async def test_reads_survive_a_failover(cluster: FakeCluster, client: Client) -> None:
    """Reads in flight while the leader dies are repeated on the next one."""
    await client.kv.put(b"k", b"v")
    cluster.mute.add("n1")
    calls = [asyncio.ensure_future(client.kv.get(b"k")) for _ in range(20)]
    await asyncio.sleep(0)
    await cluster.nodes["n1"].stop()
    cluster.elect("n2")
    assert all(entry is not None for entry in await asyncio.gather(*calls))


async def test_wrong_keys_are_refused_here(cluster: FakeCluster, client: Client) -> None:
    """Keys of no bytes, too many bytes or no bytes object never leave the client."""
    for key in (b"", b"k" * 481, "text"):
        with pytest.raises(InvalidInput):
            await client.kv.put(key, b"v")
        with pytest.raises(InvalidInput):
            await client.kv.get(key)
    with pytest.raises(InvalidInput):
        await client.kv.put(b"k", "text")
    assert not cluster.entries


async def test_lease_is_kept_and_revoked(cluster: FakeCluster, client: Client) -> None:
    """As a context manager a lease is refreshed meanwhile, and its keys vanish at the end."""
    async with await client.kv.lease(ttl_seconds=0.5) as lease:
        await client.kv.put(b"k", b"v", lease=lease)
        assert (await client.kv.lease_status(lease)).keys == (b"k",)
        await until(lambda: cluster.kv.refreshes >= 2)
    assert lease.is_lost
    assert await client.kv.get(b"k") is None
    with pytest.raises(NotFound):
        await client.kv.lease_status(lease)


async def test_lost_lease_is_noticed(cluster: FakeCluster, client: Client) -> None:
    """A holder learns by the next refresh that its lease has ended."""
    lease = await client.kv.lease(ttl_seconds=0.1)
    lease.keep_alive()
    cluster.kv.leases.clear()
    await asyncio.wait_for(lease.wait_lost(), 2)
    with pytest.raises(Rejected):
        await lease.refresh()
    other: Lease = client.kv.attach_lease(lease.lease_id, ttl_seconds=1)
    with pytest.raises(Rejected):
        await other.revoke()


async def test_watch_delivers_every_change_once_across_cuts(
    cluster: FakeCluster, client: Client
) -> None:
    """A watch whose stream breaks goes on without gap or repeat, with both images."""
    for number in range(6):
        await client.kv.put(b"app/k", b"%d" % number)
        await client.kv.put(b"other", b"x")
    await client.kv.delete(b"app/k")
    cluster.nodes["n1"].tails_cut = 2
    watch = client.kv.watch(prefix=b"app/", after_revision=0)
    changes = [await asyncio.wait_for(anext(watch), 5) for _ in range(7)]
    await watch.aclose()
    assert [change.value for change in changes[:6]] == [b"%d" % n for n in range(6)]
    assert changes[6].kind is ChangeKind.DELETE
    assert changes[6].previous is not None
    assert changes[6].previous.value == b"5"


async def test_watch_from_now_on(cluster: FakeCluster, client: Client) -> None:
    """Without a revision only changes after the call are delivered."""
    await client.kv.put(b"k", b"old")
    watch = client.kv.watch(b"k")
    waiting = asyncio.ensure_future(anext(watch))
    await until(lambda: cluster.changed.locked() or bool(cluster.changed._waiters))
    await client.kv.put(b"k2", b"other")
    await client.kv.put(b"k", b"new")
    assert (await asyncio.wait_for(waiting, 5)).value == b"new"
    await watch.aclose()
    assert Watch.__doc__


async def test_lost_answer_of_a_put_is_indefinite(cluster: FakeCluster, client: Client) -> None:
    """A put that may have happened says so."""
    await client.kv.put(b"k", b"1")
    cluster.hold = True
    with pytest.raises(Indeterminate):
        await client.kv.put(b"k", b"2", timeout=0.1)
    cluster.release()


def test_the_client_knows_the_limits_of_the_machine():
    """A key that is too long is invalid input at once, not a rejected command in the log."""
    assert client_kv.KEY_BYTES_MAX == layout.KEY_BYTES_MAX
    assert client_kv.BOUND_BYTES_MAX == layout.BOUND_BYTES_MAX


@pytest.mark.parametrize("beyond", [-1, 0, 1, 2])
async def test_leases_are_listed_to_the_last_page(
    cluster: FakeCluster, client: Client, beyond: int
) -> None:
    """Each lease comes once, with what is left of it and how many keys it holds."""
    count = cluster.kv.page + beyond
    made = [await client.kv.lease(ttl_seconds=60) for _ in range(count)]
    await client.kv.put(b"k", b"v", lease=made[0])
    found = [lease async for lease in client.kv.leases()]
    assert [lease.lease_id for lease in found] == sorted(lease.lease_id for lease in made)
    assert [lease.key_count for lease in found][:2] == [1, 0]
    assert found[0].left_seconds == 60
    assert found[0].keys == ()
