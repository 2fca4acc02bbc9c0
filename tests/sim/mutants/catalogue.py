"""All planted bugs."""

from __future__ import annotations

from .classics import ELECTIONS, QUORUMS_AND_HANDOVERS
from .planting import Mutant
from .protocol import COMMITTING, REPLICATING, VOTING
from .surroundings import DAMAGE_AND_SNAPSHOTS, MEMBERSHIP, READING

__all__ = ["BY_NAME", "MUTANTS", "Mutant"]

MUTANTS: tuple[Mutant, ...] = (
    *VOTING, *COMMITTING, *REPLICATING, *READING, *MEMBERSHIP, *DAMAGE_AND_SNAPSHOTS,
    *ELECTIONS, *QUORUMS_AND_HANDOVERS,
)  # fmt: skip
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
