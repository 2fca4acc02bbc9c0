"""A cluster for as long as a block lasts."""

from __future__ import annotations

import pytest

from raftlog.errors import ConfigInvalid
from raftlog.local import LocalCluster
from raftlog.local.processes import command_line
from raftlog.testing.clusters import cluster


def test_it_ends_with_its_block_whatever_happens_in_there() -> None:
    """Members are gone, a frozen one too, and so is the directory; the error comes through."""
    seen: list[LocalCluster] = []
    pids: list[int] = []
    with pytest.raises(ZeroDivisionError), cluster("machine=log", nodes=2) as made:
        seen.append(made)
        pids += [made.pid(member.id) or 0 for member in made.nodes]
        assert all(command_line(pid) for pid in pids)
        assert made.leader() is not None
        assert made.assignments == ("machine=log",)
        made.pause("n1")
        raise ZeroDivisionError
    assert not seen[0].directory.parent.exists()
    assert not any(map(command_line, pids))


def test_a_wrong_setting_is_said_before_anything_starts() -> None:
    """The settings are those of `serve --set`."""
    with pytest.raises(ConfigInvalid, match="did you mean machine"), cluster("machin=kv"):
        pass
