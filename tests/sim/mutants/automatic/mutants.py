"""The mutants: their names, the sample that is hunted, and the source that each one makes."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import hashlib
from collections.abc import Iterable, Iterator

from tests.sim.mutants.runner import PACKAGE

from .operators import functions, places

DECIDING = ("quorum", "log", "election", "replication", "commit", "follower")
"""Modules of which every function has a mutant in the sample."""
OTHERS = (
    "reads", "transfer", "membership_change", "persistence", "progress", "snapshots", "terms",
)  # fmt: skip
MODULES = DECIDING + OTHERS
SAMPLE = 120


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one place."""

    name: str
    """MODULE:FUNCTION:OPERATOR:NUMBER."""
    module: str
    function: str
    before: str
    after: str

    @property
    def change(self) -> str:
        """Return what becomes of the statement, in one line."""
        return f"{self.before}  ->  {self.after}"

    @property
    def rank(self) -> bytes:
        """Return the place in the draw: fixed by the name, so that edits elsewhere move nothing."""
        return hashlib.blake2b(self.name.encode(), digest_size=8).digest()


@functools.cache
def source(module: str) -> str:
    """Return a core module's text."""
    return (PACKAGE / "core" / f"{module}.py").read_text(encoding="utf-8")


def _each(module: str) -> Iterator[tuple[Mutant, ast.Module]]:
    """Yield each mutant of a module with its tree, which holds only until the next is asked for."""
    tree = ast.parse(source(module))
    for function, node in functions(tree):
        numbers: dict[str, int] = {}
        for place in list(places(node)):
            number = numbers[place.operator] = numbers.get(place.operator, 0) + 1
            before, after = place.apply()
            yield (
                Mutant(
                    name=f"{module}:{function}:{place.operator}:{number}",
                    module=module,
                    function=function,
                    before=before,
                    after=after,
                ),
                tree,
            )
            place.undo()


@functools.cache
def all_mutants() -> dict[str, Mutant]:
    """Return every mutant by its name, module by module."""
    return {mutant.name: mutant for module in MODULES for mutant, _ in _each(module)}


def planted(name: str) -> ast.Module:
    """Return the tree of the mutant's module, with the change made."""
    for mutant, tree in _each(name.split(":", maxsplit=1)[0]):
        if mutant.name == name:
            return ast.fix_missing_locations(tree)
    raise LookupError(f"the sources have no place for {name}")


def difference(name: str) -> str:
    """Return a mutant as a unified diff of its module, comments left out."""
    module = name.split(":", maxsplit=1)[0]
    sound = ast.unparse(ast.parse(source(module))).splitlines()
    mutated = ast.unparse(planted(name)).splitlines()
    path = f"raftlog/core/{module}.py"
    return "\n".join(difflib.unified_diff(sound, mutated, path, path, lineterm="", n=6))


def sample(count: int) -> list[Mutant]:
    """Draw so many mutants: one of each function that decides, then whatever comes first."""
    ranked = sorted(all_mutants().values(), key=lambda mutant: mutant.rank)
    chosen: dict[str, Mutant] = {}
    covered: set[tuple[str, str]] = set()
    for mutant in ranked:
        place = (mutant.module, mutant.function)
        if mutant.module in DECIDING and place not in covered:
            covered.add(place)
            chosen[mutant.name] = mutant
    for mutant in ranked:
        if len(chosen) >= count:
            break
        chosen.setdefault(mutant.name, mutant)
    return in_order(chosen)


def in_order(names: Iterable[str]) -> list[Mutant]:
    """Return these mutants in the order of the sources."""
    wanted = set(names)
    return [mutant for name, mutant in all_mutants().items() if name in wanted]


def functions_that_decide() -> set[tuple[str, str]]:
    """Return every function of the deciding modules in which anything can be changed."""
    return {
        (mutant.module, mutant.function)
        for mutant in all_mutants().values()
        if mutant.module in DECIDING
    }
