"""`snapshot`, on the cluster that all share."""

from __future__ import annotations

import asyncio

import pytest

from raftlog.cli.snapshot import of_all, written
from raftlog.cli.snapshot import snapshot as snapshot_group
from raftlog.errors import Unavailable

pytestmark = pytest.mark.integration


def test_a_snapshot_is_taken_and_listed(raftlog, cluster):
    """By default on a follower; the list has it, by member and as a table."""
    assert snapshot_group.name == "snapshot"
    told = ("--endpoints", cluster.endpoints, "--timeout", "20")
    assert raftlog(*told, "kv", "put", "snapshot", "taken").code == 0
    taken = raftlog(*told, "snapshot", "take", "-o", "json").json
    assert taken["member"] != cluster.wait_leader()
    assert taken["index"] > 0
    listed = raftlog(*told, "snapshot", "list", "-o", "json").json
    assert listed["silent"] == []
    assert taken["snapshot_id"] in {
        each["snapshot_id"] for each in listed["snapshots"] if each["member"] == taken["member"]
    }
    one = raftlog(*told, "--member", taken["member"], "snapshot", "list").text
    assert str(taken["index"]) in one


async def test_members_are_asked_at_once():
    """Nobody is waited for before the next is asked, and who does not answer is named."""
    names = [f"n{number}" for number in range(1, 6)]
    everybody = asyncio.Barrier(len(names))

    class Members:
        """Answer only when all were asked."""

        async def snapshots(self, *, member, timeout):
            async with asyncio.timeout(timeout):
                await everybody.wait()
            if member == "n3":
                raise Unavailable("silent")
            return (member,)

    found, silent = await of_all(Members(), names)
    assert found == ["n1", "n2", "n4", "n5"]
    assert silent == ["n3"]


@pytest.mark.parametrize("watched", [False, True])
def test_bytes_are_shown_to_who_watches(monkeypatch, capsys, watched):
    """A terminal gets a line that moves; a program is not asked to ask for it."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: watched, raising=False)
    with written("writing") as told:
        assert (told is not None) == watched
        if told is not None:
            told(3)
    assert ("writing" in capsys.readouterr().err) == watched
