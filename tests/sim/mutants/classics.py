"""Planted bugs that other implementations had and that no other file here tells of."""

from __future__ import annotations

from .planting import (
    ELECTION,
    HEARTBEAT,
    PROPOSALS,
    QUORUM,
    READS,
    START,
    STATE,
    TERMS,
    TRANSFER,
    TRIAL,
    plant,
)

ELECTIONS = (
    plant(
        "votes-counted-by-message",
        "S4: a vote that comes twice counts twice",
        (
            ELECTION,
            "    candidacy.votes.setdefault(voter, granted)\n",
            (
                "    if granted and voter in candidacy.votes:\n"
                "        silent = sorted(state.quorum.voters - set(candidacy.votes))\n"
                "        voter = silent[0] if silent else voter\n"
                "    candidacy.votes.setdefault(voter, granted)\n"
            ),
        ),
        script="core/test_election.py::test_s4_votes_are_counted_by_voter",
    ),
    plant(
        "pre-candidate-follows-on",
        "S9: a pre-candidate still names the leader it gave up",
        (
            ELECTION,
            (
                "    roles.become(state, Role.PRE_CANDIDATE)\n"
                "    state.leader = None\n"
                "    reads.abandon_forwarded(state)\n"
            ),
            "    roles.become(state, Role.PRE_CANDIDATE)\n",
        ),
        script="core/test_election.py::test_s9_a_pre_candidate_follows_nobody",
    ),
    plant(
        "pre-vote-passes-for-contact",
        "S10: who is asked for a pre-vote puts its own election off",
        (
            ELECTION,
            "    term = message.term if granted else state.term\n",
            (
                "    term = message.term if granted else state.term\n"
                "    if state.role is not Role.LEADER:\n"
                "        timers.arm_election(state, now)\n"
            ),
        ),
        script="core/test_election.py::test_s10_a_pre_vote_does_not_pass_for_leader_contact",
    ),
    plant(
        "pre-vote-cancels-transfer",
        "S10: a leader that is asked for a pre-vote forgets to whom it hands over",
        (
            ELECTION,
            "    term = message.term if granted else state.term\n",
            (
                "    term = message.term if granted else state.term\n"
                "    if state.leadership is not None:\n"
                "        state.leadership.transfer = None\n"
            ),
        ),
        script="core/test_election.py::test_s10_a_pre_vote_does_not_cancel_a_transfer",
    ),
    plant(
        "late-pre-votes-campaign-again",
        "S11: each pre-vote that comes late begins the campaign anew",
        (
            ELECTION,
            "    if state.role is not Role.PRE_CANDIDATE:\n        return\n",
            (
                "    if state.role is Role.CANDIDATE and message.granted:\n"
                "        roles.become(state, Role.PRE_CANDIDATE)\n"
                "        campaign(state, now)\n"
                "    if state.role is not Role.PRE_CANDIDATE:\n"
                "        return\n"
            ),
        ),
        script="core/test_election.py::test_s11_late_pre_votes_start_nothing_after_winning",
    ),
    plant(
        "outsider-campaigns",
        "S12: learners and removed members stand for election",
        (
            STATE,
            (
                "        return any(membership.is_voter(self.node_id) for _, membership in"
                " self.memberships)"
            ),
            "        return True",
        ),
        script="core/test_election.py::test_s12_a_learner_never_campaigns_even_when_told_to",
    ),
    plant(
        "outsider-is-heard",
        "S12: whoever asks for a vote raises the term of a voter that hears its leader",
        (
            ELECTION,
            "    return not message.transfer and timers.is_withholding(state, now)",
            "    return not message.transfer and now < state.lease_until",
        ),
        script="core/test_election.py::test_s12_a_removed_node_disturbs_nobody",
    ),
    plant(
        "leader-without-quorum-stays",
        "S13: a leader that reaches only a bridge keeps it from electing another",
        (HEARTBEAT, "    if not is_quorum_active(state, now):\n", "    if False:\n"),
        script="core/test_edges.py::test_s13_a_leader_without_a_quorum_frees_its_bridge",
    ),
    plant(
        "emptied-member-campaigns",
        "S37: a member that came back without its directory stands for election",
        (
            STATE,
            "        if not self.may_campaign or self.is_damaged:\n",
            "        if self.is_damaged:\n",
        ),
        script="core/test_election.py::test_s37_a_node_that_may_not_campaign_still_votes",
    ),
)

QUORUMS_AND_HANDOVERS = (
    plant(
        "quorum-scan-unsorted",
        "S19: the scan for what a majority reached takes its voters in the order of their names",
        (
            QUORUM,
            "        ranked = sorted([values.get(voter, 0) for voter in self.voters])\n",
            "        ranked = [values.get(voter, 0) for voter in sorted(self.voters)]\n",
        ),
        script="core/test_quorum.py::test_s19_majority_reaches_what_the_naive_twin_reaches",
    ),
    plant(
        "sole-voter-reads-at-once",
        "S27: a cluster of one reads before it knows what it had committed",
        (
            READS,
            "    if not state.has_committed_in_term:\n        leadership.parked_reads",
            (
                "    if not state.has_committed_in_term and len(state.quorum.voters) > 1:\n"
                "        leadership.parked_reads"
            ),
        ),
        script="core/test_reads.py::test_s27_a_cluster_of_one_answers_only_what_its_disk_holds",
    ),
    plant(
        "change-upon-change",
        "S34: a cut-off leader shrinks the membership step by step until it is a majority",
        (
            PROPOSALS,
            "    if state.membership_index > state.commit_index:\n",
            "    if False:\n",
        ),
        script="core/test_membership_change.py::test_s30_one_change_at_a_time",
    ),
    plant(
        "learner-restarts-as-voter",
        "S35: a learner counts itself among the voters after a restart",
        (
            START,
            "    index, membership = memberships[-1]\n",
            (
                "    index, membership = memberships[-1]\n"
                "    if found.node_id in membership.learners:\n"
                "        membership = dataclasses.replace(\n"
                "            membership,\n"
                "            voters=membership.voters | {found.node_id},\n"
                "            learners=membership.learners - {found.node_id},\n"
                "        )\n"
                "        memberships[-1] = (index, membership)\n"
            ),
        ),
        script="core/test_membership_change.py::test_s35_a_learner_stays_one_across_restarts",
    ),
    plant(
        "transfer-before-caught-up",
        "S36: the target is told to campaign before it holds the whole log",
        (
            TRANSFER,
            (
                "    if progress is not None and progress.match_index == state.log.last_index:\n"
                "        transfer.is_told"
            ),
            "    if progress is not None:\n        transfer.is_told",
        ),
        script="core/test_transfer.py::test_s36_the_target_campaigns_only_once_it_is_caught_up",
    ),
    plant(
        "writes-during-transfer",
        "S36: proposals are taken while leadership is on its way",
        (PROPOSALS, "    if leadership.transfer is not None:\n", "    if False:\n"),
        script="core/test_transfer.py::test_s36_writes_are_refused_during_a_transfer",
    ),
    plant(
        "trial-takes-the-term",
        "a mock election's question moves the term of whoever it asks",
        (TERMS, "    if isinstance(message, TRIAL_MESSAGES):\n        return True\n", ""),
        script="core/test_trial.py::test_a_target_says_why_it_would_not_campaign",
    ),
    plant(
        "trial-skipped",
        "leadership is handed over without the mock election that was asked for",
        (TRIAL, "    if wish.mock:\n        ask(state, trial)\n", "    if False:\n        pass\n"),
    ),
    plant(
        "trial-won-by-refusals",
        "in a mock election any answer counts as a vote",
        (
            TRIAL,
            "    votes = {voter: said is TrialVerdict.GRANTED for voter, said in",
            "    votes = {voter: True for voter, said in",
        ),
        script="core/test_trial.py::test_a_refusing_majority_is_told_by_name",
    ),
    plant(
        "cancelled-though-told",
        "a transfer counts as certainly cancelled after its target was told to campaign",
        (
            TRIAL,
            "    return Cancelled.TOO_LATE if under_way.is_told else Cancelled.CERTAINLY",
            "    return Cancelled.CERTAINLY",
        ),
        script=(
            "core/test_trial.py::"
            "test_a_hand_over_is_cancelled_for_certain_only_before_the_target_was_told"
        ),
    ),
)
