"""Draw the diagrams and tables of docs/ from the code's own tables; with --check, only compare.

A page holds a pair of markers, ``<!-- drawn: NAME -->`` and ``<!-- end drawn -->``; what stands
between them is written here and nowhere else, so a page cannot disagree with the code. Run it as
``python -m raftlog._tools.diagrams [--check]`` from the top of the repository.
"""

from __future__ import annotations

import enum
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from raftlog.cli.output import ExitCode
from raftlog.config.schema import SETTINGS
from raftlog.core.progress import PROGRESS_TRANSITIONS, ProgressState
from raftlog.core.roles import ROLE_TRANSITIONS
from raftlog.interfaces import Alarm, Event, Kind, Measure
from raftlog.rpc.access import NEEDS
from raftlog.telemetry.metrics import (
    ALARM_GAUGE,
    COMMITTED,
    CONSUMER_GAUGE,
    PEER_GAUGES,
    PREFIX,
    STATUS_GAUGES,
)
from raftlog.telemetry.surroundings import SURROUNDINGS
from raftlog.types import ClientRole, Role

State = TypeVar("State", bound=enum.Enum)

TOP = pathlib.Path(__file__).resolve().parents[2]
DOCS = TOP / "docs"
_BLOCK = re.compile(r"(<!-- drawn: (?P<name>[a-z-]+) -->\n).*?(<!-- end drawn -->)", re.DOTALL)

_EXIT_MEANINGS = {
    ExitCode.OK: "it happened",
    ExitCode.FAILED: "it failed, and certainly did not happen",
    ExitCode.CANNOT_CONNECT: "none of the endpoints answers",
    ExitCode.INVALID_INPUT: "an argument, a file or a group is wrong; repeating it will not help",
    ExitCode.REFUSED: "a safety check refuses it",
    ExitCode.UNAVAILABLE: "no quorum or an unhealthy cluster; it certainly did not happen",
    ExitCode.IO_OR_CORRUPTION: "a disk failed, or a record or file is damaged",
    ExitCode.OUTCOME_UNKNOWN: "it may have happened: read before you repeat it",
    ExitCode.USAGE: "the command line itself is wrong",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
    ExitCode.BROKEN_PIPE: "whoever read the output went away",
}


def state_diagram(transitions: Mapping[State, frozenset[State]], start: State) -> str:
    """Return a Mermaid state diagram: an arrow for each legal change, a state to itself left out.

    A change of a state to itself (a new term, a new probe) is legal where the table has it; it is
    named below the diagram, because drawn it only hides the others.
    """
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {start.name}"]
    again = []
    for state, followers in transitions.items():
        for follower in sorted(followers, key=lambda one: one.name):
            if follower is state:
                again.append(state.name)
            else:
                lines.append(f"    {state.name} --> {follower.name}")
    lines.append("```")
    if again:
        lines += ["", f"May also follow itself: {', '.join(again)}."]
    return "\n".join(lines)


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    columns = list(headings)
    return "\n".join([line(columns), line("---" for _ in columns), *map(line, rows)])


def _default(key: str, value: object) -> str:
    if value in {"", ()}:
        return "none"
    if isinstance(value, int) and "bytes" in key:
        for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
            if value >= 1 << shift and value % (1 << shift) == 0:
                return f"`{value >> shift} {unit}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`"


def settings_table() -> str:
    """Return every setting with its variable, default and meaning."""
    rows = (
        (f"`{key}`", f"`{one.variable}`", _default(key, one.default), one.doc)
        for key, one in SETTINGS.items()
    )
    return _table(("setting", "variable", "default", "meaning"), rows)


def metrics_table() -> str:
    """Return every metric the node exports, by its outside name and what tells its series apart."""
    rows = [
        (f"`{PREFIX}{measure}`", measure.kind.value, measure.meaning) for measure in sorted(Measure)
    ]
    gauge = Kind.GAUGE.value
    rows += [(f"`{PREFIX}{name}`", gauge, help_) for name, help_ in STATUS_GAUGES.items()]
    rows.append((f"`{PREFIX}{COMMITTED[0]}`", Kind.COUNTER.value, COMMITTED[1]))
    rows.append((f"`{PREFIX}{ALARM_GAUGE[0]}{{alarm}}`", gauge, ALARM_GAUGE[1]))
    rows.append((f"`{PREFIX}{CONSUMER_GAUGE[0]}{{consumer}}`", gauge, CONSUMER_GAUGE[1]))
    rows += [(f"`{PREFIX}{name}{{peer}}`", gauge, help_) for name, help_ in PEER_GAUGES.items()]
    rows += [
        (f"`{PREFIX}{name}{f'{{{label}}}' if label else ''}`", kind.value, help_)
        for name, (kind, help_, label) in SURROUNDINGS.items()
    ]
    rows += [
        (f"`{PREFIX}{event.counter}`", Kind.COUNTER.value, f"Events named `{event}` in the log")
        for event in sorted(Event)
        if event.counter
    ]
    return _table(("metric", "kind", "meaning"), rows)


def events_table() -> str:
    """Return every event the node writes to its log."""
    rows = ((f"`{event}`", event.severity.value, event.meaning) for event in sorted(Event))
    return _table(("event", "level", "meaning"), rows)


def access_table() -> str:
    """Return which methods each role may call besides those of the roles before it."""
    rows = []
    for role in ClientRole:
        methods = sorted(method for method, need in NEEDS.items() if need.role is role)
        rows.append((f"`raftlog://role/{role.word}`", ", ".join(f"`{name}`" for name in methods)))
    return _table(("URI in the certificate", "may call, besides what the rows above may"), rows)


def alarms_table() -> str:
    """Return every alarm with what it means and what to do."""
    rows = (
        (
            f"`{alarm}`",
            alarm.severity.value,
            "yes" if alarm.is_fit else "no",
            "falls silent" if alarm.falls_silent else "hands over" if alarm.hands_over else "-",
            alarm.meaning,
            alarm.advice,
        )
        for alarm in Alarm
    )
    return _table(("alarm", "level", "ready", "a leader", "means", "what to do"), rows)


def exit_codes_table() -> str:
    """Return every exit code with what it says."""
    return _table(
        ("code", "meaning"), ((f"`{code.value}`", _EXIT_MEANINGS[code]) for code in ExitCode)
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "roles": lambda: state_diagram(ROLE_TRANSITIONS, Role.FOLLOWER),
    "progress": lambda: state_diagram(PROGRESS_TRANSITIONS, ProgressState.PROBE),
    "settings": settings_table,
    "metrics": metrics_table,
    "events": events_table,
    "access": access_table,
    "alarms": alarms_table,
    "exit-codes": exit_codes_table,
}


def redrawn(text: str) -> str:
    """Return a page's text with every block drawn anew.

    Raises:
        KeyError: a marker names a block that is not drawn here.
    """

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}\n{BLOCKS[match['name']]()}\n\n{match[3]}"

    return _BLOCK.sub(block, text)


def stale() -> list[str]:
    """Return the pages whose blocks are not what the code says."""
    pages = sorted(DOCS.rglob("*.md"))
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    drawn = {name for text in texts.values() for _, name, _ in _BLOCK.findall(text)}
    return [
        page.relative_to(TOP).as_posix() for page, text in texts.items() if redrawn(text) != text
    ] + [f"block {name} is on no page" for name in BLOCKS if name not in drawn]


def main() -> int:
    """Draw, or check."""
    if "--check" in sys.argv[1:]:
        differing = stale()
        for name in differing:
            print(f"{name}: not what the code says; run make diagrams", file=sys.stderr)
        return 1 if differing else 0
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        fresh = redrawn(text)
        if fresh != text:
            page.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
