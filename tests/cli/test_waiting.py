"""Whoever waits for a member reads who or what holds it up, and so does the error in the end."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.cli import waiting
from raftlog.cli.options import Globals
from raftlog.cli.output import ExitCode, exit_code, hint
from raftlog.cli.waiting import Wait, held_up, until
from raftlog.errors import RaftLogError, Unavailable
from tests.cli.test_replacing import status

FOUND = status("n1", "n2", "n3", "n4?")


def with_n4(**more):
    """Return that status with other words about n4."""
    members = [dataclasses.replace(m, **more) if m.node_id == "n4" else m for m in FOUND.members]
    return dataclasses.replace(FOUND, members=tuple(members))


def test_the_sentence_names_who_and_what():
    """The leader's word, what is lacking, who does not answer, and what decides."""
    told = with_n4(waits_for="n3: a witness waits", lag_transactions=1234)
    assert held_up(told, "n4") == "n4 lacks 1,234 transactions and waits for n3: a witness waits"
    assert held_up(with_n4(reachable=False), "n4") == "n4 is not reached"
    assert held_up(FOUND, "n4") == "n4 waits for the leader"
    assert "no member" in held_up(FOUND, "n9")
    joint = dataclasses.replace(with_n4(reachable=False), is_joint=True)
    assert held_up(joint, "n2") == "n2: both majorities must decide; n4: no answer"
    lost = dataclasses.replace(with_n4(reachable=False), has_quorum=False)
    assert held_up(lost, "n2") == "no quorum decides: 1 voters must answer; n4: no answer"


class Answers:
    """A cluster that answers one status after the other, the last for ever."""

    def __init__(self, *found):
        self.found = list(found)

    async def status(self):
        """Return the next."""
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, RaftLogError):
            raise found
        return found


def wait_for(*, ordered: bool = True) -> Wait:
    """Wait until n4 votes."""
    return Wait(
        node_id="n4",
        is_done=lambda each: each is not None and each.kind == "voter",
        ordered=ordered,
        advice="look again",
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Look again at once."""
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.001)


async def test_each_reason_is_said_once_until_all_is_done(capsys):
    """A wait without --timeout ends when it is done, however long nobody answers."""
    away = with_n4(waits_for="a node n4")
    cluster = Answers(away, away, Unavailable("nobody"), away, with_n4(kind="voter"))
    await until(Globals(timeout=0.0), cluster, wait_for())
    assert capsys.readouterr().err.splitlines() == [
        "n4 waits for a node n4", "no member answers (nobody)", "n4 waits for a node n4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ordered", "code"), [(True, ExitCode.OUTCOME_UNKNOWN), (False, ExitCode.UNAVAILABLE)]
)
async def test_a_timeout_names_who_holds_it_up(ordered, code):
    """What was ordered goes on; what was not certainly did not happen. Both say what to do."""
    options = Globals(timeout=0.01, timeout_given=True)
    with pytest.raises(RaftLogError) as raised:
        await until(options, Answers(with_n4(waits_for="n3")), wait_for(ordered=ordered))
    assert "n4 waits for n3" in raised.value.message
    assert "look again" in raised.value.message
    assert (exit_code(raised.value), hint(raised.value)) == (code, None)
