"""Who may call which method: every method of every service, with every certificate there is."""

from __future__ import annotations

import asyncio
import importlib
import pathlib
import pkgutil
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from raftlog.errors import NotFound, RaftLogError, SafetyRefused, Unauthorized
from raftlog.interfaces import Event
from raftlog.interfaces.backup import BackupPiece, FollowPiece
from raftlog.rpc.access import AUDIT_LOGGER, NEEDS, OPERATES, Need, need_of
from raftlog.rpc.settings import ServerSettings, TransportSettings
from raftlog.security.policy import CertificateUris
from raftlog.security.tls import create_certificates
from raftlog.types import ClientRole
from raftlog.wire import pb as pb_package
from raftlog.wire.channel import channel_options, open_channel
from raftlog.wire.pb import admin_pb2, raft_pb2, types_pb2
from raftlog.wire.status import from_rpc_error
from tests.rpc.doubles import Cluster, FakeNode, Serving, failure, until
from tests.security.certificates import material

EMPTY = types_pb2.Empty()


def methods() -> dict[str, tuple[str, bool, bool]]:
    """Every method of every service in the protos: its path, and which sides are streams."""
    found = {}
    for module in pkgutil.iter_modules(pb_package.__path__):
        if not module.name.endswith("_pb2"):
            continue
        file = importlib.import_module(f"{pb_package.__name__}.{module.name}").DESCRIPTOR
        for service in file.services_by_name.values():
            for method in service.methods:
                found[f"{service.name}/{method.name}"] = (
                    f"/{service.full_name}/{method.name}",
                    method.client_streaming,
                    method.server_streaming,
                )
    return found


METHODS = methods()
PEERS = {"Raft/Bulk", "Raft/Control", "Raft/Snapshot"}
ANYONE = {"Admin/Leader"}
READER = {
    "Admin/Alarms", "Admin/LogEnd", "Admin/Origin", "Admin/Reigns", "Admin/Snapshots",
    "Admin/Status", "Kv/Query", "Kv/Watch",
    "Log/Get", "Log/Info", "Log/Streams", "Log/Tail", "Machine/Query",
    "Log/Consumers",
}  # fmt: skip
WRITER = {
    "Kv/Execute", "Log/Append", "Log/CloseSession", "Log/OpenSession", "Log/Write",
    "Log/CommitConsumer", "Log/OpenConsumer", "Machine/Execute",
}  # fmt: skip
ITSELF = {"Admin/Drain", "Admin/SetCampaigning", "Admin/StepDown", "Admin/Transfer"}
ALLOWED = {
    "nothing": ANYONE,
    "reader": ANYONE | READER,
    "writer": ANYONE | READER | WRITER,
    "operator": set(METHODS) - PEERS,
    "n1": ANYONE | READER | ITSELF,
    "n2": ANYONE | READER,
}
"""What each certificate may call on n1, written down once more by hand."""


def test_every_method_is_in_the_table() -> None:
    """A verb that is added says who may ask for it; none that is gone is left behind."""
    assert set(NEEDS) == set(METHODS)


def test_the_table_says_what_is_meant() -> None:
    """Each role includes the ones before it, and the rest is for operators and for peers."""
    for method, need in NEEDS.items():
        if method in PEERS | ANYONE:
            assert need == Need(is_peer=method in PEERS)
        else:
            wanted = (
                ClientRole.READER if method in READER
                else ClientRole.WRITER if method in WRITER
                else ClientRole.OPERATOR
            )  # fmt: skip
            assert (method, need.role) == (method, wanted)
            assert need.by_itself == (method in ITSELF)
            assert need.is_audited <= (wanted is ClientRole.OPERATOR)


def test_a_method_that_is_not_listed_is_an_operators() -> None:
    """Whoever forgets a line in the table has closed a verb, and not opened one."""
    assert need_of("Admin/Explode") == OPERATES
    assert OPERATES.role is ClientRole.OPERATOR
    assert OPERATES.is_audited


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """One authority, two nodes, and a client of each role and of none."""
    directory = tmp_path_factory.mktemp("roles")
    create_certificates(directory, ["n1", "n2"], clients=[])
    create_certificates(directory, [], clients=["nothing"], role=None)
    for role in ClientRole:
        create_certificates(directory, [], clients=[role.word], role=role)
    return directory


class NoBackups:
    """Has none, so that only a refusal tells who may ask."""

    async def stream(self) -> AsyncIterator[BackupPiece]:
        raise SafetyRefused("there is no backup here")
        yield

    async def follow(
        self, _cluster: str, _after: int, _checksum: int
    ) -> AsyncIterator[FollowPiece]:
        raise SafetyRefused("there is no log here")
        yield


@pytest_asyncio.fixture
async def guarded(certificates: pathlib.Path) -> AsyncIterator[Cluster]:
    """A server that asks for roles."""
    made = Cluster(server=ServerSettings(authenticator=CertificateUris()))
    await made.start(
        "n1",
        node=FakeNode(result=b""),
        tls=material(certificates, "n1"),
        transport=TransportSettings(authenticator=CertificateUris()),
        backups=NoBackups(),
    )
    yield made
    await made.stop()


def shows(made: Cluster, certificates: pathlib.Path, name: str) -> Serving:
    """A client of n1 with that certificate."""
    peer = made.peers["n1"]
    tls = material(certificates, name)
    return Serving(peer, open_channel(peer.address, tls, channel_options(1 << 20)))


async def ask(channel: grpc.aio.Channel, method: str) -> RaftLogError | None:
    """Call a method with an empty request; return how it failed, or None."""
    path, sends, answers = METHODS[method]
    try:
        async with asyncio.timeout(10):
            if sends:
                call = channel.stream_stream(path)()
                await call.done_writing()
                await call.read()
            elif answers:
                call = channel.unary_stream(path)(b"")
                await call.read()
            else:
                await channel.unary_unary(path)(b"")
                return None
            call.cancel()
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error, sent=True)
    return None


@pytest.mark.parametrize("name", ALLOWED)
async def test_each_certificate_may_do_what_its_role_says(
    guarded: Cluster, certificates: pathlib.Path, name: str
) -> None:
    """On every method: what is allowed comes through, all else is refused, and nothing happens."""
    client = shows(guarded, certificates, name)
    node = guarded.peers["n1"].node
    passed = set()
    for method in sorted(set(METHODS) - PEERS):
        before = (node.submitted, node.stepped_down, len(node.queried))
        error = await ask(client.channel, method)
        if not isinstance(error, Unauthorized):
            passed.add(method)
            continue
        assert error.definite
        assert f"{method} needs the role " in error.message
        assert before == (node.submitted, node.stepped_down, len(node.queried))
    await client.close()
    assert passed == ALLOWED[name]


@pytest.mark.parametrize("name", ["nothing", "reader", "writer", "operator"])
async def test_no_role_opens_the_peers_service(
    guarded: Cluster, certificates: pathlib.Path, name: str
) -> None:
    """What peers say to one another is decided by the handshake: no role speaks as a node."""
    client = shows(guarded, certificates, name)
    hello = raft_pb2.Hello(
        protocol=1, cluster_id="c", node_id="n2", instance_id="x", target_node_id="n1"
    )
    for method in sorted(PEERS):
        first: raft_pb2.SnapshotChunk | raft_pb2.PeerMessage = raft_pb2.PeerMessage(hello=hello)
        if method == "Raft/Snapshot":
            first = raft_pb2.SnapshotChunk(hello=hello, term=9, snapshot_id="1-1-a", size_bytes=1)
        call = client.channel.stream_stream(METHODS[method][0])()
        await call.write(first.SerializeToString())
        error = await failure(call.read())
        assert isinstance(error, Unauthorized)
        assert "may not speak as node n2" in error.message
    await client.close()
    assert guarded.peers["n1"].events.identified == []


@pytest.mark.parametrize(
    ("name", "held"),
    [("nothing", "(CN=nothing) has no role"), ("reader", "CN=reader) has the role reader")],
)
async def test_a_refusal_says_what_is_needed_and_what_is_there(
    guarded: Cluster, certificates: pathlib.Path, name: str, held: str
) -> None:
    """The sentence names the role, what the certificate has, and the command that makes one."""
    client = shows(guarded, certificates, name)
    error = await failure(client.admin.StepDown(EMPTY))
    await client.close()
    assert isinstance(error, Unauthorized)
    assert error.definite
    for words in (held, "Admin/StepDown needs the role operator", "raftlog://role/operator",
                  "raftlog certs create --role operator"):  # fmt: skip
        assert words in error.message


def order(node_id: str, verb: str = "add", **more: object) -> admin_pb2.MemberOrder:
    """An order about one member."""
    return admin_pb2.MemberOrder(verb=verb, node_id=node_id, address="127.0.0.1:1", **more)


@pytest.mark.parametrize(
    ("request_", "may"),
    [
        (admin_pb2.ChangeMembersRequest(orders=[order("n2")]), True),
        (admin_pb2.ChangeMembersRequest(orders=[order("n3")]), False),
        (admin_pb2.ChangeMembersRequest(orders=[order("n2"), order("n3")]), False),
        (admin_pb2.ChangeMembersRequest(orders=[order("n2", "remove")]), False),
        (admin_pb2.ChangeMembersRequest(orders=[order("n2")], force=True), False),
        (admin_pb2.ChangeMembersRequest(orders=[order("n2", priority=200)]), False),
        (admin_pb2.ChangeMembersRequest(orders=[order("n2", banned=True)]), False),
        (admin_pb2.ChangeMembersRequest(), False),
        (admin_pb2.ChangeMembersRequest(orders=[order("n2", region="x" * (1 << 16))]), False),
        (b"\xff\xff", False),
    ],
)
async def test_a_node_adds_itself_and_changes_nobody_else(
    guarded: Cluster,
    certificates: pathlib.Path,
    request_: admin_pb2.ChangeMembersRequest | bytes,
    may: bool,
) -> None:
    """`serve --join` shows the node's own certificate: that is enough for this, and for no more."""
    client = shows(guarded, certificates, "n2")
    path = METHODS["Admin/ChangeMembers"][0]
    try:
        sent = request_ if isinstance(request_, bytes) else request_.SerializeToString()
        await client.channel.unary_unary(path)(sent)
        refused = False
    except grpc.aio.AioRpcError as error:
        refused = isinstance(from_rpc_error(error, sent=True), Unauthorized)
    await client.close()
    assert refused is not may


async def test_health_and_reflection_stay_open(
    guarded: Cluster, certificates: pathlib.Path
) -> None:
    """A load balancer's certificate needs no role."""
    client = shows(guarded, certificates, "nothing")
    path = "/grpc.health.v1.Health/Check"
    assert await client.channel.unary_unary(path)(b"") == b"\x08\x01"
    await client.close()


async def test_without_roles_everyone_may_do_everything(serving: Serving) -> None:
    """The default: whoever can connect is not asked."""
    for method in sorted(set(METHODS) - PEERS):
        assert not isinstance(await ask(serving.channel, method), Unauthorized), method


# ---------------------------------------------------------------- audit


def lines(made: Cluster) -> list[dict[str, object]]:
    """The audit lines of n1, without what differs from run to run."""
    found = made.peers["n1"].observer.named(Event.OPERATED)
    return [
        {name: each for name, each in line.items() if name not in {"came_from", "seconds"}}
        for line in found
    ]


async def test_every_operators_verb_is_a_line(guarded: Cluster, certificates: pathlib.Path) -> None:
    """Who, what with which arguments, and how it ended: also what was refused, and what failed."""
    operator = shows(guarded, certificates, "operator")
    await operator.admin.Transfer(admin_pb2.TransferRequest(to="n2", timeout_seconds=1))
    request = admin_pb2.TransferRequest(to="ghost")
    assert isinstance(await failure(operator.admin.Transfer(request)), NotFound)
    reader = shows(guarded, certificates, "reader")
    await failure(reader.admin.StepDown(EMPTY))
    await until(lambda: len(lines(guarded)) == 3)
    me = "raftlog://role/operator, CN=operator"
    said = {"logger": AUDIT_LOGGER, "who": me, "what": "Admin/Transfer"}
    assert lines(guarded) == [
        {**said, "arguments": "to=n2 timeout_seconds=1", "outcome": "ok"},
        {**said, "arguments": "to=ghost", "outcome": "not_found"},
        {
            "logger": AUDIT_LOGGER,
            "who": "raftlog://role/reader, CN=reader",
            "what": "Admin/StepDown",
            "arguments": "",
            "outcome": "unauthorized",
        },
    ]
    for line in guarded.peers["n1"].observer.named(Event.OPERATED):
        assert str(line["came_from"]).startswith("ipv4:127.0.0.1:")
        assert float(str(line["seconds"])) >= 0
    await operator.close()
    await reader.close()


async def test_what_is_no_operators_verb_is_no_line(serving: Serving, cluster: Cluster) -> None:
    """Reads and writes are not audited; the log has the writes."""
    for method in sorted(READER | WRITER | ANYONE | {"Admin/Settings"}):
        await ask(serving.channel, method)
    assert lines(cluster) == []


async def test_without_certificates_the_line_says_so(serving: Serving, cluster: Cluster) -> None:
    """The audit does not depend on roles, nor on TLS."""
    await serving.admin.StepDown(EMPTY)
    await until(lambda: lines(cluster))
    assert [line["who"] for line in lines(cluster)] == ["no certificate"]


async def test_a_bug_and_a_caller_who_left_are_lines(
    serving: Serving, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of a verb, its line is written."""
    begun = asyncio.Event()

    async def explode() -> None:
        raise ZeroDivisionError

    async def hang() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(serving.node, "step_down", explode)
    await failure(serving.admin.StepDown(EMPTY))
    monkeypatch.setattr(serving.node, "step_down", hang)
    call = serving.admin.StepDown(EMPTY)
    waiting = asyncio.ensure_future(begun.wait())
    await asyncio.wait({waiting, asyncio.ensure_future(call.code())}, return_when="FIRST_COMPLETED")
    call.cancel()
    await until(lambda: len(lines(cluster)) == 2)
    assert [line["outcome"] for line in lines(cluster)] == ["internal_error", "cancelled"]
