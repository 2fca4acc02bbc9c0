"""The specification's variables and actions.

Names are those of `raft.tla`: `Restart`, `Timeout`, `RequestVote`, `BecomeLeader`, `ClientRequest`,
`AdvanceCommitIndex`, `AppendEntries`, `UpdateTerm` and the handlers. Each action is a method that
refuses (`NotAllowed`) where its enabling condition does not hold, and else changes the state as the
specification says. What is added to it:

- a durable part: `disk` is what a restart finds, `pending` what is on its way there. A vote, an
  ack or an own candidacy is told only once it is durable (in `raft.tla` these are never lost).
- `chosen`, `leaders` and `told` are history variables, as `allLogs` and `elections` are there.
- memberships travel in the log and count at once (thesis, chapter 4).
- `HandleHeartbeat` and `InstallSnapshot` as in etcd's extension; a pre-vote is no action at all,
  because it changes nothing (§9.6).
- a damaged server lost a durable suffix, knows it, and neither votes nor campaigns.

A guard that is not in the published specification but follows from it (a follower never truncates
what is committed) is a property, and checked where it would break first.
"""

from __future__ import annotations

import dataclasses

from raftlog.sim.spec.chains import Chains, Config, Log, Value
from raftlog.sim.spec.refusal import NotAllowed, need

FOLLOWER, CANDIDATE, LEADER = "follower", "candidate", "leader"
ACTIONS = (
    "Restart", "Timeout", "RequestVote", "BecomeLeader", "ClientRequest", "ChangeMembership",
    "AdvanceCommitIndex", "AppendEntries", "SendHeartbeat", "SendSnapshot", "UpdateTerm",
    "HandleRequestVoteRequest", "HandleRequestVoteResponse", "HandleAppendEntriesRequest",
    "HandleAppendEntriesResponse", "HandleHeartbeat", "InstallSnapshot", "HandOut", "Persisted",
    "StepDown",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """What a restart finds."""

    term: int
    vote: str | None
    log: Log


@dataclasses.dataclass(slots=True, kw_only=True)
class Server:
    """One server's variables. `commit_known` is the highest commit index of all its lives."""

    name: str
    log: Log
    disk: Disk
    instance: str = ""
    term: int = 0
    vote: str | None = None
    role: str = FOLLOWER
    commit: int = 0
    commit_known: int = 0
    votes: set[str] = dataclasses.field(default_factory=set)
    match: dict[str, int] = dataclasses.field(default_factory=dict)
    pending: list[tuple[int, Disk, bool]] = dataclasses.field(default_factory=list)
    verified: dict[int, int] = dataclasses.field(default_factory=dict)
    """By term: up to where that term's leader has matched this log, as it was heard."""
    is_damaged: bool = False

    def copy(self) -> Server:
        """Return a copy that shares nothing that changes."""
        return dataclasses.replace(
            self,
            votes=set(self.votes),
            match=dict(self.match),
            pending=list(self.pending),
            verified=dict(self.verified),
        )

    @property
    def config(self) -> Config:
        """Return the configuration in force: the latest in the log."""
        if self.log.config is None:
            raise NotAllowed("Config", f"no configuration is known of {self.log}")
        return self.log.config

    def may_campaign(self) -> bool:
        """Whether the server votes in the configuration in force, or in one it may replace.

        A server that an uncommitted entry removes may still have to lead (§4.2.2).
        """
        log: Log | None = self.log
        while log is not None:
            if log.config is not None and log.config.is_voter(self.name):
                return True
            if log.config_index <= self.commit or log.previous is None:
                return False
            log = self.log.at(log.config_index).previous
        return False


@dataclasses.dataclass(slots=True)
class System:
    """All servers and the history variables; the actions change it."""

    chains: Chains = dataclasses.field(default_factory=Chains)
    servers: dict[str, Server] = dataclasses.field(default_factory=dict)
    leaders: dict[int, str] = dataclasses.field(default_factory=dict)
    told: dict[tuple[str, int], str] = dataclasses.field(default_factory=dict)
    """By server and term: for whom its vote left it."""
    chosen: Log | None = None
    chosen_term: int = 0
    """The term in which `chosen` last grew."""

    def copy(self) -> System:
        """Return a copy that shares nothing that changes, besides the logs there are."""
        return System(
            self.chains,
            {name: server.copy() for name, server in self.servers.items()},
            dict(self.leaders),
            dict(self.told),
            self.chosen,
            self.chosen_term,
        )

    # ------------------------------------------------------------ life

    def start(self, name: str, found: Disk, commit: int, instance: str = "") -> Server:
        """Add a server that was never seen before."""
        server = Server(name=name, log=found.log, disk=found, instance=instance)
        server.term, server.vote = found.term, found.vote
        server.commit = server.commit_known = commit
        self.servers[name] = server
        if self.chosen is None:
            self.chosen = found.log.at(commit)
        return server

    def restart(self, name: str, found: Disk, commit: int, *, is_damaged: bool) -> None:
        """`Restart`: all that is volatile is lost; writes under way happened, as a prefix, or not.

        A damaged server may in addition have lost any suffix of its log.
        """
        server = self.servers[name]
        candidates = [server.disk, *[disk for _, disk, _ in server.pending]]
        need(
            any(_found(found, disk, is_damaged=is_damaged) for disk in candidates),
            "Restart",
            f"{name} finds {found}; possible are {candidates}",
        )
        need(commit <= server.commit_known, "Restart", f"{name} knew no commit index {commit}")
        server.log, server.disk = found.log, found
        server.term, server.vote, server.commit = found.term, found.vote, commit
        server.role, server.is_damaged = FOLLOWER, is_damaged
        server.pending.clear()
        server.verified.clear()
        self._reset(server)

    def hand_out(self, name: str, token: int, *, repairs: bool = False) -> None:
        """`HandOut`: give what is volatile to the disk; `repairs`: and the end of the damage."""
        server = self.servers[name]
        server.pending.append((token, Disk(server.term, server.vote, server.log), repairs))

    def persisted(self, name: str, token: int) -> None:
        """`Persisted`: the oldest write under way is durable."""
        server = self.servers[name]
        need(server.pending, "Persisted", f"{name} had handed nothing out")
        oldest, server.disk, repairs = server.pending.pop(0)
        need(oldest == token, "Persisted", f"round {token} of {name} before round {oldest}")
        server.is_damaged = server.is_damaged and not repairs

    # ------------------------------------------------------------ elections

    def timeout(self, name: str) -> None:
        """`Timeout`: become candidate in the next term, with a vote for oneself."""
        server = self.servers[name]
        need(server.role != LEADER, "Timeout", f"{name} leads")
        need(not server.is_damaged, "Timeout", f"{name} is damaged")
        need(server.may_campaign(), "Timeout", f"{name} does not vote")
        server.term += 1
        server.vote = name
        self._reset(server)
        server.role = CANDIDATE

    def request_vote(self, name: str, term: int, last: tuple[int, int]) -> None:
        """`RequestVote`: ask for votes, once term and own vote are durable."""
        server = self.servers[name]
        self._tell_vote(server, term, name, "RequestVote")
        if server.term == term and server.role == CANDIDATE:
            need(last == server.log.position, "RequestVote", f"{name} names {last} as its last")

    def tell_vote(self, name: str, candidate: str, term: int) -> None:
        """The second half of `HandleRequestVoteRequest`: a granted vote leaves once durable."""
        self._tell_vote(self.servers[name], term, candidate, "HandleRequestVoteRequest")

    def _tell_vote(self, server: Server, term: int, candidate: str, action: str) -> None:
        disk = server.disk
        is_durable = (disk.term, disk.vote) == (term, candidate) or disk.term > term
        need(is_durable, action, f"{server.name} tells a vote that its disk lacks: {disk}")
        known = self.told.setdefault((server.name, term), candidate)
        need(known == candidate, "OneVotePerTerm", f"{server.name} voted for {known} in {term}")

    def handle_request_vote_request(
        self, name: str, candidate: str, term: int, last: tuple[int, int]
    ) -> None:
        """`HandleRequestVoteRequest`, where it grants. To refuse is always allowed: it is loss."""
        server, action = self.servers[name], "HandleRequestVoteRequest"
        need(term == server.term, action, f"{name} is in term {server.term}, not {term}")
        need(server.vote in {None, candidate}, action, f"{name} voted for {server.vote}")
        need(last >= server.log.position, action, f"{name} has {server.log}, {candidate} {last}")
        need(not server.is_damaged, action, f"{name} is damaged")
        server.vote = candidate

    def handle_request_vote_response(
        self, name: str, voter: str, term: int, *, is_granted: bool
    ) -> None:
        """`HandleRequestVoteResponse`."""
        server = self.servers[name]
        if term == server.term and server.role == CANDIDATE and is_granted:
            server.votes.add(voter)

    def become_leader(self, name: str) -> None:
        """`BecomeLeader`: with the votes of a quorum, the own one counting once it is durable."""
        server, action = self.servers[name], "BecomeLeader"
        need(server.role == CANDIDATE, action, f"{name} is {server.role}")
        votes = set(server.votes)
        if (server.disk.term, server.disk.vote) == (server.term, name):
            votes.add(name)
        need(server.config.is_quorum(votes), action, f"{name} has the votes of {sorted(votes)}")
        known = self.leaders.setdefault(server.term, name)
        need(known == name, "ElectionSafety", f"{known} leads term {server.term} already")
        if self.chosen is not None and server.term >= self.chosen_term:
            need(
                server.log.holds(self.chosen),
                "LeaderCompleteness",
                f"{name} lacks what is chosen: {self.chosen}",
            )
        self._reset(server)
        server.role = LEADER

    def step_down(self, name: str) -> None:
        """`StepDown`: a leader or candidate may at any time be none."""
        server = self.servers[name]
        self._reset(server)
        server.role = FOLLOWER

    def update_term(self, name: str, term: int) -> None:
        """`UpdateTerm`: any message of a newer term leads to it."""
        server = self.servers[name]
        need(term > server.term, "UpdateTerm", f"{name} is in term {server.term}")
        server.term, server.vote, server.role = term, None, FOLLOWER
        self._reset(server)

    # ------------------------------------------------------------ the log

    def client_request(self, name: str, value: Value, config: Config | None = None) -> None:
        """`ClientRequest`, or `ChangeMembership`: a leader appends to its own log."""
        server = self.servers[name]
        need(server.role == LEADER, "ClientRequest", f"{name} is {server.role}")
        if config is not None:
            self._check_change(server, config)
        server.log = self.chains.extend(server.log, server.term, value, config)

    def _check_change(self, server: Server, config: Config) -> None:
        action, name = "ChangeMembership", server.name
        if config == server.config:
            return  # who votes stays as it is, so no quorum can be missed
        need(
            server.log.at(server.commit).term == server.term,
            action,
            f"{name} has not committed in its own term",
        )
        need(server.log.config_index <= server.commit, action, f"{name} is amidst a change")
        need(config.may_follow(server.config), action, f"{config} must not follow {server.config}")

    def append_entries(self, name: str, previous: Log, upto: Log, term: int, commit: int) -> None:
        """`AppendEntries`: a leader sends a part of its own log."""
        server, action = self.servers[name], "AppendEntries"
        need(server.role == LEADER and server.term == term, action, f"{name} leads not in {term}")
        need(server.log.holds(upto), action, f"{name} sends what is not in its log: {upto}")
        need(upto.holds(previous), action, f"{upto} does not follow {previous}")
        need(commit <= server.commit, action, f"{name} tells of a commit index {commit}")

    def send_heartbeat(self, name: str, peer: str, term: int, commit: int) -> None:
        """`SendHeartbeat`: with a commit index no higher than what the peer has matched."""
        server, action = self.servers[name], "SendHeartbeat"
        need(server.role == LEADER and server.term == term, action, f"{name} leads not in {term}")
        limit = min(server.commit, server.match.get(peer, 0))
        need(commit <= limit, action, f"{name} tells {peer} of commit {commit}, past {limit}")

    def handle_append_entries_request(
        self, name: str, previous: Log, upto: Log, commit: int
    ) -> None:
        """`HandleAppendEntriesRequest`, accepted, in the server's term.

        Entries go only where they conflict or are new; the commit index follows what this very
        message covers.
        """
        server, action = self.servers[name], "HandleAppendEntriesRequest"
        need(server.role != LEADER, "ElectionSafety", f"{name} leads term {server.term} itself")
        server.role = FOLLOWER
        need(server.log.holds(previous), action, f"{name} does not hold {previous}")
        if not server.log.holds(upto):
            shared = server.log.shared(upto)
            kept = shared.index if shared is not None else 0
            need(
                upto.holds(server.log) or kept >= server.commit,
                "StateMachineSafety",
                f"{name} truncates to {kept}, though {server.commit} is committed",
            )
            server.log = upto
        server.commit = max(server.commit, min(commit, upto.index))
        self._verify(server, upto.index)

    def _verify(self, server: Server, index: int) -> None:
        server.verified[server.term] = max(server.verified.get(server.term, 0), index)

    def tell_ack(self, name: str, term: int, index: int) -> None:
        """The second half of `HandleAppendEntriesRequest`: an ack leaves once durable."""
        server, action = self.servers[name], "HandleAppendEntriesRequest"
        verified = server.verified.get(term, 0)
        need(index <= verified, action, f"{name} acks {index}; {verified} was matched in {term}")
        need(server.disk.term >= term, action, f"{name} acks in term {term} before it is durable")
        if server.term == term:
            need(
                server.disk.log.holds(server.log.at(index)),
                action,
                f"{name} acks {index}; its disk holds {server.disk.log}",
            )

    def handle_append_entries_response(self, name: str, peer: str, term: int, index: int) -> None:
        """`HandleAppendEntriesResponse`: a positive one raises the peer's match."""
        server = self.servers[name]
        if term == server.term and server.role == LEADER and index <= server.log.index:
            server.match[peer] = max(server.match.get(peer, 0), index)

    def handle_heartbeat(self, name: str, commit: int) -> None:
        """`HandleHeartbeat`: the leader knows that this log matches that far."""
        server = self.servers[name]
        need(server.role != LEADER, "ElectionSafety", f"{name} leads term {server.term} itself")
        server.role = FOLLOWER
        if commit <= server.log.index:
            server.commit = max(server.commit, commit)

    def install_snapshot(self, name: str, boundary: Log) -> None:
        """`InstallSnapshot`: the committed log up to `boundary` replaces whatever is there."""
        server, action = self.servers[name], "InstallSnapshot"
        need(self.chosen is not None, action, "nothing is committed")
        need(self.chosen and self.chosen.holds(boundary), action, f"{boundary} is not committed")
        need(server.role != LEADER, "ElectionSafety", f"{name} leads term {server.term} itself")
        server.role = FOLLOWER
        if boundary.index > server.commit:
            if not server.log.holds(boundary):
                server.log = boundary
            server.commit = boundary.index
        self._verify(server, max(boundary.index, server.commit))

    # ------------------------------------------------------------ commit

    def advance_commit_index(self, name: str, index: int) -> None:
        """`AdvanceCommitIndex`: a quorum holds an entry of the leader's own term, durably."""
        server, action = self.servers[name], "AdvanceCommitIndex"
        need(server.role == LEADER, action, f"{name} is {server.role}")
        need(index > server.commit, action, f"{name} has committed {server.commit} already")
        target = server.log.at(index)
        need(target.term == server.term, action, f"entry {target} is not of term {server.term}")
        agree = {peer for peer, match in server.match.items() if match >= index}
        if server.disk.log.holds(target):
            agree.add(name)
        need(server.config.is_quorum(agree), action, f"{sorted(agree)} hold {index}: no quorum")
        server.commit = index
        self._choose(server, target)

    def _choose(self, server: Server, target: Log) -> None:
        chosen = self.chosen
        if chosen is not None and target.index <= chosen.index:
            return
        need(
            chosen is None or target.holds(chosen),
            "StateMachineSafety",
            f"{server.name} commits {target}; chosen is {chosen}",
        )
        self.chosen, self.chosen_term = target, server.term

    def check_commit(self, name: str) -> None:
        """State machine safety: what a server knows committed is what was chosen."""
        server = self.servers[name]
        chosen = self.chosen
        if chosen is None:
            return
        need(
            server.commit <= chosen.index and chosen.holds(server.log.at(server.commit)),
            "StateMachineSafety",
            f"{name} has {server.commit} committed in {server.log}; chosen is {chosen}",
        )
        server.commit_known = max(server.commit_known, server.commit)

    @staticmethod
    def _reset(server: Server) -> None:
        server.votes.clear()
        server.match.clear()


def _found(found: Disk, disk: Disk, *, is_damaged: bool) -> bool:
    if (found.term, found.vote) != (disk.term, disk.vote):
        return False
    return found.log is disk.log or (is_damaged and disk.log.holds(found.log))
