"""Planted bugs of members that are not fit to lead, and go on leading, or take leadership."""

from __future__ import annotations

import functools

from .planting import Mutant, plant

FITNESS, WATCHDOG, NODE = "node/fitness.py", "node/watchdog.py", "node/node.py"
TESTS = "node/test_fitness.py"

shell = functools.partial(plant, engine="shell")

LEADING_UNFIT: tuple[Mutant, ...] = (
    shell(
        "stalled-leader-leads-on",
        "a leader whose disk hangs looks at its alarms and does nothing",
        (
            FITNESS,
            "        self._give_away(raised, self._clock.monotonic())\n",
            "        return\n",
        ),
    ),
    shell(
        "stalled-leader-never-silent",
        "a leader whose disk hangs leads on where nobody took over",
        (FITNESS, "if alarm.falls_silent and was_tried and", "if False and"),
        script=(f"{TESTS}::test_a_leader_whose_disk_hangs_falls_silent_where_nobody_has_the_log"),
    ),
    shell(
        "stalled-member-campaigns",
        "a leader that fell silent stands again before its disk answers",
        (
            FITNESS,
            "self._campaigning.withhold(STALLED)\n",
            "pass\n",
        ),
        script=f"{TESTS}::test_a_stalled_leader_tries_each_member_and_falls_silent",
    ),
    shell(
        "stalled-member-never-campaigns-again",
        "a member whose disk answers again may never lead any more",
        (FITNESS, "self._campaigning.release(STALLED)\n", "pass\n"),
        script=f"{TESTS}::test_a_stalled_leader_tries_each_member_and_falls_silent",
    ),
    shell(
        "unfit-member-takes-leadership",
        "a member without room takes the leadership that another gave away for want of room",
        (NODE, "        if type(message) is TimeoutNow and ", "        if False and "),
        script=f"{TESTS}::test_a_member_without_room_declines_leadership",
    ),
    shell(
        "full-leader-picks-a-full-one",
        "a leader without room hands over to whoever is most caught up",
        (FITNESS, "            if needs_room and known.lacks_room:\n", "            if False:\n"),
        script=f"{TESTS}::test_a_full_leader_hands_over_only_to_a_member_with_room",
    ),
    shell(
        "full-quorum-unknown-to-the-leader",
        "a leader takes writes that no quorum of disks has room for",
        (FITNESS, "        if is_short:\n", "        if False:\n"),
        script=(f"{TESTS}::test_full_followers_are_an_error_with_what_to_do_and_end_by_themselves"),
    ),
    shell(
        "full-follower-keeps-it-to-itself",
        "a follower without room does not tell its leader",
        (
            "core/follower.py",
            "lacks_room=state.lacks_room,\n",
            "lacks_room=False,\n",
        ),
        script=(f"{TESTS}::test_full_followers_are_an_error_with_what_to_do_and_end_by_themselves"),
    ),
    shell(
        "starved-leader-leads-on",
        "a leader that hardly gets to run is not told of, and leads on",
        (FITNESS, "        if late > self._stall_seconds:\n", "        if False:\n"),
        script=f"{TESTS}::test_a_process_that_stands_still_again_and_again_hands_over",
    ),
    shell(
        "alarm-asks-for-nothing",
        "a leader without descriptors, or whose machine hangs, leads on",
        (
            "interfaces/alarms.py",
            "        return self in _HANDS_OVER\n",
            "        return self in _FALLS_SILENT\n",
        ),
        script=f"{TESTS}::test_every_alarm_that_asks_for_another_leader_gets_one_tried",
    ),
)
