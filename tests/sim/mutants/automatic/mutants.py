"""The mutants: their names, the sample that is hunted, and the source that each one makes."""

from __future__ import annotations

import ast
import collections
import dataclasses
import difflib
import functools
import hashlib
import pathlib
from collections.abc import Iterable, Iterator

from tests.sim.mutants.runner import PACKAGE

from .operators import functions, places

DECIDING = ("quorum", "log", "election", "replication", "commit", "follower")
"""Modules of which every function has a mutant in the sample."""
OTHERS = (
    "reads", "transfer", "trial", "membership_change", "persistence", "progress", "snapshots",
    "terms",
)  # fmt: skip
CORE = DECIDING + OTHERS
AREAS = (
    "node", "client", "rpc", "rpc/services", "storage/lmdb", "machines", "machines/kv", "recovery",
    "backup", "history",
)  # fmt: skip
"""Directories around the core: each of their modules is called by its dotted path."""
SINGLE = (
    "storage.records", "storage.snapshot_file", "storage.backup_file", "storage.segment_file",
    "wire.status", "cli.journal",
)  # fmt: skip
NEVER_LOADED = frozenset({"node.ports"})
"""Modules that only declare protocols: there is nothing in them to be run."""
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


def dotted(module: str) -> str:
    """Return a module's name below the package: one of the core goes by its last part alone."""
    return module if "." in module else f"core.{module}"


def path_of(module: str) -> pathlib.Path:
    """Return where a module's source is."""
    return PACKAGE.joinpath(*dotted(module).split(".")).with_suffix(".py")


@functools.cache
def source(module: str) -> str:
    """Return a module's text."""
    return path_of(module).read_text(encoding="utf-8")


@functools.cache
def outside() -> tuple[str, ...]:
    """Return the modules around the core that can be mutated."""
    found = [
        ".".join((*area.split("/"), path.stem))
        for area in AREAS
        for path in sorted((PACKAGE / area).glob("*.py"))
        if not path.stem.startswith("__")
    ]
    return tuple(name for name in (*found, *SINGLE) if name not in NEVER_LOADED)


def modules() -> tuple[str, ...]:
    """Return every module that can be mutated: those of the core first."""
    return CORE + outside()


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
def mutants_of(module: str) -> dict[str, Mutant]:
    """Return every mutant of a module by its name; of one that is gone, none."""
    if module not in modules():
        return {}
    return {mutant.name: mutant for mutant, _ in _each(module)}


def all_mutants(chosen: Iterable[str] = CORE) -> dict[str, Mutant]:
    """Return every mutant of some modules by its name, module by module."""
    return {name: mutant for module in chosen for name, mutant in mutants_of(module).items()}


def find(name: str) -> Mutant | None:
    """Return the mutant of this name, or None where the sources have no place for it."""
    return mutants_of(module_of(name)).get(name)


def module_of(name: str) -> str:
    """Return the module of a mutant's name."""
    return name.split(":", maxsplit=1)[0]


def planted(name: str) -> ast.Module:
    """Return the tree of the mutant's module, with the change made."""
    for mutant, tree in _each(module_of(name)):
        if mutant.name == name:
            return ast.fix_missing_locations(tree)
    raise LookupError(f"the sources have no place for {name}")


def difference(name: str) -> str:
    """Return a mutant as a unified diff of its module, comments left out."""
    module = module_of(name)
    sound = ast.unparse(ast.parse(source(module))).splitlines()
    mutated = ast.unparse(planted(name)).splitlines()
    path = str(path_of(module).relative_to(PACKAGE.parent))
    return "\n".join(difflib.unified_diff(sound, mutated, path, path, lineterm="", n=6))


def sample(count: int) -> list[Mutant]:
    """Draw so many of the core: one of each function that decides, then whatever comes first."""
    ranked = sorted(all_mutants().values(), key=_rank)
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


def _rank(mutant: Mutant) -> bytes:
    return mutant.rank


def draw(mutants: Iterable[Mutant], count: int) -> list[Mutant]:
    """Draw so many of these mutants, always the same ones."""
    return in_order(mutant.name for mutant in sorted(mutants, key=_rank)[:count])


def draw_of_each(mutants: Iterable[Mutant], count: int) -> list[Mutant]:
    """Draw up to so many of these mutants in every function, always the same ones."""
    taken: collections.Counter[tuple[str, str]] = collections.Counter()
    chosen = []
    for mutant in sorted(mutants, key=_rank):
        place = (mutant.module, mutant.function)
        if taken[place] < count:
            taken[place] += 1
            chosen.append(mutant.name)
    return in_order(chosen)


def in_order(names: Iterable[str]) -> list[Mutant]:
    """Return these mutants in the order of the sources; a name without a place is left out."""
    wanted = set(names)
    touched = {module_of(name) for name in wanted}
    everything = all_mutants(module for module in modules() if module in touched)
    return [mutant for name, mutant in everything.items() if name in wanted]


def functions_that_decide() -> set[tuple[str, str]]:
    """Return every function of the deciding modules in which anything can be changed."""
    return {
        (mutant.module, mutant.function)
        for mutant in all_mutants().values()
        if mutant.module in DECIDING
    }
