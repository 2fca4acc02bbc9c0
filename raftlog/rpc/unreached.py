"""What a probe says, beside its question, of a leader that its client cannot reach.

Decision 41 says what that is good for.
"""

from __future__ import annotations

import urllib.parse

from raftlog.interfaces import NodePort
from raftlog.rpc.methods import Context
from raftlog.wire.status import UNREACHED_KEY

TERM_DIGITS_MAX = 19
HOST_CHARACTERS_MAX = 64


def tell(node: NodePort, context: Context) -> None:
    """Tell the node, if the call says so; what makes no sense says nothing."""
    for key, value in context.invocation_metadata() or ():
        if key == UNREACHED_KEY:
            term = str(value)
            if len(term) <= TERM_DIGITS_MAX and term.isdecimal():
                node.leader_unreached(host_of(context), int(term))
            return


def host_of(context: Context) -> str:
    """Return the host that a call came from, without its port."""
    host, _, _port = urllib.parse.unquote(context.peer()).rpartition(":")
    return host[:HOST_CHARACTERS_MAX]
