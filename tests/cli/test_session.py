"""How a command reaches the cluster."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.cli.options import Globals
from raftlog.cli.session import ask, client_of, run_async
from raftlog.errors import ConfigInvalid, InvalidInput


def test_a_client_is_made_of_the_global_options():
    """Endpoints come from the options; certificates must be files."""
    assert client_of(Globals(endpoints="a:1, b:2")).endpoints == ("a:1", "b:2")
    with pytest.raises(InvalidInput):
        client_of(Globals(endpoints="a"))
    with pytest.raises(ConfigInvalid):
        client_of(Globals(cacert="no-such-file"))


def test_work_gets_an_open_client():
    """What the work returns is returned, on a loop of its own."""

    async def work(client):
        assert client.endpoints == ("127.0.0.1:1",)
        return asyncio.get_running_loop()

    first = ask(Globals(endpoints="127.0.0.1:1"), work)
    assert first.is_closed()


def test_a_coroutine_runs_to_its_end():
    """Its result or its error comes out."""

    async def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_async(fail())
