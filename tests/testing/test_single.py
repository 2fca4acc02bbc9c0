"""One node in the test's process: the real one, soon there, and gone without a trace."""

from __future__ import annotations

import logging
import pathlib
import tempfile
import threading

import pytest

import raftlog
import raftlog.interfaces
from raftlog.errors import ConfigInvalid
from raftlog.testing import SingleNode, node, single


@pytest.fixture
def scratch(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Return where temporary directories are made in this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def test_on_the_running_loop(scratch: pathlib.Path) -> None:
    """It is in the caller's process and loop, takes writes, and leaves no file behind."""
    threads = threading.active_count()
    async with node() as endpoints, raftlog.connect(endpoints) as client:
        assert (await client.log.append(b"first")).sequence == 1
        put = await client.kv.put(b"k", b"v")
        assert (await client.kv.get(b"k")).revision == put.revision == 2
        assert list(scratch.glob("raftlog-*/*/*.mdb")), "a real disk"
        status = await client.cluster.status()
        assert [member.node_id for member in status.members] == ["n1"]
    assert not list(scratch.iterdir())
    assert threading.active_count() <= threads + 1, "gRPC keeps one"


def test_in_a_thread(scratch: pathlib.Path) -> None:
    """Without an event loop it runs in a thread, several in turn, each with an empty log."""
    for _ in range(2):
        with node() as endpoints, raftlog.connect_sync(endpoints) as client:
            assert client.log.append(b"first").sequence == 1
            assert "raftlog" in [thread.name for thread in threading.enumerate()]
    assert not list(scratch.iterdir())


async def test_no_election_timeout_passes_before_it_leads() -> None:
    """The only voter need not wait for anyone: it answers long before its timeout is over."""
    patient = node("raft.election_timeout_seconds=300s")
    async with patient as endpoints, raftlog.connect(endpoints, timeout=60) as client:
        assert (await client.log.append(b"x")).sequence == 1


def test_a_body_that_fails_leaves_nothing(scratch: pathlib.Path) -> None:
    """The error of the block comes through, and node and directory are gone."""
    with pytest.raises(ZeroDivisionError), node() as endpoints:
        raise ZeroDivisionError(endpoints)
    assert not list(scratch.iterdir())
    with pytest.raises(raftlog.RaftLogError), raftlog.connect_sync(endpoints, timeout=0.2) as gone:
        gone.log.append(b"x")


def test_settings_and_machine(scratch: pathlib.Path) -> None:
    """Settings are those of `serve --set`, the machine is chosen, and mistakes are said."""
    tight = node("limits.transaction_bytes_max=1KiB", machine="log")
    with tight as endpoints, raftlog.connect_sync(endpoints) as client:
        with pytest.raises(raftlog.TooLarge):
            client.log.append(b"x" * 2000)
        with pytest.raises(raftlog.RaftLogError):
            client.kv.put(b"k", b"v")
    with pytest.raises(ConfigInvalid, match="unknown key limit"):
        node("limit.x=1")
    with pytest.raises(ConfigInvalid, match="no machine is called"), node(machine="kw"):
        pass
    assert not list(scratch.iterdir())


async def test_a_taken_port_is_not_the_caller_s_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that somebody takes between the look and the bind is passed over."""
    async with node() as first:
        taken = int(first.rpartition(":")[2])
        real, offered = single._free_port, [taken, taken]
        monkeypatch.setattr(single, "_free_port", lambda: offered.pop() if offered else real())
        async with node() as second, raftlog.connect(second) as client:
            assert second != first
            assert (await client.log.append(b"x")).sequence == 1


async def test_a_guest_leaves_the_log_of_its_process_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The root logger stays as it was; a warning of the node goes to `raftlog.testing`."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    made: SingleNode = node()
    async with made:
        assert (list(root.handlers), root.level) == before
        running = made._running
        assert running is not None
        running.observer.event(raftlog.interfaces.Event.STOPPED_BEFORE_FLUSH)
    (record,) = [each for each in caplog.records if each.name == "raftlog.testing"]
    assert record.levelno == logging.WARNING
    assert "n1" in record.getMessage()
