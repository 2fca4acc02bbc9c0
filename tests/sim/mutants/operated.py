"""Planted bugs of what operators ask for, which engine 2's operators must find."""

from __future__ import annotations

import functools

from .planting import Mutant, plant

MEMBERS, CAMPAIGNING, TRANSFERS = "node/members.py", "node/campaigning.py", "node/transfers.py"
CONNECTIONS = "client/connections.py"

shell = functools.partial(plant, engine="shell")

_APPENDED = (
    "        receipt = await self._writes.append_own(\n"
    "            EntryKind.MEMBERSHIP, proposed.encode(), max(deadline - loop.time(), 0.001)\n"
    "        )\n"
)

OPERATING: tuple[Mutant, ...] = (
    shell(
        "done-before-the-commit",
        "an order is answered once its entry is appended",
        (
            MEMBERS,
            _APPENDED,
            (
                "        self._writes.propose_plain(EntryKind.MEMBERSHIP, proposed.encode())\n"
                "        return int(self._core.membership_index)\n"
            ),
        ),
    ),
    plant(
        "told-of-a-version-to-come",
        "an order is answered with a version that is not committed yet",
        (
            MEMBERS,
            "            return receipt.index\n",
            "            return int(self._core.membership_index)\n",
        ),
        script="node/test_members.py::test_an_order_is_answered_with_its_own_version",
    ),
    shell(
        "any-version-will-do-for-an-order",
        "an order that is bound to a version is taken at a later one",
        (MEMBERS, "if version and not first <= version <= last:", "if version > last:"),
    ),
    shell(
        "ban-answered-and-not-in-force",
        "a member that may not stand for election by an operator's word stands all the same",
        (CAMPAIGNING, "        self._enrolment.withhold(_FORBIDDEN)\n", ""),
        (CAMPAIGNING, "        self._enrolment.withhold(_DRAINED)\n", ""),
        (CAMPAIGNING, "        self._enrolment.withhold(_PAUSED)\n", ""),
    ),
    shell(
        "hint-outlives-the-record",
        "where an operator said a member is reached holds against the log's later word",
        (
            MEMBERS,
            "                self._hints.pop(node_id, None)\n",
            "                pass\n",
        ),
        script="node/test_members.py::test_a_record_that_is_newer_than_a_hint_stands",
    ),
    shell(
        "name-never-looked-up-again",
        "a client that cannot reach a member asks for ever where it was once",
        (
            CONNECTIONS,
            "            if self.book.address_of(node_id) in tried:\n",
            "            if False:\n",
        ),
        script=(
            "client/test_client.py::test_a_member_that_came_back_elsewhere_is_found_by_its_name"
        ),
    ),
    shell(
        "switches-saved-side-by-side",
        "two operators' switches are written at once, and the later write undoes the earlier one",
        (
            CAMPAIGNING,
            "        self._saving = asyncio.Lock()\n",
            "        self._saving = asyncio.Semaphore(2)\n",
        ),
        script="node/test_campaigning.py::test_two_switches_at_once_are_both_kept",
    ),
    shell(
        "handed-over-after-the-answer",
        "a transfer that certainly did not happen happens once its target has caught up",
        (
            TRANSFERS,
            "        return core.role is Role.LEADER and is_under_way and _is_certain(tried)\n",
            "        return False and is_under_way\n",
        ),
        script=(
            "node/test_transfers.py::test_what_nobody_waits_for_any_more_does_not_happen_later"
        ),
    ),
)
