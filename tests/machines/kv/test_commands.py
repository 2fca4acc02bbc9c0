"""Every command of the key-value machine, and every way it is refused."""

from __future__ import annotations

import math

import pytest

from raftlog.errors import Rejected
from raftlog.machines.kv import commands, layout
from raftlog.wire.pb import kv_pb2 as pb

from .words import KvHarness, command, delete, get, operation, put, swap, transaction

LONGEST = b"x" * layout.KEY_BYTES_MAX
TOO_LONG = LONGEST + b"x"


@pytest.fixture
def kv() -> KvHarness:
    """Return a machine with nothing in it."""
    return KvHarness()


def refused(kv: KvHarness, body: object) -> str:
    """Apply a command that must be refused without effect; return why."""
    pairs, rows = dict(kv.state.pairs), list(kv.rows)
    with pytest.raises(Rejected) as caught:
        kv.run(body)
    assert dict(kv.state.pairs) == pairs
    assert kv.rows == rows
    return caught.value.message


# ---------------------------------------------------------------- put


def test_put_counts_versions_from_creation(kv: KvHarness) -> None:
    """A key keeps the revision that made it while its version counts the changes."""
    assert kv.run(put(b"k", b"one")) == pb.KvResult(succeeded=True)
    kv.run(put(b"other"))
    kv.run(put(b"k", b"two"))
    (found,) = kv.ask(get=get(b"k")).key_values
    assert found == pb.KeyValue(key=b"k", value=b"two", revision=3, created=1, version=2)


def test_put_records_both_images(kv: KvHarness) -> None:
    """A put's row change holds the row as it was and as it is."""
    kv.run(put(b"k", b"one"))
    kv.run(put(b"k", b"two"))
    insert, update = kv.rows
    assert insert.before is None
    assert insert.after == update.before
    assert update.after == {
        "key": b"k",
        "value": b"two",
        "revision": 2,
        "created": 1,
        "version": 2,
        "lease": 0,
    }


def test_put_takes_the_longest_key_and_an_empty_value(kv: KvHarness) -> None:
    """The limits themselves are legal, under a lease too."""
    lease = kv.grant()
    kv.run(put(LONGEST, b"", lease))
    assert kv.value(LONGEST) == b""


@pytest.mark.parametrize(
    ("key", "why"),
    [(b"", "a key must not be empty"), (TOO_LONG, "a key of 401 bytes is over the limit of 400")],
)
def test_keys_of_impossible_sizes_are_refused(kv: KvHarness, key: bytes, why: str) -> None:
    """No command takes an empty key or one over the limit."""
    bodies = [
        put(key),
        delete(key),
        swap(key, b"v", 0),
        transaction(then=[put(key)]),
        transaction(then=[], otherwise=[get(key)]),
        transaction(then=[delete(key)]),
        transaction(when=[pb.Condition(key=key, exists=True)], then=[]),
    ]
    assert {refused(kv, body) for body in bodies} == {why}


def test_put_under_a_lease_that_is_not_there_is_refused(kv: KvHarness) -> None:
    """A key cannot name a lease that was never granted, or has ended."""
    assert refused(kv, put(b"k", lease=9)) == "lease 9 does not exist"
    lease = kv.grant()
    kv.run(pb.LeaseRevoke(lease=lease))
    assert refused(kv, put(b"k", lease=lease)) == f"lease {lease} does not exist"
    assert refused(kv, put(b"k", lease=2**64 - 1)).startswith("lease 18446744073709551615")


# ---------------------------------------------------------------- delete


def test_delete_one(kv: KvHarness) -> None:
    """Deleting a key counts it; deleting nothing succeeds with a count of zero."""
    kv.run(put(b"k", b"v"))
    assert kv.run(delete(b"k")) == pb.KvResult(succeeded=True, deleted=1)
    assert kv.run(delete(b"k")) == pb.KvResult(succeeded=True, deleted=0)
    assert kv.rows[-1].after is None
    assert kv.rows[-1].before["value"] == b"v"
    kv.run(put(b"k"))
    assert kv.ask(get=get(b"k")).key_values[0].version == 1


def test_delete_a_range_ends_before_its_end(kv: KvHarness) -> None:
    """A range holds its start and not its end, and an empty one deletes nothing."""
    for key in (b"a", b"b", b"b\x00", b"c"):
        kv.run(put(key))
    assert kv.run(delete(b"c", b"a")).deleted == 0
    assert kv.run(delete(b"b", b"c")).deleted == 2
    assert kv.keys() == [b"a", b"c"]
    assert kv.run(delete(b"", b"\xff" * layout.BOUND_BYTES_MAX)).deleted == 2


def test_delete_refuses_too_wide_a_range(kv: KvHarness) -> None:
    """A range over the bound is refused whole; the bound itself is deleted."""
    for number in range(layout.CHANGED_KEYS_MAX + 1):
        kv.run(put(b"%06d" % number))
    assert refused(kv, delete(b"0", b"1")) == (
        "the command changes over 1000 keys; split it into smaller ranges"
    )
    assert kv.run(delete(b"0", b"%06d" % layout.CHANGED_KEYS_MAX)).deleted == 1_000


def test_delete_refuses_too_many_bytes(kv: KvHarness) -> None:
    """Values over the bound are deleted one by one, never together."""
    half = b"x" * (layout.CHANGED_BYTES_MAX // 2)
    kv.run(put(b"a", half))
    kv.run(put(b"b", half))
    assert "over 16777216 bytes" in refused(kv, delete(b"a", b"c"))
    kv.run(put(b"a", half * 2))
    assert kv.run(delete(b"a")).deleted == 1


def test_delete_refuses_bounds_no_key_can_have(kv: KvHarness) -> None:
    """A bound is at most the successor of the longest key."""
    assert kv.run(delete(b"", LONGEST + b"\x00")).deleted == 0
    for body in (delete(b"", TOO_LONG + b"x"), delete(TOO_LONG + b"x", b"z")):
        assert refused(kv, body) == "a bound of a range is over the limit of 401 bytes"


# ---------------------------------------------------------------- compare and swap


def test_swap_at_the_right_revision(kv: KvHarness) -> None:
    """A swap at the key's revision is a put."""
    kv.run(put(b"k", b"one"))
    assert kv.run(swap(b"k", b"two", revision=1)) == pb.KvResult(succeeded=True)
    assert kv.value(b"k") == b"two"


def test_swap_at_a_wrong_revision_answers_what_is_there(kv: KvHarness) -> None:
    """A swap that fails changes nothing and says what it found."""
    kv.run(put(b"k", b"one"))
    kv.run(put(b"k", b"two"))
    result = kv.run(swap(b"k", b"three", revision=1))
    assert not result.succeeded
    assert result.current == pb.KeyValue(key=b"k", value=b"two", revision=2, created=1, version=2)
    assert kv.value(b"k") == b"two"
    assert len(kv.rows) == 2


def test_swap_at_zero_creates(kv: KvHarness) -> None:
    """Revision 0 means that the key must not exist."""
    assert kv.run(swap(b"k", b"one", revision=0)).succeeded
    assert not kv.run(swap(b"k", b"two", revision=0)).succeeded
    missing = kv.run(swap(b"absent", b"v", revision=7))
    assert not missing.succeeded
    assert not missing.HasField("current")


def test_swap_takes_a_lease(kv: KvHarness) -> None:
    """A swapped key ends with its lease, and one without a lease leaves it."""
    lease = kv.grant()
    kv.run(swap(b"k", b"v", revision=0, lease=lease))
    assert list(kv.ask(lease=pb.LeaseInfo(lease=lease)).lease_keys) == [b"k"]
    kv.run(swap(b"k", b"w", revision=2))
    assert not kv.ask(lease=pb.LeaseInfo(lease=lease)).lease_keys
    assert refused(kv, swap(b"k", b"x", revision=3, lease=99)) == "lease 99 does not exist"


# ---------------------------------------------------------------- transactions


def test_transaction_takes_then_if_all_hold(kv: KvHarness) -> None:
    """Each test of a condition decides as it says."""
    kv.run(put(b"k", b"v"))
    holding = [
        pb.Condition(key=b"k", revision=1),
        pb.Condition(key=b"none", revision=0),
        pb.Condition(key=b"k", value=b"v"),
        pb.Condition(key=b"k", exists=True),
        pb.Condition(key=b"none", exists=False),
        pb.Condition(key=b"k", revision_below=2),
        pb.Condition(key=b"none", revision_below=1),
    ]
    failing = [
        pb.Condition(key=b"k", revision=2),
        pb.Condition(key=b"k", revision=0),
        pb.Condition(key=b"k", value=b"w"),
        pb.Condition(key=b"none", value=b""),
        pb.Condition(key=b"k", exists=False),
        pb.Condition(key=b"none", exists=True),
        pb.Condition(key=b"k", revision_below=1),
    ]
    assert kv.run(transaction(when=holding, then=[])).succeeded
    for condition in failing:
        assert not kv.run(transaction(when=[*holding, condition], then=[])).succeeded


def test_transaction_is_one_revision(kv: KvHarness) -> None:
    """All keys a transaction puts have its sequence as revision."""
    kv.run(transaction(then=[put(b"a"), put(b"b")]))
    assert [one.revision for one in kv.ask(range=pb.Range()).key_values] == [1, 1]


def test_transaction_sees_its_own_writes(kv: KvHarness) -> None:
    """A get sees what stands before it in the branch, and nothing of what stands after."""
    kv.run(put(b"k", b"old"))
    result = kv.run(
        transaction(
            then=[
                get(b"k"),
                put(b"k", b"new"),
                get(b"k"),
                delete(b"k", b"l"),
                get(b"k"),
                delete(b"k"),
            ]
        )
    )
    seen = [one.key_value.value if one.found else None for one in result.results]
    assert seen == [b"old", None, b"new", None, None, None]
    assert [one.deleted for one in result.results] == [0, 0, 0, 1, 0, 0]


def test_transaction_otherwise(kv: KvHarness) -> None:
    """The other branch is taken when a condition fails, and its results are answered."""
    kv.run(put(b"lock", b"somebody"))
    result = kv.run(
        transaction(
            when=[pb.Condition(key=b"lock", exists=False)],
            then=[put(b"lock", b"me")],
            otherwise=[get(b"lock")],
        )
    )
    assert not result.succeeded
    assert result.results[0].key_value.value == b"somebody"


def test_transaction_refuses_two_puts_of_a_key(kv: KvHarness) -> None:
    """One branch puts a key once; the same key may stand in both branches."""
    twice = [put(b"k", b"1"), put(b"k", b"2")]
    why = "a branch of a transaction puts key k twice"
    assert refused(kv, transaction(then=twice)) == why
    assert refused(kv, transaction(then=[], otherwise=twice)) == why
    assert kv.run(transaction(then=[put(b"k")], otherwise=[put(b"k")])).succeeded


def test_transaction_is_bounded(kv: KvHarness) -> None:
    """The limits on conditions and operations are legal; one more is refused."""
    condition = pb.Condition(key=b"k", exists=False)
    full = [get(b"k")] * commands.OPERATIONS_MAX
    assert kv.run(transaction(when=[condition] * commands.CONDITIONS_MAX, then=full)).succeeded
    assert "at most 128 conditions" in refused(kv, transaction(when=[condition] * 129, then=[]))
    assert "at most 128 operations" in refused(kv, transaction(then=[*full, get(b"k")]))
    assert "at most 128 operations" in refused(
        kv, transaction(then=[], otherwise=[*full, get(b"k")])
    )


def test_transaction_with_an_unknown_part_is_malformed(kv: KvHarness) -> None:
    """An operation without a body, or a condition without a test, is no command of this version."""
    bodies = [
        pb.Transaction(then=[pb.Operation()]),
        pb.Transaction(otherwise=[pb.Operation()]),
        pb.Transaction(when=[pb.Condition(key=b"k")]),
    ]
    assert {refused(kv, body) for body in bodies} == {"malformed command"}


def test_transaction_fails_whole(kv: KvHarness) -> None:
    """A refusal in the middle of a branch takes back what came before it."""
    kv.run(put(b"a", b"old"))
    body = transaction(then=[put(b"a", b"new"), delete(b"a"), put(b"b", lease=77)])
    assert refused(kv, body) == "lease 77 does not exist"
    assert kv.value(b"a") == b"old"


def test_transaction_reads_are_bounded(kv: KvHarness) -> None:
    """One get of any size is answered; several over the bound are refused."""
    kv.run(put(b"big", b"x" * (commands.READ_BYTES_MAX + 1)))
    kv.run(put(b"small"))
    assert kv.run(transaction(then=[get(b"big"), get(b"none")])).results[0].found
    assert "reads over 4194304 bytes" in refused(kv, transaction(then=[get(b"small"), get(b"big")]))


def test_transaction_counts_all_its_changes(kv: KvHarness) -> None:
    """Replaced values count towards the bound too, whichever operation replaces them."""
    half = b"x" * (layout.CHANGED_BYTES_MAX // 2)
    kv.run(put(b"a", half))
    kv.run(put(b"b", half))
    assert "replaces or deletes" in refused(kv, transaction(then=[put(b"a"), delete(b"b", b"c")]))
    assert kv.run(transaction(then=[put(b"a"), put(b"c", half)])).succeeded


# ---------------------------------------------------------------- leases


def test_grant_uses_the_sequence(kv: KvHarness) -> None:
    """A lease's id is its command's sequence, so a later lease always has a higher token."""
    kv.run(put(b"k"))
    assert kv.run(pb.LeaseGrant(ttl_seconds=2.5)) == pb.KvResult(
        succeeded=True, lease=2, ttl_seconds=2.5
    )
    assert kv.grant() == 3


@pytest.mark.parametrize("ttl", [0.0, 0.999, -1.0, 86_400.5, math.inf, -math.inf, math.nan])
def test_grant_refuses_impossible_times(kv: KvHarness, ttl: float) -> None:
    """A lease lasts from a second to a day."""
    assert refused(kv, pb.LeaseGrant(ttl_seconds=ttl)).startswith("a lease lasts 1 to 86400 second")


@pytest.mark.parametrize("ttl", [1.0, 86_400.0])
def test_grant_takes_the_limits(kv: KvHarness, ttl: float) -> None:
    """The bounds themselves are legal."""
    assert kv.run(pb.LeaseGrant(ttl_seconds=ttl)).ttl_seconds == ttl


def test_revoke_deletes_its_keys_only(kv: KvHarness) -> None:
    """Ending a lease deletes the keys put with it, and no others."""
    first, second = kv.grant(), kv.grant()
    kv.run(put(b"a", lease=first))
    kv.run(put(b"b", lease=second))
    kv.run(put(b"c", lease=first))
    kv.run(put(b"d"))
    kv.run(put(b"c", b"no longer"))
    result = kv.run(pb.LeaseRevoke(lease=first))
    assert (result.succeeded, result.deleted, result.lease) == (True, 1, first)
    assert kv.keys() == [b"b", b"c", b"d"]
    assert kv.rows[-1].before["key"] == b"a"
    assert refused(kv, pb.LeaseRevoke(lease=first)) == f"lease {first} does not exist"


def test_refresh_moves_the_expiry(kv: KvHarness) -> None:
    """An expiry that names an older refresh does nothing: the refresh came first in the log."""
    lease = kv.grant(5.0)
    kv.run(put(b"k", lease=lease))
    refreshed = kv.run(pb.LeaseRefresh(lease=lease))
    assert refreshed.succeeded
    assert (refreshed.lease, refreshed.ttl_seconds) == (lease, 5.0)
    assert not kv.run(pb.LeaseExpire(lease=lease, refreshed=lease)).succeeded
    assert kv.value(b"k") == b"v"
    assert kv.run(pb.LeaseExpire(lease=lease, refreshed=3)).deleted == 1
    assert not kv.run(pb.LeaseExpire(lease=lease, refreshed=3)).succeeded
    assert refused(kv, pb.LeaseRefresh(lease=lease)) == f"lease {lease} does not exist"


def test_a_lease_holds_a_bounded_number_of_keys(kv: KvHarness) -> None:
    """What one expiry must delete is bounded when keys are put, not when it is too late."""
    lease = kv.grant()
    for number in range(layout.LEASE_KEYS_MAX):
        kv.run(put(b"%d" % number, lease=lease))
    assert refused(kv, put(b"more", lease=lease)) == f"lease {lease} already holds 1000 keys"
    kv.run(put(b"1", b"again", lease=lease))
    assert kv.run(pb.LeaseRevoke(lease=lease)).deleted == 1_000
    assert not kv.state.pairs


def test_a_lease_holds_bounded_bytes(kv: KvHarness) -> None:
    """One value of any size is held; several over the bound are refused."""
    lease = kv.grant()
    big = b"x" * layout.LEASE_BYTES_MAX
    kv.run(put(b"a", big, lease))
    assert "over 16777216 bytes" in refused(kv, put(b"b", lease=lease))
    kv.run(put(b"a", b"small", lease))
    assert kv.run(put(b"b", lease=lease)).succeeded
    kv.check_layout()


def test_handlers_cover_every_command() -> None:
    """Every command of the contract has a handler."""
    fields = {field.name for field in pb.KvCommand.DESCRIPTOR.oneofs_by_name["body"].fields}
    assert commands.HANDLERS.keys() | {"put"} == fields


def test_a_transaction_may_follow_its_own_delete() -> None:
    """A key deleted and put again in one transaction is a new key, with a row for each step."""
    kv = KvHarness()
    kv.run(put(b"k", b"old"))
    kv.execute(
        command(pb.Transaction(then=[operation(delete(b"k")), operation(put(b"k", b"new"))]))
    )
    (found,) = kv.ask(get=get(b"k")).key_values
    assert (found.created, found.version, found.value) == (2, 1, b"new")
    assert [(row.before is None, row.after is None) for row in kv.rows[1:]] == [
        (False, True),
        (True, False),
    ]
