"""Threads that are none: a job begins, runs at a drawn moment, and its end is told later.

What a job does happens at one moment between its beginning and its end. So other code runs while
the job is under way, before or after its effect, but never in the midst of it: data races within
one statement are not modelled.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, NoReturn

from raftlog.errors import InvariantBroken

if TYPE_CHECKING:
    from raftlog.sim.shell.host import Host


@dataclasses.dataclass(slots=True, eq=False)
class Job:
    """One function on its way through a thread."""

    work: Callable[[], object]
    future: asyncio.Future[object]
    ends_at: float = 0.0
    has_run: bool = False
    result: object = None
    error: Exception | None = None

    def run(self) -> None:
        """Have the effect, once."""
        if self.has_run:
            return
        self.has_run = True
        try:
            self.result = self.work()
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the job
            self.error = error

    def tell(self) -> None:
        """Resolve the future."""
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class VirtualExecutor(Executor):
    """Some threads of one process. `width`: how many jobs are under way at once."""

    def __init__(self, host: Host, name: str, width: int = 1) -> None:
        self._host = host
        self.name = name
        self._width = width
        self._queue: collections.deque[Job] = collections.deque()
        self._running: list[Job] = []

    def begin(self, work: Callable[[], object]) -> asyncio.Future[object]:
        """Queue a job; return the future of its result."""
        job = Job(work, self._host.loop.create_future())
        self._queue.append(job)
        self._go_on()
        return job.future

    def submit(self, *_args: object, **_keywords: object) -> NoReturn:
        """Refuse: only a loop's `run_in_executor` may use it."""
        raise InvariantBroken("a thread was asked for beside the loop")

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - the real one's signature
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Do what the real one does: cancel what has not begun, and block until the rest ends."""
        queue, self._queue = self._queue, collections.deque()
        if not cancel_futures:
            self._running.extend(queue)
        else:
            for job in queue:
                job.future.cancel()
        if not wait:
            return
        running, self._running = self._running, []
        for job in running:
            self._host.spend(max(0.0, job.ends_at - self._host.now()))
            job.run()
            self._host.loop.call_soon(job.tell)

    def died(self, toss: Callable[[], bool]) -> None:
        """The process died: what was under way has had its effect, or never will."""
        self._queue.clear()
        running, self._running = self._running, []
        for job in running:
            if job.has_run:
                continue
            is_kept = toss()
            if self.name == "writer":
                kept = "kept" if is_kept else "lost"
                self._host.world.count(f"commit_in_flight_{kept}")
            if is_kept:
                job.run()
            job.has_run = True

    def _go_on(self) -> None:
        host = self._host
        while self._queue and len(self._running) < self._width:
            job = self._queue.popleft()
            if job.future.cancelled():
                continue
            self._running.append(job)
            begun = host.now()
            seconds = host.job_seconds(self.name)
            job.ends_at = begun + seconds
            host.at(begun + seconds * host.job_moment(), self._run, job)

    def _run(self, job: Job) -> None:
        if job.has_run:
            return
        job.run()
        self._host.at(job.ends_at, self._end, job)

    def _end(self, job: Job) -> None:
        if job not in self._running:
            return  # a shutdown has waited for it
        self._running.remove(job)
        self._host.post(job.tell)
        self._go_on()
