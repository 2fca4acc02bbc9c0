"""The client as a whole: the public names, its life, machine and cluster calls."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

import raftlog
from raftlog.client import connections as connections_module
from raftlog.client.client import Client, tls_material
from raftlog.client.cluster import Cluster
from raftlog.client.connections import Connections
from raftlog.client.context import Context, check_payload, parse_consistency
from raftlog.client.machine import Machine
from raftlog.client.routing import Limits
from raftlog.client.subscription import Subscription
from raftlog.errors import (
    ConfigInvalid,
    ConnectFailed,
    Indeterminate,
    InvalidInput,
    NotFound,
    SafetyRefused,
    Unavailable,
)
from raftlog.security.tls import create_certificates
from raftlog.wire.diagnosis import Finding, Trouble
from raftlog.wire.pb import types_pb2
from tests.client.conftest import until
from tests.client.fake_cluster import FakeCluster


def test_public_names_exist() -> None:
    """Every name in `__all__` can be imported, and an unknown one is an AttributeError."""
    for name in raftlog.__all__:
        assert getattr(raftlog, name) is not None
        assert name in dir(raftlog)
    with pytest.raises(AttributeError):
        raftlog.nothing  # noqa: B018


def test_importing_the_package_is_cheap() -> None:
    """`import raftlog` loads neither gRPC nor anything of the server."""
    code = (
        "import sys, raftlog; "
        "print([m for m in ('grpc', 'lmdb', 'raftlog.core', 'raftlog.node') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["raftlog", "raftlog.client.client", "raftlog.server.main"])
def test_grpc_is_told_before_it_is_loaded(module: str) -> None:
    """Its event engine is off however raftlog is imported, and an operator's own word wins."""
    code = (
        f"import os, {module}, grpc, grpc.aio; grpc.insecure_channel('127.0.0.1:1').close(); "
        "print(os.environ['GRPC_EXPERIMENTS'])"
    )
    environment = {name: each for name, each in os.environ.items() if not name.startswith("GRPC")}
    for given, wanted in (("", "-event_engine_client,"), ("-tcp_rcv_lowat", "-tcp_rcv_lowat")):
        mine = environment | ({"GRPC_EXPERIMENTS": given} if given else {})
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=mine
        )
        assert done.stdout.startswith(wanted)
        assert done.stderr == ""


def test_client_does_not_load_the_server() -> None:
    """Using the client imports no node, storage, rpc or core."""
    code = (
        "import sys, raftlog; raftlog.connect; raftlog.connect_sync; "
        "print([m for m in sys.modules if m.startswith(('raftlog.core', 'raftlog.node', "
        "'raftlog.rpc', 'raftlog.storage', 'raftlog.server', 'raftlog.machines', 'lmdb'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_closed_client_says_so(cluster: FakeCluster) -> None:
    """Calls before `open` and after `close` fail definitely; closing twice is harmless."""
    client = raftlog.connect(cluster.endpoints)
    with pytest.raises(Unavailable, match="not open"):
        await client.log.append(b"x")
    async with client:
        await client.log.append(b"x")
        assert client.endpoints == tuple(cluster.endpoints.split(","))
    await client.close()
    for call in (client.log.append(b"x"), client.kv.get(b"k"), client.cluster.leader()):
        with pytest.raises(Unavailable):
            await call


def test_credentials_come_in_pairs(tmp_path) -> None:
    """PEM bytes or paths are taken; half a pair or an unreadable file is a clear error."""
    made = create_certificates(tmp_path, ["n1"])["client"]
    path, cert, key = made.cacert, made.cert.read_bytes(), made.key.read_bytes()
    material = tls_material(path, cert, key)
    assert material is not None
    assert (material.ca, material.cert, material.key) == (path.read_bytes(), cert, key)
    assert tls_material(None, None, None) is None
    for wrong in (
        (None, cert, key),
        (path, cert, None),
        (tmp_path / "missing.pem", None, None),
    ):
        with pytest.raises(ConfigInvalid):
            tls_material(*wrong)


async def test_machine_upgrades(cluster: FakeCluster, client: Client) -> None:
    """The leader is asked, wherever it is; what it says comes back, and its refusal is definite."""
    done = await client.machine.upgrade(2)
    assert (done.machine, done.before, done.version, done.raised) == ("kv", 1, 2, True)
    assert (done.index, done.members) == (7, {cluster.leader: (1, 2)})
    assert not (await client.machine.upgrade(dry_run=True)).raised
    with pytest.raises(SafetyRefused) as refused:
        await client.machine.upgrade(9)
    assert refused.value.definite
    for wrong in (0, -1, 2**31, 2**70, "2", True):
        with pytest.raises(InvalidInput):
            await client.machine.upgrade(wrong)  # type: ignore[arg-type]


async def test_machine_calls(cluster: FakeCluster, client: Client) -> None:
    """Commands go through the log, queries beside it."""
    command = raftlog.client.kv.kv_pb2.KvCommand(
        put=raftlog.client.kv.kv_pb2.Put(key=b"k", value=b"v")
    ).SerializeToString()
    applied = await client.machine.submit(command)
    assert applied.sequence == applied.receipt.sequence == 1
    assert applied.gtid == "0-1-1"
    assert await client.machine.execute(command) == applied.result
    assert await client.machine.query(b"?") == b"echo ?"
    assert await client.machine.query(b"?", member="n2", consistency="stale") == b"echo ?"
    assert isinstance(client.machine, Machine)


async def test_status_prefers_the_leader_and_needs_no_quorum(
    cluster: FakeCluster, client: Client
) -> None:
    """Any one live node answers; with a leader it is the leader."""
    cluster.elect("n2")
    status = await client.cluster.status()
    assert (status.served_by, status.leader, status.term) == ("n2", "n2", 2)
    assert [member.node_id for member in status.members] == ["n1", "n2", "n3"]
    cluster.elect(None)
    await cluster.nodes["n1"].stop()
    await cluster.nodes["n2"].stop()
    assert (await client.cluster.status(timeout=2)).served_by == "n3"
    assert (await client.cluster.status(member="n3")).leader is None


async def test_status_of_nobody_is_connect_failed() -> None:
    """If no node can be reached, status says that it cannot connect."""
    async with Client("127.0.0.1:1") as client:
        with pytest.raises(ConnectFailed):
            await client.cluster.status(timeout=0.2)
        with pytest.raises(ConnectFailed):
            await client.cluster.status(timeout=0.2, member="n1")


async def test_what_cannot_be_reached_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many callers and repetitions, each address is looked at once; the error says why."""
    looked: list[str] = []

    async def diagnose(address: str, *_: object) -> Finding:
        looked.append(address)
        trouble = Trouble.TLS_NEEDED if address.endswith(":1") else Trouble.NOBODY_LISTENS
        return Finding(trouble, "127.0.0.1")

    monkeypatch.setattr(connections_module, "diagnose", diagnose)
    async with Client("127.0.0.1:1,127.0.0.1:2") as client:
        calls = [
            call
            for _ in range(5)
            for call in (
                client.log.append(b"x", timeout=0.6),
                client.kv.get(b"k", timeout=0.6),
                client.cluster.status(timeout=0.6),
                client.cluster.transfer(timeout=0.6),
            )
        ]
        errors = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(looked) == ["127.0.0.1:1", "127.0.0.1:2"]
    for error in errors:
        assert isinstance(error, ConnectFailed)
        assert error.definite
        assert error.is_explained
        assert "127.0.0.1:1: it speaks TLS" in error.message
        assert "127.0.0.1:2: nothing listens there" in error.message


async def test_while_somebody_answers_nothing_is_looked_at(
    cluster: FakeCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover is no reason to look: those that are away come back."""
    looked: list[object] = []
    monkeypatch.setattr(connections_module, "diagnose", lambda *given: looked.append(given))
    await client.log.append(b"x")
    await cluster.nodes["n1"].stop()
    cluster.elect("n2")
    await client.log.append(b"y")
    await client.cluster.status()
    assert not looked


async def test_a_member_that_cannot_be_reached_says_why(
    cluster: FakeCluster, client: Client
) -> None:
    """A call to one member that is away ends with its address and the reason."""
    await client.cluster.status()
    away = cluster.nodes["n3"].address
    await cluster.nodes["n3"].stop()
    with pytest.raises(ConnectFailed, match=f"to {away}; nothing listens there"):
        await client.log.info(member="n3", timeout=0.5)


def test_bytes_that_are_no_certificate_are_refused() -> None:
    """Credentials are looked at when the client is made, by the argument's name."""
    with pytest.raises(ConfigInvalid, match="cacert= is not a certificate"):
        raftlog.connect("127.0.0.1:1", cacert=b"garbage")


async def test_operators_verbs(cluster: FakeCluster, client: Client) -> None:
    """Leader, transfer and step-down reach the leader and report."""
    assert (await client.cluster.leader()).node_id == "n1"
    moved = await client.cluster.transfer("n3")
    assert (moved.source, moved.target) == ("n1", "n3")
    assert (await client.cluster.leader()).node_id == "n3"
    await client.cluster.step_down()
    assert cluster.leader is None
    with pytest.raises(Unavailable):
        await client.cluster.leader(timeout=0.2)
    assert isinstance(client.cluster, Cluster)


async def test_members_are_learned_from_one_endpoint(cluster: FakeCluster) -> None:
    """One endpoint is enough: the others are found, by name too."""
    async with Client(cluster.nodes["n2"].address, timeout=2) as client:
        await client.log.append(b"x")
        assert (await client.log.info(member="n3")).served_by == "n3"
        with pytest.raises(NotFound):
            await client.log.info(member="n7")


async def test_a_member_that_came_back_elsewhere_is_found_by_its_name(
    cluster: FakeCluster, client: Client
) -> None:
    """Once it cannot be reached where it was, the others are asked where it is now."""
    assert (await client.log.info(member="n3")).served_by == "n3"
    moved = cluster.nodes["n3"]
    await moved.stop()
    moved.port = 0
    await moved.start()
    assert (await client.log.info(member="n3")).served_by == "n3"


@pytest.mark.parametrize("is_silent", [False, True])
async def test_who_answers_in_a_members_place_is_not_taken_for_it(
    cluster: FakeCluster, client: Client, monkeypatch, is_silent: bool
) -> None:
    """Nothing is asked of a node that was given a member's address, and the error says what helps.

    One that would not tell its name in time is known by its answer.
    """
    cluster.nodes["n3"].node_id = "n4"
    if is_silent:
        await client.cluster.status()
        silent, probe = cluster.nodes["n3"].address, Connections._probe

        async def asked(connections: Connections, address: str, seconds: float = 1.0):
            return None if address == silent else await probe(connections, address, seconds)

        monkeypatch.setattr(Connections, "_probe", asked)
    with pytest.raises(Unavailable, match="member update n3 --address") as caught:
        await client.log.info(member="n3", timeout=0.5)
    assert ("n4 did what was asked" in caught.value.message) is is_silent
    assert caught.value.definite is not is_silent
    if not is_silent:
        with pytest.raises(Unavailable, match="nothing was asked of it"):
            await anext(client.log.tail(member="n3", timeout=0.5))
        with pytest.raises(Unavailable, match="nothing was asked of it"):
            await client.cluster.drain("n3", timeout=0.5)
    else:
        with pytest.raises(Indeterminate, match="n4 did what was asked"):
            await client.cluster.drain("n3", timeout=0.5)
        with pytest.raises(Unavailable, match="n4 answers there"):
            await anext(client.log.tail(member="n3", after=0, timeout=0.5))
        with pytest.raises(Unavailable, match="n4 did what was asked"):
            await client.log.tail(member="n3", last=1, timeout=0.5).begun()
        with pytest.raises(Unavailable, match="n4 answers there"):
            await anext(client.kv.watch(b"k", after_revision=0, member="n3", timeout=0.5))


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_named_call_waits_for_its_member_while_there_is_time(
    cluster: FakeCluster, client: Client, monkeypatch, is_silent: bool
) -> None:
    """Another node answers in its place at first: nothing of that is taken, and nobody is told."""
    impostor = cluster.nodes["n3"]
    impostor.node_id = "n4"
    await client.log.append(b"one")
    if is_silent:
        probe = Connections._probe

        async def asked(connections: Connections, address: str, seconds: float = 1.0):
            at = impostor.address
            return None if address == at else await probe(connections, address, seconds)

        monkeypatch.setattr(Connections, "_probe", asked)
    tail = client.log.tail(member="n3", after=0)
    waiting = [
        asyncio.create_task(client.log.info(member="n3")),
        asyncio.create_task(client.cluster.status(member="n3")),
        asyncio.create_task(anext(tail)),
        asyncio.create_task(client.log.tail(member="n3", last=1).begun()),
    ]
    done, _ = await asyncio.wait(waiting, timeout=0.4)
    assert not done, [task.exception() for task in done]
    assert bool(impostor.tail_calls) == is_silent
    impostor.node_id = "n3"
    info, status, one, begun = await asyncio.gather(*waiting)
    assert (info.served_by, status.served_by, one.served_by, begun) == ("n3", "n3", "n3", 0)
    await tail.aclose()


async def test_a_stream_is_left_when_another_node_comes_in_its_members_place(
    cluster: FakeCluster, client: Client
) -> None:
    """What it reads next comes from the member that was named, and from its new address."""
    await client.log.append(b"one")
    tail = client.log.tail(member="n3", after=0, timeout=5.0)
    assert (await anext(tail)).served_by == "n3"
    cluster.nodes["n2"].node_id, cluster.nodes["n3"].node_id = "n3", "n2"
    cluster.nodes.update(n2=cluster.nodes["n3"], n3=cluster.nodes["n2"])
    await client.log.append(b"two")
    found = await anext(tail)
    assert (found.served_by, found.payload) == ("n3", b"two")
    await tail.aclose()


async def test_a_member_says_its_name_once_and_again_after_a_failure(
    cluster: FakeCluster, client: Client
) -> None:
    """A call by a name costs one call, and not two, for as long as nothing fails there."""
    member = cluster.nodes["n3"]
    await client.log.info(member="n3")
    asked = member.leader_calls
    for _ in range(10):
        await client.log.info(member="n3")
    assert member.leader_calls == asked
    client._context.connections.forget(member.address)
    await client.log.info(member="n3")
    assert member.leader_calls == asked + 1
    member.node_id = "n4"
    with pytest.raises(Unavailable, match="nothing was asked of it"):  # what changes something
        await client.cluster.drain("n3", timeout=0.5)


async def test_a_member_that_is_slow_to_say_its_name_has_time_left_for_the_call(
    cluster: FakeCluster, client: Client
) -> None:
    """The call itself is made, and its failure is what the caller is told."""
    await client.log.info(member="n2")
    cluster.mute.add("n3")
    with pytest.raises(Unavailable, match="DEADLINE_EXCEEDED"):
        await client.log.info(member="n3", timeout=0.4)


async def test_members_that_changed_places_are_told_apart(
    cluster: FakeCluster, client: Client
) -> None:
    """What was known of the addresses is asked for anew, and the right one answers."""
    await client.cluster.status()
    second, third = cluster.nodes["n2"], cluster.nodes["n3"]
    second.node_id, third.node_id = "n3", "n2"
    cluster.nodes.update(n2=third, n3=second)
    assert (await client.log.info(member="n3")).served_by == "n3"
    assert (await client.log.info(member="n2")).served_by == "n2"


async def test_searchers_share_one_search(cluster: FakeCluster) -> None:
    """Any number of callers without a leader cost no more probes than one."""
    connections = Connections(tuple(cluster.endpoints.split(",")))
    cluster.elect(None)
    context = Context(("h:1",), tls=None, timeout_seconds=1)
    assert context.endpoints == ("h:1",)
    with pytest.raises(Unavailable):
        await connections.leader(context_time() + 0.05)
    assert not connections._searches
    await connections.close()
    with pytest.raises(Unavailable, match="closed"):
        await connections.leader(context_time() + 1)


async def test_closing_ends_reads_with_an_error(cluster: FakeCluster) -> None:
    """A read or tail in flight when the client is closed raises `Unavailable`, not a cancel."""
    client = await Client(cluster.endpoints).open()
    await client.log.append(b"x")
    tail = client.log.tail(after=1)
    tailing = asyncio.ensure_future(anext(tail))
    await until(lambda: cluster.nodes["n1"].tail_calls == 1)
    cluster.mute.add("n1")
    reading = asyncio.ensure_future(client.kv.get(b"k"))
    await asyncio.sleep(0)
    await client.close()
    cluster.mute.clear()
    for call in (reading, tailing):
        with pytest.raises(Unavailable):
            await call


def context_time() -> float:
    return asyncio.get_running_loop().time()


def test_arguments_are_checked() -> None:
    """Consistencies and payloads are refused with a sentence that names what is legal."""
    assert parse_consistency(None) == types_pb2.LINEARIZABLE
    assert parse_consistency(None, "n1") == types_pb2.FOLLOWER
    assert parse_consistency(raftlog.Consistency.STALE, "n1") == types_pb2.STALE
    with pytest.raises(InvalidInput):
        check_payload(3, Limits())
    assert Subscription.__doc__
