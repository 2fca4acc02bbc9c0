"""What parked readers wait for, so that an entry wakes those it concerns and nobody else.

A reader of the log waits for streams; one of the change feed for keys of a table, of which most
ask for one key or for a prefix. Finding whom an entry concerns costs what it holds and whom it
wakes, however many wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from raftlog.groups import Tag, TransactionKind
from raftlog.interfaces import ChangeFilter
from raftlog.kv import prefix_end

R = TypeVar("R")


class LogInterest(NamedTuple):
    """What a reader of the log waits for: a stream (None: any), and commands besides or not."""

    stream: str | None
    commands: bool


EVERYTHING = LogInterest(None, commands=True)


class LogInterests(Generic[R]):
    """Readers by what they want."""

    def __init__(self) -> None:
        self._readers: dict[LogInterest, set[R]] = {}

    def add(self, reader: R, interest: LogInterest) -> None:
        """Let a reader wait."""
        self._readers.setdefault(_plain(interest), set()).add(reader)

    def remove(self, reader: R, interest: LogInterest) -> None:
        """Forget a reader that waited."""
        _discard(self._readers, _plain(interest), reader)

    def matching(self, tags: Iterable[Tag]) -> set[R]:
        """Return whom a group with these tags concerns; without tags, who wants everything."""
        readers = self._readers
        found = set(readers.get(EVERYTHING, ()))
        for kind, name in tags:
            if kind is TransactionKind.OPAQUE:
                found |= readers.get(LogInterest(None, commands=False), _NOBODY)
                found |= readers.get(LogInterest(name, commands=False), _NOBODY)
        return found


def _plain(interest: LogInterest) -> LogInterest:
    # A stream holds no commands.
    return interest if interest.stream is None else interest._replace(commands=False)


_NOBODY: set[Any] = set()


class KeyInterests(Generic[R]):
    """Readers by the rows they want; None wants everything."""

    def __init__(self) -> None:
        self._all: set[R] = set()
        self._tables: dict[tuple[str, str], _Keys[R]] = {}

    def add(self, reader: R, wanted: ChangeFilter | None) -> None:
        """Let a reader wait for rows."""
        if wanted is None:
            self._all.add(reader)
        else:
            keys = self._tables.setdefault((wanted.table, wanted.column), _Keys())
            keys.add(reader, wanted.start, wanted.end)

    def remove(self, reader: R, wanted: ChangeFilter | None) -> None:
        """Forget a reader that waited for them."""
        if wanted is None:
            self._all.discard(reader)
            return
        where = (wanted.table, wanted.column)
        keys = self._tables.get(where)
        if keys is not None:
            keys.remove(reader, wanted.start, wanted.end)
            if keys.is_empty:
                del self._tables[where]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """The tables somebody waits for, each with the column that is looked at."""
        return list(self._tables)

    @property
    def everything(self) -> set[R]:
        """Whom any change concerns."""
        return self._all

    def matching(self, table: str, column: str, key: bytes) -> set[R]:
        """Return whom a change of the row with that key concerns."""
        keys = self._tables.get((table, column))
        return set() if keys is None else keys.matching(key)


class _Keys(Generic[R]):
    """Ranges of one column: by prefix where a range is all that begins with one, else in a list."""

    def __init__(self) -> None:
        self._prefixes: dict[bytes, set[R]] = {}
        self._lengths: dict[int, int] = {}
        """How many prefixes there are of each length."""
        self._keys: dict[bytes, set[R]] = {}
        self._ranges: dict[tuple[bytes, bytes], set[R]] = {}

    @property
    def is_empty(self) -> bool:
        return not (self._prefixes or self._keys or self._ranges)

    def add(self, reader: R, start: bytes, end: bytes) -> None:
        if end == start + b"\x00":
            self._keys.setdefault(start, set()).add(reader)
        elif end == prefix_end(start):
            if start not in self._prefixes:
                self._prefixes[start] = set()
                self._lengths[len(start)] = self._lengths.get(len(start), 0) + 1
            self._prefixes[start].add(reader)
        else:
            self._ranges.setdefault((start, end), set()).add(reader)

    def remove(self, reader: R, start: bytes, end: bytes) -> None:
        if end == start + b"\x00":
            _discard(self._keys, start, reader)
        elif end == prefix_end(start):
            if _discard(self._prefixes, start, reader):
                self._lengths[len(start)] -= 1
                if not self._lengths[len(start)]:
                    del self._lengths[len(start)]
        else:
            _discard(self._ranges, (start, end), reader)

    def matching(self, key: bytes) -> set[R]:
        found = set(self._keys.get(key, ()))
        for length in self._lengths:
            if length <= len(key):
                found |= self._prefixes.get(key[:length], set())
        for (start, end), readers in self._ranges.items():
            if start <= key and (not end or key < end):
                found |= readers
        return found


K = TypeVar("K")


def _discard(sets: dict[K, set[R]], key: K, reader: R) -> bool:
    """Take a reader out of a set; return whether the set is gone by it."""
    readers = sets.get(key)
    if readers is None:
        return False
    readers.discard(reader)
    if readers:
        return False
    del sets[key]
    return True
