"""Where a call may go, and what may follow a failure. Pure: no sockets, no clock, no tasks.

The rule that keeps it honest: whether a failed attempt may be repeated is decided here alone, from
the class of the error and its `definite` fact (decision 19), never from a message or a gRPC code.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping

from raftlog.errors import (
    Compacted,
    ConnectFailed,
    ConsumerMoved,
    IdentityMismatch,
    InvalidInput,
    MachineHalted,
    NotFound,
    NotLeader,
    Overloaded,
    ProposalDropped,
    RaftLogError,
    Rejected,
    SafetyRefused,
    SessionExpired,
    SessionMismatch,
    Unauthorized,
    Unavailable,
    WrongCluster,
)


class Recourse(enum.Enum):
    """What a failed attempt means for the next one.

    ELSEWHERE: find the leader again, at once. LATER: the same, after a pause. FINAL: repeating it
    will not help. EXPIRED: the session is gone. MISMATCH: the server's and the client's idea of the
    session's numbers differ.
    """

    ELSEWHERE = "elsewhere"
    LATER = "later"
    FINAL = "final"
    EXPIRED = "expired"
    MISMATCH = "mismatch"


_RECOURSES: tuple[tuple[type[RaftLogError], Recourse], ...] = (
    (SessionExpired, Recourse.EXPIRED),
    (SessionMismatch, Recourse.MISMATCH),
    (InvalidInput, Recourse.FINAL),
    (IdentityMismatch, Recourse.ELSEWHERE),
    (WrongCluster, Recourse.ELSEWHERE),
    (SafetyRefused, Recourse.FINAL),
    (Unauthorized, Recourse.FINAL),
    (Rejected, Recourse.FINAL),
    (NotFound, Recourse.FINAL),
    (Compacted, Recourse.FINAL),
    (ConsumerMoved, Recourse.FINAL),
    (Overloaded, Recourse.LATER),
    (ProposalDropped, Recourse.LATER),
    (MachineHalted, Recourse.LATER),
    (NotLeader, Recourse.ELSEWHERE),
)


def judge(error: RaftLogError) -> Recourse:
    """Return what `error` means for the next attempt; the first matching class decides.

    An error of no listed class is one of availability (`Unavailable`, `Indeterminate`,
    `StorageError`: the node is stopping) and is worth trying elsewhere; an unknown code of a newer
    server is not, if it says that nothing happened.
    """
    for kind, verdict in _RECOURSES:
        if isinstance(error, kind):
            return verdict
    if type(error) is RaftLogError and error.definite:
        return Recourse.FINAL
    return Recourse.ELSEWHERE


def timed_out(refusal: RaftLogError | None) -> RaftLogError:
    """Return the error for a call that certainly did not happen until its deadline.

    `refusal` is the last reason heard; one that asks for patience keeps its class.
    """
    if refusal is None:
        return Unavailable("no leader answered in time")
    keep = judge(refusal) is Recourse.LATER or isinstance(refusal, ConnectFailed | WrongCluster)
    kind = type(refusal) if keep else Unavailable
    return kind(
        f"not done in time; the last refusal: {refusal.message}",
        definite=True,
        leader=refusal.leader,
    )


def stranger(node_id: str, other: str, address: str, *, happened: bool) -> Unavailable:
    """Return the error of a call to a member at whose address another node answers."""
    was_asked = f"{other} did what was asked" if happened else "nothing was asked of it"
    return _stranger(node_id, other, address, was_asked, definite=not happened)


def misplaced(node_id: str, other: str, address: str) -> Unavailable:
    """Return the error of a stream from a member that another node answers; nothing is taken."""
    return _stranger(node_id, other, address, "nothing is taken from it", definite=True)


def _stranger(
    node_id: str, other: str, address: str, and_so: str, *, definite: bool
) -> Unavailable:
    return Unavailable(
        f"{address} is listed as the address of {node_id}, and {other} answers there; {and_so}: "
        f"start {node_id} if it is stopped, or correct its address "
        f"(`raftlog member update {node_id} --address HOST:PORT`)",
        definite=definite,
    )


def parse_endpoints(endpoints: str | Iterable[str]) -> tuple[str, ...]:
    """Return the HOST:PORT addresses of a comma-separated list, in order, without repeats."""
    parts = endpoints.split(",") if isinstance(endpoints, str) else list(endpoints)
    found = dict.fromkeys(part.strip() for part in parts if part.strip())
    if not found:
        raise InvalidInput("no endpoint given; expected HOST:PORT,HOST:PORT,...")
    for address in found:
        if "://" in address:
            plain = address.split("://", 1)[1].rstrip("/")
            raise InvalidInput(f"endpoint {address!r} is a URL; write HOST:PORT, as in {plain!r}")
        host, colon, port = address.rpartition(":")
        if ":" in host and not (host.startswith("[") and host.endswith("]")):
            raise InvalidInput(
                f"endpoint {address!r}: write an IPv6 address in brackets, as in '[{host}]:{port}'"
            )
        if not colon or not host or not port.isascii() or not port.isdigit():
            raise InvalidInput(f"endpoint {address!r} is not HOST:PORT")
        if not 0 < int(port) < 65_536:
            raise InvalidInput(f"endpoint {address!r} has no legal port")
    return tuple(found)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a node takes: a transaction's payload, and a group's frame unless it holds only one."""

    transaction_bytes_max: int = 16 * 1024 * 1024
    group_bytes_max: int = 4 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a probed node said of leadership."""

    address: str
    served_by: str
    ready: bool
    leader_id: str = ""
    leader_address: str = ""
    term: int = 0
    limits: Limits = Limits()
    gtid_server_id: int = 0


class AddressBook:
    """Which addresses may hold a member: the endpoints given, and what members said."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        self._endpoints = tuple(endpoints)
        self._by_id: dict[str, str] = {}
        self._hinted: dict[str, None] = {}
        self._known = (0, False)

    def doubt(self) -> None:
        """Take the next word for newer: what is known led to nobody, and there may be no leader."""
        self._known = (0, False)

    def learn(self, members: Mapping[str, str], *, term: int = 0, leads: bool = False) -> None:
        """Take a membership some node reported; it replaces one that was no newer.

        `term`: that of the leader the node knows, 0 if it knows none; `leads`: it is that leader. A
        node that was cut off, or removed, goes on naming the members of its past.
        """
        if members and (term, leads) >= self._known:
            self._known = (term, leads)
            self._by_id = {node: address for node, address in members.items() if address}
            self._hinted.clear()

    def learn_hint(self, address: str) -> None:
        """Take the address of a leader some node named."""
        if address and address not in self.addresses():
            self._hinted[address] = None

    def addresses(self) -> tuple[str, ...]:
        """Return every address worth asking, the given endpoints first."""
        return tuple(dict.fromkeys((*self._endpoints, *self._by_id.values(), *self._hinted)))

    def address_of(self, node_id: str) -> str | None:
        """Return where that member is, if known."""
        return self._by_id.get(node_id)

    @property
    def member_ids(self) -> tuple[str, ...]:
        """Return the ids of the members known."""
        return tuple(self._by_id)


def newest_leader(answers: Iterable[Answer]) -> Answer | None:
    """Return the ready leader of the highest term among `answers`.

    Two nodes can both believe that they lead while one of them is cut off; the higher term is
    right.
    """
    ready = [answer for answer in answers if answer.ready]
    return max(ready, key=lambda answer: answer.term, default=None)


Dice = Callable[[], float]
"""Returns a number from 0 up to 1, as `random.random` does."""


class Backoff:
    """Pauses that grow by a factor up to a limit, and start again after a success.

    Each is drawn from the upper half of what it could be, so that clients that failed together do
    not come back together.
    """

    def __init__(self, first_seconds: float, factor: float, max_seconds: float, dice: Dice) -> None:
        self._dice = dice
        self._first = first_seconds
        self._factor = factor
        self._max = max_seconds
        self._next = first_seconds

    def pause(self) -> float:
        """Return how long to wait now."""
        pause = self._next
        self._next = min(pause * self._factor, self._max)
        return pause * (0.5 + 0.5 * self._dice())

    def reset(self) -> None:
        """Note a success."""
        self._next = self._first
