"""Proposals on their way through the log; every one resolves exactly once.

A proposal is known by the position it was appended at. It resolves with a receipt when that entry
is applied; definitely failed when another entry is applied at its index; and as indeterminate when
leadership ends, a snapshot passes over it, or the node stops.
"""

from __future__ import annotations

import asyncio
import dataclasses

from raftlog.errors import LeadershipLost, ProposalDropped, RaftLogError
from raftlog.groups import Group
from raftlog.interfaces import GroupReceipt, Respond


@dataclasses.dataclass(slots=True)
class Proposal:
    """One appended group and everyone who waits for it (retries join the first)."""

    term: int
    index: int
    group: Group | None
    responders: list[Respond]
    size_bytes: int = 0
    """What it holds in memory while it is pending."""

    def resolve(self, outcome: GroupReceipt | RaftLogError) -> None:
        """Answer everyone; one that raises keeps no other from its answer."""
        responders, self.responders = self.responders, []
        for respond in responders:
            try:
                respond(outcome)
            except Exception as error:  # noqa: BLE001, a caller's fault is not the node's
                context = {"message": "a responder raised", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)


class Proposals:
    """The pending ones, by index."""

    def __init__(self) -> None:
        self._pending: dict[int, Proposal] = {}
        self.size_bytes = 0
        """Groups that wait, together."""

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, proposal: Proposal) -> None:
        """Take a proposal that was just appended; one at the same index had been truncated."""
        overwritten = self._pending.pop(proposal.index, None)
        if overwritten is not None:
            self.size_bytes -= overwritten.size_bytes
            overwritten.resolve(LeadershipLost("the entry was truncated by a later leader"))
        self._pending[proposal.index] = proposal
        if proposal.group is not None:
            proposal.size_bytes = len(proposal.group.data)
            self.size_bytes += proposal.size_bytes

    def join(self, index: int, respond: Respond) -> bool:
        """Let a retry wait for the entry at `index`; False if it is no longer pending."""
        proposal = self._pending.get(index)
        if proposal is None:
            return False
        proposal.responders.append(respond)
        return True

    def take(self, term: int, index: int) -> Proposal | None:
        """Remove and return the proposal that the entry just applied came from.

        One of another term at that index can never commit: it is answered as definitely failed.
        """
        proposal = self._pending.pop(index, None)
        if proposal is None:
            return None
        self.size_bytes -= proposal.size_bytes
        if proposal.term == term:
            return proposal
        proposal.resolve(ProposalDropped("another leader's entry was committed in its place"))
        return None

    def fail_all(self, error: RaftLogError, *, up_to: int | None = None) -> None:
        """Resolve everything (`up_to`: at and below that index) with one error."""
        failed = [p for index, p in self._pending.items() if up_to is None or index <= up_to]
        for proposal in failed:
            del self._pending[proposal.index]
            self.size_bytes -= proposal.size_bytes
        for proposal in failed:
            proposal.resolve(error)
