"""The client without await: threads, iterators, forks and interrupts."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import os
import re
import signal
import subprocess
import sys
import threading
import time
import typing
from collections.abc import Iterator

import pytest

import raftlog
from raftlog import kv
from raftlog._tools import gensync
from raftlog.client import sync
from raftlog.client._sync import calls
from raftlog.client.backup import Backup
from raftlog.client.client import Client
from raftlog.client.cluster import Cluster
from raftlog.client.kv import Kv
from raftlog.client.lease import Lease
from raftlog.client.lock import Election, Lock
from raftlog.client.log import Log, LogSession
from raftlog.client.loop_thread import LoopThread
from raftlog.client.machine import Machine
from raftlog.client.sync import SyncClient
from raftlog.errors import Indeterminate, InvalidInput, RaftLogError, Unavailable
from tests.client.fake_cluster import FakeCluster


class Background:
    """A fake cluster on a loop of its own, so that tests here can block."""

    def __init__(self) -> None:
        self.loop = LoopThread()
        self.loop.start()
        self.cluster = self.loop.call(FakeCluster.start)

    def stop(self) -> None:
        self.loop.call(self.cluster.stop)
        self.loop.stop()


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background()
    yield background
    background.stop()


@pytest.fixture
def client(background: Background) -> Iterator[SyncClient]:
    with raftlog.connect_sync(background.cluster.endpoints, timeout=5) as client:
        yield client


def test_same_names_without_await(background: Background, client: SyncClient) -> None:
    """Every call of surface.md works without await."""
    receipt = client.log.append(b"1")
    assert client.log.append_many([b"2", b"3"])[1].sequence == 3
    assert client.log.get(receipt.sequence).payload == b"1"
    assert client.log.info().last_sequence == 3
    put = client.kv.put(b"k", b"v")
    assert client.kv.get(b"k").revision == put.revision
    assert client.kv.compare_and_swap(b"k", b"w", revision=put.revision)
    assert client.kv.transaction(when=[kv.Exists(b"k")], then=[kv.Get(b"k")])
    assert [entry.key for entry in client.kv.range(prefix=b"k")] == [b"k"]
    assert client.kv.count() == 1
    assert client.kv.delete(b"k").deleted == 1
    assert client.cluster.leader().node_id == "n1"
    assert client.cluster.transfer("n2").target == "n2"
    assert client.cluster.status().leader == "n2"
    assert client.cluster.alarms().silent == ()
    assert client.machine.query(b"?") == b"echo ?"
    with client.log.open_session() as session:
        assert len(session.append([b"x"])) == 1
        assert client.log.resume_session(session.state).state == session.state
    client.cluster.step_down()


def test_tail_and_watch_are_iterators(background: Background, client: SyncClient) -> None:
    """Iterators deliver in order, end when they should, and can be left at any point."""
    client.log.append_many([b"1", b"2", b"3"])
    assert [each.payload for each in client.log.tail(follow=False)] == [b"1", b"2", b"3"]
    tail = client.log.tail(after=1)
    assert next(tail).payload == b"2"
    tail.close()
    client.kv.put(b"k", b"v")
    for change in client.kv.watch(prefix=b"k", after_revision=0):
        assert change.value == b"v"
        break


def test_lease_without_await(background: Background, client: SyncClient) -> None:
    """A lease is kept in the background of a with block."""
    with client.kv.lease(ttl_seconds=0.2) as lease:
        client.kv.put(b"k", b"v", lease=lease)
        lease.refresh()
        assert client.kv.lease_status(lease).keys == (b"k",)
    assert lease.is_lost
    assert client.kv.get(b"k") is None
    other = client.kv.attach_lease(client.kv.lease(ttl_seconds=1).lease_id, ttl_seconds=1)
    other.revoke()


def test_threads_share_groups(background: Background, client: SyncClient) -> None:
    """Calls of many threads join the same groups, and each gets its own answer."""
    client.log.append(b"first")
    background.cluster.hold = True
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(client.log.append, b"%d" % n) for n in range(16)]
        while not background.cluster.held:
            threading.Event().wait(0.005)
        background.loop.call(_release, background.cluster)
        sequences = sorted(call.result().sequence for call in calls)
    assert sequences == list(range(2, 18))


async def _release(cluster: FakeCluster) -> None:
    cluster.release()


def test_errors_are_those_of_the_async_client(background: Background, client: SyncClient) -> None:
    """An error crosses the threads unchanged."""
    background.cluster.hold = True
    with pytest.raises(Indeterminate):
        client.log.append(b"x", timeout=0.2)
    background.loop.call(_release, background.cluster)


def test_closed_client_says_so(background: Background) -> None:
    """Calls before `open` and after `close` fail definitely."""
    client = raftlog.connect_sync(background.cluster.endpoints)
    with pytest.raises(Unavailable):
        client.log.append(b"x")
    with client:
        client.log.append(b"x")
        tail = client.log.tail()
        next(tail)
    with pytest.raises(Unavailable):
        client.log.append(b"x")
    client.close()
    tail.close()


TWINS = {
    Backup: sync.SyncBackup,
    Client: sync.SyncClient,
    Cluster: sync.SyncCluster,
    Election: calls.SyncElection,
    Kv: sync.SyncKv,
    Lease: sync.SyncLease,
    Lock: calls.SyncLock,
    Log: sync.SyncLog,
    LogSession: sync.SyncLogSession,
    Machine: sync.SyncMachine,
}
OWN_WORDS = {"open", "close"}
"""How a client begins and ends is told anew: there is a thread to it."""


def shown(annotation: object) -> str:
    """Return a type as a caller without await sees it."""
    shorter = re.sub(r"AsyncIterator\b", "Iterator", str(annotation)).replace(
        "LeaseRef", "Lease | int"
    )
    return re.sub(r"Sync(Lease|LogSession|Lock|Election)\b", r"\1", shorter)


def public(kind: type) -> dict[str, object]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


def acts(kind: object) -> bool:
    """Whether this is a class of the client with something to await."""
    return (
        isinstance(kind, type)
        and kind.__module__.startswith("raftlog.client.")
        and any(inspect.iscoroutinefunction(member) for member in public(kind).values())
    )


def handed_out() -> set[type]:
    """Return the classes that a program comes by, from the client on."""
    found: set[type] = set()
    client = Client("127.0.0.1:1")
    waiting = [Client, *(type(it) for name, it in vars(client).items() if name[0] != "_")]
    while waiting:
        kind = waiting.pop()
        found.add(kind)
        for member in filter(callable, public(kind).values()):
            returned = typing.get_type_hints(member).get("return")
            for each in (returned, *typing.get_args(returned)):
                if acts(each) and each not in found:
                    waiting.append(each)
    return found


def test_every_class_handed_out_has_a_twin() -> None:
    """A class that the async client gains is one of the sync client, and is compared here."""
    assert handed_out() == TWINS.keys()
    # Handed out as parts of `Cluster` and `Log`.
    bases = {"MemberVerbs": "SyncMemberVerbs", "ConsumerVerbs": "SyncConsumerVerbs"}
    assert {
        kind.__name__: TWINS[kind].__name__ for kind in TWINS if kind is not Client
    } | bases == {name: twin for name, (_, twin) in gensync.CLASSES.items()}


def test_both_connect_alike() -> None:
    """The arguments of `connect_sync` are those of `connect`."""
    one, other = inspect.signature(raftlog.connect), inspect.signature(raftlog.connect_sync)
    assert one.parameters == other.parameters


@pytest.mark.parametrize("kind", TWINS)
def test_the_twins_have_the_same_names(kind: type) -> None:
    """A call that one side gains is a call of the other."""
    attributes = {Lease: {"lease_id", "ttl_seconds"}, Lock: {"name"}}.get(kind, set())
    assert public(kind).keys() | attributes == public(TWINS[kind]).keys()


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in TWINS for name, it in public(kind).items() if callable(it)],
)
def test_a_call_and_its_twin_have_one_contract(kind: type, name: str) -> None:
    """Parameters, defaults, what is returned, and every word of the contract."""
    ours, twins = getattr(kind, name), getattr(TWINS[kind], name)
    one, other = inspect.signature(ours), inspect.signature(twins)
    assert [(p.name, p.kind, p.default, shown(p.annotation)) for p in one.parameters.values()] == [
        (p.name, p.kind, p.default, shown(p.annotation)) for p in other.parameters.values()
    ]
    returned = re.sub(r"^Feed\[", "SyncFeed[", shown(one.return_annotation))
    assert returned == shown(other.return_annotation)
    if not (kind is Client and name in OWN_WORDS):
        assert inspect.getdoc(ours) == inspect.getdoc(twins)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(k, name) for k in TWINS for name, it in public(k).items() if isinstance(it, property)],
)
def test_a_property_and_its_twin_have_one_contract(kind: type, name: str) -> None:
    """What is read without a call has the same type and the same words on both sides."""
    ours, twins = getattr(kind, name), getattr(TWINS[kind], name)
    assert isinstance(twins, property)
    assert shown(inspect.signature(ours.fget).return_annotation) == shown(
        inspect.signature(twins.fget).return_annotation
    )
    assert inspect.getdoc(ours) == inspect.getdoc(twins)


def test_a_lease_is_attached_to_without_a_connection() -> None:
    """A handle is no call: it can be made before the client is open, as the async one can."""
    lease = raftlog.connect_sync("127.0.0.1:1").kv.attach_lease(7, ttl_seconds=1)
    assert (lease.lease_id, lease.ttl_seconds) == (7, 1)
    with pytest.raises(Unavailable):
        lease.refresh()


FORKING = """
import os, sys, raftlog
with raftlog.connect_sync(sys.argv[1]) as client:
    client.log.append(b"x")
    child = os.fork()
    if not child:
        sentences = []
        for call in (lambda: client.log.append(b"y"), raftlog.connect_sync(sys.argv[1]).open):
            try:
                call()
            except raftlog.InvalidInput as error:
                sentences.append(error.message)
        client.close()
        print(*sentences, sep="\\n", flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert client.log.append(b"z").sequence == 2
"""


def test_fork_is_detected(background: Background) -> None:
    """In a forked child a call and a new client raise instead of hanging; the parent goes on."""
    command = [sys.executable, "-c", FORKING, background.cluster.endpoints]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    first, second = done.stdout.splitlines()
    assert "fork" in first
    assert "after the fork" in second


def test_blocking_call_on_its_own_loop_is_refused(
    background: Background, client: SyncClient
) -> None:
    """A call from the client's own loop would wait for itself; it raises."""

    async def call_back() -> None:
        client.log.append(b"x")

    with pytest.raises(InvalidInput, match="loop"):
        client._loop.call(call_back)


def test_interrupted_call_is_cancelled(background: Background, client: SyncClient) -> None:
    """Ctrl-C ends a blocking call at once; the client stays usable."""
    client.log.append(b"0")
    background.cluster.hold = True

    def interrupt() -> None:
        with contextlib.suppress(TimeoutError):
            background.loop.call(_until_held, background.cluster)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        client.log.append(b"1")
    thread.join()
    background.loop.call(_release, background.cluster)
    assert client.log.append(b"2").sequence == 3


async def _until_held(cluster: FakeCluster) -> None:
    async with asyncio.timeout(5):
        while not cluster.held:
            await asyncio.sleep(0.005)


def test_closing_from_another_thread_ends_the_calls_of_all_threads(background: Background) -> None:
    """No thread waits for ever for a loop that is gone."""
    background.cluster.hold = True
    client = raftlog.connect_sync(background.cluster.endpoints, timeout=60).open()
    outcomes: list[object] = []

    def run(call) -> None:
        try:
            outcomes.append(call())
        except RaftLogError as error:
            outcomes.append(error)

    calls = [
        lambda: client.log.append(b"x"),
        lambda: next(iter(client.log.tail(99)), "ended"),
        lambda: next(iter(client.kv.watch()), "ended"),
    ]
    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    while not background.cluster.held:
        time.sleep(0.01)
    started = time.monotonic()
    client.close(timeout=0.3)
    for thread in threads:
        thread.join(5.0)
    assert not any(thread.is_alive() for thread in threads)
    assert time.monotonic() - started < 4.0
    assert all(isinstance(outcome, RaftLogError) for outcome in outcomes), outcomes
    with contextlib.closing(client):
        assert client.open() is client


def test_a_named_reader_commits_the_same(client: SyncClient) -> None:
    """By itself and by hand, one by one though they cross the threads in batches."""
    for number in range(7):
        client.log.append(b"%d" % number)
    feed = client.log.tail(consumer="audit", auto_commit=False)
    for _ in range(2):
        next(feed)
    assert feed.commit() == 2
    feed.close()
    rest = [each.sequence for each in client.log.tail(consumer="audit", follow=False)]
    assert rest == [3, 4, 5, 6, 7]
    assert client.log.consumers()[0].position == 7
    assert client.log.reset_consumer("audit", 3).position == 3
    assert client.log.delete_consumer("audit")
