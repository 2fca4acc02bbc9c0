"""Which module handles which message: one message, one handler."""

from __future__ import annotations

from collections.abc import Callable

from raftlog.core import (
    election,
    follower,
    heartbeat,
    reads,
    replication,
    snapshots,
    trial,
)
from raftlog.core.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNow,
    TrialReport,
    TrialRequest,
    TrialVoteRequest,
    TrialVoteResponse,
    VoteRequest,
    VoteResponse,
)

Handler = Callable[..., None]
"""`handle_<message>(state, source, message, now)`, for the one message type it is listed under."""

HANDLERS: dict[type[Message], Handler] = {
    PreVoteRequest: election.handle_pre_vote_request,
    PreVoteResponse: election.handle_pre_vote_response,
    VoteRequest: election.handle_vote_request,
    VoteResponse: election.handle_vote_response,
    AppendRequest: follower.handle_append_request,
    AppendResponse: replication.handle_append_response,
    HeartbeatRequest: follower.handle_heartbeat_request,
    HeartbeatResponse: heartbeat.handle_heartbeat_response,
    TimeoutNow: election.handle_timeout_now,
    ReadIndexRequest: reads.handle_read_index_request,
    ReadIndexResponse: reads.handle_read_index_response,
    InstallSnapshot: snapshots.handle_install_snapshot,
    TrialRequest: trial.handle_trial_request,
    TrialVoteRequest: trial.handle_trial_vote_request,
    TrialVoteResponse: trial.handle_trial_vote_response,
    TrialReport: trial.handle_trial_report,
}
