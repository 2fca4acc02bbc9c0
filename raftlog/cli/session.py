"""From global options to a client: how a command reaches the cluster, and on which loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import TypeVar

from raftlog.cli.options import Globals
from raftlog.client.client import Client, connect

T = TypeVar("T")


def run_async(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end, on uvloop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM end the work as Ctrl-C does, so that what was started is stopped again.

    A shell without job control starts background commands deaf to SIGINT; this work listens there
    too, or SIGTERM could not be passed on.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupt)


def client_of(options: Globals) -> Client:
    """Return a client as the global options say, not open yet."""
    return connect(
        options.endpoints,
        timeout=options.timeout,
        cacert=options.cacert,
        cert=options.cert,
        key=options.key,
        cluster_id=options.cluster_id,
    )


def ask(options: Globals, work: Callable[[Client], Awaitable[T]]) -> T:
    """Open a client, let `work` use it, and return what it returns."""

    async def run() -> T:
        async with client_of(options) as client:
            return await work(client)

    return run_async(run())
