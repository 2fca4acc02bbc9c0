"""The HTTP endpoints say the truth, and cannot weigh on the node."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from raftlog.interfaces import Alarm
from raftlog.telemetry import http
from raftlog.telemetry.http import HttpServer, health


class Served:
    """A server over a fake node, and a client of it."""

    def __init__(self, node):
        self.node = node
        self.failed = False
        self.server = HttpServer(node, metrics=lambda: b"metric 1\n", failed=lambda: self.failed)
        self.session = aiohttp.ClientSession()

    async def get(self, path):
        """Return status and body of a GET."""
        async with self.session.get(f"http://127.0.0.1:{self.server.port}{path}") as reply:
            is_json = reply.content_type == "application/json"
            return reply.status, await (reply.json() if is_json else reply.text())


@pytest.fixture
async def served(node):
    """Return a server that is up."""
    made = Served(node)
    await made.server.start("127.0.0.1", 0)
    yield made
    await made.session.close()
    await made.server.stop()


async def test_a_ready_leader(served):
    """A leader that takes writes is alive, ready, and passes the leader check."""
    assert await served.get("/livez") == (200, "ok\n")
    status, body = await served.get("/readyz")
    assert status == 200
    assert body == {
        "ready": True, "node_id": "n1", "cluster_id": "c1", "role": "leader", "term": 3,
        "leader": "n1", "leads": True, "reasons": [], "alarms": [],
    }  # fmt: skip
    assert (await served.get("/leader-check"))[0] == 200
    assert (await served.get("/leader-check/404"))[0] == 200


async def test_a_ready_follower_is_no_leader(served):
    """A follower that knows its leader is ready, and fails the leader check as it was asked to."""
    served.node.follow("n2")
    assert (await served.get("/readyz"))[0] == 200
    assert (await served.get("/leader-check"))[0] == 503
    status, body = await served.get("/leader-check/404")
    assert (status, body["leader"]) == (404, "n2")


@pytest.mark.parametrize("code", ["200", "99", "600", "x", "4294967296"])
async def test_a_failure_code_must_be_one(served, code):
    """A code that would not say failure is not taken, so no load balancer is misled."""
    served.node.follow("n2")
    assert (await served.get(f"/leader-check/{code}"))[0] == 404


async def test_reasons_why_a_node_is_not_ready(served):
    """No leader, an alarm, an apply that lags: each is said, and each means 503."""
    served.node.follow(None)
    served.node.board.raise_(Alarm.MACHINE_HALTED, "boom")
    served.node.change(applied_index=100, commit_index=5000)
    status, body = await served.get("/readyz")
    assert status == 503
    assert body["reasons"] == [
        "machine_halted: boom", "no leader is known",
        "4900 committed entries are yet to be applied",
    ]  # fmt: skip
    assert (await served.get("/livez"))[0] == 200


@pytest.mark.parametrize("alarm", Alarm)
async def test_every_alarm_is_told_and_some_leave_a_node_ready(served, alarm):
    """The body names each alarm with its advice; only those that keep a node from its work: 503."""
    served.node.board.raise_about("n2", alarm, "because", 60.0)
    status, body = await served.get("/readyz")
    assert status == (200 if alarm.is_fit else 503)
    assert body["alarms"] == [
        {
            "alarm": str(alarm), "severity": str(alarm.severity), "about": "n2",
            "why": "because", "advice": alarm.advice,
        }
    ]  # fmt: skip
    assert (await served.get("/leader-check"))[0] == status


def test_a_leader_that_takes_no_writes_yet_is_not_ready(node):
    """Between winning and opening, a leader fails both checks."""
    term, leader = node.standing.term, node.standing
    node.follow("n1")
    node.standing = leader
    found = health(node, failed=False)
    assert (found.leads, found.term) == (False, term)
    assert found.reasons == ("leads, but does not take writes yet",)


async def test_a_node_that_stopped_itself_is_not_alive(served):
    """After a failed commit every check fails, so that something restarts the node."""
    served.failed = True
    assert (await served.get("/livez"))[0] == 503
    assert (await served.get("/readyz"))[0] == 503
    assert (await served.get("/leader-check"))[0] == 503


async def test_metrics_and_unknown_paths(served):
    """Metrics come as text; anything else is not found, and nothing can be written."""
    assert await served.get("/metrics") == (200, "metric 1\n")
    assert (await served.get("/"))[0] == 404
    url = f"http://127.0.0.1:{served.server.port}/readyz"
    async with served.session.post(url, data=b"x") as reply:
        assert reply.status == 405


async def test_a_crowd_is_turned_away(served, monkeypatch):
    """Beyond a few requests at once the answer is 503, and the node goes on."""
    gate = asyncio.Event()
    entered = asyncio.Semaphore(0)

    async def slow(_request):
        entered.release()
        await gate.wait()
        return http.web.Response(text="done")

    monkeypatch.setattr(http, "REQUESTS_MAX", 2)
    monkeypatch.setattr(served.server, "_livez", slow)
    await served.server.stop()
    await served.server.start("127.0.0.1", 0)
    waiting = [asyncio.create_task(served.get("/livez")) for _ in range(2)]
    for _ in waiting:
        await entered.acquire()
    assert (await served.get("/readyz"))[0] == 503
    gate.set()
    assert [status for status, _ in await asyncio.gather(*waiting)] == [200, 200]
    assert (await served.get("/readyz"))[0] == 200


async def test_a_taken_address_is_an_error(served, node):
    """A port that is in use is refused, and nothing is left running."""
    second = HttpServer(node, metrics=bytes, failed=bool)
    with pytest.raises(OSError, match="address"):
        await second.start("127.0.0.1", served.server.port)
    await second.stop()


async def test_strangers_leave_no_traceback_and_no_connection(node, caplog, monkeypatch):
    """Whatever is sent to the port is answered or closed; connections are few, and end by age."""
    monkeypatch.setattr(http, "CONNECTIONS_MAX", 4)
    monkeypatch.setattr(http, "CONNECTION_SECONDS", 0.2)
    monkeypatch.setattr(http, "SWEEP_SECONDS", 0.1)
    server = HttpServer(node, metrics=bytes, failed=bool)
    await server.start("127.0.0.1", 0)
    try:
        for sent in (
            b"\x16\x03\x01" + bytes(400),
            b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
            b"OPTIONS /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 5)
            assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400", b"HTTP/1.1 204"))
            writer.close()
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(9)]
        started = asyncio.get_running_loop().time()
        ends = await asyncio.wait_for(asyncio.gather(*(reader.read() for reader, _ in idle)), 5)
        assert ends == [b""] * 9
        assert asyncio.get_running_loop().time() - started < 2.0
        for _, writer in idle:
            writer.close()
    finally:
        await server.stop()
    assert "Traceback" not in caplog.text
