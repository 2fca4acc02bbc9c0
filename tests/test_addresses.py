"""Two spellings of one address are one place; two names never are."""

from __future__ import annotations

import pytest

from raftlog.addresses import place_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("n1.example:7101", "N1.Example:7101"),
        ("n1.example.:7101", "n1.example:07101"),
        ("[::1]:7101", "[0:0:0:0:0:0:0:1]:7101"),
        ("[::ffff:10.0.0.1]:7101", "10.0.0.1:7101"),
        (" 10.0.0.1:7101", "10.0.0.1:7101 "),
    ],
)
def test_spellings_of_one_place(one: str, other: str) -> None:
    """Case, a last dot, zeros, and forms of an IP address make no other place."""
    assert place_of(one) == place_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10.0.0.1:7101", "10.0.0.1:7102"),
        ("10.0.0.1:7101", "10.0.0.2:7101"),
        ("localhost:7101", "127.0.0.1:7101"),
        ("localhost:7101", "[::1]:7101"),
        ("n1:7101", "n1.example:7101"),
    ],
)
def test_what_only_a_resolver_knows_is_another_place(one: str, other: str) -> None:
    """A name may stand for several addresses, and for others tomorrow."""
    assert place_of(one) != place_of(other)
