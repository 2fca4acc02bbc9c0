"""Tables for people: aligned, folded to the terminal, and never more than text.

Rule: whatever the cluster holds, what reaches a terminal from here is `printable`.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import io
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from raftlog.text import printable, shown

UNBOUNDED = 100_000
"""How wide a table may be where no terminal folds it: each row is one line, for grep."""


def show(value: object) -> str:
    """Return one cell of a table."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case enum.Enum():
            return show(value.value)
        case float():
            return f"{value:,.3f}".rstrip("0").rstrip(".")
        case bytes() | bytearray():
            return shown(value)
        case datetime():
            return value.isoformat(sep=" ")
        case {"base64": str(encoded), **rest} if not rest:
            return show(base64.b64decode(encoded))
        case Mapping():
            return ", ".join(f"{show(name)}={show(each)}" for name, each in value.items())
        case str() | int():
            return printable(str(value))
        case Iterable():
            return ", ".join(show(each) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return show({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    return printable(str(value))


def width() -> int:
    """Return how wide a line may be."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNBOUNDED


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under their headings, aligned; numbers to the right, what is long folded."""
    from rich.console import Console  # noqa: PLC0415 - spares commands that print none
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    body = [[show(cell) for cell in row] for row in rows]
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for at, heading in enumerate(columns):
        numeric = bool(body) and all(_is_number(row[at]) or row[at] == "-" for row in body)
        made.add_column(
            Text(heading, overflow="fold"), justify="right" if numeric else "left", overflow="fold"
        )
    for row in body:
        made.add_row(*(Text(cell, overflow="fold") for cell in row))
    return _rendered(made, Console)


def _rendered(made: object, console: type) -> str:
    """Return what a console of the terminal's width writes; no line ends in blanks."""
    buffer = io.StringIO()
    console(file=buffer, width=width(), force_terminal=sys.stdout.isatty(), highlight=False).print(
        made
    )
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "", 1).lstrip("-").isdigit()


def fields(document: Mapping[str, object]) -> str:
    """Return a flat document as lines of name and value."""
    shown_names = {printable(name): value for name, value in document.items()}
    longest = max(map(len, shown_names), default=0)
    return "\n".join(f"{name.ljust(longest)}  {show(value)}" for name, value in shown_names.items())
