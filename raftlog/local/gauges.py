"""What the processes of a local cluster take: memory, processor time, and what their logs told.

The numbers are the kernel's own (proc(5)); on a system without it they are 0. Memory is what is
private to a process (RssAnon): pages of the mapped database are the page cache's, and go when
others need them.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path

PERIOD_SECONDS = 0.02


def private_bytes(pid: int) -> int:
    """Return the private memory of a process, 0 if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    return 0


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used, 0.0 if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def events(log_file: Path, names: Iterable[str], after: int = 0) -> list[dict[str, object]]:
    """Return the events of these names that a node wrote behind byte `after` of its log."""
    wanted = set(names)
    found = []
    with contextlib.suppress(FileNotFoundError), log_file.open("rb") as file:
        file.seek(after)
        for line in file:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and told.get("event") in wanted:
                    found.append(told)
    return found


class PeakMemory:
    """Follows the private memory of processes, on a thread, and keeps the highest of each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[int, int] = {}
        self._peaks: dict[int, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peak-memory", daemon=True)

    def start(self) -> None:
        """Begin to look, every `PERIOD_SECONDS`."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def follow(self, pid: int) -> None:
        """Follow this process from now on; what it has now is what its peak is compared with."""
        now = private_bytes(pid)
        with self._lock:
            self._first[pid] = self._peaks[pid] = now

    def found(self, pid: int) -> tuple[int, int]:
        """Return what it had when it was followed first, and the most it had since."""
        with self._lock:
            return self._first[pid], self._peaks[pid]

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            with self._lock:
                followed = list(self._peaks)
            for pid in followed:
                now = private_bytes(pid)
                with self._lock:
                    self._peaks[pid] = max(self._peaks[pid], now)
