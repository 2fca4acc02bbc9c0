"""The words every layer shares: errors and what they say happened, positions, checksums."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog import checksum, errors, types
from raftlog.errors import (
    ERROR_BY_CODE,
    Indeterminate,
    InvariantBroken,
    LeaderHint,
    NotLeader,
    RaftLogError,
    invariant,
)
from raftlog.types import ZERO, Index, Position, Term

# ---------------------------------------------------------------- errors

INDEFINITE = {
    "indeterminate",
    "invariant_broken",
    "leadership_lost",
    "machine_halted",
    "storage_corrupt",
    "storage_error",
}


def tree(root: type[RaftLogError]) -> list[type[RaftLogError]]:
    """Return every error class of raftlog itself, each once."""
    found = [root]
    for child in root.__subclasses__():
        found += tree(child)
    return [one for one in dict.fromkeys(found) if one.__module__ == "raftlog.errors"]


def test_codes_name_one_error_each() -> None:
    """Every error of the module has a code of its own, and the table finds it."""
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, RaftLogError)
    }
    assert defined == set(tree(RaftLogError))
    assert {error.code: error for error in defined} == ERROR_BY_CODE
    assert len(ERROR_BY_CODE) == len(defined)


def test_which_errors_leave_the_outcome_open() -> None:
    """By default exactly these errors mean that it may have happened."""
    assert {
        code for code, error in ERROR_BY_CODE.items() if not error("why").definite
    } == INDEFINITE


@pytest.mark.parametrize("error", ERROR_BY_CODE.values(), ids=ERROR_BY_CODE.keys())
def test_every_error_can_be_made_indefinite(error: type[RaftLogError]) -> None:
    """An earlier attempt that may have happened makes any error indefinite, and nothing else."""
    hint = LeaderHint("n1", "127.0.0.1:7101", 3)
    first = error("why", leader=hint)
    second = first.indefinite()
    assert type(second) is error
    assert not second.definite
    assert (second.message, second.leader, str(second)) == ("why", hint, "why")
    assert second.indefinite() is second
    assert error("why", definite=True).definite


def test_definite_is_the_classs_unless_said() -> None:
    """One class can carry both answers; the instance decides."""
    assert NotLeader("why").definite
    assert not NotLeader("why", definite=False).definite
    assert not Indeterminate("why").definite


def test_invariant_stops_only_when_broken() -> None:
    """A true condition passes; a false one raises what stops the node."""
    invariant(1, "fine")
    with pytest.raises(InvariantBroken, match="^broken$"):
        invariant([], "broken")


# ---------------------------------------------------------------- types

positions = st.builds(Position, st.integers(0, 5).map(Term), st.integers(0, 5).map(Index))


@given(positions, positions)
def test_positions_order_logs(one: Position, other: Position) -> None:
    """A later term wins over any length, and within a term the longer log wins (§3.6.1)."""
    expected = one.term > other.term or (one.term == other.term and one.index > other.index)
    assert (one > other) is expected
    assert one >= ZERO


def test_column_types_have_their_public_names() -> None:
    """Each column type is a name of the module, as machines write it."""
    for member in types.ColumnType:
        assert getattr(types, member.name.capitalize()) is member


def test_enum_values_do_not_change() -> None:
    """The words that go over the wire and into output stay what they are."""
    assert [role.value for role in types.Role] == [
        "follower",
        "pre_candidate",
        "candidate",
        "leader",
    ]
    assert [one.value for one in types.Consistency] == [
        "linearizable",
        "lease",
        "follower",
        "stale",
    ]


# ---------------------------------------------------------------- checksums


def naive_crc32c(data: bytes) -> int:
    """Return the CRC32C of `data`, bit by bit (RFC 3720, polynomial 0x1EDC6F41 reflected)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_crc32c_knows_the_published_values() -> None:
    """The check value of CRC-32C and the vectors of RFC 3720, B.4."""
    assert checksum.crc32c(b"123456789") == 0xE3069283
    assert checksum.crc32c(bytes(32)) == 0x8A9136AA
    assert checksum.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert checksum.crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(max_size=100), st.integers(0, 100))
def test_crc32c_is_the_naive_one_and_continues(data: bytes, cut: int) -> None:
    """The library agrees with the definition, whole, in two parts, and over a memoryview."""
    expected = naive_crc32c(data)
    assert checksum.crc32c(data) == expected
    assert checksum.crc32c(memoryview(data)) == expected
    assert checksum.crc32c(data[cut:], checksum.crc32c(data[:cut])) == expected


ENTRY: dict[str, int | bytes] = {
    "previous": 0x12345678,
    "term": 3,
    "index": 9,
    "kind": 1,
    "codec": 0,
    "first_sequence": 100,
    "count": 2,
    "timestamp": 1_700_000_000_000_000,
    "payload": b"payload",
}


def seal(**changes: int | bytes) -> int:
    """Return the checksum of ENTRY with changes."""
    return checksum.chain(**{**ENTRY, **changes})


def test_the_chain_is_what_version_1_wrote() -> None:
    """A golden: the checksum of an entry, computed from its definition."""
    header = b"".join(
        value.to_bytes(size, "little")
        for value, size in (
            (0x12345678, 4),
            (3, 8),
            (9, 8),
            (1, 1),
            (0, 1),
            (100, 8),
            (2, 4),
            (1_700_000_000_000_000, 8),
            (7, 4),
            (naive_crc32c(b"payload"), 4),
        )
    )
    assert seal() == naive_crc32c(header)


def test_the_chain_covers_every_field() -> None:
    """A change of any one field, or of any one bit of the payload, changes the checksum."""
    found = {seal()}
    for name, value in ENTRY.items():
        if isinstance(value, int):
            found.add(seal(**{name: value + 1}))
    payload = b"payload"
    for at, bit in itertools.product(range(len(payload)), range(8)):
        flipped = bytearray(payload)
        flipped[at] ^= 1 << bit
        found.add(seal(payload=bytes(flipped)))
    found.add(seal(payload=b"payload\x00"))
    assert len(found) == 1 + 8 + 56 + 1


def test_logs_that_agree_at_an_index_agree_below_it(seed: int) -> None:
    """One entry changed anywhere changes every checksum after it."""
    dice = random.Random(seed)
    payloads = [dice.randbytes(20) for _ in range(50)]

    def sealed(entries: list[bytes]) -> list[int]:
        chain, previous = [], 0
        for index, payload in enumerate(entries, 1):
            previous = seal(previous=previous, index=index, payload=payload)
            chain.append(previous)
        return chain

    changed = dice.randrange(50)
    other = [*payloads[:changed], dice.randbytes(20), *payloads[changed + 1 :]]
    one, two = sealed(payloads), sealed(other)
    assert one[:changed] == two[:changed]
    assert all(a != b for a, b in zip(one[changed:], two[changed:], strict=True))
