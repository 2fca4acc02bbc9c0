"""Planted bugs of operators' orders: versions, repeats, promotions, addresses, new clusters."""

from __future__ import annotations

from .planting import Mutant, plant

MEMBERS = "node/members.py"

ORDERING: tuple[Mutant, ...] = (
    plant(
        "order-ignores-the-version",
        "an operator changes a membership that another operator has changed meanwhile",
        (
            MEMBERS,
            "        if version and not first <= version <= last:",
            "        if version and False:",
        ),
    ),
    plant(
        "repeated-order-acts-again",
        "an order whose answer was lost fails, or acts once more, when it is given again",
        (MEMBERS, "for order in orders if not _is_so(current, order)]", "for order in orders]"),
    ),
    plant(
        "learner-promoted-before-caught-up",
        "S35: a learner is made a voter whatever it holds",
        (
            MEMBERS,
            "        if progress.match_index < known.target:\n            return False\n",
            "",
        ),
    ),
    plant(
        "promoted-after-a-long-round",
        "§4.2.1: a learner votes once it holds what there was when it was first looked at",
        (
            MEMBERS,
            "        return now - known.began <= max(ROUND_SECONDS_MIN, self._election_seconds)\n",
            "        return True\n",
        ),
    ),
    plant(
        "address-of-a-stranger-believed",
        "the address that an emptied or removed directory told is recorded as the member's",
        (
            MEMBERS,
            '        return address if member.instance_id == instance_id else ""\n',
            "        return address\n",
        ),
    ),
    plant(
        "new-cluster-keeps-the-old-id",
        "a cluster that a survivor founded has the old one's id: old members are let in",
        (
            "recovery/lineage.py",
            "        cluster_id=recovered_cluster_id(dice.randbytes(16).hex(), server_id),\n",
            "        cluster_id=cluster_id,\n",
        ),
        script=(
            "recovery/test_refounding.py"
            "::test_a_plan_changes_nothing_and_is_carried_out_as_it_was_read"
        ),
    ),
)
