"""The command line of the specification: validate the traces of one cluster's nodes, or explore.

Exit codes: 0 every line is allowed, or every property held; 1 one is not, and it is shown with the
state before it; 2 a file cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from raftlog.sim.spec.explore import Scope, explore
from raftlog.sim.spec.merging import Refused, validate
from raftlog.sim.spec.refusal import NotAllowed
from raftlog.sim.spec.validator import Line

SCOPE = ("servers", "terms", "entries", "restarts")


def main(arguments: Sequence[str]) -> int:
    """Validate the files named and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m raftlog.sim.spec",
        description="Hold traces of one cluster's nodes against the specification of Raft.",
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="lines of JSON")
    parser.add_argument(
        "--explore",
        nargs=4,
        type=int,
        metavar=("SERVERS", "TERMS", "ENTRIES", "RESTARTS"),
        help="visit every state of the specification itself within these bounds",
    )
    options = parser.parse_args(arguments)
    if options.explore:
        return _explore(Scope(**dict(zip(SCOPE, options.explore, strict=True))))
    if not options.files:
        parser.error("no FILE to validate")
    try:
        lines = [line for path in options.files for line in read_lines(path)]
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot read: {error}\n")
        return 2
    try:
        validator = validate(lines)
    except Refused as refused:
        sys.stdout.write(
            f"NOT ALLOWED: {refused.why}\n  before: {refused.before}\n"
            f"  line:   {json.dumps(refused.line)}\n"
        )
        return 1
    taken = ", ".join(f"{name} {count}" for name, count in sorted(validator.actions.items()))
    sys.stdout.write(f"{validator.lines} lines allowed: {taken}\n")
    return 0


def _explore(scope: Scope) -> int:
    try:
        found = explore(scope)
    except NotAllowed as broken:
        sys.stdout.write(f"BROKEN: {broken}\n")
        return 1
    sys.stdout.write(
        f"{found.states} states, {found.steps} steps, depth {found.depth}; every property held\n"
    )
    return 0


def read_lines(path: str | Path) -> Iterator[Line]:
    """Yield the lines of one trace file.

    Raises:
        ValueError: one is not a JSON object.
    """
    with Path(path).open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            try:
                line = json.loads(text)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
            yield line if isinstance(line, dict) else {"line": line}
