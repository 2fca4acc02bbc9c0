"""What must sometimes happen: a batch of enough seeds that never gets there proves nothing.

Each name is a counter of the world. A run in which nothing was ever truncated has not tested
truncation, however green it is.
"""

from __future__ import annotations

from collections.abc import Mapping

SEEDS_WANTED = 500
"""In so many seeds each of these is reached many times over; a smaller batch owes nothing."""

RARE = {
    "restarted_amid_bootstrap": 5000,
    "figure_8": 5000,
    "election_three_way": 1500,
    "install_behind_another": 5000,
    "install_over_applying": 1500,
    "snapshot_torn": 3000,
    "snapshot_refused": 3000,
    "snapshot_rot_noticed": 3000,
}
"""What takes a larger batch."""

SOMETIMES: dict[str, str] = {
    "leader_change": "a second leader took over",
    "election_three_way": "three candidates in one term",
    "truncation_of_two": "at least two durable entries were truncated",
    "figure_8": "an entry that a majority held was truncated all the same (figure 3.7)",
    "snapshot_to_restarted": "a restarted node was brought back by a snapshot",
    "snapshot_stream_broke": "a snapshot's stream broke in the middle",
    "log_purged": "a log was purged",
    "crash_at_boundary": "a process died between two effects of one turn",
    "commit_in_flight_kept": "the commit in flight at a crash had happened",
    "commit_in_flight_lost": "the commit in flight at a crash had not happened",
    "node_stopped": "a disk error stopped a node",
    "record_rotted": "a record rotted",
    "damage_repaired": "a damaged member was repaired",
    "pause_stalled": "a node stood still for long",
    "stream_reset": "a stream's reset lost what was on its way",
    "message_duplicated_late": "a message came once more, much later",
    "membership_changed": "a membership was committed",
    "membership_joint": "a joint membership was committed",
    "read_on_leader": "a leader answered a read",
    "read_forwarded": "a follower answered a read",
    "retry_joined": "a retry waited for the first attempt, which was still on its way",
    "retry_answered_from_kept_reply": "a retry was answered by what the session had kept",
    "retry_to_another_leader": "a retry went to a leader of another term than the first attempt",
    "session_expired": "a client heard that its session had expired",
    "unknown_happened": "a write whose outcome stayed unknown had happened",
    "unknown_had_not_happened": "a write whose outcome stayed unknown had not happened",
    "history_checked": "what all clients saw was explained by the log and by an order of its own",
    "ended_all": "a cluster converged once everything was healed",
    "ended_quorum": "a cluster converged with exactly one quorum",
    "disk_full": "a disk was full for a while",
    "append_refused_full": "a full disk refused a leader's entries",
    "proposal_refused_full": "a full leader refused a proposal",
    "disk_wiped": "a node lost its disk and came back as somebody new",
    "stranger_refused": "peers refused a node with another instance id than they knew",
    "stranger_unheard": "a vote or an ack of another instance than the known one was dropped",
    "restarted_amid_bootstrap": "an operator restarted who had met a directory that was emptied",
    "wiped_taken_in": "an operator removed such a node, added it anew and made it vote",
    "state_rotted": "the hard state or the machine's rotted",
    "start_refused": "a node did not start, for what it must know had rotted",
    "snapshot_rotted": "a byte of a snapshot's file rotted",
    "snapshot_torn": "a crash tore a snapshot that was half staged",
    "snapshot_refused": "a snapshot that had rotted or was torn was refused by its checksums",
    "snapshot_rot_noticed": "a sender noticed that its snapshot had rotted, and took another",
    "witness_led": "a witness was elected, and handed over",
    "boundary_sent": "a witness that was purged past was sent the boundary alone",
    "witness_lacks_state": "a witness that led had no state for a member with a machine",
    "witness_purged": "a witness purged what all members with a machine hold",
    "damage_beyond_repair": "a record rotted in too many of its copies",
    "ended_refusing": "a cluster damaged beyond repair elected nobody and served nothing",
    "ended_ruin": "a cluster lost many copies, yet few enough to go on",
    "trial_won": "a mock election was won, and leadership handed over after it",
    "trial_failed": "a mock election was lost, or nobody answered it in time",
    "trial_cancelled": "a transfer was cancelled while it was being prepared",
    "fault_free": "a seed without faults elected once and answered everybody",
}


SHELL_SOMETIMES: dict[str, str] = {
    "leader_change": "a second leader took over",
    "commit_inline": "a commit was made on the event loop",
    "commit_on_thread": "a commit was made on the writer's thread",
    "rounds_merged": "several rounds shared one commit",
    "crash_at_boundary": "a process died between two effects of one pass of its loop",
    "commit_in_flight_kept": "the commit in flight at a crash had happened",
    "commit_in_flight_lost": "the commit in flight at a crash had not happened",
    "node_stopped": "a disk error stopped a node",
    "event_repaired": "a damaged member was repaired",
    "event_loop_stalled": "a node stood still for long",
    "promotion_cut_short": "leadership ended before writes were open",
    "event_demoted": "a leader that took writes was demoted",
    "transferred": "leadership was handed over",
    "writes_failed_at_demotion": "a leader lost its term with writes pending",
    "stopped_cleanly": "a node stopped cleanly",
    "stop_with_writes_pending": "a node was stopped with writes pending",
    "snapshot_installed": "a snapshot was installed",
    "install_behind_another": "a snapshot arrived while another one was being installed",
    "install_over_applying": "a snapshot came while earlier entries were still being applied",
    "event_snapshot_failed": "a snapshot's stream broke",
    "log_purged": "a log was purged",
    "purge_under_subscriber": "a log was purged under a live subscriber",
    "subscriber_compacted": "a subscriber fell behind the purge",
    "stream_over_a_page": "a tail of a stream was given more entries than a page holds",
    "changes_over_a_page": "a watch was given more changes than a page holds",
    "retry_joined_pending": "a retry met its first attempt on its way",
    "session_resumed": "a session was resumed with the group whose answer was not heard",
    "session_expired": "a session had expired when it was resumed",
    "connection_to_the_dead": "something was sent to a process that had been replaced",
    "keepalive_gave_up": "a cut lasted until the keepalive ended the connections",
    "stream_reset": "a reset lost what was on its way",
    "write_waits_for_window": "a writer waited for the reader's window",
    "call_refused": "a client heard a definite refusal",
    "call_unknown": "a client did not hear the outcome",
    "fault_client_crash": "a client's process died",
    "event_steps_aside": "a leader that was not fit handed leadership over by itself",
    "event_stepped_down": "a leader whose disk hung fell silent, for nobody took over",
    "event_leadership_declined": "a member that was not fit declined leadership",
    "order_taken": "an operator's order changed the membership",
    "order_was_so": "what an operator ordered was so already",
    "order_repeated": "an operator gave an order again",
    "change_membership_rejected": "an operator's order was refused",
    "operator_unsure": "an operator did not hear the outcome",
    "membership_joint": "a joint membership was committed",
    "told_to_take_over": "a member was told to take over",
    "cancelled_certainly": "a transfer was cancelled in time",
    "removed_emptied": "a removed member came back with an empty directory",
    "disk_wiped": "a directory was lost",
    "event_address_recorded": "a member came back with another address, and it was recorded",
    "event_learner_promoted": "a learner was promoted by itself",
    "address_ordered": "an operator recorded another address of a member",
    "rot_beside_operators": "a record rotted where operators are at work",
    "install_broken": "a snapshot was disturbed as it was taken in",
    "witness_led": "a witness was elected, and handed over",
    "witness_purged": "a witness purged what all members with a machine hold",
    "witness_asked_for_state": "a witness was asked for what only a machine knows",
    "tail_at_witness": "a tail was asked of a witness",
    "backup_taken": "a backup was taken",
    "backup_with_snapshot": "a backup had a snapshot inside",
    "backup_failed": "a backup was broken off, or refused",
    "backup_restored": "a backup was restored, and lived beside the cluster that it is of",
    "restored_to_a_sequence": "it was restored up to a sequence",
    "restored_to_a_time": "it was restored up to a time",
    "restored_cut": "a group that reaches beyond the sequence was cut",
    "restored_grew": "a restored cluster took in another voter",
    "call_astray": "something was asked of a member of another cluster than the one meant",
    "refounded": "a majority was lost, and a survivor served as a cluster of its own",
    "refounded_with_uncommitted": "it committed what it had not known to be committed",
    "refounded_grew": "an emptied member voted in it",
    "old_client_asked": "a program that means the old cluster asked",
    "converged": "all members had the same state and log in the end",
    "fault_free": "a seed without faults elected once and answered everybody",
}
"""The same for engine 2."""


def owed(counters: Mapping[str, int]) -> dict[str, str]:
    """Return what the engine that counted owes."""
    return SHELL_SOMETIMES if counters.get("engine_shell") else SOMETIMES


def missing(counters: Mapping[str, int], seeds: int) -> list[str]:
    """Return what a batch of that many seeds owed and did not reach."""
    return [
        name
        for name in owed(counters)
        if seeds >= RARE.get(name, SEEDS_WANTED) and not counters.get(name)
    ]
