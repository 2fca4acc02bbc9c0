"""What found each planted bug the last time, as `docs/evidence/planted-bugs.md` has it."""

from __future__ import annotations

import functools
import re

from .runner import PACKAGE

PAGE = PACKAGE.parent / "docs/evidence/planted-bugs.md"
ROW = re.compile(r"^\| `([a-z0-9-]+)`:.*\| seed (\d+) \|", re.MULTILINE)


@functools.cache
def known_seeds() -> dict[str, int]:
    """Return the seed that found a bug, by its name; none for what a directed test found."""
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return {name: int(seed) for name, seed in found}
