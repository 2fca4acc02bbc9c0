"""The SDK: everything a program needs to use a cluster, and nothing of the server.

Theory of operation. Every call goes through one of two paths:

- *Writes* (`append`, `kv.put`, `machine.execute`) become transactions. All callers of one client
  share the `Writer` (`write_stream.py`): it packs what is pending into one group, numbers the group
  within its session and sends it on one stream to the leader. `session.py` holds the rules that
  make this exactly-once; it is pure, and everything about numbers lives there.
- *Reads and operators' calls* are unary, through `connections.py`, which also finds the leader for
  both paths. What may be retried, and where, is decided by `routing.py`, which is pure.

`tail` and `watch` are streams that reconnect from the last position delivered.
"""

from __future__ import annotations

import os

# gRPC's own fork handlers crash the child while other threads are inside gRPC. Without them a child
# lives, and `loop_thread.py` tells it what it cannot do. Read when grpc is first loaded.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
