"""`machine`, against a cluster of three processes."""

from __future__ import annotations

import pytest

from raftlog.cli.machine import machine as machine_group

pytestmark = pytest.mark.integration


def test_upgrade_says_what_is_and_refuses_what_no_member_has(ask):
    """What is in force is a success and says so; a version that is nowhere exits 4 with names."""
    assert machine_group.name == "machine"
    for arguments in ((), ("1",), ("--dry-run",)):
        found = ask("machine", "upgrade", *arguments, "-o", "json")
        assert found.code == 0
        members = [{"id": name, "versions": [1]} for name in ("n1", "n2", "n3")]
        assert found.json == {
            "machine": "kv",
            "before": 1,
            "version": 1,
            "outcome": "already in force",
            "index": None,
            "members": members,
        }
    for arguments in (("2",), ("2", "--dry-run")):
        refused = ask("machine", "upgrade", *arguments)
        assert refused.code == 4
        assert all(f"{name} has 1" in refused.err for name in ("n1", "n2", "n3"))
        assert "nothing was changed" in refused.err
    assert ask("machine", "upgrade").code == 0  # for people
    assert ask("machine", "upgrade", "0").code in {3, 128}
    assert ask("machine", "upgrade", str(2**40)).code == 3
