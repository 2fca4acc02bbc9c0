"""The core's settings refuse what cannot work."""

from __future__ import annotations

import pytest

from raftlog.core.settings import CoreSettings
from raftlog.errors import ConfigInvalid


@pytest.mark.parametrize(
    "fields",
    [
        {"heartbeat_seconds": 0.0},
        {"heartbeat_seconds": 0.3, "election_timeout_seconds": 0.5},
        {"lease_seconds": 0.6},
        {"lease_seconds": -0.1},
        {"clock_drift_max": 1.0},
        {"append_bytes_max": 0},
        {"inflight_count_max": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(fields) -> None:
    """A heartbeat must fit its timeout, a lease too, and windows must hold a message."""
    assert CoreSettings()
    with pytest.raises(ConfigInvalid):
        CoreSettings(**fields)
