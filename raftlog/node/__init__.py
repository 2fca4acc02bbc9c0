"""The node: one member's runtime over the ports in `raftlog.interfaces`.

Start reading at `node.Node`; the order of durability is obeyed in `drive` and `group_commit`.
"""

from raftlog.node.node import Node
from raftlog.node.settings import NodeSettings

__all__ = ["Node", "NodeSettings"]
