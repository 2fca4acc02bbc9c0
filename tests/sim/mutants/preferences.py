"""Planted bugs of priorities and bans: who leads and should not, and leadership that flaps."""

from __future__ import annotations

from .planting import TIMERS, TRANSFER, Mutant, plant

PREFERENCE = "node/preference.py"
TESTS = "sim/test_preferences.py"

PREFERRING: tuple[Mutant, ...] = (
    plant(
        "banned-member-campaigns",
        "a banned member stands for election as soon as any other does",
        (
            TIMERS,
            "    if state.is_banned:\n        state.election_deadline += BAN_PATIENCE * timeout\n",
            "",
        ),
        script=(
            "core/test_preferences.py::test_a_banned_member_waits_for_three_election_timeouts_more"
        ),
    ),
    plant(
        "banned-member-is-handed-leadership",
        "a leader that hands over does not ask who is banned",
        (
            TRANSFER,
            "    return sorted(others if may_be_banned else others - membership.banned)\n",
            "    return sorted(others)\n",
        ),
        script="core/test_preferences.py::test_a_banned_member_is_handed_nothing",
    ),
    plant(
        "preferred-member-fit-for-ever",
        "a preferred member that was fit once is handed leadership though it has just come back",
        (PREFERENCE, "            if self._is_fit(peer, now)\n", ""),
        script=f"{TESTS}::test_who_was_away_must_be_fit_for_long_again",
    ),
    plant(
        "preferred-leadership-flaps",
        "a preferred member that fails whenever it leads is handed leadership without end",
        (PREFERENCE, "return usual * float(1 << doublings)", "return usual"),
        script=f"{TESTS}::test_leadership_does_not_flap",
    ),
)
