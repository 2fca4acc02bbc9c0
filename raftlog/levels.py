"""Feature levels: what may stand in the log and in a data directory, and who can read it.

A cluster has one level, which an entry raises (decision 36). A raftlog reads its own level and all
below it. What a level brings is not written before the level is in force: an older raftlog would
not know it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from raftlog.errors import InvalidInput, VersionTooOld


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """One level: the first raftlog that reads it, and what may be written from it on."""

    since: str
    brings: str


LEVELS: Mapping[int, Level] = MappingProxyType(
    {
        1: Level("0.1.0", "all that raftlog 0.1.0 writes"),
        2: Level(
            "0.2.0",
            "the positions of named consumers, kept in the log; priorities and bans of members; "
            "witnesses without a machine",
        ),
    }
)

CONSUMERS_LEVEL = 2
"""From here on entries may tell of consumers (decision 34)."""

PREFERENCES_LEVEL = 2
"""From here on a membership may tell whom to prefer as leader (decision 39)."""

WITNESS_LEVEL = 2
"""From here on a witness' data directory is made without a machine (decision 40)."""

FEATURE_LEVEL_MAX = max(LEVELS)
"""The highest feature level that this raftlog can read (decision 2)."""

LEVEL_BYTES = 4


def encode_level(level: int) -> bytes:
    """Return the payload of a VERSION entry."""
    return level.to_bytes(LEVEL_BYTES, "big")


def check_readable(level: int) -> None:
    """Raise `VersionTooOld` where this raftlog cannot read what is written at `level`."""
    if level > FEATURE_LEVEL_MAX:
        raise VersionTooOld(
            f"feature level {level} is in force, and this raftlog reads up to {FEATURE_LEVEL_MAX}: "
            "nothing is wrong with the data; start this member with the version that the others "
            "run (`raftlog status` shows it)"
        )


def check_known(level: int) -> None:
    """Raise `InvalidInput` where `level` is none that this raftlog could raise a cluster to."""
    if level not in LEVELS:
        known = f"1 to {FEATURE_LEVEL_MAX}"
        raise InvalidInput(f"{level} is no feature level of this raftlog, which has {known}")
