"""Planted bugs of reads, leases, memberships, damage, snapshots and disks."""

from __future__ import annotations

from .planting import (
    ELECTION,
    ENROLMENT,
    FOLLOWER,
    HEARTBEAT,
    LOG,
    MEMORY,
    PERSISTENCE,
    PROPOSALS,
    QUORUM,
    READS,
    SNAPSHOTS,
    START,
    STATE,
    TIMERS,
    plant,
)

READING = (
    plant(
        "reads-without-a-round",
        "a deposed leader answers alone",
        (
            READS,
            "    elif now < leadership.lease_until and not leadership.is_lease_void:",
            "    elif True:",
        ),
        script="core/test_reads.py::test_without_leases_a_read_always_asks",
    ),
    plant(
        "reads-before-the-first-commit",
        "S25: a new leader reads before it knows what is committed",
        (
            READS,
            "    if not state.has_committed_in_term:\n        leadership.parked_reads",
            "    if False:\n        leadership.parked_reads",
        ),
    ),
    plant(
        "old-answers-confirm-reads",
        "S26: an answer to an earlier round confirms a later read",
        (
            HEARTBEAT,
            "        progress.read_round = message.context\n",
            "        progress.read_round = leadership.round\n",
        ),
        script="core/test_reads.py::test_s26_an_answer_to_an_earlier_round_confirms_no_later_read",
    ),
    plant(
        "minority-confirms-reads",
        "S20: the leader's own echo confirms a read",
        (
            READS,
            "    confirmed = state.quorum.reached(rounds)\n",
            "    confirmed = max(rounds.values())\n",
        ),
    ),
    plant(
        "lease-too-long",
        "S29: a lease outlasts what the voters promised",
        (
            READS,
            "        length = settings.lease_seconds * (1 - settings.clock_drift_max)",
            "        length = settings.lease_seconds * 2",
        ),
    ),
    plant(
        "lease-survives-transfer",
        "S28: the old leader reads on while the new one leads",
        (
            "core/transfer.py",
            ("deadline, now, by_priority=by_priority)\n    leadership.is_lease_void = True\n"),
            "deadline, now, by_priority=by_priority)\n",
        ),
    ),
    plant(
        "voter-forgets-its-lease",
        "a voter votes although it promised not to",
        (
            TIMERS,
            "    if state.role is Role.LEADER or now < state.lease_until:",
            "    if state.role is Role.LEADER:",
        ),
        (
            TIMERS,
            "    contact_ends = state.leader_contact + state.settings.election_timeout_seconds\n",
            (
                "    contact_ends = state.leader_contact +"
                " state.settings.election_timeout_seconds / 10\n"
            ),
        ),
        (
            TIMERS,
            "    state.election_deadline = max(now, state.lease_until) + hint.delay_seconds",
            "    state.election_deadline = now + hint.delay_seconds",
        ),
    ),
    plant(
        "lease-forgotten-on-restart",
        "a restarted voter does not wait for the lease it promised",
        (
            START,
            "        state.lease_until = now + found.settings.lease_seconds",
            "        state.lease_until = now",
        ),
        script="core/test_election.py::test_a_restarted_voter_withholds_for_the_longest_lease",
    ),
)

MEMBERSHIP = (
    plant(
        "change-before-own-commit",
        "S30: two leaders change the membership around an election",
        (PROPOSALS, "    if not state.has_committed_in_term:\n", "    if False:\n"),
        (PROPOSALS, "    if state.membership_index > state.commit_index:\n", "    if False:\n"),
    ),
    plant(
        "truncated-membership-stays",
        "S32: a membership outlives its truncated entry",
        (PERSISTENCE, "    revert_memberships(state, index)\n", ""),
    ),
    plant(
        "install-keeps-the-membership",
        "S33: a snapshot leaves an uncommitted membership in force",
        (
            PERSISTENCE,
            (
                "    replace_memberships(state, snapshot.boundary.index,"
                " snapshot.boundary.membership)\n"
            ),
            "",
        ),
        script="core/test_snapshots.py::test_s33_an_install_replaces_an_uncommitted_membership",
    ),
    plant(
        "joint-commits-by-one-half",
        "S31: the incoming majority alone commits",
        (
            QUORUM,
            "        return min(self.incoming.reached(values), self.outgoing.reached(values))",
            "        return self.incoming.reached(values)",
        ),
    ),
    plant(
        "joint-elects-by-one-half",
        "S31: the incoming majority alone elects",
        (
            QUORUM,
            "        if VoteResult.LOST in results:\n            return VoteResult.LOST\n",
            "        return results[0]\n",
        ),
        script="core/test_quorum.py::test_joint_votes_as_the_naive_twins_vote",
    ),
    plant(
        "membership-lost-on-restart",
        "S31: a start takes the boundary's membership",
        (
            START,
            (
                "            if entry.kind == EntryKind.MEMBERSHIP:\n"
                "                found.append((entry.index, Membership.decode(entry.payload)))\n"
                "            elif"
            ),
            "            if",
        ),
    ),
    plant(
        "any-step-is-simple",
        "several voters change in one simple step",
        ("core/membership_change.py", "    if len(changed) > 1:\n", "    if len(changed) > 9:\n"),
        (
            "core/membership_change.py",
            "        if proposed.outgoing != current.voters:\n",
            "        if not proposed.outgoing:\n",
        ),
        (
            PROPOSALS,
            "    return proposed\n",
            (
                "    from dataclasses import replace\n"
                "\n"
                "    return replace(proposed, outgoing=frozenset(), learners_next=frozenset(),"
                " learners=proposed.learners | (proposed.outgoing - proposed.voters))\n"
            ),
        ),
    ),
)

DAMAGE_AND_SNAPSHOTS = (
    plant(
        "damaged-member-votes",
        "S40: who lost what it acked elects one that lacks it",
        (
            ELECTION,
            (
                "        and not state.is_damaged\n"
                "        and message.last >= state.log.last_position\n"
                "    )\n"
                "    if not granted:"
            ),
            "        and message.last >= state.log.last_position\n    )\n    if not granted:",
        ),
        (
            ELECTION,
            "        and not state.is_damaged\n        and not timers.is_withholding",
            "        and not timers.is_withholding",
        ),
    ),
    plant(
        "damage-not-noticed",
        "S40: a log cut short by rot counts as whole",
        (
            START,
            "        is_damaged=found.damaged or known_commit > log.last_index,",
            "        is_damaged=False,",
        ),
    ),
    plant(
        "repaired-at-once",
        "the damage mark is cleared before the log is whole",
        (
            FOLLOWER,
            "    if min(repair.verified, state.log.stable_index) >= repair.target:",
            "    if repair.verified >= 0:",
        ),
    ),
    plant(
        "older-snapshot-installed",
        "S41: a snapshot takes a member back",
        (
            SNAPSHOTS,
            "    if boundary.index <= state.commit_index:\n",
            "    if boundary.index < 0:\n",
        ),
        script="core/test_snapshots.py::test_s41_what_the_log_covers_is_not_installed",
    ),
    plant(
        "snapshot-acked-off-by-one",
        "a snapshot's ack claims one entry more",
        (
            SNAPSHOTS,
            "    follower.acknowledge(state, source, boundary.index)\n",
            "    follower.acknowledge(state, source, boundary.index + 1)\n",
        ),
    ),
    plant(
        "snapshot-never-ends",
        "a peer is left waiting for a snapshot that has ended",
        (
            SNAPSHOTS,
            (
                "    if progress is None or progress.state is not ProgressState.SNAPSHOT:\n"
                "        return\n"
                "    after"
            ),
            "    if progress is None or not delivered:\n        return\n    after",
        ),
    ),
    plant(
        "install-forgets-the-term",
        "the boundary's term is lost with its entries",
        (
            LOG,
            (
                "        if index <= self.boundary.index:\n"
                "            return self.boundary.term if index == self.boundary.index else"
                " None\n"
                "        try:\n"
                "            return Term"
            ),
            (
                "        if index <= self.boundary.index:\n"
                "            return Term(max(self.boundary.term - 1, 0)) if index =="
                " self.boundary.index else None\n"
                "        try:\n"
                "            return Term"
            ),
        ),
    ),
    plant(
        "damaged-member-refuses-an-older-snapshot",
        "a member is stopped by what would repair it",
        (
            MEMORY,
            "            if not self._disk.damage:\n                rules.check_install(",
            "            if True:\n                rules.check_install(",
        ),
    ),
    plant(
        "staged-snapshot-dropped",
        "what was just staged gives way to newer files that were never installed",
        (
            MEMORY,
            "            if name != kept and self._pins[name] <= 0 and not awaited:\n",
            "            if self._pins[name] <= 0:\n",
        ),
        script=(
            "storage/test_snapshots_kept.py"
            "::test_a_snapshot_that_may_be_installed_yet_is_kept_however_old"
        ),
    ),
    plant(
        "applied-apart-from-state",
        "S38: the applied index is saved one round before the state",
        (
            MEMORY,
            "        disk.write_tables(round_)\n",
            (
                "        disk.write_tables(round_)\n"
                "        before = max(disk.applied.index - 1, 0)\n"
                "        disk.tables[Table.STATE][b'applies'] = before.to_bytes(8, 'big')\n"
            ),
        ),
    ),
    plant(
        "hard-state-lost-in-merged-rounds",
        "S2: term and vote are not written beside entries",
        (
            MEMORY,
            "        disk.hard_state = hard_state or disk.hard_state\n        disk.commits",
            (
                "        disk.hard_state = (None if round_.entries else hard_state) or"
                " disk.hard_state\n"
                "        disk.commits"
            ),
        ),
    ),
    plant(
        "failed-commit-goes-on",
        "S21: a commit that failed is taken for done",
        (
            MEMORY,
            '            raise OSError("injected: the commit was lost")',
            "            return",
        ),
    ),
)

MISSED = "sim/test_strangers.py::test_an_emptied_node_helps_nobody_to_lead_who_missed_what_it_acked"

STRANGERS = (
    plant(
        "founding-names-nobody",
        "S37: directories are not recorded by the first entry, but some time later",
        (
            ENROLMENT,
            "founding=self.unbound() if self.is_fresh else None",
            "founding=None",
        ),
        script=MISSED,
    ),
    plant(
        "fresh-forgets-whom-it-met",
        "S37: with an empty log any directory will do under a name that was met before",
        (
            ENROLMENT,
            "        if shown == instance_id or not is_counted:\n",
            "        if True:\n",
        ),
        script=(
            "node/test_enrolment.py"
            "::test_after_a_campaign_a_fresh_member_holds_each_peer_to_what_it_showed"
        ),
    ),
    plant(
        "old-hello-counts-as-seen",
        "S37: a Hello composed before this process began tells it that there is no cluster",
        (
            ENROLMENT,
            "        if fresh is not None:\n            self._seen[peer] = fresh\n",
            "        self._seen[peer] = fresh is not False\n",
        ),
        script=(
            "node/test_enrolment.py"
            "::test_what_may_be_older_than_this_process_does_not_count_as_seen"
        ),
    ),
    plant(
        "fresh-campaigns-at-once",
        "S37: a member with an empty log stands although it has not met everybody",
        (
            ENROLMENT,
            "self.is_stranger or self.is_removed or self._withheld or self._missing()",
            "self.is_stranger or self.is_removed or self._withheld",
        ),
        script="node/test_enrolment.py::test_a_fresh_member_campaigns_once_it_has_seen_all_fresh",
    ),
    plant(
        "fresh-votes-for-any-founder",
        "S37: a member with an empty log votes before it knows that there is no cluster",
        (
            ENROLMENT,
            "            return not (self._was_fresh and self._missing())\n",
            "            return True\n",
        ),
        script="sim/test_strangers.py::test_nobody_helps_to_found_who_has_not_met_everybody",
    ),
    plant(
        "old-connection-brings-votes",
        "S37: a connection made before the directories were known goes on counting",
        (
            ENROLMENT,
            "        if peer in self._strangers and isinstance(message, COUNTED):\n",
            "        if False:\n",
        ),
        script=(
            "sim/test_strangers.py::test_a_connection_older_than_the_first_entry_brings_no_vote"
        ),
    ),
    plant(
        "removed-is-heard",
        "a removed member that comes back goes on asking for votes, and is answered",
        (ENROLMENT, "        if peer in self._removed and not (", "        if False and not ("),
        script="node/test_enrolment.py::test_a_removed_member_is_not_heard_but_for_being_told",
    ),
    plant(
        "removed-comes-back",
        "S37: a removed directory is let in again",
        (
            ENROLMENT,
            "        removed = self._check_removed(peer, instance_id, is_ahead=is_ahead)\n",
            "        removed = None\n",
        ),
        script="node/test_enrolment.py::test_a_removed_directory_is_refused_for_good",
    ),
    plant(
        "removed-is-never-told",
        "a removed member is forgotten on append, and believes in the old membership for ever",
        (
            STATE,
            "    kept = wanted | set(departing)\n",
            "    departing.clear()\n    kept = wanted\n",
        ),
        script=(
            "core/test_farewell.py"
            "::test_a_removed_member_learns_that_it_is_out_and_is_then_forgotten"
        ),
    ),
    plant(
        "removed-is-forgotten-by-the-log",
        "a membership does not record whom it leaves out, so anybody may take the directory in",
        (
            "core/membership_change.py",
            "    return (*current.removed, *gone)[-REMOVED_MAX:]\n",
            "    return current.removed\n",
        ),
        script=(
            "core/test_membership_change.py"
            "::test_a_removed_directory_is_out_for_good_and_its_id_is_not"
        ),
    ),
    plant(
        "joined-helps-to-found",
        "S37: a node that joined votes, with its empty log, for emptied founders",
        (
            ENROLMENT,
            "            if self._identity.joined:\n",
            "            if False:\n",
        ),
        script="node/test_enrolment.py::test_a_node_that_joined_helps_nobody_to_found",
    ),
    plant(
        "joined-stands-by-the-founding",
        "S37: a node that joined stands by the founding membership, and may lead alone",
        (
            ENROLMENT,
            "return identity.joined and not any(",
            "return False and not any(",
        ),
        script=(
            "node/test_enrolment.py"
            "::test_a_node_that_joined_stands_only_by_a_membership_that_names_its_directory"
        ),
    ),
    plant(
        "joined-silent-before-removal-commits",
        "§4.2.2: a voter that joined counts as outside once an uncommitted entry removes it",
        (
            ENROLMENT,
            "for membership in (self._core.membership, self._core.committed_membership)",
            "for membership in (self._core.membership,)",
        ),
        script=(
            "node/test_enrolment.py"
            "::test_a_joined_voter_that_an_uncommitted_entry_removes_may_still_have_to_lead"
        ),
    ),
    plant(
        "outgrown-cluster-is-founded-anew",
        "S37: emptied founders found another cluster although a later member shows its log",
        (
            ENROLMENT,
            "        return (self._core.membership.all_voters - counted) | with_log\n",
            "        return self._core.membership.all_voters - counted\n",
        ),
        script=(
            "node/test_enrolment.py::test_founders_do_not_found_again_beside_any_member_with_a_log"
        ),
    ),
    plant(
        "replaced-leader-refused",
        "a member that was away refuses the leader for the directory its own log names",
        (ENROLMENT, "is_ahead = membership_index > min(", "is_ahead = 0 > min("),
        script=(
            "sim/test_strangers.py"
            "::test_one_who_was_away_follows_a_leader_that_was_replaced_meanwhile"
        ),
    ),
)
