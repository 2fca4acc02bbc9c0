"""One node in the foreground: compose it, wait for a signal or a failure, stop it."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from typing import TypeVar

from raftlog.config.schema import Settings
from raftlog.errors import RaftLogError, StorageError
from raftlog.interfaces import Event
from raftlog.server.compose import RunningNode, compose, tune_interpreter
from raftlog.server.descriptors import raise_limit
from raftlog.server.signals import StopSignals
from raftlog.server.supervisor import Supervisor
from raftlog.text import reason
from raftlog.types import Role

T = TypeVar("T")

STOP_SECONDS = 15.0
"""A clean stop that takes longer than this is given up; nothing acknowledged can be lost by it."""


def run(settings: Settings, sources: Mapping[str, str] | None = None) -> None:
    """Run a node until a signal stops it. `sources`: where the settings that were set were set.

    Raises:
        RaftLogError: it could not start, or stopped itself; the error says why.
    """
    faulthandler.enable()
    raise_limit()
    run_on_loop(serve(settings, sources or {}))


async def serve(settings: Settings, sources: Mapping[str, str]) -> None:
    """Run a node on the running loop until a signal comes or the node stops itself."""
    loop = asyncio.get_running_loop()
    signals = StopSignals(loop)
    try:
        running = await compose(settings, sources)
        loop.set_exception_handler(lambda _, context: _report(running, context))
        tune_interpreter()
        supervisor = Supervisor(os.environ, lambda: _describe(running))
        supervisor.ready()
        try:
            await _until_stopped(running, signals, supervisor)
        finally:
            await supervisor.end()
    finally:
        signals.restore()


def _describe(running: RunningNode) -> str:
    """Return what the node does, for whoever asks the system what runs on it."""
    standing = running.node.standing
    if standing.role is Role.LEADER:
        return f"leads in term {standing.term}"
    if standing.leader is None:
        return f"knows no leader in term {standing.term}"
    return f"follows {standing.leader} in term {standing.term}"


async def _until_stopped(
    running: RunningNode, signals: StopSignals, supervisor: Supervisor
) -> None:
    asked = asyncio.ensure_future(signals.wait())
    endings = running.endings
    both: set[asyncio.Future[signal.Signals] | asyncio.Future[BaseException]] = {asked, *endings}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    error = next((each.result() for each in endings if each.done()), None)
    if error is None:
        running.observer.event(Event.STOPPING, signal=asked.result().name)
    asked.cancel()
    supervisor.stopping()
    try:
        await asyncio.wait_for(running.stop(hand_over=error is None), STOP_SECONDS)
    except TimeoutError:
        running.is_stuck = True
        running.observer.event(Event.STOP_GIVEN_UP, seconds=STOP_SECONDS)
    else:
        running.observer.event(Event.STOPPED)
    if running.is_stuck and error is None:
        # The interpreter would wait for the thread. Ending at once is safe at any moment.
        sys.stderr.flush()
        os._exit(0)
    if isinstance(error, RaftLogError):
        raise error
    if error is not None:
        raise StorageError(f"the node stopped itself: {reason(error)}") from error


def _report(running: RunningNode, context: dict[str, object]) -> None:
    """Write what nobody awaited as a log line rather than to standard error."""
    message, error = context.get("message"), context.get("exception")
    running.observer.event(Event.UNHANDLED, message=str(message), error=repr(error))


def run_on_loop(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine on uvloop where it is installed, else on asyncio's own loop."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
