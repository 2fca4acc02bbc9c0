"""Planted bugs: textual patches of a copy of the sources, which the simulator must find.

Nothing that ships has a switch for any of them. ``python -m tests.sim.mutants`` runs all of them
and prints the table of `docs/evidence/planted-bugs.md`.
"""
