"""The table: what became of each mutant, kept beside this file as `results.json`.

Why a survivor survives is told in `explained.py`, by hand.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

from .explained import EXPLAINED
from .mutants import all_mutants

RESULTS = pathlib.Path(__file__).with_name("results.json")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One mutant of the table."""

    name: str
    change: str
    by: str
    """The test or seed that finds it; empty for a survivor."""
    detail: str = ""

    @property
    def is_current(self) -> bool:
        """Whether the sources still hold the statement that it changes, in the same place."""
        mutant = all_mutants().get(self.name)
        return mutant is not None and mutant.change == self.change

    @property
    def is_settled(self) -> bool:
        """Whether it is found, or its survival is explained."""
        return bool(self.by) or self.name in EXPLAINED


def load() -> dict[str, Row]:
    """Return the rows by name; an absent file holds none."""
    if not RESULTS.exists():
        return {}
    records = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {record["name"]: Row(**record) for record in records}


def save(rows: dict[str, Row]) -> None:
    """Write the rows that are still current, in the order of the sources, one a line."""
    kept = [rows[name] for name in all_mutants() if name in rows and rows[name].is_current]
    lines = [json.dumps(dataclasses.asdict(row), ensure_ascii=False) for row in kept]
    RESULTS.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
