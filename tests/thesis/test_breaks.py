"""Each rule can be broken, and its test sees it; the table of README.md is the tests' own."""

from __future__ import annotations

import importlib
import pathlib
import pkgutil
import shutil
import sys

import pytest

from tests import thesis
from tests.sim.mutants.runner import (
    HALF_WRITTEN,
    PACKAGE,
    environment_of,
    forget_compiled,
    passes,
)

HERE = pathlib.Path(__file__).parent
README = HERE / "README.md"
MARK = "<!-- the table below is written by: python -m tests.thesis.test_breaks -->\n"


def rules() -> dict[str, object]:
    """Return every test of a rule, by FILE::NAME below tests/, in the order of the files."""
    found: dict[str, object] = {}
    for module in sorted(name for _, name, _ in pkgutil.iter_modules(thesis.__path__)):
        if module in {"test_breaks", "rule"}:
            continue
        loaded = importlib.import_module(f"tests.thesis.{module}")
        for name, value in vars(loaded).items():
            if name.startswith("test_"):
                found[f"thesis/{module}.py::{name}"] = value
    return found


RULES = rules()


def sentence(test: object) -> str:
    return " ".join((test.__doc__ or "").strip().split("\n\n")[0].split())


def table() -> str:
    """Return the rows of README.md: each rule, in the order of the thesis, and its test."""
    rows = []
    for name, test in RULES.items():
        section, _, words = sentence(test).partition(": ")
        rows.append((section, words, name.removeprefix("thesis/")))
    lines = [f"| {section} | {words} | `{name}` |" for section, words, name in rows]
    return "\n".join(["| section | rule | test |", "|---|---|---|", *lines]) + "\n"


def broken(edits, directory: pathlib.Path) -> None:
    """Make a copy of the package with the edits in it."""
    shutil.copytree(PACKAGE, directory / "raftlog", ignore=HALF_WRITTEN)
    for file, before, after in edits:
        path = directory / "raftlog" / file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(before, after), encoding="utf-8")
        forget_compiled(path)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_names_its_section_and_what_breaks_it(name: str) -> None:
    """A test begins with its section, and its edits fit the sources as they are."""
    assert sentence(RULES[name]).startswith("§")
    assert RULES[name].edits
    for file, before, after in RULES[name].edits:
        text = (PACKAGE / file).read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{file} holds {text.count(before)} times: {before!r}"
        assert before != after


@pytest.mark.long
@pytest.mark.parametrize("name", RULES)
def test_a_broken_rule_is_seen(name: str, tmp_path: pathlib.Path) -> None:
    """The test of a rule fails on a copy of the sources in which the rule is broken."""
    broken(RULES[name].edits, tmp_path)
    assert not passes(name, tmp_path, environment_of(tmp_path))


def test_the_table_is_the_tests_own() -> None:
    """README.md lists exactly these rules and tests."""
    head, mark, rows = README.read_text(encoding="utf-8").partition(MARK)
    assert head
    assert mark
    assert rows == "\n" + table()


if __name__ == "__main__" and not sys.argv[1:]:
    kept, _, _ = README.read_text(encoding="utf-8").partition(MARK)
    README.write_text(f"{kept}{MARK}\n{table()}", encoding="utf-8")
