"""The server as a whole: binding, health, reflection, limits, TLS."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import shutil
import socket
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from raftlog.core import messages
from raftlog.errors import ConfigInvalid, InvalidInput, InvariantBroken, Overloaded
from raftlog.interfaces import Event
from raftlog.rpc import links
from raftlog.rpc.latencies import Latencies
from raftlog.rpc.server import HEALTH_WATCHES_MAX
from raftlog.rpc.services import admin, kv, log, machine, raft
from raftlog.rpc.settings import ServerSettings, TransportSettings
from raftlog.security.policy import CertificateUris
from raftlog.security.tls import create_certificates, load_tls
from raftlog.types import NodeId, Term
from raftlog.wire.channel import TlsMaterial, channel_options, open_channel
from raftlog.wire.pb import admin_pb2, kv_pb2, log_pb2, machine_pb2, types_pb2
from raftlog.wire.pb import raft_pb2 as pb
from tests.rpc.doubles import Cluster, FakeNode, Serving, failure, until
from tests.security.certificates import material, reissue

EMPTY = types_pb2.Empty()
SERVICES = [module.SERVICE for module in (raft, log, kv, machine, admin)]
HealthStatus = health_pb2.HealthCheckResponse


async def health_of(serving: Serving, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(serving.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_a_taken_port_is_a_clear_error(cluster: Cluster) -> None:
    """A second server on one port names the address instead of sharing it."""
    first = await cluster.start("n1")
    with pytest.raises(ConfigInvalid, match=first.address):
        await cluster.start("n2", listen=first.address)


@pytest.mark.parametrize("listen", ["7101", "nowhere.invalid:7101", "127.0.0.1:99999", ""])
async def test_an_impossible_address_is_a_clear_error(cluster: Cluster, listen: str) -> None:
    """What cannot be bound is a configuration error."""
    with pytest.raises(ConfigInvalid):
        await cluster.start("n1", listen=listen)


async def test_start_twice_is_a_mistake(serving: Serving) -> None:
    """A running server is not started over."""
    with pytest.raises(InvariantBroken):
        await serving.peer.server.start()


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_every_service_is_healthy(serving: Serving, service: str) -> None:
    """The standard health check knows the server and each of its services."""
    assert await health_of(serving, service) == HealthStatus.SERVING


async def test_log_health_follows_the_leader(cluster: Cluster) -> None:
    """raftlog.v1.Log is SERVING only while a leader is known; the server itself stays healthy."""
    made = Cluster(server=ServerSettings(health_seconds=0.01))
    serving = Serving(await made.start("n1", node=FakeNode(leader=None)))
    try:
        assert await health_of(serving, log.SERVICE) == HealthStatus.NOT_SERVING
        assert await health_of(serving, "") == HealthStatus.SERVING
        serving.node.leader = "n2"
        async with asyncio.timeout(10):
            while await health_of(serving, log.SERVICE) != HealthStatus.SERVING:
                pass
    finally:
        await serving.close()
        await made.stop()


async def test_reflection_lists_the_services(serving: Serving) -> None:
    """A tool like grpcurl finds the services without the .proto files."""
    stub = reflection_pb2_grpc.ServerReflectionStub(serving.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([request]))
    names = {one.name for one in (await call.read()).list_services_response.service}
    assert set(SERVICES) <= names
    symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol=log.SERVICE)
    call = stub.ServerReflectionInfo(iter([symbol]))
    assert (await call.read()).file_descriptor_response.file_descriptor_proto


async def test_an_unknown_method_is_unimplemented(serving: Serving) -> None:
    """A method of a later version is refused for good; that nothing happened only we can say."""
    error = await failure(serving.channel.unary_unary("/raftlog.v1.Log/Nope")(b""))
    assert type(error) is InvalidInput
    assert not error.definite


async def test_clients_are_bounded_and_peers_are_not_counted() -> None:
    """Beyond the limit clients hear that the node is full, while a peer still gets in."""
    made = Cluster(server=ServerSettings(connections_max=2))
    serving = Serving(await made.start("n1", node=FakeNode()))
    try:
        open_calls = [serving.log.Tail(log_pb2.TailRequest(follow=True)) for _ in range(2)]
        for call in open_calls:
            await call.read()
        assert serving.peer.server.call_count == 2
        error = await failure(serving.admin.Status(EMPTY))
        assert isinstance(error, Overloaded)
        assert error.definite
        n2 = await made.start("n2")
        made.connect()
        await until(lambda: n2.transport.is_connected(NodeId("n1")))
        open_calls[0].cancel()
        await until(lambda: serving.peer.server.call_count == 1)
        assert (await serving.admin.Status(EMPTY)).served_by == "n1"
        open_calls[1].cancel()
    finally:
        await serving.close()
        await made.stop()


async def test_stop_ends_open_streams(serving: Serving) -> None:
    """A tail that would follow for ever does not hold up a stop."""
    call = serving.log.Tail(log_pb2.TailRequest(follow=True))
    await call.read()
    async with asyncio.timeout(5):
        await serving.peer.server.stop(0.05)
    with pytest.raises(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass
    await until(lambda: serving.node.tails_open == 0)


async def test_a_handlers_bug_is_no_crash(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected exception in one call is that call's unknown outcome; the next is served."""

    def explode() -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(serving.node, "info", explode)
        error = await failure(serving.log.Info(EMPTY))
        assert not error.definite
    assert (await serving.log.Info(EMPTY)).served_by == "n1"


async def test_each_method_that_answers_once_is_timed_under_its_name(serving: Serving) -> None:
    """One histogram for each, by the name that clients call it by; failures count as well."""
    latencies = serving.peer.server.latencies
    named = {
        f"{service.name}/{method.name}"
        for file in (log_pb2, kv_pb2, machine_pb2, admin_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not method.server_streaming and not method.client_streaming
    }
    assert set(latencies.methods) == named
    assert isinstance(latencies, Latencies)
    assert await failure(serving.log.Get(log_pb2.GetRequest(sequence=99)))
    await until(lambda: sum(latencies.methods["Log/Get"].counts) == 1)
    assert sum(latencies.methods["Log/Info"].counts) == 0
    assert 0 < latencies.methods["Log/Get"].total < 60


# ---------------------------------------------------------------- TLS


SECURED = TransportSettings(authenticator=CertificateUris(), refused_retry_seconds=0.05)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A development authority with two nodes and a client."""
    directory = tmp_path_factory.mktemp("certificates")
    create_certificates(directory, ["n1", "n2"])
    return directory


async def test_peers_and_clients_over_tls(cluster: Cluster, certificates: pathlib.Path) -> None:
    """With one authority's certificates, members connect, messages pass, a client is served."""
    n1 = await cluster.start("n1", tls=material(certificates, "n1"), transport=SECURED)
    n2 = await cluster.start("n2", tls=material(certificates, "n2"), transport=SECURED)
    cluster.connect()
    await until(lambda: n1.transport.is_connected(n2.node_id))
    await until(lambda: n2.transport.is_connected(n1.node_id))
    n1.transport.send(n2.node_id, messages.TimeoutNow(term=Term(1)))
    await until(lambda: n2.events.received)
    info = n1.store.add(b"snapshot" * 1000)
    n1.transport.send_snapshot(n2.node_id, 1, info)
    await until(lambda: n1.events.snapshots)
    assert n1.events.snapshots == [(n2.node_id, True)]
    channel = open_channel(n1.address, material(certificates, "client"), channel_options(1 << 20))
    serving = Serving(n1, channel)
    assert (await serving.admin.Status(EMPTY)).cluster_id == "c"
    await serving.close()


async def test_a_clients_certificate_does_not_speak_as_a_member(
    cluster: Cluster, certificates: pathlib.Path
) -> None:
    """A certificate good for clients, or another member's, is refused on peer streams by name."""
    n1 = await cluster.start("n1", tls=material(certificates, "n1"), transport=SECURED)
    liar = await cluster.start("n2", tls=material(certificates, "client"), transport=SECURED)
    n3 = await cluster.start("n3", tls=material(certificates, "n2"), transport=SECURED)
    for peer in (liar, n3):
        peer.transport.set_peers({n1.node_id: n1.address})
    await until(lambda: len(n1.transport.refusals) == 2)
    for peer in (liar, n3):
        await until(lambda peer=peer: n1.node_id in peer.transport.refusals)
        assert f"may not speak as node {peer.node_id}" in n1.transport.refusals[peer.node_id]
    assert n1.events.identified == []


@pytest.fixture(scope="module")
def wrong_certificates(certificates: pathlib.Path) -> dict[str, TlsMaterial]:
    """Certificates of the cluster's own authority that are not the node's it is claimed to be."""
    named_like_a_node = certificates / "named-like-a-node"
    named_like_a_node.mkdir()
    for file in ("ca.crt", "ca.key"):
        shutil.copy(certificates / file, named_like_a_node)
    create_certificates(named_like_a_node, [], clients=["n2", "raftlog-peer"])
    return {
        "a client's": material(certificates, "client"),
        "a client's with a node's common name": material(named_like_a_node, "n2"),
        "one that many share": material(named_like_a_node, "raftlog-peer"),
        "another node's": material(certificates, "n1"),
    }


@pytest.mark.parametrize("method", ["Bulk", "Control", "Snapshot"])
@pytest.mark.parametrize(
    "whose",
    [
        "a client's",
        "a client's with a node's common name",
        "one that many share",
        "another node's",
    ],
)
@pytest.mark.parametrize("claimed", ["n2", "client", "raftlog-peer"])
async def test_no_wrong_certificate_opens_the_peers_service(
    cluster: Cluster,
    certificates: pathlib.Path,
    wrong_certificates: dict[str, TlsMaterial],
    method: str,
    whose: str,
    claimed: str,
) -> None:
    """On every method, a certificate without the claimed node's URI is refused at the handshake."""
    n1 = await cluster.start("n1", tls=material(certificates, "n1"), transport=SECURED)
    hello = pb.Hello(
        protocol=1,
        cluster_id="c",
        node_id=claimed,
        instance_id="x",
        target_node_id="n1",
        feature_level_max=1,
        membership_index=1_000_000,
    )
    first = (
        pb.SnapshotChunk(hello=hello, term=1_000_000, snapshot_id="1-1-a", size_bytes=1)
        if method == "Snapshot"
        else pb.PeerMessage(hello=hello)
    )
    channel = open_channel(n1.address, wrong_certificates[whose], channel_options(1 << 20))
    call = channel.stream_stream(f"/raftlog.v1.Raft/{method}")()
    try:
        await call.write(first.SerializeToString())
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
    finally:
        await channel.close()
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert f"may not speak as node {claimed}" in (raised.value.details() or "")
    assert n1.events.identified == []
    assert n1.events.received == []


async def test_strangers_are_kept_out(
    cluster: Cluster, certificates: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """No certificate, another authority's, or no TLS at all: no call gets through."""
    create_certificates(tmp_path, ["n2"])
    n1 = await cluster.start("n1", tls=material(certificates, "n1"), transport=SECURED)
    bare = load_tls(str(certificates / "ca.crt"))
    foreign = TlsMaterial(
        ca=(certificates / "ca.crt").read_bytes(),
        cert=(tmp_path / "n2.crt").read_bytes(),
        key=(tmp_path / "n2.key").read_bytes(),
    )
    for tls in (None, bare, foreign):
        channel = open_channel(n1.address, tls, channel_options(1 << 20))
        serving = Serving(n1, channel)
        error = await failure(serving.admin.Status(EMPTY, timeout=5), sent=False)
        assert error.definite
        await serving.close()


@pytest.mark.parametrize(
    ("caller", "called", "by", "why"),
    [
        ("another authority's", "ours", "us", "tls.cacert of this node must hold the authority"),
        ("ours, foreign name", "ours", "them", "this node's tls.cert must be signed by"),
        ("none", "ours", "them", "it speaks TLS, and plain text was tried: set tls.cacert"),
        ("ours", "none", "them", "it speaks plain text, and TLS was tried: give that node its tls"),
        ("expired", "ours", "them", "the certificate shown to it has expired: replace"),
        ("ours", "expired", "us", "its certificate has expired: replace"),
    ],
)
async def test_a_peer_that_cannot_connect_says_why_once(
    cluster: Cluster,
    certificates: pathlib.Path,
    tmp_path: pathlib.Path,
    caller: str,
    called: str,
    by: str,
    why: str,
) -> None:
    """The one who calls tells the reason and the setting, in an alarm and in one event."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    shutil.copytree(certificates, ours)
    create_certificates(theirs, ["n2"])
    reissue(ours, "n2", days=-1)
    good, foreign = material(certificates, "n1"), material(theirs, "n2")
    tls = {
        "none": None,
        "ours": good,
        "another authority's": foreign,
        "ours, foreign name": dataclasses.replace(foreign, ca=good.ca),
        "expired": material(ours, "n2"),
    }
    secured = {name: SECURED if one else None for name, one in tls.items()}
    n1 = await cluster.start("n1", tls=tls[called], transport=secured[called])
    n2 = await cluster.start("n2", tls=tls[caller], transport=secured[caller])
    n2.transport.set_peers({n1.node_id: n1.address})
    await until(lambda: why in n2.transport.refusals.get(n1.node_id, ""))
    assert n1.address in n2.transport.refusals[n1.node_id]
    assert [told["by"] for told in n2.observer.named(Event.PEER_REFUSED)] == [by]


async def test_a_peer_calls_with_its_new_certificate(
    cluster: Cluster, certificates: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Material that is replaced is used by the next connection, and the refusal is forgotten."""
    create_certificates(tmp_path, ["n2"])
    n1 = await cluster.start("n1", tls=material(certificates, "n1"), transport=SECURED)
    n2 = await cluster.start("n2", tls=material(tmp_path, "n2"), transport=SECURED)
    n2.transport.set_peers({n1.node_id: n1.address})
    await until(lambda: n1.node_id in n2.transport.refusals)
    source = n2.transport.settings.tls
    assert source is not None
    source.material = material(certificates, "n2")
    await until(lambda: n2.transport.is_connected(n1.node_id))
    await until(lambda: not n2.transport.refusals)


async def test_a_peer_that_is_away_is_no_refusal(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port nobody listens at is tried again, and is neither an alarm nor looked at."""
    looked: list[str] = []
    monkeypatch.setattr(links, "diagnose", lambda address, *_: looked.append(address))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    tried: list[str] = []

    def counting(address: str, *given: Any) -> grpc.aio.Channel:
        tried.append(address)
        return open_channel(address, *given)

    n2 = await cluster.start("n2", transport=TransportSettings(open_channel=counting))
    n2.transport.set_peers({NodeId("n1"): address})
    await until(lambda: len(tried) > 4)
    n1 = await cluster.start("n1", listen=address)
    await until(lambda: n2.transport.is_connected(n1.node_id))
    assert not looked
    assert not n2.transport.refusals


async def test_tls_needs_the_servers_own_certificate(
    cluster: Cluster, certificates: pathlib.Path
) -> None:
    """Trusting an authority is not enough to serve."""
    bare = load_tls(str(certificates / "ca.crt"))
    with pytest.raises(ConfigInvalid, match="certificate"):
        await cluster.start("n1", tls=bare)


async def test_ports_are_released_at_stop(cluster: Cluster) -> None:
    """After a stop the address can be bound again at once."""
    n1 = await cluster.start("n1")
    host, _, port = n1.address.rpartition(":")
    await cluster.stop()
    with socket.create_server((host, int(port))):
        pass


async def test_health_watches_keep_nobody_out(serving: Serving) -> None:
    """They are few, whoever asks; peers and clients have room of their own."""
    stub = health_pb2_grpc.HealthStub(serving.channel)
    request = health_pb2.HealthCheckRequest(service="")
    calls = [stub.Watch(request) for _ in range(HEALTH_WATCHES_MAX + 20)]
    ends = []
    for call in calls:
        try:
            await asyncio.wait_for(call.read(), 5)
        except grpc.aio.AioRpcError as error:
            ends.append(error.code())
    assert ends == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 20
    assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
    await serving.admin.Leader(types_pb2.Empty())
    for call in calls:
        call.cancel()
