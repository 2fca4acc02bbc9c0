"""`raftlog cluster`: raising the feature level."""

from __future__ import annotations

from raftlog.cli.cluster import cluster
from raftlog.levels import FEATURE_LEVEL_MAX


def test_upgrade_says_what_is_and_refuses_what_there_is_not(ask):
    """A new cluster has the newest level: that is a success; down exits 4, an unknown level 3."""
    names = ("n1", "n2", "n3")
    for arguments in ((), (str(FEATURE_LEVEL_MAX),), ("--dry-run",)):
        found = ask("cluster", "upgrade", *arguments, "-o", "json")
        assert found.code == 0
        assert found.json == {
            "before": FEATURE_LEVEL_MAX,
            "level": FEATURE_LEVEL_MAX,
            "outcome": "already in force",
            "index": None,
            "members": [{"id": name, "feature_level_max": FEATURE_LEVEL_MAX} for name in names],
        }
    refused = ask("cluster", "upgrade", "1")
    assert refused.code == 4
    assert "never goes down" in refused.err
    assert ask("cluster", "upgrade", str(FEATURE_LEVEL_MAX + 1)).code == 3
    assert ask("cluster", "upgrade", str(2**40)).code == 3
    assert list(cluster.commands) == ["upgrade"]
