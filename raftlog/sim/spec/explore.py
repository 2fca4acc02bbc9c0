"""Every state of a tiny cluster under the specification alone, each held against its properties.

This is what a model checker does with `raft.tla`: it shows that the actions of `model` keep what
they must, so that a trace that follows them does too. As in `exhaustive`, messages stay once they
were sent, and whatever may be sent is sent at once: that is loss, repetition and any order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from raftlog.sim.spec.chains import Chains, Config, Log
from raftlog.sim.spec.model import CANDIDATE, LEADER, Disk, Server, System
from raftlog.sim.spec.refusal import NotAllowed, need

PROPERTIES = frozenset(
    {"ElectionSafety", "LeaderCompleteness", "LogMatching", "OneVotePerTerm", "StateMachineSafety"}
)
Message = tuple[str, str, str, int, tuple[int | str, ...]]
"""Kind, source, target, term, and what it says."""
ROUND = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How far the exploration goes."""

    servers: int = 2
    terms: int = 2
    entries: int = 1
    restarts: int = 1


@dataclasses.dataclass(slots=True)
class World:
    """A state: the system, the messages sent, and how much of the scope is used."""

    system: System
    bag: frozenset[Message] = frozenset()
    entries: int = 0
    restarts: int = 0

    def copy(self) -> World:
        """Return a copy to act upon."""
        return World(self.system.copy(), self.bag, self.entries, self.restarts)

    def key(self) -> tuple[object, ...]:
        """Return what tells this state from others."""
        system = self.system
        servers = tuple(_key_of(server) for server in system.servers.values())
        history = (tuple(sorted(system.leaders.items())), tuple(sorted(system.told.items())))
        return servers, self.bag, _label(system.chosen), history, self.entries, self.restarts


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """What an exploration did."""

    states: int
    steps: int
    depth: int


def explore(scope: Scope) -> Explored:
    """Visit all states within the scope.

    Raises:
        NotAllowed: a property does not hold; its name is the action's.
    """
    start = _start(scope)
    seen = {start.key()}
    frontier, steps, depth = [start], 0, 0
    while frontier:
        fresh: list[World] = []
        for world in frontier:
            for following in _followers(world, scope):
                steps += 1
                key = following.key()
                if key not in seen:
                    seen.add(key)
                    fresh.append(following)
        frontier = fresh
        depth += 1
    return Explored(states=len(seen), steps=steps, depth=depth)


def _start(scope: Scope) -> World:
    names = [f"s{number + 1}" for number in range(scope.servers)]
    chains = Chains()
    root = chains.root(0, 0, "", Config(frozenset(names)))
    system = System(chains)
    for name in names:
        system.start(name, Disk(0, None, root), 0)
    return World(system)


def _followers(world: World, scope: Scope) -> Iterator[World]:
    for act in _actions(world, scope):
        following = world.copy()
        try:
            act(following)
            _settle(following)
        except NotAllowed as error:
            if error.action in PROPERTIES:
                raise
            continue
        yield following


Act = Callable[[World], None]


def _actions(world: World, scope: Scope) -> Iterator[Act]:
    """Yield everything that might happen next; what is not enabled refuses by itself."""
    for name, server in world.system.servers.items():
        if server.term < scope.terms:
            yield lambda w, n=name: w.system.timeout(n)  # type: ignore[misc]
        if server.role == CANDIDATE:
            yield lambda w, n=name: w.system.become_leader(n)  # type: ignore[misc]
        if server.pending:
            yield lambda w, n=name: w.system.persisted(n, ROUND)  # type: ignore[misc]
        if server.role == LEADER and world.entries < scope.entries:
            yield lambda w, n=name: _append(w, n)  # type: ignore[misc]
        if server.role == LEADER and server.log.index > server.commit:
            yield lambda w, n=name: _commit(w, n)  # type: ignore[misc]
        if world.restarts < scope.restarts:
            for disk in (server.disk, *(pending[1] for pending in server.pending)):
                yield lambda w, n=name, d=disk: _restart(w, n, d)  # type: ignore[misc]
    for message in sorted(world.bag, key=repr):
        yield lambda w, m=message: _receive(w, m)  # type: ignore[misc]


def _append(world: World, name: str) -> None:
    log = world.system.servers[name].log
    world.entries += 1
    value = f"{log.value} {world.system.servers[name].term}"
    world.system.client_request(name, value)


def _commit(world: World, name: str) -> None:
    """Commit the newest entry that a quorum holds."""
    server = world.system.servers[name]
    for index in range(server.log.index, server.commit, -1):
        try:
            world.system.advance_commit_index(name, index)
        except NotAllowed as error:
            if error.action in PROPERTIES:
                raise
        else:
            return
    raise NotAllowed("AdvanceCommitIndex", f"{name} can commit nothing")


def _restart(world: World, name: str, disk: Disk) -> None:
    world.restarts += 1
    world.system.restart(name, disk, 0, is_damaged=False)


def _receive(world: World, message: Message) -> None:
    kind, source, target, term, content = message
    system = world.system
    server = system.servers[target]
    if term > server.term:
        system.update_term(target, term)
    need(term == server.term, kind, "of an older term")
    if kind == "RequestVoteRequest":
        last_term, last_index = content
        system.handle_request_vote_request(target, source, term, (int(last_term), int(last_index)))
    elif kind == "RequestVoteResponse":
        system.handle_request_vote_response(target, source, term, is_granted=True)
    elif kind == "AppendEntriesRequest":
        index, value, upto_index, upto_value, commit = content
        previous = system.chains.find(int(index), value)
        upto = system.chains.find(int(upto_index), upto_value)
        if previous is not None and upto is not None:
            system.handle_append_entries_request(target, previous, upto, int(commit))
    else:
        system.handle_append_entries_response(target, source, term, int(content[0]))


# ---------------------------------------------------------------- after each action


def _settle(world: World) -> None:
    """Give what changed to the disk, send what may be sent, and check the properties."""
    system = world.system
    sent = set(world.bag)
    for name, server in system.servers.items():
        newest = server.pending[-1][1] if server.pending else server.disk
        if newest != Disk(server.term, server.vote, server.log):
            system.hand_out(name, ROUND)
        sent.update(_messages_of(system, server))
        system.check_commit(name)
    world.bag = frozenset(sent)
    servers = list(system.servers.values())
    for number, one in enumerate(servers):
        for two in servers[number + 1 :]:
            check_log_matching(one, two)


def _messages_of(system: System, server: Server) -> Iterator[Message]:
    name, term, disk = server.name, server.term, server.disk
    others = [other for other in system.servers if other != name]
    if disk.term == term and disk.vote is not None:
        if disk.vote != name:
            system.tell_vote(name, disk.vote, term)
            yield "RequestVoteResponse", name, disk.vote, term, ()
        elif server.role == CANDIDATE:
            system.request_vote(name, term, server.log.position)
            for other in others:
                yield "RequestVoteRequest", name, other, term, server.log.position
    verified = server.verified.get(term, 0)
    held = disk.log.shared(server.log)
    if verified and held is not None and disk.term == term:
        index = min(verified, held.index)
        system.tell_ack(name, term, index)
        yield "AppendEntriesResponse", name, system.leaders[term], term, (index,)
    if server.role == LEADER:
        for previous, upto in _parts(server.log):
            commit = min(server.commit, upto.index)
            system.append_entries(name, previous, upto, term, commit)
            content = (previous.index, previous.value, upto.index, upto.value, commit)
            for other in others:
                yield "AppendEntriesRequest", name, other, term, content


def _parts(log: Log) -> Iterator[tuple[Log, Log]]:
    """Yield the parts of a log that a message may carry: one entry each, or none."""
    yield log, log
    while log.previous is not None:
        yield log.previous, log
        log = log.previous


def check_log_matching(one: Server, two: Server) -> None:
    """If two logs hold an entry of the same index and term, they are the same up to there."""
    for index in range(min(one.log.index, two.log.index), 0, -1):
        mine, theirs = one.log.at(index), two.log.at(index)
        need(
            mine.term != theirs.term or mine is theirs,
            "LogMatching",
            f"{one.name} and {two.name} differ at {mine}",
        )


def _label(log: Log | None) -> tuple[int, int | str]:
    return (log.index, log.value) if log is not None else (0, "")


def _key_of(server: Server) -> tuple[object, ...]:
    return (
        server.term,
        server.vote,
        server.role,
        _label(server.log),
        server.commit,
        tuple(sorted(server.votes)),
        tuple(sorted(server.match.items())),
        (server.disk.term, server.disk.vote, _label(server.disk.log)),
        tuple((d.term, d.vote, _label(d.log)) for _, d, _ in server.pending),
        tuple(sorted(server.verified.items())),
    )
