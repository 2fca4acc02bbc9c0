"""The gRPC server: peers and clients on one port, with health checking and reflection.

Health, as `grpc.health.v1` says it: "" and every service are SERVING while the node is up;
`raftlog.v1.Log` only while this member knows a leader, so that a probe of it sees a lost quorum.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from raftlog.errors import ConfigInvalid, RaftLogError, invariant
from raftlog.interfaces import NodePort
from raftlog.interfaces.backup import BackupPort
from raftlog.rpc.access import Gate
from raftlog.rpc.cluster_check import ClusterCheck
from raftlog.rpc.latencies import Latencies
from raftlog.rpc.methods import Admission, Context, Handlers, Methods, abort
from raftlog.rpc.peer import GrpcTransport
from raftlog.rpc.services import admin, backup, kv, log, machine, raft
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.channel import TlsSource, server_credentials, server_options

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PORT_MAX = 65_535
HEALTH_WATCHES_MAX = 64
REFLECTIONS_MAX = 64


class BoundedHealth(health.aio.HealthServicer):  # type: ignore[misc]  # it has no types
    """The standard health service, whose watches are few: they are for a load balancer or two."""

    def __init__(self) -> None:
        super().__init__()
        self._admission = Admission(HEALTH_WATCHES_MAX)

    async def Watch(self, request: object, context: Context) -> None:  # noqa: N802 - gRPC's name
        """Tell of a service's health until the caller goes away.

        Ends with RESOURCE_EXHAUSTED where too many watch already.
        """
        try:
            with self._admission:
                await super().Watch(request, context)
        except RaftLogError as error:
            await abort(context, error)


class BoundedReflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]  # no types
    """The standard reflection service, for a few tools at once."""

    def __init__(self, services: Iterable[str]) -> None:
        super().__init__(services)
        self._admission = Admission(REFLECTIONS_MAX)

    async def ServerReflectionInfo(  # noqa: N802 - gRPC's name
        self, requests: AsyncIterator[object], context: Context
    ) -> AsyncIterator[object]:
        """Answer questions about services and messages until the caller has no more."""
        try:
            with self._admission:
                async for answer in super().ServerReflectionInfo(requests, context):
                    yield answer
        except RaftLogError as error:
            await abort(context, error)


class GrpcServer:
    """Hosts the services of one node.

    Args:
        node: What the services call.
        transport: Whose inbound side is served on the same port.
        listen: HOST:PORT to bind; port 0 takes a free one.
        tls: With it, every client and peer must show a certificate of the same authority.
        settings: Bounds on clients.
        backups: What the Backup service streams; without it there is no such service.
    """

    def __init__(
        self,
        node: NodePort,
        transport: GrpcTransport,
        *,
        listen: str,
        tls: TlsSource | None = None,
        settings: ServerSettings | None = None,
        backups: BackupPort | None = None,
    ) -> None:
        self._node = node
        self._backups = backups
        self._transport = transport
        self._listen = listen
        self._tls = tls
        self._settings = ServerSettings() if settings is None else settings
        self._admission = Admission(self._settings.connections_max)
        self.latencies = Latencies()
        self._server: grpc.aio.Server | None = None
        self._health = BoundedHealth()
        self._services: tuple[str, ...] = ()
        self._watch: asyncio.Task[None] | None = None

    @property
    def call_count(self) -> int:
        """Return how many clients' calls are being served now."""
        return self._admission.count

    async def start(self) -> str:
        """Bind and serve; return HOST:PORT as bound.

        Raises:
            ConfigInvalid: the address cannot be bound, or TLS lacks the server's certificate.
        """
        invariant(self._server is None, "the server was started twice")
        server = grpc.aio.server(
            options=list(server_options(self._settings.message_bytes_max)),
        )
        handlers = self._handlers()
        server.add_generic_rpc_handlers(
            tuple(
                grpc.method_handlers_generic_handler(name, methods)
                for name, methods in handlers.items()
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        # No limit of gRPC's own: it would count peers with clients, and the first to come would
        # keep the others out. Every method of ours is counted by `Admission`, health by its own.
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            BoundedReflection((*handlers, health.SERVICE_NAME, reflection.SERVICE_NAME)), server
        )
        bound = self._bind(server)
        self._services = ("", *handlers)
        await server.start()
        self._server = server
        for name in self._services:
            await self._health.set(name, _SERVING)
        await self._set_log_health(known=self._knows_leader())
        self._watch = asyncio.create_task(self._watch_leader(), name="health")
        return bound

    async def stop(self, grace: float | None = None) -> None:
        """Take no more calls, wait up to `grace` seconds for those under way, cancel the rest."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
            self._watch = None
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace)
            self._server = None

    def _handlers(self) -> dict[str, Handlers]:
        node, settings = self._node, self._settings

        def methods(service: str) -> Methods:
            return Methods(self._admission, settings, self.latencies, service)

        gate = Gate(node.identity.node_id, settings.authenticator, self._transport.observer)
        served = {
            raft.SERVICE: raft.RaftService(self._transport).handlers(),
            log.SERVICE: log.LogService(node, settings).handlers(methods(log.SERVICE)),
            kv.SERVICE: kv.KvService(node, settings).handlers(methods(kv.SERVICE)),
            machine.SERVICE: machine.MachineService(node, settings).handlers(
                methods(machine.SERVICE)
            ),
            admin.SERVICE: admin.AdminService(node, settings).handlers(methods(admin.SERVICE)),
        }
        if self._backups is not None:
            service = backup.BackupService(node, self._backups, settings)
            served[backup.SERVICE] = service.handlers(methods(backup.SERVICE))
        keeps = ClusterCheck(node.identity.cluster_id)
        return {
            name: handlers if name == raft.SERVICE else keeps.guarded(handlers)
            for name, handlers in (
                (name, gate.guarded(name, handlers)) for name, handlers in served.items()
            )
        }

    def _bind(self, server: grpc.aio.Server) -> str:
        host, _, number = self._listen.rpartition(":")
        # gRPC takes a port over 65535 modulo 65536.
        if not host or not number.isdecimal() or int(number) > PORT_MAX:
            raise ConfigInvalid(f"{self._listen!r} is not HOST:PORT, so it cannot be bound")
        try:
            if self._tls is None:
                port = server.add_insecure_port(self._listen)
            else:
                credentials = server_credentials(self._tls)
                port = server.add_secure_port(self._listen, credentials)
        except RuntimeError as error:
            raise ConfigInvalid(f"cannot listen on {self._listen}: {error}") from None
        if port == 0:
            raise ConfigInvalid(f"cannot listen on {self._listen}: the address is taken or wrong")
        return f"{host}:{port}"

    def _knows_leader(self) -> bool:
        return self._node.standing.leader is not None

    async def _set_log_health(self, *, known: bool) -> None:
        await self._health.set(log.SERVICE, _SERVING if known else _NOT_SERVING)

    async def _watch_leader(self) -> None:
        shown: bool | None = None
        while True:
            known = self._knows_leader()
            if known is not shown:
                await self._set_log_health(known=known)
                shown = known
            await asyncio.sleep(self._settings.health_seconds)
