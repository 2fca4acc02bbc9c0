"""All planted bugs."""

from __future__ import annotations

from .bounds import BOUNDS
from .classics import ELECTIONS, QUORUMS_AND_HANDOVERS
from .fitness import LEADING_UNFIT
from .histories import ANSWERS, EXACTLY_ONCE
from .operated import OPERATING
from .orders import ORDERING
from .planting import Mutant
from .preferences import PREFERRING
from .protocol import COMMITTING, REPLICATING, VOTING
from .shell import ANSWERING, COMMITTING_IN_THE_SHELL, RETRYING
from .surroundings import DAMAGE_AND_SNAPSHOTS, MEMBERSHIP, READING, STRANGERS
from .witnesses import WITNESSES

__all__ = ["BY_NAME", "MUTANTS", "Mutant"]

MUTANTS: tuple[Mutant, ...] = (
    *VOTING, *COMMITTING, *REPLICATING, *READING, *MEMBERSHIP, *DAMAGE_AND_SNAPSHOTS,
    *STRANGERS,     *ELECTIONS, *QUORUMS_AND_HANDOVERS, *EXACTLY_ONCE, *ANSWERS,
    *COMMITTING_IN_THE_SHELL, *ANSWERING, *RETRYING, *BOUNDS, *LEADING_UNFIT, *ORDERING,
    *WITNESSES, *PREFERRING, *OPERATING,
)  # fmt: skip
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
