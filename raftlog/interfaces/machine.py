"""The state machine's contract (surface.md), and what a machine may use."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar, NoReturn, Protocol

from raftlog.interfaces.environment import Clock
from raftlog.types import ColumnType

REJECTION_BYTES_MAX = 1024
"""The longest reason for a rejection that is kept, in bytes of UTF-8."""
_CUT = " ..."


class ReadState(Protocol):
    """The machine's ordered map, read-only."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`, or None."""
        ...

    def range(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs with start <= key < end in key order (`reverse`: from the high end down)."""
        ...


class State(ReadState, Protocol):
    """The machine's ordered map. Keys are 1 to 480 bytes; values up to the transaction limit."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""
        ...

    def delete(self, key: bytes) -> None:
        """Remove `key` if it is there."""
        ...


Row = Mapping[str, bytes | str | float | bool | None]


class Rows(Protocol):
    """Records row changes for the change feed; they are part of the result and survive with it."""

    def insert(self, table: str, row: Row) -> None:
        """Record a new row."""
        ...

    def update(self, table: str, before: Row, after: Row) -> None:
        """Record a changed row, with both images."""
        ...

    def delete(self, table: str, row: Row) -> None:
        """Record a removed row."""
        ...


class ApplyContext(Protocol):
    """What `StateMachine.apply` may use, besides the command: nothing else is deterministic."""

    @property
    def state(self) -> State:
        """Return the machine's map; saved in one transaction with the applied index."""
        ...

    @property
    def rows(self) -> Rows:
        """Return the recorder of row changes."""
        ...

    @property
    def sequence(self) -> int:
        """Return this transaction's cluster-wide number."""
        ...

    @property
    def timestamp(self) -> int:
        """Return the leader's time for it, microseconds since 1970, never going back."""
        ...

    @property
    def version(self) -> int:
        """Return the version of the machine in force at this place of the log."""
        ...

    def reject(self, why: str) -> NoReturn:
        """Refuse the command: the caller gets `Rejected(why)`, and state is as it was before it.

        `why` is text for people, of which `rejection_text` is kept: every member keeps it, and it
        travels to the caller.
        """
        ...


def rejection_text(why: object) -> str:
    """Return what is kept of a machine's reason for a rejection, the same on every member.

    What no UTF-8 can hold becomes a question mark, and what is over `REJECTION_BYTES_MAX` is cut.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(why, str):
        raise TypeError(f"a rejection's reason is text, not {type(why).__name__}")
    encoded = why[:REJECTION_BYTES_MAX].encode("utf-8", "replace")
    if len(encoded) <= REJECTION_BYTES_MAX and len(why) <= REJECTION_BYTES_MAX:
        return encoded.decode()
    room = REJECTION_BYTES_MAX - len(_CUT.encode())
    return encoded[:room].decode("utf-8", "ignore") + _CUT


class RoleContext(Protocol):
    """What a machine may use while its member leads."""

    @property
    def term(self) -> int:
        """Return the term it leads in."""
        ...

    @property
    def clock(self) -> Clock:
        """Return the node's clock."""
        ...

    @property
    def state(self) -> ReadState:
        """Return the machine's map as applied now; read it without awaiting in between."""
        ...

    async def execute(self, command: bytes) -> bytes:
        """Replicate and apply a command; raises like a client's call."""
        ...


def versions_of(machine: StateMachine) -> tuple[int, ...]:
    """Return the versions that the machine's code has, the newest last."""
    return tuple(sorted(machine.versions)) or (machine.version,)


class StateMachine:
    """A deterministic applier of commands. Subclass it; surface.md has an example.

    `name` and the version in force are pinned in the log; a node whose code lacks them refuses to
    start. `version` is the newest that the code has, and what a new cluster begins with. `tables`
    says how the state looks as MySQL rows. `inline` machines promise work bounded to microseconds
    per command and are applied on the event loop; all others run on a thread of their own.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    versions: ClassVar[Collection[int]] = ()
    """The versions whose commands `apply` can apply as `context.version` says, `version` among
    them; empty: `version` alone. More than one lets a cluster be upgraded while it runs."""
    tables: ClassVar[Mapping[str, Mapping[str, ColumnType]]] = {}
    inline: ClassVar[bool] = False
    external: ClassVar[bool] = False
    """State is kept elsewhere: `snapshot`, `restore` and `applied_sequence` are implemented."""
    replays: ClassVar[bool] = False
    """Of a machine with its state elsewhere: a command up to `applied_sequence`, handed over again
    after a crash, changes nothing there, and is answered, recorded and written as the first time.
    Without it, a member whose machine saved more than the node did does not start."""

    @abc.abstractmethod
    def apply(self, command: bytes, context: ApplyContext) -> bytes:
        """Apply one command in log order and return its result. Deterministic and synchronous."""

    @abc.abstractmethod
    def query(self, request: bytes, state: ReadState) -> bytes:
        """Answer a read from `state`. Changes nothing."""

    def snapshot(self) -> Iterator[bytes]:
        """Yield the state kept elsewhere, as of the last applied command."""
        return iter(())

    def restore(self, chunks: Iterator[bytes]) -> None:
        """Replace the state kept elsewhere."""
        for _ in chunks:
            pass

    def applied_sequence(self) -> int:
        """Return the last sequence whose effects the state kept elsewhere holds durably."""
        return 0

    def gauges(self) -> Mapping[str, float]:
        """Return numbers of its own for the metrics; on the event loop, so they must be at hand."""
        return {}

    async def on_promote(self, context: RoleContext) -> None:
        """Start what only the leader's machine does; writes open when this returns."""

    async def on_demote(self, context: RoleContext) -> None:
        """Stop it; the node follows when this returns."""
