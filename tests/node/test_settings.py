"""The node's settings refuse what cannot work."""

from __future__ import annotations

import pytest

from raftlog import groups
from raftlog.errors import ConfigInvalid
from raftlog.node.settings import NodeSettings


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("transaction_bytes_max", 1),
        ("group_bytes_max", 1),
        ("inbox_groups_max", 1),
        ("session_groups_max", 1),
        ("sessions_max", 1),
        ("stream_page", 1),
        ("change_page", 1),
        ("consumers_max", 1),
        ("consumer_name_bytes_max", 1),
        ("snapshot_log_bytes", 1),
        ("log_bytes_max", 0),
        ("log_transactions_max", 0),
        ("hold_bytes_max", 0),
    ],
)
def test_a_limit_has_a_least_value(name, least):
    """That is taken, and one below it is refused when the settings are made."""
    assert getattr(NodeSettings(**{name: least}), name) == least
    with pytest.raises(ConfigInvalid):
        NodeSettings(**{name: least - 1})


def test_a_commit_may_take_a_while():
    """However short, and none would let no leader lead."""
    assert NodeSettings(commit_seconds_max=0.001)
    with pytest.raises(ConfigInvalid, match="longer than 0"):
        NodeSettings(commit_seconds_max=0.0)


def test_a_frame_has_room_for_the_largest_transaction():
    """A group with one transaction of the largest size fits, framing included."""
    for settings in (
        NodeSettings(transaction_bytes_max=100, group_bytes_max=10),
        NodeSettings(transaction_bytes_max=10, group_bytes_max=100),
    ):
        frame = groups.pack([b"x" * 100], (groups.TransactionKind.OPAQUE, "s" * 64))
        assert len(frame) <= settings.frame_bytes_max
