"""The command line of the exhaustive search. Exit code 0: no property broke; 1: one did."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from raftlog.sim.exhaustive.search import Bounds, Found, Search


def main(arguments: Sequence[str]) -> int:
    """Search within the bounds of the command line and return the exit code."""
    default = Bounds()
    parser = argparse.ArgumentParser(
        prog="python -m raftlog.sim.exhaustive",
        description="Run the core through every order of events of a tiny cluster.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--nodes", type=int, default=default.nodes, help="members, all of them voters")
    add("--terms", type=int, default=default.terms, help="no term above this")
    add("--entries", type=int, default=default.entries, help="proposals, besides no-ops")
    add("--crashes", type=int, default=default.crashes, help="crashes, each with a restart")
    add("--states", type=int, default=default.states, help="stop after so many states")
    add("--seconds", type=float, default=default.seconds, help="stop after so much time")
    found = Search(Bounds(**vars(parser.parse_args(arguments)))).run()
    sys.stdout.write("\n".join([*found.path, *report(found)]) + "\n")
    return 0 if found.violation is None else 1


def report(found: Found) -> list[str]:
    """Return what a search did, in lines."""
    rate = found.states / found.cpu_seconds if found.cpu_seconds else 0.0
    reach = "all states within the bounds" if found.is_complete else "stopped before the end"
    return [
        (
            f"{found.states} states ({rate:,.0f}/s of one core), {found.steps} events, "
            f"depth {found.depth}, {found.seconds:.1f} s: {reach}"
        ),
        (
            f"{found.values} node values, {found.messages} messages, {found.core_steps} steps of "
            f"the core, {found.chosen} entries chosen at most"
        ),
        f"BROKEN: {found.violation}" if found.violation else "no property was broken",
    ]
