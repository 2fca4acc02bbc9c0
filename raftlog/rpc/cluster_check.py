"""Refuses a call that is meant for another cluster, before its handler sees it.

A client says by `CLUSTER_KEY` which cluster it keeps to. A call without it is for whoever answers:
one of a client that does not know yet, of an older one, or of another language.
"""

from __future__ import annotations

import grpc

from raftlog.errors import WrongCluster
from raftlog.rpc.access import Serve, served, with_serve
from raftlog.rpc.methods import Context, Handlers, abort
from raftlog.wire.status import CLUSTER_KEY

SHOWN_CHARACTERS_MAX = 64


class ClusterCheck:
    """Compares what a call says with the cluster that this node is of."""

    def __init__(self, cluster_id: str) -> None:
        self._cluster_id = cluster_id

    def guarded(self, handlers: Handlers) -> Handlers:
        """Return the handlers of a service, each behind the check."""
        return {name: self._guarded(handler) for name, handler in handlers.items()}

    def _guarded(
        self, handler: grpc.RpcMethodHandler[bytes, bytes]
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        serve: Serve = served(handler)

        async def handle(request: object, context: Context) -> object:
            for key, value in context.invocation_metadata() or ():
                if key == CLUSTER_KEY and value != self._cluster_id:
                    await abort(context, self._refusal(str(value)))
            return await serve(request, context)

        return with_serve(handler, handle)

    def _refusal(self, meant: str) -> WrongCluster:
        return WrongCluster(
            f"this node is of the cluster {self._cluster_id}, and the call is meant for "
            f"{meant[:SHOWN_CHARACTERS_MAX]}: correct the endpoints; nothing was done"
        )
