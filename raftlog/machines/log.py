"""The `log` machine: transactions are ordered, stored and tailed, and nothing is applied."""

from __future__ import annotations

from raftlog.errors import InvalidInput
from raftlog.interfaces import ApplyContext, ReadState, StateMachine


class LogMachine(StateMachine):
    """Opaque transactions never reach a machine; whatever does is a command, and is refused."""

    name = "log"
    version = 1
    inline = True

    def apply(self, command: bytes, context: ApplyContext) -> bytes:  # noqa: ARG002
        """Refuse the command, whatever it says."""
        context.reject("this cluster runs the log machine, which takes no commands")

    def query(self, request: bytes, state: ReadState) -> bytes:  # noqa: ARG002
        """Refuse the query.

        Raises:
            InvalidInput: always; the log is read by its tail.
        """
        raise InvalidInput("this cluster runs the log machine, which answers no queries")
