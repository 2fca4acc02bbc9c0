"""Planted bugs of the asyncio shell and of the SDK, which engine 2 must find."""

from __future__ import annotations

import functools

from .planting import Mutant, plant

GROUP_COMMIT, APPLIER, NODE = "node/group_commit.py", "node/applier.py", "node/node.py"
CONSEQUENCES = "node/consequences.py"
WRITES, LEADERSHIP, READS = "node/writes.py", "node/leadership.py", "node/reads.py"
SUBSCRIPTIONS, QUORUM = "node/subscriptions.py", "core/quorum.py"
WINDOW, WRITER, ROUTING = "client/session.py", "client/write_stream.py", "client/routing.py"
LOG, TAIL = "client/log.py", "client/tail.py"

shell = functools.partial(plant, engine="shell")

_BUSY = "        if not (self._busy or self._scheduled or self._stopped):\n"

COMMITTING_IN_THE_SHELL: tuple[Mutant, ...] = (
    shell(
        "told-before-the-commit",
        "a round counts as durable when its commit begins",
        (
            GROUP_COMMIT,
            "        if is_little and self._fast_in_a_row >= FAST_COMMITS_WANTED:\n",
            (
                "        self._then.durable(persists, round_)\n"
                "        if is_little and self._fast_in_a_row >= FAST_COMMITS_WANTED:\n"
            ),
        ),
        (GROUP_COMMIT, "        self._then.durable(done.persists, done.round_)\n", ""),
    ),
    shell(
        "commit-error-swallowed",
        "decision 12: a failed commit counts as made",
        (
            GROUP_COMMIT,
            (
                "        if error is not None:\n            self._fail(error)\n            return\n"
                "        self._observer.measure"
            ),
            "        self._observer.measure",
        ),
    ),
    shell(
        "two-commits-in-flight",
        "a round is committed while another one is under way",
        (GROUP_COMMIT, _BUSY, "        if not (self._scheduled or self._stopped):\n"),
        (GROUP_COMMIT, "        if self._busy or self._stopped:\n", "        if self._stopped:\n"),
        (
            GROUP_COMMIT,
            "        if not self._queue or self._busy or self._scheduled or self._stopped:\n",
            "        if not self._queue or self._scheduled or self._stopped:\n",
        ),
    ),
    shell(
        "merge-forgets-the-vote",
        "of merged rounds only the last one's hard state counts, if it has one",
        (
            GROUP_COMMIT,
            "        hard_state = persist.hard_state or hard_state\n",
            "        hard_state = persist.hard_state\n",
        ),
        script="node/test_group_commit.py::test_a_merge_equals_the_rounds_it_merges",
    ),
)

ANSWERING: tuple[Mutant, ...] = (
    shell(
        "waiters-left-at-demotion",
        "a demoted leader leaves its callers waiting",
        (
            CONSEQUENCES,
            "        if standing.role is not Role.LEADER:\n            hint =",
            "        if standing.role is None:\n            hint =",
        ),
    ),
    shell(
        "stop-drops-the-queue",
        "a node that stops answers nobody",
        (
            NODE,
            (
                '        parts.writes.fail_all(Indeterminate("this node stopped before the '
                'outcome was known"))\n'
            ),
            "",
        ),
        script="node/test_node_stops.py::test_who_waits_for_a_commit_is_answered_by_the_stop",
    ),
    shell(
        "opens-before-the-noop",
        "writes open before the no-op is applied: the session gate lacks what is not applied yet",
        (LEADERSHIP, "        await self._noop_applied.wait()\n", ""),
    ),
    shell(
        "answers-when-appended",
        "a receipt is given when the entry is appended, unless it holds commands",
        (
            WRITES,
            (
                "            self._proposals.add("
                "Proposal(entry.term, entry.index, group, [respond]))\n"
            ),
            (
                "            if not group.has_commands:\n"
                "                respond(\n"
                "                    GroupReceipt(\n"
                "                        number=group.number,\n"
                "                        first_sequence=entry.first_sequence,\n"
                "                        count=entry.count,\n"
                "                        term=entry.term,\n"
                "                        index=entry.index,\n"
                "                    )\n"
                "                )\n"
                "                return\n"
                "            self._proposals.add(\n"
                "                Proposal(entry.term, entry.index, group, [respond])\n"
                "            )\n"
            ),
        ),
    ),
    shell(
        "reads-before-they-are-applied",
        "§6.4: a read is answered before its index is applied",
        (READS, "if index <= applied]", "if index >= 0]"),
    ),
    shell(
        "tail-shows-what-is-not-committed",
        "a subscriber sees entries that may still be truncated",
        (
            SUBSCRIPTIONS,
            "        return Index(min(self._core.commit_index, self._core.log.stable_index))\n",
            "        return Index(self._core.log.stable_index)\n",
        ),
    ),
    shell(
        "end-of-the-log-at-a-stop",
        "a node that stops ends a read as if there were no more, as it once did",
        (
            SUBSCRIPTIONS,
            "        if not follow:\n            raise Unavailable(",
            "        if follow is None:\n            raise Unavailable(",
        ),
        script=(
            "node/test_subscriptions.py::test_one_that_does_not_follow_is_told_that_the_node_stops"
        ),
    ),
    shell(
        "lock-token-is-the-leases-id",
        "a lock's token is its lease's id, as it once was: it grows by who asked first",
        (
            "client/lock.py",
            "            self._token = outcome.revision\n",
            "            self._token = self._lease.lease_id\n",
        ),
        script=(
            "client/test_lock.py::test_the_token_grows_with_who_won_and_not_with_who_asked_first"
        ),
    ),
    shell(
        "purge-past-a-lost-end",
        "a damaged member purges what its log has lost, as it once did, and stops",
        (
            QUORUM,
            "marks.committed, marks.last]",
            "marks.committed]",
        ),
        script=(
            "node/test_snapshotter.py"
            "::test_a_log_that_lost_its_end_is_purged_only_as_far_as_it_goes"
        ),
    ),
    shell(
        "sessions-lost-with-an-install",
        "the session table is not that of the snapshot",
        (
            APPLIER,
            (
                "        self.durable_index = self.applied.index\n"
                "        self.sessions.load(self._storage)\n"
            ),
            "        self.durable_index = self.applied.index\n",
        ),
    ),
    shell(
        "overlay-outlives-an-install",
        "state that the snapshot replaced is still laid over it",
        (APPLIER, "        self.overlay.clear()\n        self._context", "        self._context"),
        script=(
            "node/test_applier.py::test_what_was_applied_before_an_install_is_laid_over_it_no_more"
        ),
    ),
)

RETRYING: tuple[Mutant, ...] = (
    shell(
        "lost-stream-taken-for-a-refusal",
        "decision 19: a group whose answer was lost counts as never sent",
        (WINDOW, "                group.maybe = True\n", "                group.maybe = False\n"),
    ),
    shell(
        "doubt-taken-for-a-refusal",
        "decision 19: an indefinite error counts as definite",
        (
            WINDOW,
            "        group.maybe = group.maybe or not error.definite\n        group.refusal",
            "        group.refusal",
        ),
    ),
    shell(
        "expired-session-sends-again",
        "what may have happened is sent again under another session",
        (
            WINDOW,
            "            if group.maybe:\n                error = SessionExpired(",
            "            if group.count < 0:\n                error = SessionExpired(",
        ),
        script="client/test_session.py::test_expired_session_never_repeats_what_may_have_happened",
    ),
    shell(
        "session-resumed-one-too-far",
        "a resumed session gives its group the next number",
        (
            LOG,
            "        window = Window(state.session, state.number)\n",
            "        window = Window(state.session, state.number + resumed)\n",
        ),
    ),
    shell(
        "deadline-called-definite",
        "a call whose outcome is unknown says that it did not happen",
        (
            WINDOW,
            (
                '                group.batch.expire(now, Indeterminate("no answer in time; it '
                'may have happened"))\n'
            ),
            "                group.batch.expire(now, timed_out(group.refusal))\n",
        ),
    ),
    shell(
        "no-deadline",
        "the sweep forgets the groups that were sent",
        (
            WRITER,
            "        if self._window is not None:\n            self._do(self._window.sweep(now))\n",
            "",
        ),
    ),
    shell(
        "tail-starts-over",
        "a tail that reconnects begins where it first began",
        (
            TAIL,
            "        request = self._request(after=self._position or 0)\n",
            "        request = self._request(after=self._beginning.after or 0)\n",
        ),
        (TAIL, " and self._matches(transaction)", "  or self._matches(transaction)"),
    ),
    shell(
        "stream-page-loses-one",
        "a tail of a stream takes a full page for the last one",
        (
            SUBSCRIPTIONS,
            "        if len(indexes) == self._stream_page:\n",
            "        if len(indexes) > self._stream_page:\n",
        ),
    ),
    shell(
        "change-page-skips-one",
        "a change feed begins its next page one entry too far",
        (
            SUBSCRIPTIONS,
            '(_index_of(last), last + b"\\x00")',
            "(Index(_index_of(last) + 2), _key(Index(_index_of(last) + 2)))",
        ),
    ),
)
