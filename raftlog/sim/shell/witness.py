"""The node with eyes on witnesses: they take no writes, answer nothing of the state, keep the log.

A membership may make a witness of a member, or the other way round, at any moment. So an answer is
held against what the member was when it was asked and when it answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from raftlog.core.entries import Boundary
from raftlog.errors import RaftLogError
from raftlog.interfaces import GroupReceipt, Respond
from raftlog.node.ports import Ports, Shared
from raftlog.sim.shell.ordered import OrderedNode
from raftlog.types import Consistency

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process
    from raftlog.sim.shell.member import NodeHost

WRITES = "a witness takes no writes"
STATE = "a witness answers nothing of the state"


class WitnessedNode(OrderedNode):
    """The node, where it may be a witness."""

    host: NodeHost

    def __init__(self, ports: Ports, shared: Shared, host: NodeHost) -> None:
        super().__init__(ports, shared, host)
        snapshotter = self._parts.snapshotter
        purge = snapshotter._purge  # noqa: SLF001 - what follows is checked as it is decided

        def checked(boundary: Boundary) -> None:
            host.world.will_purge(cast("Process", host), boundary.index)
            purge(boundary)

        snapshotter._purge = checked  # noqa: SLF001 - the same

    def _is_witness(self) -> bool:
        return self.host.state.is_witness

    def submit(self, group: bytes, respond: Respond) -> None:
        """Submit, and check that no witness acknowledges anything."""
        was_witness = self._is_witness()

        def checked(outcome: GroupReceipt | RaftLogError) -> None:
            is_answer = isinstance(outcome, GroupReceipt)
            if was_witness:
                self.host.world.count("witness_asked_to_write")
            if is_answer and was_witness and self._is_witness():
                self.host.world.fail(f"{WRITES}: {self.host.name} acknowledged {outcome}")
            respond(outcome)

        super().submit(group, checked)

    async def query(
        self, request: bytes, consistency: Consistency, timeout_seconds: float
    ) -> bytes:
        """Ask the machine, and check that no witness answers."""
        was_witness = self._is_witness()
        if was_witness:
            self.host.world.count("witness_asked_for_state")
        answer = await super().query(request, consistency, timeout_seconds)
        if was_witness and self._is_witness():
            self.host.world.fail(f"{STATE}: {self.host.name} answered a query")
        return answer
