"""Nodes that tests begin are forked from a process that has imported raftlog already.

A node spends most of a second of a processor on its imports, and tests begin hundreds of nodes. A
process that has imported all of it, and has run nothing, begins them instead: a fork of it has its
own process id, session, log, environment and command line, and parses that command line as the
program does. It is the child of whoever asked, so that it is waited for, killed and paused alike.

Where the start itself is what is tested (`REAL`), where PYTHONPATH is set, and on systems other
than Linux, nodes start as users start them, as does all that a test begins by a command of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import signal
import socket
import sys
import threading
from collections.abc import Sequence

from raftlog import files
from raftlog.local.layout import LocalNode
from raftlog.local.processes import Processes, environment_of

REAL = ("tests/local/", "tests/server/", "tests/testing/", "tests/deploy/", "tests/test_files.py")
"""Tests whose nodes start as users start them."""
ROOM_BYTES = 8192
MESSAGE_BYTES_MAX = 1 << 20
PR_SET_CHILD_SUBREAPER = 36
ARG_START, ARG_END = 45, 46
"""Where the command line lies in memory: fields of /proc/PID/stat, from the state on (proc(5))."""
SOURCE = "from tests import forked; forked.serve_forks(int(__import__('sys').argv[1]))"


class Nursery:
    """The process that nodes are forked from; begun when it is first needed."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._lock = threading.Lock()
        self.pid = 0
        self.is_wanted = False

    def begin(self, node: LocalNode, arguments: Sequence[str]) -> int:
        """Begin a node as `Processes.begin` does; return its process id. Any thread may ask."""
        files.make_directory(node.directory)
        words = [sys.executable, "-m", "raftlog.cli.main", "serve", *arguments]
        wanted = json.dumps([words, environment_of(os.environ), str(pathlib.Path.cwd())]).encode()
        with self._lock, open(node.log_file, "ab", opener=files.private) as log:
            if self._line is None:
                self._line = self._open()
            _adopt(orphans=True)
            try:
                socket.send_fds(self._line, [wanted], [log.fileno()])
                return int(self._line.recv(100))
            finally:
                _adopt(orphans=False)

    def _open(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", SOURCE, str(theirs.fileno()), "-" * ROOM_BYTES],
                {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[1])},
                setsigdef=[signal.SIGINT],
            )
        return ours

    def close(self) -> None:
        """End it; nodes live on."""
        if self._line is not None:
            self._line.close()
            self._line = None
            os.waitpid(self.pid, 0)


NURSERY = Nursery()


def _adopt(*, orphans: bool) -> None:
    """Become the parent of what descends from this process and has lost its own, or no longer.

    A node's parent ends before its id is told.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0)


def fork_nodes() -> None:
    """Have nodes forked where a test wants it."""
    spawn = Processes.begin

    def begin(self: Processes, node: LocalNode, arguments: Sequence[str]) -> int:
        is_plain = not os.environ.get("PYTHONPATH")  # what lies there may change the interpreter
        if NURSERY.is_wanted and is_plain and sys.platform == "linux":
            return NURSERY.begin(node, arguments)
        return spawn(self, node, arguments)

    Processes.begin = begin


def serve_forks(number: int) -> None:
    """Fork a node for each message, until the other side is gone."""
    import raftlog.cli.node  # noqa: PLC0415 - what is imported here no node needs to import
    import raftlog.server.main  # noqa: PLC0415, F401
    from raftlog.cli import main  # noqa: PLC0415

    with socket.socket(fileno=number) as line:
        line.set_inheritable(False)
        while True:
            message, (*received,), _, _ = socket.recv_fds(line, MESSAGE_BYTES_MAX, 1)
            if not message:
                return
            told, telling = os.pipe()
            between = os.fork()
            if between == 0:
                node = os.fork()
                if node:
                    os.write(telling, str(node).encode())
                    os._exit(0)
                line.close()
                os.close(told)
                os.close(telling)
                _become(*json.loads(message), received[0])
                main.main()
                return
            os.waitpid(between, 0)
            line.send(os.read(told, 100))
            for done in (told, telling, received[0]):
                os.close(done)


def _become(words: list[str], environment: dict[str, str], place: str, log: int) -> None:
    """Make this process what the program would be that was begun with these words."""
    os.setsid()
    os.chdir(place)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for own, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(own, standard)
    os.close(nothing)
    os.close(log)
    ours = {"", os.environ["PYTHONPATH"]}
    sys.path[:] = [place, *(path for path in sys.path if path not in ours)]
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["raftlog", *words[3:]]
    _name(words)


def _name(words: list[str]) -> None:
    """Show these words as the command line of this process."""
    stat = pathlib.Path("/proc/self/stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    start, end = int(fields[ARG_START]), int(fields[ARG_END])
    line = b"\0".join(os.fsencode(word) for word in words)
    if len(line) >= end - start:
        raise ValueError(f"a command line of {len(line)} bytes; there is room for {end - start}")
    ctypes.memmove(start, line.ljust(end - start, b"\0"), end - start)
