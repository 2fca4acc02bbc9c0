"""Planted bugs of witnesses: what they keep, and to whom they hand over."""

from __future__ import annotations

from .planting import FLOOR, QUORUM, TRANSFER, plant

WITNESSES = (
    plant(
        "witness-purges-like-the-others",
        "a witness purges what a member with a machine lacks",
        (QUORUM, "        held_back.append(marks.floor)\n", "        pass\n"),
    ),
    plant(
        "floor-of-the-fastest",
        "a witness is told what one member with a machine holds, not what all of them do",
        (FLOOR, "    return min(\n", "    return max(\n"),
    ),
    plant(
        "floor-outlives-its-term",
        "a witness believes what a leader told it before another one led",
        (
            FLOOR,
            "    return state.floor if state.floor_term == state.term",
            "    return state.floor if state.term",
        ),
        script=(
            "core/test_floor.py::test_a_witness_believes_the_leader_of_its_term_and_nobody_else"
        ),
    ),
    plant(
        "floor-without-learners",
        "a witness is not told of members that do not vote yet",
        (
            FLOOR,
            "        if member.has_machine\n",
            "        if member.has_machine and membership.is_voter(member.node_id)\n",
        ),
        script="core/test_floor.py::test_learners_and_members_not_surely_removed_hold_the_floor",
    ),
    plant(
        "witness-hands-over-blindly",
        "a witness that wins hands over before it has heard whose machine keeps up",
        (
            TRANSFER,
            "    if not heard or not (is_due or len(heard) == len(peers)):",
            "    if not heard:",
        ),
        script="core/test_floor.py::test_a_witness_hands_over_by_what_is_applied",
    ),
)
