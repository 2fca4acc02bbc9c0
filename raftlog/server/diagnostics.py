"""What a node tells of itself to whoever looks into a fault: bounded text, in a few files.

No payload, key or value is in any of them, and no secret. What a machine of one's own says in an
exception or in its gauges is in the events and the metrics as it is in the log. A part that cannot
be collected says why and keeps no other from being collected: the node may be ill in any way.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence

from raftlog.interfaces import NodePort
from raftlog.rpc.settings import Diagnostic, ShownSetting
from raftlog.server.stacks import task_stacks, thread_stacks
from raftlog.telemetry.metrics import PrometheusObserver
from raftlog.text import reason

PART_BYTES_MAX = 1 << 20
LIBRARIES = ("grpcio", "lmdb", "protobuf", "uvloop", "aiohttp", "cryptography")
CUT = "... the rest is left out\n"


class Diagnostics:
    """Collects the files of one node. Loop-bound; lets the loop run between one and the next."""

    def __init__(
        self, node: NodePort, observer: PrometheusObserver, shown: Sequence[ShownSetting]
    ) -> None:
        self._node = node
        self._observer = observer
        self._shown = tuple(shown)
        self._began = time.time()
        self._parts: dict[str, Callable[[], str]] = {
            "status.json": self._status,
            "settings.json": self._settings,
            "metrics.txt": lambda: observer.exposition().decode(),
            "events.jsonl": self._events,
            "tasks.txt": lambda: task_stacks(asyncio.all_tasks()),
            "threads.txt": thread_stacks,
            "versions.json": self._versions,
        }

    async def collect(self) -> list[Diagnostic]:
        """Return the files, each cut to its limit."""
        found = []
        for name, part in self._parts.items():
            try:
                text = part()
            except Exception as error:  # noqa: BLE001 - what is ill must not hide what is not
                text = f"this could not be collected: {reason(error)}\n"
            found.append(_bounded(name, text))
            await asyncio.sleep(0)
        return found

    def _status(self) -> str:
        node = self._node
        alarms = [
            {"alarm": each.alarm.value, "about": each.about, "why": each.why}
            for each in node.alarms.raised
        ]
        document = {
            "status": dataclasses.asdict(node.status()),
            "log": dataclasses.asdict(node.info()),
            "role": node.standing.role.value,
            "term": int(node.standing.term),
            "leader": node.standing.leader,
            "alarms": alarms,
        }
        return _json(document)

    def _settings(self) -> str:
        return _json(
            {
                each.key: {"value": json.loads(each.value_json), "from": each.source}
                for each in self._shown
            }
        )

    def _events(self) -> str:
        """Return the newest events that fit, oldest first."""
        kept: list[str] = []
        size = 0
        for line in reversed(self._observer.recent()):
            size += len(line.encode()) + 1
            if size > PART_BYTES_MAX - len(CUT):
                break
            kept.append(line)
        return "".join(f"{line}\n" for line in reversed(kept))

    def _versions(self) -> str:
        document: dict[str, object] = {
            "raftlog": importlib.metadata.version("raftlog"),
            "python": sys.version,
            "platform": platform.platform(),
            "pid": os.getpid(),
            "processors": os.cpu_count(),
            "up_seconds": round(time.time() - self._began, 3),
            "now": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        for name in LIBRARIES:
            try:
                document[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                document[name] = None
        return _json(document)


def _json(document: object) -> str:
    return json.dumps(document, indent=2, default=str) + "\n"


def _bounded(name: str, text: str) -> Diagnostic:
    content = text.encode(errors="backslashreplace")
    if len(content) <= PART_BYTES_MAX:
        return Diagnostic(name=name, text=content.decode(), is_cut=False)
    kept = content[: PART_BYTES_MAX - len(CUT)].decode(errors="ignore")
    return Diagnostic(name=name, text=kept + CUT, is_cut=True)
