"""Automatic mutations: small changes of syntax trees, each of which a check kills.

A mutant is one change of one place: a bound, an operator, a condition, a constant, a statement or
an element left out. It is planted while the module is imported, so nothing is ever written to the
sources. The unit tests look for it first; then, for the core, seeds of the simulator.

``python -m tests.sim.mutants.automatic`` hunts a sample and rewrites `results.json`, which says of
each mutant what killed it, or, for a survivor, why no check can.
"""
