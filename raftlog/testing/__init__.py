"""raftlog in tests of one's own programs: a real cluster of processes, or one node in this process.

::

    async with raftlog.testing.node() as endpoints:  # or `with`, where there is no event loop
        async with raftlog.connect(endpoints) as client: ...

    with raftlog.testing.cluster() as cluster:  # three processes, to kill, pause and restart
        cluster.kill(cluster.leader())

`raftlog.testing.plugin` has the same as pytest fixtures, with ``pip install 'raftlog[testing]'``.
Nothing else here needs pytest. `docs/sdk.md` shows the use of all of it.
"""

from __future__ import annotations

from raftlog.testing.clusters import cluster
from raftlog.testing.single import SingleNode, node

__all__ = ["SingleNode", "cluster", "node"]
