"""The reads of the key-value machine: pages, directions, counts, leases, and bad requests."""

from __future__ import annotations

import pytest

from raftlog.errors import InvalidInput
from raftlog.machines.kv import layout, queries
from raftlog.wire.pb import kv_pb2 as pb

from .words import KvHarness, get, put


@pytest.fixture(scope="module")
def kv() -> KvHarness:
    """Return a machine that holds keys 00..24, whose values are their names, and a lease."""
    harness = KvHarness()
    for number in range(25):
        harness.run(put(b"%02d" % number, b"%02d" % number))
    lease = harness.grant(30.0)
    harness.run(put(b"held", lease=lease))
    return harness


def names(answer: pb.KvAnswer) -> list[bytes]:
    """Return the keys of an answer."""
    return [one.key for one in answer.key_values]


def test_get(kv: KvHarness) -> None:
    """A get answers the key with its history, or that it is not there."""
    answer = kv.ask(get=get(b"07"))
    assert answer.found
    assert answer.key_values[0] == pb.KeyValue(
        key=b"07", value=b"07", revision=8, created=8, version=1
    )
    assert kv.ask(get=get(b"none")) == pb.KvAnswer()


def test_range_bounds(kv: KvHarness) -> None:
    """A range holds its start, not its end; an empty end means to the last key."""
    assert names(kv.ask(range=pb.Range(start=b"05", end=b"08"))) == [b"05", b"06", b"07"]
    assert names(kv.ask(range=pb.Range(start=b"23"))) == [b"23", b"24", b"held"]
    assert len(names(kv.ask(range=pb.Range()))) == 26
    empty = kv.ask(range=pb.Range(start=b"08", end=b"05"))
    assert empty == pb.KvAnswer()


def test_range_never_leaves_the_keys(kv: KvHarness) -> None:
    """No bounds let a lease or an index entry into an answer."""
    for bounds in ({}, {"start": b"\xff" * 401}, {"end": b"\xff" * 401}):
        found = names(kv.ask(range=pb.Range(**bounds)))
        assert set(found) <= set(kv.keys())


@pytest.mark.parametrize("reverse", [False, True])
def test_pages_join_without_gap_or_repeat(kv: KvHarness, reverse: bool) -> None:
    """Following `more` from page to page gives every key once, in order, in both directions."""
    found: list[bytes] = []
    start, end = b"", b""
    while True:
        answer = kv.ask(range=pb.Range(start=start, end=end, limit=4, reverse=reverse))
        found += names(answer)
        assert answer.count == len(answer.key_values) <= 4
        if not answer.more:
            break
        if reverse:
            end = found[-1]
        else:
            start = found[-1] + b"\x00"
    assert found == sorted(kv.keys(), reverse=reverse)


def test_more_is_exact(kv: KvHarness) -> None:
    """`more` is false when the page ends with the range."""
    exact = kv.ask(range=pb.Range(start=b"00", end=b"04", limit=4))
    assert (exact.more, exact.count) == (False, 4)
    assert kv.ask(range=pb.Range(start=b"00", end=b"05", limit=4)).more


def test_keys_only(kv: KvHarness) -> None:
    """Without values the history is there."""
    answer = kv.ask(range=pb.Range(start=b"03", end=b"04", keys_only=True))
    assert answer.key_values[0] == pb.KeyValue(key=b"03", revision=4, created=4, version=1)


def test_count_only(kv: KvHarness) -> None:
    """A count answers a number, and where to go on when there is more to count."""
    assert kv.ask(range=pb.Range(count_only=True)) == pb.KvAnswer(found=True, count=26)
    part = kv.ask(range=pb.Range(start=b"00", limit=10, count_only=True))
    assert (part.count, part.more, names(part)) == (10, True, [b"09"])


def test_pages_are_bounded_by_keys() -> None:
    """A page holds a thousand keys, whatever the request asks for."""
    kv = KvHarness()
    for number in range(queries.PAGE_KEYS_MAX + 1):
        kv.run(put(b"%05d" % number))
    for limit in (0, 5_000):
        answer = kv.ask(range=pb.Range(limit=limit))
        assert (len(answer.key_values), answer.more) == (1_000, True)
    assert kv.ask(range=pb.Range(count_only=True)).count == 1_001


def test_pages_are_bounded_by_bytes() -> None:
    """A page ends before it passes a MiB, and holds at least one key."""
    kv = KvHarness()
    for key in (b"a", b"b", b"c"):
        kv.run(put(key, b"x" * (queries.PAGE_BYTES_MAX * 2 // 3)))
    kv.run(put(b"d", b"x" * (queries.PAGE_BYTES_MAX * 2)))
    assert names(kv.ask(range=pb.Range())) == [b"a"]
    assert names(kv.ask(range=pb.Range(start=b"d"))) == [b"d"]
    assert kv.ask(range=pb.Range(keys_only=True)).count == 4


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_page_that_is_just_full_by_bytes_is_full(beyond: int) -> None:
    """Values, keys and what is kept of each count; one byte over, and the key begins the next."""
    kv = KvHarness()
    kv.run(put(b"a", b"x" * 1000))
    taken = sum(len(key) + len(stored) for key, stored in kv.state.pairs.items())
    rest = queries.PAGE_BYTES_MAX - taken - (taken - 1000)
    kv.run(put(b"b", b"x" * (rest + beyond)))
    answer = kv.ask(range=pb.Range())
    assert (names(answer), answer.more) == ([b"a"] if beyond > 0 else [b"a", b"b"], beyond > 0)


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 6, 0])
def test_pages_of_leases_join_without_gap_or_repeat(limit: int) -> None:
    """Each lease comes once, in order; `more` is false when the page ends with the leases."""
    kv = KvHarness()
    made = [kv.grant(10.0 + number) for number in range(5)]
    kv.run(put(b"held", lease=made[1]))
    found: list[pb.LeaseStatus] = []
    more = True
    while more:
        after = found[-1].lease if found else 0
        answer = kv.ask(leases=pb.LeaseList(after=after, limit=limit))
        assert answer.count == len(answer.leases) == min(limit or 5, 5 - len(found))
        assert answer.found
        found += answer.leases
        more = answer.more
    assert [(each.lease, each.ttl_seconds, each.key_count) for each in found] == [
        (lease, 10.0 + number, int(number == 1)) for number, lease in enumerate(made)
    ]
    assert not any(each.HasField("left_seconds") for each in found)
    assert kv.ask(leases=pb.LeaseList(after=made[-1])) == pb.KvAnswer()


def test_a_page_of_leases_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are asked for."""
    kv = KvHarness()
    made = [kv.grant() for _ in range(4)]
    monkeypatch.setattr(queries, "PAGE_KEYS_MAX", 3)
    for limit in (0, 4, 1000):
        answer = kv.ask(leases=pb.LeaseList(limit=limit))
        assert ([each.lease for each in answer.leases], answer.more) == (made[:3], True)


def test_lease(kv: KvHarness) -> None:
    """A lease answers its time and its keys, or that it is not there."""
    answer = kv.ask(lease=pb.LeaseInfo(lease=26))
    assert (answer.found, answer.ttl_seconds, list(answer.lease_keys)) == (True, 30.0, [b"held"])
    for absent in (0, 5, 2**64 - 1):
        assert not kv.ask(lease=pb.LeaseInfo(lease=absent)).found


def test_what_is_left_of_a_lease_is_told_where_it_is_measured(kv: KvHarness) -> None:
    """By the leader, of one lease and of a page of them, also when that is nothing."""
    for left in (12.5, 0.0):
        for body in (pb.LeaseInfo(lease=26), pb.LeaseList()):
            name = "lease" if isinstance(body, pb.LeaseInfo) else "leases"
            request = pb.KvQuery(**{name: body}).SerializeToString()
            told = queries.query(request, kv.state, lambda *_, left=left: left)
            [status] = pb.KvAnswer.FromString(told).leases
            assert status.HasField("left_seconds")
            assert (status.lease, status.left_seconds) == (26, left)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\xff\xff",
        b"\x0a\x09x",
        pb.KvQuery(get=get(b"")).SerializeToString(),
        pb.KvQuery(get=get(b"x" * (layout.KEY_BYTES_MAX + 1))).SerializeToString(),
        pb.KvQuery(range=pb.Range(start=b"x" * 402)).SerializeToString(),
        pb.KvQuery(range=pb.Range(end=b"x" * 402)).SerializeToString(),
    ],
)
def test_bad_queries_are_the_callers_mistake(kv: KvHarness, request_bytes: bytes) -> None:
    """A query that does not parse, asks nothing, or cannot name a key raises InvalidInput."""
    with pytest.raises(InvalidInput):
        kv.query(request_bytes)
