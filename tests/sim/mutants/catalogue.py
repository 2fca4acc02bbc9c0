"""The planted bugs: what is wrong, and the text that makes it so.

Each edit names a file below raftlog/, a piece of it that occurs exactly once, and what replaces it.
A patch that no longer fits its file is an error, so the catalogue cannot rot unseen. S1 to S45 are
bugs that other implementations had.
"""

from __future__ import annotations

import dataclasses

Edit = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug."""

    name: str
    why: str
    edits: tuple[Edit, ...]


def plant(name: str, why: str, *edits: Edit) -> Mutant:
    """Return a planted bug."""
    return Mutant(name, why, edits)


ELECTION, QUORUM, COMMIT = "core/election.py", "core/quorum.py", "core/commit.py"
FOLLOWER, PERSISTENCE, START = "core/follower.py", "core/persistence.py", "core/start.py"
READS, HEARTBEAT, TIMERS = "core/reads.py", "core/heartbeat.py", "core/timers.py"
PROGRESS, REPLICATION, SNAPSHOTS = "core/progress.py", "core/replication.py", "core/snapshots.py"
STATE, LOG, PROPOSALS, ROLES = "core/state.py", "core/log.py", "core/proposals.py", "core/roles.py"
TERMS, MEMORY, RULES = "core/terms.py", "storage/memory.py", "storage/rules.py"

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
        (RULES, "new.term > old.term or old.vote is None or new.vote == old.vote", "True"),
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
        (RULES, "new.term > old.term or old.vote is None or new.vote == old.vote", "True"),
    ),
    plant(
        "term-forgotten-on-restart",
        "S1: a restarted node begins in the term of its log",
        (
            START,
            "        term=hard_state.term,\n        vote=hard_state.vote,\n        durable_term=hard_state.term",
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
            "        and not state.is_damaged\n        and message.last >= state.log.last_position\n    )\n    if not granted:",
            "        and not state.is_damaged\n    )\n    if not granted:",
        ),
        (
            ELECTION,
            "        and message.last >= state.log.last_position\n    )\n    term = ",
            "    )\n    term = ",
        ),
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
            "    if state.role is Role.CANDIDATE:\n        _count(state, source, now, granted=message.granted)",
            "    if state.role is Role.CANDIDATE:\n        _count(state, source, now, granted=True)",
        ),
    ),
    plant(
        "pre-vote-counts-as-vote",
        "S7: a late answer to the pre-vote counts in the election",
        (
            ELECTION,
            "    if state.role is not Role.PRE_CANDIDATE:\n        return\n    if message.granted and message.term != state.term + 1:\n        return",
            "    if state.role not in {Role.PRE_CANDIDATE, Role.CANDIDATE}:\n        return",
        ),
    ),
    plant(
        "stale-votes-count",
        "a vote of an older term counts in this one",
        (
            TERMS,
            "    if message.term < state.term:\n",
            "    if message.term < state.term and not isinstance(message, VoteResponse):\n",
        ),
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
            "        return any(membership.is_voter(self.node_id) for _, membership in self.memberships)",
            "        return self.membership.is_voter(self.node_id)",
        ),
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
            "    reached[state.node_id] = state.log.stable_index",
            "    reached[state.node_id] = state.log.last_index",
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
            "    if not _matches_previous(state, message) and message.previous.index > state.log.last_index:",
        ),
    ),
    plant(
        "truncates-without-conflict",
        "S17: a delayed request drops what follows it",
        (
            FOLLOWER,
            "    if fresh:\n        _accept(state, fresh)\n",
            "    if fresh:\n        _accept(state, fresh)\n    elif message.previous.index + len(message.entries) < state.log.last_index:\n        persistence.truncate(state, Index(message.previous.index + len(message.entries) + 1))\n",
        ),
    ),
    plant(
        "acks-its-own-end",
        "S16: the ack names the follower's last index",
        (
            FOLLOWER,
            "    note_verified(state, match_index)\n    acknowledge(state, source, match_index)\n",
            "    note_verified(state, match_index)\n    acknowledge(state, source, min(state.log.last_index, state.log.stable_index) if not fresh else match_index)\n",
        ),
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
            "    if message.term < state.term and not (isinstance(message, AppendResponse) and message.success):\n",
        ),
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
            "        progress.become_snapshot()\n        state.outbox.snapshots.append(SnapshotNeeded(peer=peer, term=state.term))\n",
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
            "        shared = state.log.last_at_most(Index(min(hint.index, ceiling)), hint.term)\n        next_index = Index(shared.index + 1)",
            "        next_index = Index(max(hint.index + 1, progress.next_index))",
        ),
    ),
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
            "    leadership.transfer = Transfer(target, deadline)\n    leadership.is_lease_void = True\n",
            "    leadership.transfer = Transfer(target, deadline)\n",
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
            "    contact_ends = state.leader_contact + state.settings.election_timeout_seconds / 10\n",
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
            "    replace_memberships(state, snapshot.boundary.index, snapshot.boundary.membership)\n",
            "",
        ),
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
    ),
    plant(
        "membership-lost-on-restart",
        "S31: a start takes the boundary's membership",
        (
            START,
            "            if entry.kind == EntryKind.MEMBERSHIP:\n                found.append((entry.index, Membership.decode(entry.payload)))\n            elif",
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
            "    from dataclasses import replace\n\n    return replace(proposed, outgoing=frozenset(), learners_next=frozenset(), learners=proposed.learners | (proposed.outgoing - proposed.voters))\n",
        ),
    ),
)

DAMAGE_AND_SNAPSHOTS = (
    plant(
        "damaged-member-votes",
        "S40: who lost what it acked elects one that lacks it",
        (
            ELECTION,
            "        and not state.is_damaged\n        and message.last >= state.log.last_position\n    )\n    if not granted:",
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
            "    if progress is None or progress.state is not ProgressState.SNAPSHOT:\n        return\n    after",
            "    if progress is None or not delivered:\n        return\n    after",
        ),
    ),
    plant(
        "install-forgets-the-term",
        "the boundary's term is lost with its entries",
        (
            LOG,
            "        if index <= self.boundary.index:\n            return self.boundary.term if index == self.boundary.index else None\n        try:\n            return Term",
            "        if index <= self.boundary.index:\n            return Term(max(self.boundary.term - 1, 0)) if index == self.boundary.index else None\n        try:\n            return Term",
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
        "applied-apart-from-state",
        "S38: the applied index is saved one round before the state",
        (
            MEMORY,
            "        self._disk.applied = round_.applied or self._disk.applied\n",
            '        self._disk.applied = round_.applied or self._disk.applied\n        self._disk.tables[Table.STATE][b"applies"] = (self._disk.applied.index - 1).to_bytes(8, "big") if self._disk.applied.index else b""\n',
        ),
    ),
    plant(
        "hard-state-lost-in-merged-rounds",
        "S2: term and vote are not written beside entries",
        (
            MEMORY,
            "        disk.hard_state = hard_state or disk.hard_state\n        disk.commits",
            "        disk.hard_state = (None if round_.entries else hard_state) or disk.hard_state\n        disk.commits",
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

MUTANTS: tuple[Mutant, ...] = (
    *VOTING, *COMMITTING, *REPLICATING, *READING, *MEMBERSHIP, *DAMAGE_AND_SNAPSHOTS,
)  # fmt: skip
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
