"""Every mistake that keeps a connection from coming up is told apart from the others."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from raftlog.security.tls import create_certificates
from raftlog.wire import channel, diagnosis
from raftlog.wire.channel import TlsMaterial, TlsSource
from raftlog.wire.diagnosis import Finding, Trouble, diagnose, look
from tests.security.certificates import material, reissue


@dataclasses.dataclass(frozen=True)
class World:
    """Credentials good and bad; servers are made of them."""

    ours: pathlib.Path
    theirs: pathlib.Path

    def credentials(self, which: str) -> TlsMaterial | None:
        client = material(self.ours, "client")
        foreign = material(self.theirs, "client")
        return {
            "none": None,
            "good": client,
            "no certificate": TlsMaterial(ca=client.ca),
            "another authority": dataclasses.replace(client, ca=foreign.ca),
            "another authority's certificate": dataclasses.replace(foreign, ca=client.ca),
            "an expired certificate": material(self.ours, "old"),
        }[which]

    def server(self, which: str) -> TlsMaterial | None:
        return {
            "plain": None,
            "secure": material(self.ours, "n1"),
            "expired": material(self.ours, "n2"),
            "misnamed": material(self.ours, "n3"),
        }[which]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two authorities, and what the first one signed."""
    ours, theirs = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("theirs")
    create_certificates(ours, ["n1", "n2", "n3"], clients=["client", "old"])
    create_certificates(theirs, ["n1"])
    reissue(ours, "n2", days=-2)
    reissue(ours, "n3", days=100, host="10.0.0.1")
    reissue(ours, "old", days=-2)
    return World(ours, theirs)


@contextlib.asynccontextmanager
async def serving(tls: TlsMaterial | None) -> AsyncIterator[str]:
    """A gRPC server without services."""
    server = grpc.aio.server()
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", channel.server_credentials(TlsSource(tls)))
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.mark.parametrize(
    ("server", "client", "trouble"),
    [
        ("plain", "none", None),
        ("secure", "good", None),
        ("secure", "none", Trouble.TLS_NEEDED),
        ("plain", "good", Trouble.TLS_UNSPOKEN),
        ("secure", "another authority", Trouble.NODE_UNTRUSTED),
        ("secure", "no certificate", Trouble.CERTIFICATE_WANTED),
        ("secure", "another authority's certificate", Trouble.OWN_REFUSED),
        ("secure", "an expired certificate", Trouble.OWN_EXPIRED),
        ("expired", "good", Trouble.NODE_EXPIRED),
        ("misnamed", "good", Trouble.NODE_MISNAMED),
    ],
)
async def test_each_mistake_has_a_word_of_its_own(
    world: World, server: str, client: str, trouble: Trouble | None
) -> None:
    """What gRPC refuses is found with its reason, and what it accepts is found right."""
    tls = world.credentials(client)
    async with serving(world.server(server)) as address:
        found = await diagnose(address, tls, channel.open_channel)
        opened = channel.open_channel(address, tls, channel.channel_options(1 << 20))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await opened.unary_unary("/a/b")(b"", timeout=5)
        await opened.close()
    assert (found and found.trouble) is trouble
    if trouble is Trouble.NODE_MISNAMED:
        assert "is not for 127.0.0.1 (it names 10.0.0.1): use" in found.for_client()
    connects = raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert connects == (trouble is None)


@contextlib.contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """A port that answers whoever connects with these bytes and hangs up; None: stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        loop = asyncio.get_running_loop()
        server.setblocking(False)
        kept: list[socket.socket] = []

        async def accept() -> None:
            while True:
                connection, _ = await loop.sock_accept(server)
                kept.append(connection)
                if answer is not None:
                    await loop.sock_recv(connection, 4096)
                    await loop.sock_sendall(connection, answer)
                    connection.close()

        task = asyncio.ensure_future(accept())
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            task.cancel()
            for connection in kept:
                connection.close()


HTTP_ANSWER = b"HTTP/1.1 400 Bad Request\r\n\r\n"


@pytest.mark.parametrize("client", ["none", "good"])
@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (HTTP_ANSWER, Trouble.HTTP_PORT),
        (b"220 mail ready\r\n", Trouble.NOT_GRPC),
        (b"", Trouble.NOT_GRPC),
        (None, Trouble.NO_ANSWER),
    ],
)
async def test_what_is_no_node_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, client: str, answer: bytes, trouble: Trouble
) -> None:
    """The HTTP port, another service and a silent one are told apart, with TLS and without."""
    monkeypatch.setattr(diagnosis, "LOOK_SECONDS", 0.3)
    with listening(answer) as address:
        found = await diagnose(address, world.credentials(client), channel.open_channel)
    assert found is not None
    assert found.trouble is trouble


def test_nobody_listens_and_names_do_not_resolve() -> None:
    """A closed port and an unknown name are told apart."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert look(f"127.0.0.1:{port}", None) == Finding(Trouble.NOBODY_LISTENS, "127.0.0.1")
    found = look("nowhere.invalid:7101", None)
    assert found is not None
    assert found.trouble is Trouble.NAME_UNKNOWN
    assert "nowhere.invalid does not resolve" in found.for_client()


async def test_a_look_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that hangs holds up neither the loop nor the caller."""
    monkeypatch.setattr(diagnosis, "LOOK_SECONDS", 0.05)
    asked, ended = threading.Event(), threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        asked.wait(20)
        ended.set()
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    found = await diagnose("slow.example.org:7101", None, channel.open_channel)
    assert not ended.is_set()
    asked.set()
    await asyncio.to_thread(ended.wait, 20)
    assert found == Finding(Trouble.NO_ANSWER, "slow.example.org")


def test_a_process_that_ends_under_the_look_is_not_taken_for_another_service() -> None:
    """The first connection is reset, the second refused: nobody listens there any more."""
    server = socket.create_server(("127.0.0.1", 0))
    host, port = server.getsockname()

    def end() -> None:
        connection, _ = server.accept()
        connection.recv(1)  # it is connected, and has begun to speak
        server.close()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    ending = threading.Thread(target=end)
    ending.start()
    assert look(f"{host}:{port}", None) == Finding(Trouble.NOBODY_LISTENS, host)
    ending.join()


async def test_a_simulated_channel_is_not_looked_at() -> None:
    """Where channels are not sockets, no socket is opened."""
    assert await diagnose("127.0.0.1:1", None, lambda *_: grpc.aio.insecure_channel("x")) is None


async def test_a_look_keeps_no_descriptor(world: World) -> None:
    """Sockets and the pipes that hand over the key are closed again."""
    tls = world.credentials("good")
    async with serving(world.server("plain")) as address:
        await asyncio.to_thread(look, address, tls)
        before = len(list(pathlib.Path("/dev/fd").iterdir()))
        for _ in range(5):
            await asyncio.to_thread(look, address, tls)
        assert len(list(pathlib.Path("/dev/fd").iterdir())) <= before + 2


@pytest.mark.parametrize("trouble", list(Trouble))
def test_every_trouble_says_what_to_do_on_both_sides(trouble: Trouble) -> None:
    """A client is told of its options, a node of its settings; nothing is left to be filled in."""
    finding = Finding(trouble, "db1", "why")
    for sentence in (finding.for_client(), finding.for_peer()):
        assert ": " in sentence
        assert "{" not in sentence
    assert "--" not in finding.for_peer().replace("certs create --host", "")
    assert "this node's" not in finding.for_client()


@pytest.mark.parametrize("trouble", list(Trouble))
def test_every_trouble_is_documented(trouble: Trouble) -> None:
    """The table of messages in the documentation has each of them."""
    text = pathlib.Path("docs/operating.md").read_text(encoding="utf-8")
    table = text.partition("### When a connection does not come up")[2].partition("\n## ")[0]
    said = Finding(trouble, "...", "DETAIL").for_client().partition(":")[0]
    if trouble is Trouble.NODE_NOT_YET:
        said = "its certificate has expired, or is not valid yet"
    assert f"| {said.partition(' (DETAIL')[0]}" in table
