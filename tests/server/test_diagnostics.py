"""What a node tells whoever looks into a fault: everything that helps, and nothing of its users."""

from __future__ import annotations

import json

import pytest

import raftlog
from raftlog.interfaces import Event
from raftlog.server import diagnostics
from raftlog.server.compose import compose

MARK = "payload-nobody-may-see"
FILES = {
    "status.json", "settings.json", "metrics.txt", "events.jsonl", "tasks.txt", "threads.txt",
    "versions.json",
}  # fmt: skip


@pytest.fixture
async def running(settings):
    """A node that has been written to."""
    made = await compose(settings)
    yield made
    await made.stop(hand_over=False)


async def test_everything_that_helps_and_no_payload(running, settings):
    """Each file holds what its name says; no payload, key, value, stream or secret is in any."""
    async with raftlog.connect(settings.listen, timeout=20) as client:
        await client.log.append(MARK.encode(), stream=MARK)
        put = await client.kv.put(MARK.encode(), MARK.encode())
        tail = client.log.tail(after=0)
        assert (await anext(tail)).payload == MARK.encode()
        found = await client.cluster.diagnostics()
        await tail.aclose()
    assert (found.served_by, set(found.files), found.cut) == ("n1", FILES, ())
    for name, text in found.files.items():
        assert MARK not in text, name
        assert settings.bootstrap_token not in text.replace("bootstrap_token", ""), name
    status = json.loads(found.files["status.json"])
    assert status["status"]["leader"] == status["leader"] == "n1"
    assert status["log"]["last_sequence"] == put.revision
    shown = json.loads(found.files["settings.json"])
    assert shown["bootstrap_token"]["value"] == "***"
    assert shown["node_id"] == {"value": "n1", "from": "default"}
    assert "raftlog_is_leader 1.0" in found.files["metrics.txt"]
    events = [json.loads(line) for line in found.files["events.jsonl"].splitlines()]
    assert {"started", "standing", "promoted"} <= {event["event"] for event in events}
    assert all(event["node"] == "n1" for event in events)
    assert "1 task: health\n" in found.files["tasks.txt"]
    assert "GrpcServer._watch_leader" in found.files["tasks.txt"]
    assert "thread MainThread" in found.files["threads.txt"]
    versions = json.loads(found.files["versions.json"])
    assert {"raftlog", "python", "grpcio", "lmdb", "up_seconds"} <= set(versions)


async def test_a_part_that_is_ill_hides_no_other(running, settings, monkeypatch):
    """Its file says why, and the others are there."""

    def explode():
        raise ZeroDivisionError("the status is ill")

    monkeypatch.setattr(running.node, "status", explode)
    async with raftlog.connect(settings.listen, timeout=20) as client:
        files = (await client.cluster.diagnostics(member=None)).files
    assert "could not be collected: ZeroDivisionError: the status is ill" in files["status.json"]
    assert json.loads(files["settings.json"])


async def test_every_part_is_bounded(running, settings, monkeypatch):
    """What is longer is cut and says so; of the events the newest are kept."""
    for number in range(2000):
        running.observer.event(Event.UNHANDLED, message=f"\u6f22 number {number}", error="x" * 50)
    monkeypatch.setattr(diagnostics, "PART_BYTES_MAX", 2000)
    async with raftlog.connect(settings.listen, timeout=20) as client:
        found = await client.cluster.diagnostics()
    assert {"metrics.txt", "settings.json"} <= set(found.cut)
    assert all(len(text.encode()) <= 2000 for text in found.files.values())
    assert found.files["metrics.txt"].endswith(diagnostics.CUT)
    events = [json.loads(line) for line in found.files["events.jsonl"].splitlines()]
    told = [event["message"] for event in events if event["event"] == Event.UNHANDLED]
    assert 0 < len(told) < 20
    assert told[-1].endswith("number 1999")
