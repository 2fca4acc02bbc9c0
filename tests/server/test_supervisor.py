"""What systemd is told of a node that it started."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest

from raftlog.local.layout import find_base_port
from raftlog.server.supervisor import Supervisor


@pytest.fixture
def listening(tmp_path):
    """A socket as systemd has one, with a deadline for whoever reads it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(20)
        yield made


def lines(listening):
    """Return the lines of the next datagram."""
    return listening.recv(4096).decode().split("\n")


async def eventually(listening, wanted):
    """Read, while the loop runs, until a line comes."""
    listening.setblocking(False)
    async with asyncio.timeout(20):
        while True:
            told = (await asyncio.get_running_loop().sock_recv(listening, 4096)).decode()
            if wanted in told.split("\n"):
                return


async def test_a_loop_that_stands_still_is_not_alive(listening):
    """READY comes at once, WATCHDOG as long as the loop runs, and a role when it is a new one."""
    roles = ["follows n1", "follows n1", "leads"]
    told = Supervisor(
        {"NOTIFY_SOCKET": listening.getsockname(), "WATCHDOG_USEC": "20000"},
        lambda: roles.pop(0) if len(roles) > 1 else roles[0],
    )
    assert told.period_seconds == pytest.approx(0.01)
    told.ready()
    assert lines(listening) == ["READY=1"]
    listening.settimeout(0.1)
    with pytest.raises(TimeoutError):
        lines(listening)  # this holds the loop up
    await eventually(listening, "STATUS=follows n1")
    await eventually(listening, "WATCHDOG=1")
    await eventually(listening, "STATUS=leads")
    await eventually(listening, "WATCHDOG=1")
    told.stopping()
    await eventually(listening, "STOPPING=1")
    await eventually(listening, "WATCHDOG=1")
    await told.end()


async def test_without_a_watchdog_the_role_alone_is_told(listening):
    """No WATCHDOG where nobody waits for it, or where it is meant for another process."""
    for more in ({}, {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "no"}):
        told = Supervisor({"NOTIFY_SOCKET": listening.getsockname(), **more}, lambda: "leads")
        assert told.period_seconds == 1.0
        listening.setblocking(True)
        listening.settimeout(20)
        told.ready()
        assert lines(listening) == ["READY=1"]
        listening.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(listening, 4096) == b"STATUS=leads"
        await told.end()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
async def test_an_abstract_socket_is_one_too():
    """systemd may name it with an @."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(f"\0raftlog-{os.getpid()}")
        made.settimeout(20)
        told = Supervisor({"NOTIFY_SOCKET": f"@raftlog-{os.getpid()}"}, str)
        told.ready()
        assert lines(made) == ["READY=1"]
        await told.end()


@pytest.mark.parametrize("place", [{}, {"NOTIFY_SOCKET": "/no/such/socket"}])
async def test_nobody_to_tell_is_no_error(place):
    """A node that nobody supervises runs all the same."""
    told = Supervisor({**place, "WATCHDOG_USEC": "20000"}, str)
    told.ready()
    told.stopping()
    await asyncio.sleep(0)
    await told.end()


@pytest.mark.integration
def test_a_node_tells_its_life(listening, tmp_path):
    """READY when its port is open, its role, WATCHDOG while it runs, STOPPING before it ends."""
    address = f"127.0.0.1:{find_base_port(1)}"
    command = [
        sys.executable, "-m", "raftlog", "serve", "--node-id", "n1", "--data-dir",
        str(tmp_path / "data"), "--listen", address, "--http", "", "--bootstrap-token", "t",
        "--initial-cluster", f"n1={address}",
    ]  # fmt: skip
    notify = {"NOTIFY_SOCKET": listening.getsockname(), "WATCHDOG_USEC": "100000"}
    with subprocess.Popen(
        command, env={**os.environ, **notify}, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert lines(listening) == ["READY=1"]
            host, port = address.split(":")
            socket.create_connection((host, int(port)), timeout=20).close()
            told = set()
            while "STATUS=leads in term 1" not in told:
                told |= set(lines(listening))
            assert "WATCHDOG=1" in told
            process.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in told:
                told |= set(lines(listening))
            assert process.wait(20) == 0
        finally:
            process.kill()
