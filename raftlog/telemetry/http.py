"""The HTTP port: is it alive, is it ready, does it lead, and the metrics. Read-only.

=====================  ====================================================================
``/livez``             200 unless the node has stopped itself (a failed commit, an invariant)
``/readyz``            200 if it knows a leader, has applied nearly all that is committed and has
                       no alarm that keeps it from its work; else 503. JSON either way, with
                       the reasons, and all alarms by name
``/leader-check``      200 only on the leader that takes writes; else 503.
                       ``/leader-check/404`` picks the failure code, for load balancers
``/metrics``           Prometheus' text format
=====================  ====================================================================

Answers are small, requests have no body, and more than a few at once are turned away, so that
whoever scrapes cannot weigh on the node.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from raftlog.interfaces import NodePort, Raised
from raftlog.types import Role

REQUESTS_MAX = 32
CONNECTIONS_MAX = 128
CONNECTION_SECONDS = 60.0
SWEEP_SECONDS = 5.0
REQUEST_BODY_BYTES_MAX = 1024
LAG_ENTRIES_MAX = 1000
KEEPALIVE_SECONDS = 15.0
SHUTDOWN_SECONDS = 0.5
FAILURE_CODES = range(400, 600)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What `/readyz` answers. `reasons` is empty when the node is ready."""

    node_id: str
    cluster_id: str
    role: str
    term: int
    leader: str | None
    leads: bool
    failed: bool
    reasons: tuple[str, ...]
    alarms: tuple[Raised, ...] = ()

    def document(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "ready": not self.reasons,
            "node_id": self.node_id,
            "cluster_id": self.cluster_id,
            "role": self.role,
            "term": self.term,
            "leader": self.leader,
            "leads": self.leads,
            "reasons": list(self.reasons),
            "alarms": [
                {
                    "alarm": each.alarm.value,
                    "severity": each.alarm.severity.value,
                    "about": each.about,
                    "why": each.why,
                    "advice": each.alarm.advice,
                }
                for each in self.alarms
            ],
        }


def health(node: NodePort, *, failed: bool) -> Health:
    """Judge a node by what it knows."""
    status, info, standing = node.status(), node.info(), node.standing
    leads = standing.role is Role.LEADER and info.writes_open
    lag = status.commit_index - status.applied_index
    alarms = node.alarms
    reasons = [f"{each.alarm}: {each.why}" for each in alarms.unfit]
    if failed and not reasons:
        reasons.append("the node has stopped")
    if standing.leader is None:
        reasons.append("no leader is known")
    elif standing.role is Role.LEADER and not info.writes_open:
        reasons.append("leads, but does not take writes yet")
    if lag > LAG_ENTRIES_MAX:
        reasons.append(f"{lag} committed entries are yet to be applied")
    return Health(
        node_id=status.served_by,
        cluster_id=status.cluster_id,
        role=standing.role.value,
        term=int(standing.term),
        leader=standing.leader,
        leads=leads and not failed,
        failed=failed,
        reasons=tuple(reasons),
        alarms=alarms.raised,
    )


class HttpServer:
    """Serves the endpoints of one node on its event loop."""

    def __init__(
        self, node: NodePort, *, metrics: Callable[[], bytes], failed: Callable[[], bool]
    ) -> None:
        self._node = node
        self._metrics = metrics
        self._failed = failed
        self._busy = 0
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._connected: dict[Any, float] = {}
        """Connections, and since when each was seen."""
        self.port = 0

    def application(self) -> web.Application:
        """Return the aiohttp application, as tests use it too."""
        application = web.Application(
            middlewares=[self._bounded], client_max_size=REQUEST_BODY_BYTES_MAX
        )
        for path, answer in (
            ("/livez", self._livez),
            ("/readyz", self._readyz),
            ("/leader-check", self._leader_check),
            ("/leader-check/{code}", self._leader_check),
            ("/metrics", self._serve_metrics),
        ):
            application.router.add_get(path, answer)
            application.router.add_options(path, self._options)
        return application

    async def start(self, host: str, port: int) -> None:
        """Bind and serve; raises `OSError` if the address is taken."""
        runner = web.AppRunner(
            self.application(),
            access_log=None,
            logger=_quiet(),
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        loop = asyncio.get_running_loop()
        try:
            listening = await loop.create_server(lambda: self._connection(runner), host, port)
        except OSError:
            await runner.cleanup()
            raise
        self._runner, self._listening = runner, listening
        self.port = listening.sockets[0].getsockname()[1]
        self._sweep()

    def _connection(self, runner: web.AppRunner) -> asyncio.BaseProtocol:
        """Return what serves a new connection: few at once, and none for long."""
        server = runner.server
        if server is None or len(server.connections) >= CONNECTIONS_MAX:
            return _TurnedAway()
        return server()

    def _sweep(self) -> None:
        """Close connections that have been there for long; who needs another opens one."""
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)
        server = None if self._runner is None else self._runner.server
        now, known = loop.time(), self._connected
        self._connected = (
            {each: known.get(each, now) for each in server.connections} if server else {}
        )
        for handler, since in self._connected.items():
            if now - since > CONNECTION_SECONDS and handler.transport is not None:
                handler.transport.close()

    async def stop(self) -> None:
        """Stop serving."""
        runner, self._runner = self._runner, None
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._listening is not None:
            self._listening.close()
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _bounded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._busy >= REQUESTS_MAX:
            return web.Response(status=503, text="too many requests at once\n")
        self._busy += 1
        try:
            return await handler(request)
        finally:
            self._busy -= 1

    def _health(self) -> Health:
        return health(self._node, failed=self._failed())

    async def _livez(self, _request: web.Request) -> web.StreamResponse:
        alive = not self._failed()
        return web.Response(status=200 if alive else 503, text="ok\n" if alive else "stopped\n")

    async def _readyz(self, _request: web.Request) -> web.StreamResponse:
        found = self._health()
        return _json(503 if found.reasons else 200, found.document())

    async def _leader_check(self, request: web.Request) -> web.StreamResponse:
        text = request.match_info.get("code", "503")
        if not text.isdigit() or int(text) not in FAILURE_CODES:
            raise web.HTTPNotFound(text=f"expected a code from 400 to 599, not {text[:20]}\n")
        found = self._health()
        leads = found.leads and not found.reasons
        return _json(200 if leads else int(text), found.document())

    async def _options(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers={"Allow": "GET, HEAD, OPTIONS"})

    async def _serve_metrics(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._metrics(), headers={"Content-Type": METRICS_TYPE})


class _TurnedAway(asyncio.Protocol):
    """Closes a connection for which there is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()


def _quiet() -> logging.Logger:
    """Return a logger that says nothing: what strangers send to a port is no event of the node."""
    logger = logging.getLogger("raftlog.http")
    logger.disabled = True
    return logger


def _json(status: int, document: dict[str, object]) -> web.Response:
    return web.Response(
        status=status, text=json.dumps(document) + "\n", content_type="application/json"
    )
