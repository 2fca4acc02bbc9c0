"""Planted bugs of what one client, one peer or one clock may do: effects, subscribers, ages."""

from __future__ import annotations

from .planting import plant

WORKBENCH, APPLICATION, LOOKOUT = (
    "node/workbench.py",
    "node/application.py",
    "node/lookout.py",
)
SNAPSHOTTER, STATUS, WATCH = "node/snapshotter.py", "wire/status.py", "client/watch.py"
SESSION, CONSUMER_TABLE = "client/session.py", "node/consumer_table.py"
EFFECTS = "node/test_effects.py::test_what_does_not_fit_has_no_effect_and_is_deferred"

BOUNDS = (
    plant(
        "deferred-command-leaves-its-rows",
        "what did not fit into its entry's budget is answered as not done, and was half done",
        (WORKBENCH, "        del self.rows.changes[self.rows.mark :]\n", ""),
        script=EFFECTS,
    ),
    plant(
        "commands-overtake-a-deferred-one",
        "a later command of a group is applied though an earlier one was put off",
        (APPLICATION, "        if last is not _DEFERRED:\n", "        if True:\n"),
        script=EFFECTS,
    ),
    plant(
        "hidden-overrun",
        "a machine that catches what the budget raises gets away with it",
        (WORKBENCH, "        if budget.is_exceeded:\n", "        if False:\n"),
        script=EFFECTS,
    ),
    plant(
        "effects-of-a-batch-unbounded",
        "all entries that are committed are applied before any effect is laid over the state",
        (
            WORKBENCH,
            "        if outcome.size_bytes > BATCH_BYTES_MAX:\n",
            "        if outcome.size_bytes < 0:\n",
        ),
        script="node/test_effects.py::test_a_batch_ends_early_when_its_effects_are_many",
    ),
    plant(
        "definite-from-a-servers-words",
        "a status that says `larger than max` is taken for a request that never left",
        (STATUS, "errors.TooLarge(sentence, definite=not sent)", "errors.TooLarge(sentence)"),
        script="wire/test_status.py::test_no_foreign_status_is_definite_about_what_was_sent",
    ),
    plant(
        "packing-counts-payloads-only",
        "a client's group is larger than the server counts, as it once was",
        (
            SESSION,
            """TRANSACTION_OVERHEAD_BYTES * (count + 1)
            > group_bytes_max - TAG_BYTES_MAX""",
            "0 > group_bytes_max",
        ),
        script="client/test_session.py::test_a_batch_that_had_room_is_a_group_within_the_limit",
    ),
    plant(
        "sign-of-life-swallows-an-entry",
        "a tail that is due a sign of life passes over what is found in the same pass of the loop",
        (
            LOOKOUT,
            "        wake(reader, self.next)\n\n    def _run",
            "        reader.waiter and reader.waiter.set_result(Index(0))\n\n    def _run",
        ),
        (
            LOOKOUT,
            "            return await waiter\n",
            "            return await waiter or self.next\n",
        ),
        script="node/test_lookout.py::test_what_comes_with_the_sign_of_life_is_not_lost",
    ),
    plant(
        "watch-passes-over-a-snapshot",
        "a watch that waits while a snapshot is installed goes on behind it, and says nothing",
        ("node/subscriptions.py", "        if low <= boundary.index:\n", "        if False:\n"),
        script=(
            "node/test_interests.py"
            "::test_a_snapshot_that_takes_the_place_of_what_is_waited_for_is_told"
        ),
    ),
    plant(
        "reader-passes-over-a-snapshot",
        "a reader that was told of the entries before a snapshot's goes on behind the snapshot",
        (
            "node/subscriptions.py",
            "        if index <= self._storage.boundary.index:\n            return position\n",
            "",
        ),
        script="node/test_interests.py::test_a_snapshot_beyond_what_was_looked_at_is_told",
        engine="shell",
    ),
    plant(
        "woken-reader-lets-the-purge-pass",
        "what a parked subscriber was woken for may be purged before it has read it",
        (
            LOOKOUT,
            "        reader.lookout = None\n        if reader.read",
            "        if reader.read",
        ),
        script=(
            "node/test_interests.py"
            "::test_a_parked_subscriber_holds_no_purge_back_and_misses_nothing"
        ),
    ),
    plant(
        "watch-repeats-part-of-a-revision",
        "a watch that reconnects in the middle of a revision delivers its beginning twice",
        (WATCH, "        if self._passed <= self._delivered:\n", "        if False:\n"),
        script=(
            "client/test_watch.py::test_a_revision_in_several_replies_comes_once_across_connections"
        ),
    ),
    plant(
        "age-by-the-wall-clock",
        "retention by age rests on this member's wall clock, as it once did",
        (
            SNAPSHOTTER,
            "self._ages.older_than(self._settings.log_seconds_max, now)",
            "free if self._clock.wall_microseconds() > 1e16 else Index(0)",
        ),
        script=(
            "node/test_snapshotter.py"
            "::test_age_is_this_members_own_running_time_and_takes_nothing_young_along"
        ),
    ),
    plant(
        "consumer-goes-backward",
        "an older commit that comes late moves a consumer back",
        (CONSUMER_TABLE, "change.position > known.position", "True"),
        script="node/test_consumer_table.py::test_a_position_never_goes_back_but_by_a_reset",
    ),
    plant(
        "commit-undoes-a-reset",
        "a reader from before a reset goes on committing behind it",
        (CONSUMER_TABLE, "is_news and change.generation == known.generation", "is_news"),
        script="node/test_consumer_table.py::test_who_read_before_a_reset_commits_no_more",
    ),
    plant(
        "hold-of-a-consumer-ignored",
        "the log is purged under a named consumer as if it were not there",
        (SNAPSHOTTER, "min(free, self._needs.hold_index())", "free"),
        (SNAPSHOTTER, "min(self._hold_index, self._needs.hold_index())", "self._hold_index"),
        script=(
            "node/test_snapshotter.py::test_a_named_consumer_holds_the_log_beyond_what_a_member_may"
        ),
    ),
    plant(
        "hold-given-up-though-it-moved",
        "the log is kept no longer for a consumer that moved while its hold was being given up",
        (CONSUMER_TABLE, "if is_same and known.holds:", "if known.holds:"),
        script=(
            "node/test_consumer_table.py"
            "::test_a_hold_is_given_up_only_where_the_consumer_still_stands"
        ),
    ),
    plant(
        "what-is-handed-out-is-committed",
        "a consumer's position covers the transaction that its reader still works on",
        (
            "client/tail.py",
            (
                "                    if self._kept is not None:\n"
                "                        self._kept.hand(transaction.sequence)\n"
            ),
            (
                "                    if self._kept is not None:\n"
                "                        await self._kept.passed(transaction.sequence)\n"
            ),
        ),
        script=("client/test_consumer.py::test_the_next_reader_goes_on_behind_what_was_processed"),
    ),
    plant(
        "snapshot-deleted-under-its-receiver",
        "a snapshot on its way gives way to newer ones, as it once did",
        (SNAPSHOTTER, "        self._storage.pin_snapshot(snapshot.snapshot_id)\n", ""),
        script=("node/test_snapshotter.py::test_a_snapshot_on_its_way_is_kept_and_gone_on_with"),
    ),
)
