"""The log machine takes nothing."""

from __future__ import annotations

import pytest

from raftlog.errors import InvalidInput, Rejected
from raftlog.machines.log import LogMachine
from raftlog.machines.testing import MachineHarness


@pytest.mark.parametrize("command", [b"", b"anything", b"\xff" * 100])
def test_every_command_is_rejected(command: bytes) -> None:
    """Whatever a command says, it is a rejection and not a fault."""
    harness = MachineHarness(LogMachine())
    with pytest.raises(Rejected, match="takes no commands"):
        harness.execute(command)
    assert not harness.state.pairs


def test_every_query_is_refused() -> None:
    """A query is the caller's mistake."""
    with pytest.raises(InvalidInput, match="answers no queries"):
        MachineHarness(LogMachine()).query(b"x")
