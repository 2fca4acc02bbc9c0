"""The command line of the specification: validate the traces of one cluster's nodes.

Exit codes: 0 every line is allowed; 1 one is not, and it is shown with the state before it; 2 a
file cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from raftlog.sim.spec.merging import Refused, validate
from raftlog.sim.spec.validator import Line


def main(arguments: Sequence[str]) -> int:
    """Validate the files named and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m raftlog.sim.spec",
        description="Hold traces of one cluster's nodes against the specification of Raft.",
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="lines of JSON")
    options = parser.parse_args(arguments)
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
