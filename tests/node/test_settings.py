"""The node's settings refuse what cannot work."""

from __future__ import annotations

import pytest

from raftlog.errors import ConfigInvalid
from raftlog.node.settings import NodeSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"transaction_bytes_max": 0},
        {"group_bytes_max": 0},
        {"inbox_groups_max": 0},
        {"session_groups_max": 0},
        {"stream_page": 0},
        {"change_page": 0},
        {"sessions_max": 0},
        {"snapshot_log_bytes": 0},
        {"log_bytes_max": -1},
    ],
)
def test_limits_below_one_are_refused(wrong):
    """Each limit is checked when the settings are made."""
    with pytest.raises(ConfigInvalid):
        NodeSettings(**wrong)


def test_a_frame_has_room_for_the_largest_transaction():
    """A group with one transaction of the largest size fits, framing included."""
    settings = NodeSettings(transaction_bytes_max=100, group_bytes_max=10)
    assert settings.frame_bytes_max > 100
