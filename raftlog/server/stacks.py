"""Where everything in this process stands: the stacks of its tasks and of its threads.

File, line and function only. No value of any variable is told, so no payload is, and no source is
read from the disk, which may be what hangs.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
import types
from collections.abc import Iterable, Iterator

FRAMES_MAX = 64
NAMES_MAX = 5
_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")


def task_stacks(tasks: Iterable[asyncio.Task[object]]) -> str:
    """Return where tasks wait, those that wait at the same place together, the most of them first.

    A task's frames go from its outermost coroutine to what it awaits in the end.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for task in tasks:
        found.setdefault(tuple(_awaits(task)), []).append(task.get_name())
    blocks = []
    for frames, names in sorted(found.items(), key=lambda each: -len(each[1])):
        shown = ", ".join(sorted(names)[:NAMES_MAX]) + (", ..." if len(names) > NAMES_MAX else "")
        tasks_word = "task" if len(names) == 1 else "tasks"
        blocks.append(_block(f"{len(names)} {tasks_word}: {shown}", frames))
    return "\n".join(blocks)


def thread_stacks() -> str:
    """Return where each thread is, its outermost function first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    blocks = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the interpreter's own way
        walked = traceback.walk_stack(frame)
        frames = [_place(each.f_code, line) for each, line in walked][:FRAMES_MAX]
        blocks.append(_block(f"thread {names.get(ident, ident)}", reversed(frames)))
    return "\n".join(blocks)


def _awaits(task: asyncio.Task[object]) -> Iterator[str]:
    waiting: object = task.get_coro()
    for _ in range(FRAMES_MAX):
        if waiting is None:
            return
        frame = _first(waiting, _FRAMES)
        if isinstance(frame, types.FrameType):
            yield _place(frame.f_code, frame.f_lineno)
        awaited = _first(waiting, _AWAITED)
        if awaited is None and frame is None:
            yield f"on a {type(waiting).__name__}"
        waiting = awaited


def _first(waiting: object, names: Iterable[str]) -> object:
    return next((it for it in (getattr(waiting, name, None) for name in names) if it), None)


def _place(code: types.CodeType, line: int | None) -> str:
    return f"{code.co_filename}:{line} {code.co_qualname}"


def _block(heading: str, frames: Iterable[str]) -> str:
    return "\n".join([heading, *(f"  {frame}" for frame in frames), ""])
