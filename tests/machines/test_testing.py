"""The harness: it behaves as a node does, and finds what it promises to find."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

import raftlog
from raftlog.errors import InvariantBroken, Rejected
from raftlog.machines.testing import KEY_BYTES_MAX, AppliedCommand, MachineHarness, MemoryState

Apply = Callable[[bytes, raftlog.ApplyContext], bytes]
EVERY = {
    "text": raftlog.types.Text,
    "blob": raftlog.types.Blob,
    "number": raftlog.types.Int64,
    "real": raftlog.types.Float64,
    "flag": raftlog.types.Boolean,
}
ROW: dict[str, str | bytes | float | bool | None] = {
    "text": "t",
    "blob": b"b",
    "number": 1,
    "real": 0.5,
    "flag": True,
}


def machine_of(apply: Apply) -> type[raftlog.StateMachine]:
    """Return a machine that applies commands by that function."""

    class Made(raftlog.StateMachine):
        name = "made"
        tables = {"every": EVERY}

        def apply(self, command: bytes, context: raftlog.ApplyContext) -> bytes:
            return apply(command, context)

        def query(self, request: bytes, state: raftlog.ReadState) -> bytes:
            if request == b"write":
                state.put(b"k", b"v")  # type: ignore[attr-defined]
            return state.get(request) or b""

    return Made


def harness_of(apply: Apply) -> MachineHarness:
    """Return a harness around such a machine."""
    return MachineHarness(machine_of(apply)())


def test_sequence_and_time_move_on() -> None:
    """Each command has the next sequence and a later time, rejected ones too."""
    seen: list[tuple[int, int]] = []

    def apply(command: bytes, context: raftlog.ApplyContext) -> bytes:
        seen.append((context.sequence, context.timestamp))
        if command:
            context.reject("no")
        return b""

    harness = harness_of(apply)
    harness.execute(b"")
    with pytest.raises(Rejected):
        harness.execute(b"x")
    harness.execute(b"")
    assert [sequence for sequence, _ in seen] == [1, 2, 3]
    assert [time for _, time in seen] == sorted({time for _, time in seen})


def test_a_rejection_takes_everything_back() -> None:
    """Puts over old values, new keys, deletes and rows of a rejected command leave no trace."""

    def apply(command: bytes, context: raftlog.ApplyContext) -> bytes:
        context.state.put(b"a", command)
        context.state.put(b"a", b"twice")
        context.state.delete(b"b")
        context.state.put(b"b", b"again")
        context.state.delete(b"a")
        context.state.delete(b"absent")
        context.rows.insert("every", ROW)
        if command == b"no":
            context.reject("no")
        context.state.put(b"a", command)
        return b""

    harness = harness_of(apply)
    with pytest.raises(Rejected):
        harness.execute(b"no")
    assert not harness.state.pairs
    assert not harness.rows
    harness.execute(b"yes")
    with pytest.raises(Rejected):
        harness.execute(b"no")
    assert dict(harness.state.pairs) == {b"a": b"yes", b"b": b"again"}
    assert len(harness.rows) == 1
    assert harness.history[-1] == AppliedCommand(3, harness.timestamp, b"no", b"", "no")


def test_any_other_exception_is_the_machines_own() -> None:
    """A fault reaches the test as it was raised, and nothing of the command stays."""

    def apply(command: bytes, context: raftlog.ApplyContext) -> bytes:
        context.state.put(b"a", b"")
        raise ZeroDivisionError

    harness = harness_of(apply)
    with pytest.raises(ZeroDivisionError):
        harness.execute(b"")
    assert not harness.state.pairs
    assert not harness.history


def test_range_is_ordered_bounded_and_half_open() -> None:
    """The map ranges as a node's does, in both directions."""
    state = MemoryState()
    for key in (b"c", b"a", b"b", b"\xff\xff"):
        state.put(key, key)
    assert [key for key, _ in state.range()] == [b"a", b"b", b"c", b"\xff\xff"]
    assert [key for key, _ in state.range(b"a", b"c")] == [b"a", b"b"]
    assert [key for key, _ in state.range(b"b", reverse=True)] == [b"\xff\xff", b"c", b"b"]
    assert [key for key, _ in state.range(b"a", b"c", limit=1, reverse=True)] == [b"b"]
    assert list(state.range(b"c", b"a")) == []
    assert list(state.range(limit=0)) == []


@pytest.mark.parametrize("key", [b"", b"x" * (KEY_BYTES_MAX + 1), "text", bytearray(b"k")])
def test_impossible_keys_are_found(key: bytes) -> None:
    """A key that a node would refuse is refused here, with its size or type."""
    for act in (
        lambda state: state.get(key),
        lambda state: state.put(key, b""),
        lambda state: state.delete(key),
    ):
        with pytest.raises(InvariantBroken, match="a key"):
            act(MemoryState())


@pytest.mark.parametrize("value", ["text", None, 7, bytearray(b"v")])
def test_values_and_results_are_bytes(value: bytes) -> None:
    """Values, results and answers of another type are found at once."""
    with pytest.raises(InvariantBroken, match="a value must be bytes"):
        MemoryState().put(b"k", value)
    with pytest.raises(InvariantBroken, match="result must be bytes"):
        harness_of(lambda command, context: value).execute(b"")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"text": b"bytes"}, "every.text holds b'bytes', which is not of type str"),
        ({"blob": "text"}, "not of type bytes"),
        ({"number": 1.0}, "not of type int"),
        ({"number": True}, "not of type int"),
        ({"number": 2**63}, "is not 64 bits"),
        ({"real": 1}, "not of type float"),
        ({"flag": 1}, "not of type bool"),
        ({"more": 1}, "declared are"),
    ],
)
def test_rows_must_fit_their_table(change: dict[str, object], why: str) -> None:
    """A row that does not fit `tables` is found, in whichever image it stands."""
    bad = {**ROW, **change}
    for act in (
        lambda rows: rows.insert("every", bad),
        lambda rows: rows.update("every", bad, ROW),
        lambda rows: rows.update("every", ROW, bad),
        lambda rows: rows.delete("every", bad),
    ):

        def apply(command: bytes, context: raftlog.ApplyContext, act=act) -> bytes:
            act(context.rows)
            return b""

        with pytest.raises(InvariantBroken, match=why):
            harness_of(apply).execute(b"")


def test_rows_that_fit_are_kept_as_they_were() -> None:
    """A row is copied, may hold None, and its table must be declared."""
    row = {**ROW, "text": None}

    def apply(command: bytes, context: raftlog.ApplyContext) -> bytes:
        context.rows.insert(command.decode(), row)
        row["number"] = 99
        return b""

    harness = harness_of(apply)
    harness.execute(b"every")
    assert harness.rows[0].after == {**ROW, "text": None}
    with pytest.raises(InvariantBroken, match="no table 'other'"):
        harness.execute(b"other")


def test_a_query_that_writes_is_found() -> None:
    """Asking must change nothing."""
    harness = harness_of(lambda command, context: b"")
    assert harness.query(b"k") == b""
    with pytest.raises(InvariantBroken, match="a query changed the state"):
        harness.query(b"write")


def counting(effect: Callable[[int, raftlog.ApplyContext], bytes]) -> MachineHarness:
    """Return a harness whose machine passes a number that is new in every run of it."""
    numbers = itertools.count()
    made = machine_of(lambda command, context: effect(next(numbers), context))
    return MachineHarness(made())


def put_number(number: int, context: raftlog.ApplyContext) -> bytes:
    """Let the state depend on the number."""
    context.state.put(b"k", b"%d" % number)
    return b""


def record_number(number: int, context: raftlog.ApplyContext) -> bytes:
    """Let the rows depend on the number."""
    context.rows.insert("every", {**ROW, "number": number})
    return b""


def reject_odd(number: int, context: raftlog.ApplyContext) -> bytes:
    """Let the rejection depend on the number."""
    if number % 2:
        context.reject("odd")
    return b""


@pytest.mark.parametrize(
    ("effect", "why"),
    [
        (lambda number, context: b"%d" % number, "a second run of b'x' gave"),
        (put_number, "another state"),
        (record_number, "other rows"),
        (reject_odd, "a second run of b'x' gave"),
    ],
)
def test_replay_finds_what_differs(
    effect: Callable[[int, raftlog.ApplyContext], bytes], why: str
) -> None:
    """Results, state, rows and rejections that depend on more than the log are found."""
    harness = counting(effect)
    harness.execute(b"x")
    with pytest.raises(InvariantBroken, match=why):
        harness.check_replay()


def test_replay_accepts_a_deterministic_machine() -> None:
    """A machine that depends on command, sequence, time and state alone passes."""

    def apply(command: bytes, context: raftlog.ApplyContext) -> bytes:
        if command == b"no":
            context.reject(f"at {context.timestamp}")
        old = context.state.get(b"k") or b""
        context.state.put(b"k", old + command + b"%d" % context.sequence)
        context.rows.insert("every", {**ROW, "number": context.timestamp})
        return old

    harness = harness_of(apply)
    for command in (b"a", b"b"):
        harness.execute(command)
    with pytest.raises(Rejected):
        harness.execute(b"no")
    harness.check_replay()
    harness.check_replay(machine_of(apply))


def test_an_upgrade_is_tried_and_replayed() -> None:
    """A command is applied as the version in force, and a replay goes through the same versions."""

    class Two(machine_of(lambda _, context: b"%d" % context.version)):  # type: ignore[misc]
        version, versions = 2, (1, 2)

    harness = MachineHarness(Two(), version=1)
    assert harness.execute(b"") == b"1"
    harness.upgrade(2)
    assert harness.execute(b"") == b"2"
    harness.check_replay()
    assert MachineHarness(Two()).execute(b"") == b"2"
    for wrong in (1, 3):
        with pytest.raises(InvariantBroken):
            harness.upgrade(wrong)
