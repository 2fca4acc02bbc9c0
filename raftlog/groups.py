"""The framing of a group: the transactions that travel, are stored and are tailed as one entry.

A group is packed once, by the client, and never again: the leader appends the bytes as its entry's
payload, followers store them as they came, a tail ships them as they lie. Everything that reads or
writes the framing lives in this file. Layout, little-endian::

    u8  version = 1        u8  tag_count (1..255)     u16 zero
    u32 count (>= 1)       u64 session (0 = none)     u64 number     u64 lowest_unanswered
    tag_count x { u8 kind (0 opaque, 1 command), u8 name_length, name (UTF-8 stream name) }
    u32 length[count]
    u8  tag[count]         only when tag_count > 1
    payload bytes, one after another

The check costs no object per transaction: a table of lengths summed against the size of the rest.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import struct
from collections.abc import Iterator, Sequence

from raftlog.errors import InvalidGroup, InvalidInput, TooLarge
from raftlog.types import STREAM_NAME_BYTES_MAX

VERSION = 1
TAG_COUNT_MAX = 255
TRANSACTION_COUNT_MAX = 65_536
HEADER_BYTES = 32
TRANSACTION_OVERHEAD_BYTES = 5
"""What a transaction takes in a group besides its payload, at most: a length and a tag."""

_HEADER = struct.Struct("<BBHIQQQ")


class TransactionKind(enum.IntEnum):
    """Opaque: ordered, stored and tailed only. Command: handed to the state machine as well."""

    OPAQUE = 0
    COMMAND = 1


_KINDS = tuple(TransactionKind)

Tag = tuple[TransactionKind, str]
OPAQUE_TAG: Tag = (TransactionKind.OPAQUE, "")
COMMAND_TAG: Tag = (TransactionKind.COMMAND, "")
KV_COMMAND_TAG: Tag = (TransactionKind.COMMAND, "kv")
"""The name in a command's tag is the machine it is meant for; "" is whatever the cluster runs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction inside a parsed group; `offset` counts from the group's first (0)."""

    offset: int
    kind: TransactionKind
    stream: str
    payload: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """A group whose framing was checked.

    `tags` is empty when all transactions carry `tag_table[0]`.
    """

    data: bytes
    count: int
    session: int
    number: int
    lowest_unanswered: int
    tag_table: tuple[Tag, ...]
    lengths: tuple[int, ...]
    tags: bytes
    payload_offset: int
    has_commands: bool
    """Whether the state machine has anything to do here."""

    @property
    def streams(self) -> tuple[str, ...]:
        """The named streams this group touches, without repeats; the unnamed one is not listed."""
        return tuple(
            dict.fromkeys(
                name for kind, name in self.tag_table if name and kind is TransactionKind.OPAQUE
            )
        )

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines that commands in this group are meant for, by name."""
        return tuple(
            name for kind, name in self.tag_table if name and kind is TransactionKind.COMMAND
        )

    def transactions(self) -> Iterator[Transaction]:
        """Yield the transactions in order, each with its own copy of its payload."""
        table, tags, data = self.tag_table, self.tags, self.data
        start = self.payload_offset
        for offset, length in enumerate(self.lengths):
            kind, stream = table[tags[offset]] if tags else table[0]
            yield Transaction(offset, kind, stream, data[start : start + length])
            start += length

    def payloads(self) -> list[bytes]:
        """Return all payloads in order."""
        data = self.data
        ends = list(itertools.accumulate(self.lengths, initial=self.payload_offset))
        return [data[a:b] for a, b in itertools.pairwise(ends)]


def check_stream(name: str) -> str:
    """Return `name` if it can name a stream, else raise `InvalidInput`."""
    if not isinstance(name, str):
        raise InvalidInput(f"stream name is {type(name).__name__}, expected text")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"stream name is no valid text: {name!r}") from None
    if len(name.encode()) > STREAM_NAME_BYTES_MAX:
        raise InvalidInput(f"stream name is over {STREAM_NAME_BYTES_MAX} bytes: {name[:40]!r}...")
    if not name.isprintable():
        raise InvalidInput(f"stream name has unprintable characters: {name!r}")
    return name


def tag_bytes(tag: Tag) -> int:
    """Return what a group's table takes for `tag`."""
    return 2 + len(tag[1].encode())


def pack(
    payloads: Sequence[bytes],
    tags: Sequence[Tag] | Tag = OPAQUE_TAG,
    *,
    session: int = 0,
    number: int = 0,
    lowest_unanswered: int = 0,
) -> bytes:
    """Return the bytes of a group. `tags` is one tag for all, or one for each payload."""
    if not payloads:
        raise InvalidInput("a group needs at least one transaction")
    table: dict[Tag, int]
    column = b""
    if isinstance(tags, tuple) and len(tags) == 2 and isinstance(tags[1], str):
        table = {tags: 0}
    else:
        table = {}
        column = bytes([table.setdefault(tag, len(table)) for tag in tags])
        if len(table) == 1:
            column = b""
    names = b"".join(
        bytes((kind, len(encoded))) + encoded
        for kind, encoded in ((kind, name.encode()) for kind, name in table)
    )
    count = len(payloads)
    return b"".join(
        (
            _HEADER.pack(VERSION, len(table), 0, count, session, number, lowest_unanswered),
            names,
            struct.pack(f"<{count}I", *map(len, payloads)),
            column,
            *payloads,
        )
    )


def parse(data: bytes, *, transaction_bytes_max: int | None = None) -> Group:
    """Check the framing of `data` and return it as a `Group`.

    Raises:
        InvalidGroup: truncated, empty, or its counts and lengths do not add up.
        TooLarge: a transaction is over `transaction_bytes_max`.
    """
    if len(data) < HEADER_BYTES:
        raise InvalidGroup(
            f"group of {len(data)} bytes is shorter than its {HEADER_BYTES}-byte header"
        )
    version, tag_count, zero, count, session, number, lowest = _HEADER.unpack_from(data)
    if version != VERSION or zero != 0:
        raise InvalidGroup(f"group framing version {version} is not known here")
    if not 1 <= count <= TRANSACTION_COUNT_MAX:
        raise InvalidGroup(
            f"group claims {count} transactions; 1 to {TRANSACTION_COUNT_MAX} are legal"
        )
    if lowest > number:
        raise InvalidGroup(f"lowest unanswered number {lowest} is above the group's own {number}")
    table, start, has_commands = _parse_tags(data, tag_count)
    end = start + 4 * count
    payload_offset = end + (count if tag_count > 1 else 0)
    if payload_offset > len(data):
        raise InvalidGroup(f"group ends inside its table of {count} lengths")
    lengths = struct.unpack_from(f"<{count}I", data, start)
    if sum(lengths) != len(data) - payload_offset:
        raise InvalidGroup(
            f"lengths add up to {sum(lengths)} bytes, {len(data) - payload_offset} bytes follow"
        )
    tags = data[end:payload_offset]
    if tags and max(tags) >= tag_count:
        raise InvalidGroup(f"a transaction names tag {max(tags)} of {tag_count}")
    if transaction_bytes_max is not None and max(lengths) > transaction_bytes_max:
        raise TooLarge(
            f"transaction of {max(lengths)} bytes is over the limit of "
            f"{transaction_bytes_max} bytes"
        )
    return Group(
        data, count, session, number, lowest, table, lengths, tags, payload_offset, has_commands
    )


def peek(data: bytes) -> tuple[int, int, int]:
    """Return (count, session, number) as the header claims them, zeros where it is too short.

    Nothing is checked: it is for correlating an answer with a group that may be refused.
    """
    if len(data) < HEADER_BYTES:
        return 0, 0, 0
    _, _, _, count, session, number, _ = _HEADER.unpack_from(data)
    return count, session, number


def tags_of(data: bytes) -> tuple[Tag, ...]:
    """Return the kinds and streams of a group, without looking at its transactions.

    Raises:
        InvalidGroup: its table of tags does not parse.
    """
    if len(data) < HEADER_BYTES:
        raise InvalidGroup(f"group of {len(data)} bytes is shorter than its header")
    return _parse_tags(data, data[1])[0]


def has_commands(data: bytes) -> bool:
    """Return whether a group seems to hold commands; True where it does not parse."""
    if len(data) < HEADER_BYTES:
        return True
    at = HEADER_BYTES
    for _ in range(data[1]):
        if at + 2 > len(data) or data[at] != TransactionKind.OPAQUE:
            return True
        at += 2 + data[at + 1]
    return False


def _parse_tags(data: bytes, tag_count: int) -> tuple[tuple[Tag, ...], int, bool]:
    if tag_count < 1:
        raise InvalidGroup("group has no tag")
    table: list[Tag] = []
    has_commands = False
    at = HEADER_BYTES
    for _ in range(tag_count):
        if at + 2 > len(data):
            raise InvalidGroup("group ends inside its table of tags")
        kind, length = data[at], data[at + 1]
        encoded = data[at + 2 : at + 2 + length]
        at += 2 + length
        if (
            kind > TransactionKind.COMMAND
            or length > STREAM_NAME_BYTES_MAX
            or len(encoded) < length
        ):
            raise InvalidGroup(f"tag of kind {kind} with a name of {length} bytes does not parse")
        try:
            name = encoded.decode()
        except UnicodeDecodeError:
            raise InvalidGroup("stream name is not UTF-8") from None
        if not name.isprintable():
            raise InvalidGroup(f"stream name has unprintable characters: {name!r}")
        table.append((_KINDS[kind], name))
        has_commands = has_commands or kind == TransactionKind.COMMAND
    return tuple(table), at, has_commands
