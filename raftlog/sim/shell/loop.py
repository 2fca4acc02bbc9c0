"""An asyncio event loop whose time is made up: one per process, run pass by pass by the world.

It has no selector, no threads and no clock of its own. The world calls `run_pass` when something is
due; between passes the loop stands still, so a process can be paused or killed between any two of
them, and a death drops the loop with everything in it: no `finally` runs, as after kill -9.

Tasks and futures hash by a number of their own, because asyncio keeps them in sets (`TaskGroup`,
`wait`, `all_tasks`) and a set's order would otherwise depend on addresses.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import heapq
import itertools
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, cast

from raftlog.errors import invariant

TIMER_SLACK_SECONDS = 1e-6
"""A timer may fire so much early, so that rounding between clocks cannot make a pass idle."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
ExceptionContext = dict[str, Any]
Coro = Coroutine[Any, Any, T] | Generator[Any, None, T]


class VirtualFuture(asyncio.Future[T]):
    """A future whose place in a set does not depend on its address."""

    def __init__(self, *, loop: VirtualLoop) -> None:
        self._place = next(loop.places)
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._place


class VirtualTask(asyncio.Task[T]):
    """A task whose place in a set does not depend on its address."""

    def __init__(
        self,
        coroutine: Coro[T],
        *,
        loop: VirtualLoop,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        self._place = next(loop.places)
        super().__init__(coroutine, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self._place


class _Nothing:
    """Stands where a selector would: nothing ever arrives by itself."""

    @staticmethod
    def select(_timeout: float | None) -> list[object]:
        return []


def _ignore(_context: ExceptionContext) -> None:
    """Say nothing of what a dead process left behind."""


class VirtualLoop(asyncio.BaseEventLoop):
    """One process's event loop.

    Args:
        now: The process's clock.
        begin_job: Begins what would run on a thread of the default executor or of the given one.
        on_exception: Takes what asyncio would log: nobody retrieved it, or a callback raised.
    """

    _ready: collections.deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _timer_cancelled_count: int
    _run_once: Callable[[], None]

    def __init__(
        self,
        now: Callable[[], float],
        begin_job: Callable[[Executor | None, Callable[[], object]], asyncio.Future[object]],
        on_exception: Callable[[ExceptionContext], None],
    ) -> None:
        super().__init__()
        self._now = now
        self._begin_job = begin_job
        self._on_exception = on_exception
        self._clock_resolution = TIMER_SLACK_SECONDS
        self._selector = _Nothing()
        self.places = itertools.count(1)
        self.tasks: list[asyncio.Task[Any]] = []
        """Every task that was not done when last looked at, oldest first."""
        self._tidy_at = 64
        self.set_debug(False)
        self.set_task_factory(self._new_task)

    # ------------------------------------------------------------ for the world

    def run_pass(self) -> None:
        """Run everything that is due once, as one iteration of `run_forever` does."""
        asyncio._set_running_loop(self)  # noqa: SLF001 - what run_forever does around its passes
        try:
            self._run_once()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001

    def next_due(self) -> float | None:
        """Return when the next callback is due on this loop's clock; None: never by itself."""
        if self._ready:
            return self._now()
        scheduled = self._scheduled
        while scheduled and scheduled[0].cancelled():
            self._timer_cancelled_count -= 1
            timer = heapq.heappop(scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001
        return scheduled[0].when() if scheduled else None

    def pending_tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that are not done, oldest first."""
        self.tasks = [task for task in self.tasks if not task.done()]
        return list(self.tasks)

    def abandon(self) -> None:
        """Let go of everything without a word: the process died."""
        for task in self.pending_tasks():
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self._ready.clear()
        self._scheduled.clear()
        self._on_exception = _ignore

    def dispose(self) -> None:
        """Close what is suspended; whatever its `finally` blocks do comes to nothing by now."""
        if self.is_closed():
            return
        self._ready.clear()
        self._scheduled.clear()
        for task in self.tasks:
            coroutine = task.get_coro()
            if not task.done() and hasattr(coroutine, "close"):
                with contextlib.suppress(BaseException):
                    coroutine.close()
        self.tasks.clear()
        self.close()

    # ------------------------------------------------------------ for asyncio

    def time(self) -> float:
        """Return the time on the process's clock."""
        return self._now()

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future with a place of its own."""
        return VirtualFuture(loop=self)

    def call_exception_handler(self, context: ExceptionContext) -> None:
        """Hand it to the world, which counts it as a failure."""
        self._on_exception(context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Begin `func` on a thread that is none: it runs at a drawn moment, and ends at another."""
        return cast("asyncio.Future[T]", self._begin_job(executor, lambda: func(*args)))

    def _new_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coro[T],
        *,
        name: str | None = None,  # a later asyncio hands it to the factory
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        invariant(loop is self, "a task of another loop")
        task: VirtualTask[T] = VirtualTask(coroutine, loop=self, name=name, context=context)
        self.tasks.append(task)
        if len(self.tasks) > self._tidy_at:
            self._tidy_at = 2 * len(self.pending_tasks()) + 64
        return task

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        invariant(condition=False, message="there are no threads in a simulated world")
