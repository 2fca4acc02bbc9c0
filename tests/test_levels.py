"""The table of feature levels, and what an older raftlog says of a newer one's."""

from __future__ import annotations

import pytest

import raftlog
from raftlog.errors import InvalidInput, SafetyRefused, VersionTooOld
from raftlog.levels import (
    FEATURE_LEVEL_MAX,
    LEVELS,
    check_known,
    check_readable,
    encode_level,
)


def test_levels_have_no_gap_and_none_is_of_a_later_version():
    """A raftlog reads every level up to its highest, and says no version above its own."""
    assert list(LEVELS) == list(range(1, FEATURE_LEVEL_MAX + 1))
    versions = [tuple(map(int, level.since.split("."))) for level in LEVELS.values()]
    assert versions == sorted(versions)
    assert versions[-1] <= tuple(map(int, raftlog.__version__.split(".")))


def test_a_level_above_is_refused_as_no_damage():
    """Exit 4, what is needed, and no word of corruption; what can be read passes."""
    check_readable(FEATURE_LEVEL_MAX)
    with pytest.raises(VersionTooOld, match="nothing is wrong with the data") as refused:
        check_readable(FEATURE_LEVEL_MAX + 1)
    assert isinstance(refused.value, SafetyRefused)
    assert "corrupt" not in refused.value.message


@pytest.mark.parametrize("level", [0, -1, FEATURE_LEVEL_MAX + 1])
def test_only_a_known_level_can_be_asked_for(level):
    """The sentence names what there is."""
    with pytest.raises(InvalidInput, match=f"1 to {FEATURE_LEVEL_MAX}"):
        check_known(level)
    check_known(1)


def test_the_payload_is_what_every_version_reads():
    """Big-endian and nothing else: raftlog 0.1.0 takes the whole payload for the number."""
    assert int.from_bytes(encode_level(2), "big") == 2
