"""A process on a machine: a loop, a clock, threads, and a life that may end at any moment.

Each pass of the loop takes a little time, and whatever blocks the loop (a commit made inline, a
shutdown that waits for a thread) takes its own: until then nothing else runs in this process, while
the world goes on. A pause is the same from outside.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from raftlog.sim.shell.executor import VirtualExecutor
from raftlog.sim.shell.loop import ExceptionContext, VirtualLoop

if TYPE_CHECKING:
    from raftlog.sim.shell.world import ShellWorld

EPOCH_MICROSECONDS = 1_700_000_000_000_000


class ProcessDied(SystemExit):
    """The process ends here. Derived so that asyncio lets it through."""


class Host:
    """One process and the machine under it. Subclasses say what it runs and what its jobs take."""

    def __init__(self, world: ShellWorld, number: int, name: str) -> None:
        self.world = world
        self.number = number
        self.name = name
        self.dice = random.Random(f"{world.knobs.seed}:{name}")
        self.life = 0
        self.is_up = False
        self.fuse = 0
        """So many effects from now the process dies; 0: it does not."""
        self.rate = 1.0
        self.wall_offset = 0
        self.pass_seconds = world.knobs.pass_seconds
        self._base = self._began = 0.0
        self._spent = 0.0
        self._busy_until = 0.0
        self._wake_at = float("inf")
        self._is_in_pass = False
        self.loop: VirtualLoop
        self.executors: list[VirtualExecutor] = []
        self._default_executor: VirtualExecutor
        self.past_loops: list[VirtualLoop] = []

    # ------------------------------------------------------------ time

    def now(self) -> float:
        """Return the world's time as this process has reached it."""
        return self.world.scheduler.now + self._spent

    def monotonic(self) -> float:
        """Return the time on this machine's clock."""
        return self._base + (self.now() - self._began) * self.rate

    def wall_microseconds(self) -> int:
        """Return the wall clock, which may jump."""
        return EPOCH_MICROSECONDS + int(self.now() * 1e6) + self.wall_offset

    def spend(self, seconds: float) -> None:
        """Block the loop for a while."""
        self._spent += seconds

    def pause(self, seconds: float) -> None:
        """Stand still: callbacks wait, the clock goes on."""
        self._busy_until = max(self._busy_until, self.world.scheduler.now + seconds)

    @property
    def is_in_pass(self) -> bool:
        """Whether its loop runs now, and no thread of it."""
        return self._is_in_pass

    # ------------------------------------------------------------ life

    def begin(self) -> None:
        """Begin a life with a new loop."""
        self.life += 1
        self.is_up = True
        self.fuse = 0
        self._began = self.world.scheduler.now
        self._base = 1000.0 * self.dice.random()
        self._spent = 0.0
        self._busy_until = self._began
        self._wake_at = float("inf")
        self.executors = []
        self.loop = VirtualLoop(self.monotonic, self._begin_job, self._on_exception)
        self._default_executor = self.new_executor("default", width=8)

    def die(self) -> None:
        """End here and now: nothing of the process runs any more."""
        if not self.is_up:
            return
        self.is_up = False
        self._spent = 0.0
        for executor in self.executors:
            executor.died(lambda: self.dice.random() < 0.5)
        self.loop.abandon()
        self.past_loops.append(self.loop)
        self.world.note("dies", self, None)
        self.world.network.host_died(self)

    def boundary(self) -> None:
        """Die here if the fuse has burnt down: between two effects of one turn.

        Raises:
            ProcessDied: and the pass ends with it.
        """
        if not self.fuse or not self._is_in_pass:
            return
        self.fuse -= 1
        if self.fuse == 0:
            self.world.count("crash_at_boundary")
            self.die()
            raise ProcessDied

    def dispose(self) -> None:
        """Close what its lives left unfinished, so that nothing of it runs once the run is over."""
        for loop in (*self.past_loops, self.loop):
            loop.dispose()
        self.past_loops.clear()
        self.executors.clear()

    # ------------------------------------------------------------ being run

    def post(self, call: Callable[..., object], *args: object) -> None:
        """Have something called on the loop, as its next pass."""
        if self.is_up:
            self.loop.call_soon(call, *args)
            self.arm()

    def at(self, moment: float, call: Callable[..., None], *args: object) -> None:
        """Have something called outside the loop, unless this life is over by then."""
        self.world.scheduler.at(moment, self._at, self.life, call, args)

    def _at(self, life: int, call: Callable[..., None], args: tuple[object, ...]) -> None:
        if self.is_up and life == self.life:
            call(*args)
            self.arm()

    def arm(self) -> None:
        """See to it that the loop runs when it is due."""
        if not self.is_up or self._is_in_pass:
            return
        due = self.loop.next_due()
        if due is None:
            return
        moment = max(self._busy_until, self._began + (due - self._base) / self.rate)
        moment = max(moment, self.world.scheduler.now)
        if moment < self._wake_at:
            self._wake_at = moment
            self.world.scheduler.at(moment, self._wake, self.life, moment)

    def _wake(self, life: int, moment: float) -> None:
        if not self.is_up or life != self.life or moment != self._wake_at:
            return
        self._wake_at = float("inf")
        if self._busy_until > self.world.scheduler.now:
            self.arm()
            return
        self._is_in_pass = True
        try:
            self.loop.run_pass()
        except ProcessDied:
            return
        finally:
            self._is_in_pass = False
        self._spent += self.pass_seconds
        self._busy_until = self.now()
        self._spent = 0.0
        self.world.passed(self)
        self.arm()

    # ------------------------------------------------------------ threads

    def new_executor(self, name: str, width: int = 1) -> VirtualExecutor:
        """Return threads of this process."""
        executor = VirtualExecutor(self, name, width)
        self.executors.append(executor)
        return executor

    def _begin_job(
        self, executor: Executor | None, work: Callable[[], object]
    ) -> asyncio.Future[object]:
        chosen = executor if isinstance(executor, VirtualExecutor) else self._default_executor
        return chosen.begin(work)

    def job_seconds(self, name: str) -> float:
        """Return how long a job on that executor takes."""
        del name
        return 1e-4 + 1e-3 * self.dice.random()

    def job_moment(self) -> float:
        """Return which share of a job's time passes before its effect."""
        return self.dice.choice((0.0, 1.0, self.dice.random()))

    # ------------------------------------------------------------ what goes wrong

    def _on_exception(self, context: ExceptionContext) -> None:
        self.world.unhandled(self, context)
