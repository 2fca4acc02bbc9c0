"""A real node in a process of its own that counts the Python calls it makes.

``python -m tests.integration.counted_node NODE_ID DATA_DIR ID=HOST:PORT,... COUNTS_FILE``. SIGUSR1
begins to count anew; SIGUSR2 writes as JSON into COUNTS_FILE for how many seconds it counted, and
what, by function.
"""

from __future__ import annotations

import collections
import json
import pathlib
import signal
import sys
import time
from types import CodeType, FrameType

from raftlog.config.schema import Settings
from raftlog.server.main import run

TOP = pathlib.Path(__file__).resolve().parents[2]


class Counts:
    """Calls of Python functions on the thread of the event loop, by code object."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._calls: collections.Counter[CodeType] = collections.Counter()
        self._began = 0.0

    def profile(self, frame: FrameType, event: str, _argument: object) -> None:
        """Count one call (`sys.setprofile`)."""
        if event == "call":
            self._calls[frame.f_code] += 1

    def begin(self, *_: object) -> None:
        """Count from now on."""
        self._calls.clear()
        self._began = time.monotonic()
        sys.setprofile(self.profile)

    def write(self, *_: object) -> None:
        """Stop counting, and write what was counted."""
        sys.setprofile(None)
        seconds = time.monotonic() - self._began
        calls: collections.Counter[str] = collections.Counter()
        for code, count in self._calls.items():
            path = pathlib.Path(code.co_filename)
            name = str(path.relative_to(TOP)) if path.is_relative_to(TOP) else path.name
            calls[f"{name}:{code.co_qualname}"] += count
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"seconds": seconds, "calls": calls}), encoding="utf-8")
        fresh.replace(self._path)


def main(node_id: str, data_dir: str, members: str, counts_file: str) -> None:
    """Run the node until a signal stops it."""
    counts = Counts(pathlib.Path(counts_file))
    signal.signal(signal.SIGUSR1, counts.begin)
    signal.signal(signal.SIGUSR2, counts.write)
    addresses = [member.split("=", 1) for member in members.split(",")]
    run(
        Settings(
            node_id=node_id,
            data_dir=data_dir,
            listen=dict(addresses)[node_id],
            http="",
            bootstrap_token="counted",
            initial_cluster=tuple((name, address) for name, address in addresses),
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
