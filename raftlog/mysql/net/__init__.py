"""The adapter: sockets on one side, `interfaces.NodePort` on the other, `protocol` in between.

Rule: it sees the node as every service does. Neither the core, nor a part of the node, nor its
storage is known here; what a binlog reader needs and `NodePort` lacks is added to `NodePort`.
"""
