"""Named consumers as replicated state: who reads under which name, and how far each has come.

They live beside the sessions, in the same table and in entries of the same kind, so snapshots,
backups and restored clusters carry them. What an entry does to them follows from the entry alone.

Rule: a position goes back by a reset only, and whoever read before the reset commits no more. A
consumer's generation is the index of the entry that made or reset it, and a commit names it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

import msgpack

from raftlog.errors import InvalidInput, StorageCorrupt
from raftlog.interfaces import CONSUMER_PREFIX

ConsumerWrites = dict[bytes, bytes | None]

VERB = "consumers"
"""How an entry of the sessions' kind begins that is about consumers."""
CHANGES_MAX = 1000
"""In one entry."""


class ConsumerVerb(enum.Enum):
    """What a change does to a consumer."""

    CREATE = "create"
    COMMIT = "commit"
    RESET = "reset"
    DELETE = "delete"
    RELEASE = "release"
    """The log is kept for it no longer, until it moves on."""


@dataclasses.dataclass(frozen=True, slots=True)
class ConsumerChange:
    """One change; `generation` and `position` where the verb needs them."""

    verb: ConsumerVerb
    name: str
    generation: int = 0
    position: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """One consumer as applied.

    `position`: the last sequence committed under its name. `holds`: whether the log behind it is
    kept. `committed_at`: the timestamp of the entry that moved it last. `released_to`: its hold was
    given up, and comes back once it has read up to this sequence.
    """

    position: int
    generation: int
    holds: bool
    committed_at: int
    released_to: int = 0


def encode_consumers(changes: Iterable[ConsumerChange]) -> bytes:
    """Return the payload of an entry of the sessions' kind that changes consumers."""
    what = [[each.verb.value, each.name, each.generation, each.position] for each in changes]
    return bytes(msgpack.packb([VERB, what]))


def decode_consumers(payload: bytes) -> list[ConsumerChange] | None:
    """Return what such an entry says of consumers, or None where it is about sessions.

    Raises `InvalidInput` where it does not parse.
    """
    try:
        verb, what = msgpack.unpackb(payload)
        if verb != VERB:
            return None
        return [
            ConsumerChange(ConsumerVerb(each), _text(name), _number(generation), _number(position))
            for each, name, generation, position in what
        ]
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise InvalidInput(f"changes of consumers do not parse: {error}") from None


class ConsumerTable:
    """The consumers by name. Every change returns the writes that make it durable."""

    def __init__(self) -> None:
        self.consumers: dict[str, Consumer] = {}

    def clear(self) -> None:
        """Forget all, before they are read back."""
        self.consumers = {}

    def load(self, key: bytes, value: bytes) -> None:
        """Take one as it is stored; raises `StorageCorrupt`."""
        try:
            position, generation, holds, committed_at, released_to = msgpack.unpackb(value)
            self.consumers[key[len(CONSUMER_PREFIX) :].decode()] = Consumer(
                position=_number(position),
                generation=_number(generation),
                holds=bool(holds),
                committed_at=_number(committed_at),
                released_to=_number(released_to),
            )
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise StorageCorrupt(f"a consumer does not parse: {error}") from None

    def apply(
        self, changes: Iterable[ConsumerChange], index: int, timestamp: int
    ) -> ConsumerWrites:
        """Apply the changes of the entry at `index`."""
        writes: ConsumerWrites = {}
        for change in changes:
            known = self.consumers.get(change.name)
            found = _changed(known, change, index, timestamp)
            if found is known:
                continue
            key = CONSUMER_PREFIX + change.name.encode()
            if found is None:
                del self.consumers[change.name]
                writes[key] = None
                continue
            self.consumers[change.name] = found
            writes[key] = bytes(msgpack.packb(dataclasses.astuple(found)))
        return writes


def _changed(
    known: Consumer | None, change: ConsumerChange, index: int, timestamp: int
) -> Consumer | None:
    """Return what becomes of a consumer; `known` itself where nothing does."""
    made = Consumer(position=change.position, generation=index, holds=True, committed_at=timestamp)
    if known is None:
        return made if change.verb is ConsumerVerb.CREATE else None
    match change.verb:
        case ConsumerVerb.RESET:
            return made
        case ConsumerVerb.DELETE:
            return None
        case ConsumerVerb.COMMIT:
            is_news = change.position > known.position
            if is_news and change.generation == known.generation:
                return dataclasses.replace(
                    made,
                    generation=known.generation,
                    holds=known.holds or change.position >= known.released_to,
                    released_to=known.released_to,
                )
        case ConsumerVerb.RELEASE:
            # One that is beyond that by now is read: what it holds is not given up.
            is_same = change.generation == known.generation and known.position <= change.position
            if is_same and known.holds:
                return dataclasses.replace(known, holds=False, released_to=change.position)
        case ConsumerVerb.CREATE:
            pass  # somebody was faster
    return known


def _number(number: object) -> int:
    if type(number) is not int or number < 0:
        raise TypeError(f"{number!r} is no number")
    return number


def _text(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is no name")
    return name
