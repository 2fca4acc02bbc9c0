"""The record names tests, planted bugs and seeds that exist."""

from __future__ import annotations

import ast
import functools
import pathlib
import re

from .mutants.catalogue import BY_NAME
from .test_regressions import FOUND

TOP = pathlib.Path(__file__).resolve().parents[2]
PAGES = [TOP / "docs" / "evidence.md", *sorted((TOP / "docs" / "evidence").glob("*.md"))]
PAGE = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)


@functools.cache
def functions_of(path: str) -> frozenset[str]:
    """Return the names of all functions of a file below tests/."""
    tree = ast.parse((TOP / "tests" / path).read_text(encoding="utf-8"))
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, functions))


def test_every_test_named_in_the_record_exists() -> None:
    """A renamed test is renamed there too."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 45
    for path, name in named:
        assert name in functions_of(path), name


def test_every_bug_from_the_list_has_a_line() -> None:
    """S1 to S45, each once."""
    assert re.findall(r"^\| S(\d+) \|", PAGE, re.MULTILINE) == [str(n) for n in range(1, 46)]


def test_the_table_of_planted_bugs_is_complete() -> None:
    """Each planted bug of the catalogue has a line, and no other."""
    assert set(re.findall(r"^\| `([a-z0-9-]+)`:", PAGE, re.MULTILINE)) == set(BY_NAME)


def test_every_regression_is_told() -> None:
    """What the simulator found is listed with its seed."""
    for name, seed in FOUND.items():
        assert re.search(rf"seed {seed}\b", PAGE), name
