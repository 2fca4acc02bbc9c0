"""Values as people write them."""

from __future__ import annotations

import pytest

from raftlog.config import values
from raftlog.errors import InvalidInput


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        (0.1, 0.1), (5, 5.0), ("100 ms", 0.1), ("100ms", 0.1), ("250 us", 0.00025), ("5", 5.0),
        ("2 m", 120.0), ("15 min", 900.0), ("1 h", 3600.0), ("7 d", 604800.0), (".5 s", 0.5),
    ],
)  # fmt: skip
def test_durations(raw, seconds):
    """A duration is a number of seconds, or text with a unit."""
    assert values.parse_duration(raw) == pytest.approx(seconds)


@pytest.mark.parametrize("raw", ["fast", "", "-1 s", -1, True, None, "1 fortnight", "nan", "1e3"])
def test_wrong_durations(raw):
    """What is no duration is refused with an example of one."""
    with pytest.raises(ValueError, match='expected a duration.*"100 ms"'):
        values.parse_duration(raw)


def test_infinite_numbers_are_no_durations():
    """A number that is not finite is no duration, though TOML can write it."""
    for raw in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match="expected a duration"):
            values.parse_duration(raw)


@pytest.mark.parametrize(
    ("raw", "size"),
    [(0, 0), (1024, 1024), ("64 KiB", 65536), ("4MiB", 4 << 20), ("10 GiB", 10 << 30),
     ("500 MB", 500_000_000), ("0.5 KiB", 512), ("7", 7), ("2 tib", 2 << 40)],
)  # fmt: skip
def test_sizes(raw, size):
    """A size is a number of bytes, or text with a binary or decimal unit."""
    assert values.parse_size(raw) == size


@pytest.mark.parametrize("raw", ["big", "-1", -1, False, "1.5 B", "3 PiB", 1.5])
def test_wrong_sizes(raw):
    """What is no whole number of bytes is refused with an example."""
    with pytest.raises(ValueError, match='expected a size.*"4 MiB"'):
        values.parse_size(raw)


@pytest.mark.parametrize(("raw", "count"), [(3, 3), ("3", 3), ("1_000", 1000), ("-2", -2)])
def test_counts(raw, count):
    """A count is a whole number, or its digits."""
    assert values.parse_count(raw) == count


@pytest.mark.parametrize("raw", [True, 1.0, "x", "", None, [1]])
def test_wrong_counts(raw):
    """A truth value or a fraction is no count."""
    with pytest.raises(ValueError, match="expected a whole number"):
        values.parse_count(raw)


@pytest.mark.parametrize(("raw", "number"), [(0, 0), (0.05, 0.05), ("5 %", 0.05), ("0.5", 0.5)])
def test_fractions(raw, number):
    """A fraction may be written in percent."""
    assert values.parse_fraction(raw) == pytest.approx(number)


@pytest.mark.parametrize("raw", [1, "100 %", -0.1, "x", True, None])
def test_wrong_fractions(raw):
    """A fraction is from 0 to below 1."""
    with pytest.raises(ValueError, match="expected a fraction"):
        values.parse_fraction(raw)


@pytest.mark.parametrize(
    ("raw", "truth"), [(True, True), (False, False), ("yes", True), ("0", False), ("ON", True)]
)
def test_booleans(raw, truth):
    """A truth value may come as a word, because the environment has only words."""
    assert values.parse_boolean(raw) is truth


@pytest.mark.parametrize("raw", ["perhaps", 1, None])
def test_wrong_booleans(raw):
    """Other words and numbers are no truth values."""
    with pytest.raises(ValueError, match="expected true or false"):
        values.parse_boolean(raw)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:7101", "127.0.0.1", 7101), ("db1.example.org:1", "db1.example.org", 1),
     ("[::1]:7101", "::1", 7101), ("localhost:0", "localhost", 0)],
)  # fmt: skip
def test_addresses(text, host, port):
    """An address is HOST:PORT, with brackets around an IPv6 host."""
    assert values.split_address(text) == (host, port)
    assert values.parse_address(text) == text


@pytest.mark.parametrize(
    "text", ["7101", ":7101", "host", "host:", "host:x", "host:65536", "::1:7"]
)
def test_wrong_addresses(text):
    """What lacks a host or a legal port is refused, here and as a setting."""
    with pytest.raises(InvalidInput, match="expected HOST:PORT"):
        values.split_address(text)
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        values.parse_address(text)


def test_an_empty_address_means_none():
    """An address that is switched off is written as empty text."""
    assert values.parse_address("") == ""


def test_members_from_text_and_table():
    """Members may be written as text or as a TOML table; they come out sorted."""
    expected = (("n1", "a:1"), ("n2", "b:2"))
    assert values.parse_members("n2=b:2, n1=a:1,") == expected
    assert values.parse_members({"n2": "b:2", "n1": "a:1"}) == expected


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("n1", "expected members|HOST:PORT"),
        ("n1=a", 'expected HOST:PORT.*in member "n1=a"'),
        ("=a:1", "expected members"),
        ("n 1=a:1", 'expected an id.*in member "n 1=a:1"'),
        ("n1=a:1,n1=b:2", "every member's id"),
        ("n1=a:1,n2=a:1", "every member's address"),
        ("n1=a:1,n2=A.:01", "every member's address"),
        (7, "expected members"),
    ],
)
def test_wrong_members(raw, why):
    """A list of members that cannot be one is refused, naming the member."""
    with pytest.raises(ValueError, match=why):
        values.parse_members(raw)


@pytest.mark.parametrize("raw", ["-n1", "n/1", "é", "x" * 65, "a b"])
def test_wrong_node_ids(raw):
    """An id that could not be a file's or a label's name is refused."""
    with pytest.raises(ValueError, match="expected an id"):
        values.parse_node_id(raw)


def test_addresses_are_checked_one_by_one():
    """Several are one text, in order, without repeats; an empty one stays empty."""
    assert values.parse_addresses(" b:2, a:1,b:2,") == "b:2,a:1"
    assert values.parse_addresses("") == ""
    with pytest.raises(ValueError, match="HOST:PORT"):
        values.parse_addresses("a:1,b")
