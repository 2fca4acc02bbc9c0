"""A cluster of real processes for as long as a block lasts."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from raftlog.local import LocalCluster


@contextlib.contextmanager
def cluster(*assignments: str, nodes: int = 3) -> Iterator[LocalCluster]:
    """Start a cluster on free ports of loopback, in a directory of its own, without TLS.

    When the block ends, however it ends, every member is killed, a paused one too, and the
    directory is removed. The calls of the cluster block: use a thread beside an event loop.

    Args:
        assignments: settings as `raftlog serve --set` takes them: ``retention.log_seconds_max=1h``.
        nodes: how many members.

    Raises:
        ConfigInvalid: an assignment names no setting, or gives it a wrong value.
        NodeFailed: a member ended at once; the message has its last words.
        Unavailable: no member leads in time.
    """
    with tempfile.TemporaryDirectory(prefix="raftlog-") as place:
        made = LocalCluster.create(
            Path(place) / "cluster", nodes=nodes, base_port=0, assignments=assignments
        )
        try:
            made.start()
            yield made
        finally:
            for member in made.nodes:
                made.kill(member.id)


def make_whole(made: LocalCluster) -> None:
    """Resume and restart what a test has paused and killed, and wait until all are ready."""
    for member in made.nodes:
        made.resume(member.id)
    made.start()
