"""Planted bugs of voting, committing and replicating."""

from __future__ import annotations

from .planting import (
    COMMIT,
    ELECTION,
    FOLLOWER,
    HEARTBEAT,
    LOG,
    PERSISTENCE,
    PROGRESS,
    PROPOSALS,
    QUORUM,
    REPLICATION,
    ROLES,
    RULES,
    START,
    STATE,
    TERMS,
    plant,
)

VOTING = (
    plant(
        "votes-twice",
        "a second candidate gets the vote of the same term",
        (
            ELECTION,
            "        state.vote in {None, source}\n        and state.term_leader",
            "        state.term_leader",
        ),
        (
            ELECTION,
            "    if state.vote is None:\n        roles.become(state, Role.FOLLOWER)",
            "    if state.vote != source:\n        roles.become(state, Role.FOLLOWER)",
        ),
        (RULES, "    if new.term == old.term and old.vote is not None and", "    if False and"),
    ),
    plant(
        "vote-told-before-durable",
        "S1: the vote leaves before it is on disk",
        (
            ELECTION,
            "    send_durable(state, source, VoteResponse(term=state.term, granted=True))",
            "    state.send(source, VoteResponse(term=state.term, granted=True))",
        ),
    ),
    plant(
        "vote-forgotten-on-restart",
        "S1: a restarted node votes again in its term",
        (
            START,
            "        vote=hard_state.vote,\n        durable_term",
            "        vote=None,\n        durable_term",
        ),
        (RULES, "    if new.term == old.term and old.vote is not None and", "    if False and"),
    ),
    plant(
        "term-forgotten-on-restart",
        "S1: a restarted node begins in the term of its log",
        (
            START,
            (
                "        term=hard_state.term,\n"
                "        vote=hard_state.vote,\n"
                "        durable_term=hard_state.term"
            ),
            "        term=log.last_term,\n        vote=None,\n        durable_term=log.last_term",
        ),
    ),
    plant(
        "vote-kept-in-a-new-term",
        "S3: the old term's vote outlives it",
        (ROLES, "    state.vote = vote\n", "    state.vote = vote or state.vote\n"),
    ),
    plant(
        "no-up-to-date-check",
        "a candidate with a shorter log gets votes",
        (
            ELECTION,
            (
                "        and not state.is_damaged\n"
                "        and message.last >= state.log.last_position\n"
                "    )\n"
                "    if not granted:"
            ),
            "        and not state.is_damaged\n    )\n    if not granted:",
        ),
        (
            ELECTION,
            "        and message.last >= state.log.last_position\n    )\n    term = ",
            "    )\n    term = ",
        ),
        script="core/test_election.py::test_s6_up_to_date_compares_the_term_before_the_index",
    ),
    plant(
        "index-before-term",
        "S6: up to date compares the index alone",
        (
            ELECTION,
            "        and message.last >= state.log.last_position\n    )\n    if not granted:",
            "        and message.last.index >= state.log.last_index\n    )\n    if not granted:",
        ),
        (
            ELECTION,
            "        and message.last >= state.log.last_position\n    )\n    term = ",
            "        and message.last.index >= state.log.last_index\n    )\n    term = ",
        ),
    ),
    plant(
        "election-majority-off-by-one",
        "half of the voters elect",
        (QUORUM, "needed = len(self.voters) // 2 + 1", "needed = max(len(self.voters) // 2, 1)"),
    ),
    plant(
        "campaigns-before-durable",
        "S1: others are asked before term and own vote are on disk",
        (
            ELECTION,
            "        send_durable(state, peer, request)",
            "        state.send(peer, request)",
        ),
    ),
    plant(
        "refusal-counts-as-grant",
        "S5: any answer is taken for a vote",
        (
            ELECTION,
            (
                "    if state.role is Role.CANDIDATE:\n"
                "        _count(state, source, now, granted=message.granted)"
            ),
            (
                "    if state.role is Role.CANDIDATE:\n"
                "        _count(state, source, now, granted=True)"
            ),
        ),
    ),
    plant(
        "pre-vote-counts-as-vote",
        "S7: a late answer to the pre-vote counts in the election",
        (
            ELECTION,
            (
                "    if state.role is not Role.PRE_CANDIDATE:\n"
                "        return\n"
                "    if message.granted and message.term != state.term + 1:\n"
                "        return"
            ),
            "    if state.role not in {Role.PRE_CANDIDATE, Role.CANDIDATE}:\n        return",
        ),
    ),
    plant(
        "stale-votes-count",
        "a vote of an older term counts in this one",
        (
            TERMS,
            "    if message.term < state.term:\n",
            (
                "    if message.term < state.term:\n"
                "        if isinstance(message, VoteResponse):\n            return True\n"
            ),
        ),
        script="core/test_election.py::test_votes_of_an_older_term_do_not_count",
    ),
    plant(
        "refused-pre-vote-teaches-nothing",
        "S8: a node left behind never learns the newer term",
        (
            ELECTION,
            "    term = message.term if granted else state.term\n",
            "    term = message.term if granted else Term(min(state.term, message.term - 1))\n",
        ),
        (
            TERMS,
            "            return PreVoteResponse(term=term, granted=False)",
            "            return None",
        ),
    ),
    plant(
        "removed-voter-never-campaigns",
        "§4.2.2: nobody may lead until the removal commits",
        (
            STATE,
            (
                "        return any(membership.is_voter(self.node_id) for _, membership in"
                " self.memberships)"
            ),
            "        return self.membership.is_voter(self.node_id)",
        ),
        script="core/test_membership_change.py::"
        "test_a_voter_removed_by_an_entry_not_committed_may_still_have_to_lead",
    ),
)

COMMITTING = (
    plant(
        "commits-older-terms-by-counting",
        "S14, figure 8",
        (
            COMMIT,
            "    if index <= state.commit_index or index < leadership.first_index:",
            "    if index <= state.commit_index:",
        ),
    ),
    plant(
        "commit-majority-off-by-one",
        "one voter less than a majority commits",
        (
            QUORUM,
            "return ranked[(len(ranked) - 1) // 2]",
            "return ranked[len(ranked) // 2 + 1] if len(ranked) > 2 else ranked[0]",
        ),
    ),
    plant(
        "half-of-an-even-number-commits",
        "two of four voters commit",
        (QUORUM, "return ranked[(len(ranked) - 1) // 2]", "return ranked[len(ranked) // 2]"),
    ),
    plant(
        "leader-counts-what-is-not-durable",
        "the leader counts its own log before its disk has it",
        (
            COMMIT,
            "    reached = {state.node_id: state.log.stable_index}",
            "    reached = {state.node_id: state.log.last_index}",
        ),
    ),
    plant(
        "commit-past-what-was-verified",
        "S15: a follower commits its own unverified suffix",
        (
            FOLLOWER,
            "Index(min(message.commit_index, match_index))",
            "Index(min(message.commit_index, state.log.last_index))",
        ),
        script="core/test_follower.py::test_s15_commit_is_capped_by_what_this_message_verified",
    ),
    plant(
        "heartbeat-commit-not-capped",
        "a heartbeat commits what the follower has not matched",
        (
            HEARTBEAT,
            "    commit_index = Index(min(state.commit_index, progress.match_index))",
            "    commit_index = state.commit_index",
        ),
    ),
    plant(
        "commit-goes-back",
        "an older message lowers the commit index",
        (
            COMMIT,
            "    if index <= state.commit_index:\n        return\n    state.commit_index = index",
            "    if index == state.commit_index:\n        return\n    state.commit_index = index",
        ),
    ),
    plant(
        "learners-count",
        "S20: learners count for the majority",
        (
            QUORUM,
            "    incoming = Majority(membership.voters)\n",
            "    incoming = Majority(membership.voters | membership.learners)\n",
        ),
    ),
)

REPLICATING = (
    plant(
        "no-previous-check",
        "entries are appended behind whatever is there",
        (
            FOLLOWER,
            "    if not _matches_previous(state, message):",
            (
                "    if not _matches_previous(state, message) and message.previous.index >"
                " state.log.last_index:"
            ),
        ),
    ),
    plant(
        "truncates-without-conflict",
        "S17: a delayed request drops what follows it",
        (
            FOLLOWER,
            "    if fresh:\n        _accept(state, fresh)\n",
            (
                "    if fresh:\n"
                "        _accept(state, fresh)\n"
                "    elif message.previous.index + len(message.entries) < state.log.last_index:\n"
                "        persistence.truncate(state, Index(message.previous.index +"
                " len(message.entries) + 1))\n"
            ),
        ),
    ),
    plant(
        "acks-its-own-end",
        "S16: the ack names the follower's last index",
        (
            FOLLOWER,
            "    note_verified(state, match_index)\n    acknowledge(state, source, match_index)\n",
            (
                "    note_verified(state, match_index)\n"
                "    acknowledge(state, source, min(state.log.last_index,"
                " state.log.stable_index) if not fresh else match_index)\n"
            ),
        ),
        script="core/test_follower.py::test_s16_the_ack_names_what_was_verified_not_the_own_end",
    ),
    plant(
        "ack-before-durable",
        "S39: the ack leaves before the entries are on disk",
        (FOLLOWER, "    if persistence.is_durable(state, match_index):\n", "    if True:\n"),
    ),
    plant(
        "stale-acks-count",
        "S18: an ack of an older term counts in this one",
        (
            TERMS,
            "    if message.term < state.term:\n",
            (
                "    if message.term < state.term:\n"
                "        if isinstance(message, AppendResponse) and message.success:\n"
                "            return True\n"
            ),
        ),
        script="core/test_replication.py::test_s18_stale_answers_move_nothing",
    ),
    plant(
        "reconnected-peer-keeps-its-match",
        "S18: a repaired peer is taken to hold what it acked",
        (
            PROGRESS,
            "        self.look_again()\n        self.match_index = Index(0)",
            "        self.look_again()",
        ),
    ),
    plant(
        "completion-vouches-for-truncated",
        "S22: a write completed late counts what is gone",
        (
            PERSISTENCE,
            "        outstanding.last_index = min(outstanding.last_index, last_index)",
            "        pass",
        ),
    ),
    plant(
        "truncation-keeps-the-durable-mark",
        "what was truncated still counts as durable",
        (LOG, "        self.stable_index = Index(min(self.stable_index, index - 1))\n", ""),
    ),
    plant(
        "window-leaks",
        "S23: acks free no bytes of the window",
        (PROGRESS, "            self.bytes -= window.popleft()[1]", "            window.popleft()"),
    ),
    plant(
        "next-below-match",
        "S23: a probe begins below what is matched",
        (
            PROGRESS,
            "        self.next_index = Index(max(next_index, self.match_index + 1))",
            "        self.next_index = Index(max(next_index - 1, 1))",
        ),
    ),
    plant(
        "no-snapshot-from-a-purged-log",
        "S24: a peer behind a purged log is never sent anything",
        (
            REPLICATION,
            (
                "        progress.become_snapshot()\n"
                "        state.outbox.snapshots.append(SnapshotNeeded(peer=peer,"
                " term=state.term))\n"
            ),
            "",
        ),
    ),
    plant(
        "sequences-skip",
        "a transaction's number is left out after a change of leader",
        (
            PROPOSALS,
            "log.next_sequence, proposal.payload",
            "log.next_sequence + (proposal.kind is EntryKind.NOOP), proposal.payload",
        ),
    ),
    plant(
        "hint-above-the-conflict",
        "a rejection's hint never gets below the conflict",
        (
            REPLICATION,
            (
                "        shared = state.log.last_at_most(Index(min(hint.index, ceiling)),"
                " hint.term)\n"
                "        next_index = Index(shared.index + 1)"
            ),
            "        next_index = Index(max(hint.index + 1, progress.next_index))",
        ),
    ),
)
