"""The table: what became of each mutant, kept beside this file as `results.json`.

Why a survivor survives is told in `explained.py`, by hand.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

from .explained import EXPLAINED
from .mutants import find, in_order, module_of, modules, mutants_of

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
        mutant = find(self.name)
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
    kept = [rows[m.name] for m in in_order(rows) if rows[m.name].change == m.change]
    lines = [json.dumps(dataclasses.asdict(row), ensure_ascii=False) for row in kept]
    RESULTS.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def coverage(rows: dict[str, Row]) -> str:
    """Return a table of the modules: how many mutants there are, and what the rows tell of them."""
    current = [row for row in rows.values() if row.is_current]
    lines = [
        "| module | mutants | in the table | found | explained | |",
        "|---|---|---|---|---|---|",
    ]
    for module in modules():
        total = len(mutants_of(module))
        told = [row for row in current if module_of(row.name) == module]
        found = sum(bool(row.by) for row in told)
        if total:
            reach = "whole" if len(told) == total else "sampled" if told else "not run"
            cells = f"{total} | {len(told)} | {found} | {len(told) - found} | {reach}"
            lines.append(f"| `{module}` | {cells} |")
    return "\n".join(lines)
