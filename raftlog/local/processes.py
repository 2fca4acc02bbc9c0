"""Node processes: begun so that they outlive whoever begins them, and told apart from others.

A pid alone proves nothing (they are reused): a process counts as a node's only if its command line
names the node's data directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from raftlog import files
from raftlog.local.layout import LocalNode

_NOT_INHERITED = (
    "CONFIG", "ADVERTISE", "JOIN", "MYSQL", "TLS_CACERT", "TLS_CERT", "TLS_KEY", "CACERT", "CERT",
    "KEY",
)  # fmt: skip


class Processes:
    """The processes of some nodes. Those that this object began are reaped by it."""

    def __init__(self) -> None:
        self._children: dict[str, int] = {}
        self._lock = threading.Lock()

    def pid(self, node: LocalNode) -> int | None:
        """Return the node's process id while it runs, whoever began it."""
        child = self._living_child(node.id)
        if child is not None:
            return child
        try:
            pid = int(node.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if str(node.data_dir) in command_line(pid) else None

    def spawn(self, node: LocalNode, arguments: Sequence[str]) -> None:
        """Begin ``raftlog serve`` with these arguments, in the background, in a session of its own.

        It inherits the environment but for the variables that would make it another node.
        """
        pid = self.begin(node, arguments)
        node.pid_file.touch(mode=files.FILE_MODE)
        node.pid_file.write_text(f"{pid}\n")
        with self._lock:
            self._children[node.id] = pid

    def begin(self, node: LocalNode, arguments: Sequence[str]) -> int:
        """Begin the process itself, a child of this one; return its id."""
        files.make_directory(node.directory)
        # Not subprocess: the node outlives this object, and this process, on purpose.
        with (
            open(node.log_file, "ab", opener=files.private) as log,
            open(os.devnull, "rb") as nothing,  # noqa: PTH123
        ):
            return os.posix_spawn(
                sys.executable,
                [sys.executable, "-m", "raftlog.cli.main", "serve", *arguments],
                environment_of(os.environ),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                ],
                setsid=True,
            )

    def _living_child(self, node_id: str) -> int | None:
        """Return the pid of a node that this process began and that still lives."""
        with self._lock:
            pid = self._children.get(node_id)
            if pid is None:
                return None
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                del self._children[node_id]
                return None
            return pid


def environment_of(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a node's environment: what is inherited but for what would make it another node."""
    prefix = "RAFTLOG_"
    left_out = {prefix + suffix for suffix in _NOT_INHERITED}
    return {name: value for name, value in inherited.items() if name not in left_out}


def command_line(pid: int) -> str:
    """Return a live process's command line; "" if it is gone or a zombie."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            return ""
    listed = subprocess.run(  # noqa: S603 - a fixed program and a number
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return listed.stdout


def last_words(log_file: Path, lines: int = 8) -> str:
    """Return the end of what a node wrote, to be put behind a message."""
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, log_file.stat().st_size - 8192))
            tail = file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return "(it wrote nothing)"
    return "\n  " + "\n  ".join(tail) if tail else "(it wrote nothing)"
