"""Trace lines as actions of the specification.

A line says what went into a node, where it stands afterwards and what left. The validator names the
actions that lead there, takes them, and compares: the specification decides what the state must be,
the line only which of the allowed steps was taken. A message that was received must have been sent;
it may be lost, doubled or come late.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from raftlog.sim.spec.chains import Config, Log
from raftlog.sim.spec.model import CANDIDATE, FOLLOWER, LEADER, Disk, Server, System
from raftlog.sim.spec.refusal import NotAllowed, need

Line = Mapping[str, object]
PRE_CANDIDATE = "pre_candidate"
TRIAL = ("TrialRequest", "TrialVoteRequest", "TrialVoteResponse", "TrialReport")
"""A mock election's messages: no action of the specification follows from one."""


class Unsent(Exception):
    """A line receives what no line so far has sent; it may come later in another file."""


class Validator:
    """Takes lines one by one, in an order in which sends come before receives."""

    def __init__(self) -> None:
        self.system = System()
        self.lines = 0
        self.actions: dict[str, int] = {}
        self.before: Server | None = None
        """The node of the line under way, as it was before it."""
        self._bag: set[tuple[str, str, str]] = set()

    # ------------------------------------------------------------ one line

    def feed(self, line: Line) -> None:
        """Take one line.

        Raises:
            Unsent: it receives what was not sent yet; nothing has changed.
            NotAllowed: the specification has no such step.
        """
        name, action = _text(line["node"]), _text(line["action"])
        known = self.system.servers.get(name)
        self.before = known.copy() if known is not None else None
        if action == "Start":
            self._start(name, line)
        else:
            self._step(name, action, line)
        self._send(name, line)
        self.lines += 1

    def _took(self, action: str) -> None:
        self.actions[action] = self.actions.get(action, 0) + 1

    def _step(self, name: str, action: str, line: Line) -> None:
        need(name in self.system.servers, action, f"{name} has not started")
        server = self.system.servers[name]
        message = line.get("message")
        if message is not None:
            source, heard = _text(line["from"]), _mapping(message)
            self._check_sent(source, name, heard)
            self._receive(server, source, heard, line)
        if action == "Persisted":
            self.system.persisted(name, _number(line["token"]))
            self._took("Persisted")
        self._move(server, line)
        self._compare(server, line)
        if "persist" in line:
            repairs = bool(line["repairs"])
            self.system.hand_out(name, _number(line["persist"]), repairs=repairs)
            self._took("HandOut")

    def _start(self, name: str, line: Line) -> None:
        chains = self.system.chains
        term, index, value, membership = _list(line["boundary"])
        log = chains.root(
            _number(term), _number(index), _number(value), _config(_mapping(membership))
        )
        for entry in _list(line.get("entries", [])):
            log = self._extend(log, _list(entry))
        _, last, value = _list(line["last"])
        found = chains.find(_number(last), _number(value))
        need(found is not None, "Restart", f"{name} starts with a log that nobody had: {last}")
        durable = _list(line["durable"])
        disk = Disk(_number(durable[0]), _name(durable[1]), found or log)
        commit, instance = _number(line["commit"]), _text(line["instance"])
        is_damaged = bool(line["is_damaged"])
        known = self.system.servers.get(name)
        if known is None or known.instance != instance:
            self._forget(name)
            self.system.start(name, disk, commit, instance).is_damaged = is_damaged
        else:
            self.system.restart(name, disk, commit, is_damaged=is_damaged)
        self._took("Restart")
        self._compare(self.system.servers[name], line)

    def _forget(self, name: str) -> None:
        """A server with another directory is another server, under the old name."""
        told = self.system.told
        for key in [key for key in told if key[0] == name]:
            del told[key]

    # ------------------------------------------------------------ which actions

    def _receive(self, server: Server, source: str, message: Line, line: Line) -> None:
        kind, term = _text(message["type"]), _number(message["term"])
        after = _number(line["term"])
        is_hypothetical = kind in {"PreVoteRequest", *TRIAL} or (
            kind == "PreVoteResponse" and bool(message["granted"])
        )
        if term > server.term and after >= term and not is_hypothetical:
            self.system.update_term(server.name, term)
            self._took("UpdateTerm")
        if term == server.term and kind in _HANDLERS:
            _HANDLERS[kind](self, server, source, message, line)

    def _on_vote_request(self, server: Server, source: str, message: Line, line: Line) -> None:
        is_granted = line["vote"] == source and line["term"] == server.term
        if is_granted and server.vote != source:
            last = _position(message["last"])
            self.system.handle_request_vote_request(server.name, source, server.term, last)
            self._took("HandleRequestVoteRequest")

    def _on_vote_response(self, server: Server, source: str, message: Line, _line: Line) -> None:
        granted = bool(message["granted"])
        self.system.handle_request_vote_response(
            server.name, source, server.term, is_granted=granted
        )
        self._took("HandleRequestVoteResponse")

    def _on_append_request(self, server: Server, _source: str, message: Line, line: Line) -> None:
        previous, upto = self._part(message)
        need(server.role != LEADER, "ElectionSafety", f"{server.name} leads that term itself")
        server.role = FOLLOWER
        if previous is None or not server.log.holds(previous):
            return  # rejected
        _, index, value = _list(line["last"])
        commit = _number(message["commit"])
        self.system.handle_append_entries_request(server.name, previous, upto, commit)
        need(
            (server.log.index, server.log.value) == (index, value),
            "HandleAppendEntriesRequest",
            f"{server.name} ends with {index}:{value}; it must end with {server.log}",
        )
        self._took("HandleAppendEntriesRequest")

    def _on_append_response(self, server: Server, source: str, message: Line, _line: Line) -> None:
        if message["success"]:
            match = _number(message["match"])
            self.system.handle_append_entries_response(server.name, source, server.term, match)
            self._took("HandleAppendEntriesResponse")

    def _on_heartbeat(self, server: Server, _source: str, message: Line, _line: Line) -> None:
        self.system.handle_heartbeat(server.name, _number(message["commit"]))
        self._took("HandleHeartbeat")

    def _on_snapshot(self, server: Server, _source: str, message: Line, _line: Line) -> None:
        _, index, value, _ = _list(message["boundary"])
        boundary = self.system.chains.find(_number(index), _number(value))
        if boundary is None:
            raise NotAllowed("InstallSnapshot", f"nobody ever had {index}:{value}")
        self.system.install_snapshot(server.name, boundary)
        self._took("InstallSnapshot")

    def _move(self, server: Server, line: Line) -> None:
        """Take the actions that no message alone explains."""
        system, name = self.system, server.name
        role = _role(line)
        if _number(line["term"]) == server.term + 1 and line["vote"] == name:
            system.timeout(name)
            self._took("Timeout")
        if role == LEADER and server.role == CANDIDATE:
            system.become_leader(name)
            self._took("BecomeLeader")
        commit = _number(line["commit"])
        if server.role == LEADER and commit > server.commit:
            system.advance_commit_index(name, commit)
            self._took("AdvanceCommitIndex")
        for entry in _list(line.get("appended", [])):
            term, value, *configs = _list(entry)
            need(term == server.term, "ClientRequest", f"{name} appends an entry of term {term}")
            config = _config(_mapping(configs[0])) if configs else None
            system.client_request(name, _number(value), config)
            self._took("ChangeMembership" if configs else "ClientRequest")
        if role == FOLLOWER and server.role != FOLLOWER:
            system.step_down(name)
            self._took("StepDown")

    def _compare(self, server: Server, line: Line) -> None:
        """Compare where the actions lead with where the node says it stands."""
        last = _list(line["last"])
        durable = _list(line["durable"])
        expected = {
            "role": (server.role, _role(line)),
            "term": (server.term, line["term"]),
            "vote": (server.vote, line["vote"]),
            "last": ([server.log.term, server.log.index, server.log.value], last),
            "commit": (server.commit, line["commit"]),
            "durable": ([server.disk.term, server.disk.vote], durable),
            "is_damaged": (server.is_damaged, line["is_damaged"]),
        }
        for field, (allowed, found) in expected.items():
            need(allowed == found, field, f"{server.name} says {found}; allowed is {allowed}")
        if "membership" in line:
            config = _config(_mapping(line["membership"]))
            need(server.config == config, "membership", f"{config}; allowed is {server.config}")
        for peer, match in _mapping(line.get("match", {})).items():
            limit = server.match.get(peer, 0)
            need(_number(match) <= limit, "match", f"{peer} has acked {limit}, not {match}")
            server.match[peer] = _number(match)
        self.system.check_commit(server.name)

    # ------------------------------------------------------------ messages

    def _check_sent(self, source: str, target: str, message: Line) -> None:
        if message["type"] == "InstallSnapshot":
            key = (source, target, f"snapshot {message['term']}")
        else:
            key = (source, target, _canonical(message))
        if key not in self._bag:
            raise Unsent(f"{target} receives from {source} what was not sent: {key[2]}")

    def _send(self, name: str, line: Line) -> None:
        for item in _list(line.get("sent", [])):
            peer, content = _list(item)
            message = _mapping(content)
            self._check_send(name, _text(peer), message)
            self._bag.add((name, _text(peer), _canonical(message)))
        for item in _list(line.get("snapshots", [])):
            peer, term = _list(item)
            known = self.system.leaders.get(_number(term))
            need(known == name, "SendSnapshot", f"{name} leads not in term {term}")
            self._bag.add((name, _text(peer), f"snapshot {term}"))

    def _check_send(self, name: str, peer: str, message: Line) -> None:
        kind, term = message["type"], _number(message["term"])
        system = self.system
        if kind == "VoteRequest":
            system.request_vote(name, term, _position(message["last"]))
            self._took("RequestVote")
        elif kind == "VoteResponse" and message["granted"]:
            system.tell_vote(name, peer, term)
        elif kind == "AppendRequest":
            previous, upto = self._part(message)
            need(previous is not None, "AppendEntries", f"{name} sends from an unknown log")
            commit = _number(message["commit"])
            system.append_entries(name, previous or upto, upto, term, commit)
            self._took("AppendEntries")
        elif kind == "AppendResponse" and message["success"]:
            system.tell_ack(name, term, _number(message["match"]))
        elif kind == "HeartbeatRequest":
            system.send_heartbeat(name, peer, term, _number(message["commit"]))
            self._took("SendHeartbeat")
        elif kind in {"TimeoutNow", "TrialRequest"}:
            need(system.leaders.get(term) == name, str(kind), f"{name} leads not in {term}")

    def _part(self, message: Line) -> tuple[Log | None, Log]:
        """Return the log before a message's entries (None: unknown) and with them."""
        term, index, value = _list(message["previous"])
        chains = self.system.chains
        previous = chains.find(_number(index), _number(value))
        log = previous or chains.root(_number(term), _number(index), _number(value), None)
        for entry in _list(message["entries"]):
            log = self._extend(log, _list(entry))
        return previous, log

    def _extend(self, log: Log, entry: Sequence[object]) -> Log:
        term, value, *configs = entry
        config = _config(_mapping(configs[0])) if configs else None
        return self.system.chains.extend(log, _number(term), _number(value), config)


_HANDLERS = {
    "VoteRequest": Validator._on_vote_request,  # noqa: SLF001
    "VoteResponse": Validator._on_vote_response,  # noqa: SLF001
    "AppendRequest": Validator._on_append_request,  # noqa: SLF001
    "AppendResponse": Validator._on_append_response,  # noqa: SLF001
    "HeartbeatRequest": Validator._on_heartbeat,  # noqa: SLF001
    "InstallSnapshot": Validator._on_snapshot,  # noqa: SLF001
}


# ---------------------------------------------------------------- reading lines


def _canonical(message: Line) -> str:
    return json.dumps(message, sort_keys=True)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise NotAllowed("Line", f"{value!r} is no text")
    return value


def _name(value: object) -> str | None:
    return None if value is None else _text(value)


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise NotAllowed("Line", f"{value!r} is no number")
    return value


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise NotAllowed("Line", f"{value!r} is no list")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise NotAllowed("Line", f"{value!r} is no object")
    return value


def _position(value: object) -> tuple[int, int]:
    term, index = _list(value)
    return _number(term), _number(index)


def _config(value: Mapping[str, object]) -> Config:
    def names(key: str) -> frozenset[str]:
        return frozenset(_text(name) for name in _list(value[key]))

    return Config(names("voters"), names("outgoing"), names("learners"))


def _role(line: Line) -> str:
    """Return the role as the specification knows it: a pre-candidate is a follower."""
    role = _text(line["role"])
    return FOLLOWER if role == PRE_CANDIDATE else role
