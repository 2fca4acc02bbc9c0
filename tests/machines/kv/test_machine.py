"""The key-value machine as a whole: against a naive model, against noise, and its declaration."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftlog.errors import InvalidInput, Rejected
from raftlog.machines import registry
from raftlog.machines.kv import KvMachine
from raftlog.machines.kv.machine import KvMachine as Defined
from raftlog.machines.testing import RowRecord
from raftlog.wire.pb import kv_pb2 as pb

from .words import KvHarness, command, operation

KEYS = [b"a", b"a\x00", b"b", b"ba", b"c", b"\xff", b"\xff\xff"]
VALUES = [b"", b"one", b"two", b"\x00" * 40]


@dataclasses.dataclass(frozen=True)
class Held:
    """What the model knows of a key."""

    value: bytes
    revision: int
    created: int
    version: int
    lease: int


class Refused(Exception):
    """The model refuses a command."""


class Model:
    """The commands again, as plainly as they can be said, on two dicts that are copied whole."""

    def __init__(self) -> None:
        self.keys: dict[bytes, Held] = {}
        self.leases: dict[int, int] = {}
        self.sequence = 0

    def run(self, body: object) -> dict[str, object]:
        """Apply a command; a refused one leaves everything as it was."""
        self.sequence += 1
        before = dict(self.keys), dict(self.leases)
        try:
            return self._run(body)
        except Refused:
            self.keys, self.leases = before
            raise

    def _run(self, body: object) -> dict[str, object]:
        match body:
            case pb.Put():
                self.put(body)
            case pb.Delete():
                return {"deleted": self.delete(body)}
            case pb.CompareAndSwap():
                held = self.keys.get(body.key)
                if (held.revision if held else 0) != body.revision:
                    return {"succeeded": False, "current": held}
                self.put(pb.Put(key=body.key, value=body.value, lease=body.lease))
            case pb.Transaction():
                return self.transaction(body)
            case pb.LeaseGrant():
                self.leases[self.sequence] = self.sequence
                return {"lease": self.sequence}
            case pb.LeaseRefresh():
                self.check_lease(body.lease)
                self.leases[body.lease] = self.sequence
            case pb.LeaseRevoke():
                self.check_lease(body.lease)
                return {"deleted": self.end(body.lease)}
            case pb.LeaseExpire():
                if self.leases.get(body.lease) != body.refreshed or not body.refreshed:
                    return {"succeeded": False}
                return {"deleted": self.end(body.lease)}
        return {}

    def check_lease(self, lease: int) -> None:
        if lease not in self.leases:
            raise Refused

    def put(self, body: pb.Put) -> None:
        if body.lease:
            self.check_lease(body.lease)
        old = self.keys.get(body.key)
        self.keys[body.key] = Held(
            body.value,
            self.sequence,
            old.created if old else self.sequence,
            old.version + 1 if old else 1,
            body.lease,
        )

    def delete(self, body: pb.Delete) -> int:
        if body.range_end:
            doomed = [key for key in self.keys if body.key <= key < body.range_end]
        else:
            doomed = [key for key in self.keys if key == body.key]
        for key in doomed:
            del self.keys[key]
        return len(doomed)

    def end(self, lease: int) -> int:
        doomed = [key for key, held in self.keys.items() if held.lease == lease]
        for key in doomed:
            del self.keys[key]
        del self.leases[lease]
        return len(doomed)

    def holds(self, condition: pb.Condition) -> bool:
        held = self.keys.get(condition.key)
        match condition.WhichOneof("test"):
            case "revision":
                return (held.revision if held else 0) == condition.revision
            case "value":
                return held is not None and held.value == condition.value
            case "exists":
                return (held is not None) is condition.exists
            case _:
                return held is None or held.revision < condition.revision_below

    def transaction(self, body: pb.Transaction) -> dict[str, object]:
        for branch in (body.then, body.otherwise):
            puts = [one.put.key for one in branch if one.HasField("put")]
            if len(puts) != len(set(puts)):
                raise Refused
        taken = all(self.holds(condition) for condition in body.when)
        results: list[object] = []
        for one in body.then if taken else body.otherwise:
            if one.HasField("put"):
                self.put(one.put)
                results.append(None)
            elif one.HasField("delete"):
                results.append(self.delete(one.delete))
            else:
                results.append(self.keys.get(one.get.key))
        return {"succeeded": taken, "results": results}


keys = st.sampled_from(KEYS)
values = st.sampled_from(VALUES)
small = st.integers(0, 12)
leases = st.one_of(st.just(0), small)
puts = st.builds(pb.Put, key=keys, value=values, lease=leases)
deletes = st.builds(pb.Delete, key=keys, range_end=st.one_of(st.just(b""), keys))
gets = st.builds(pb.Get, key=keys)
conditions = st.one_of(
    st.builds(pb.Condition, key=keys, revision=small),
    st.builds(pb.Condition, key=keys, value=values),
    st.builds(pb.Condition, key=keys, exists=st.booleans()),
    st.builds(pb.Condition, key=keys, revision_below=st.integers(1, 12)),
)
branches = st.lists(st.one_of(puts, deletes, gets).map(operation), max_size=4)
bodies = st.one_of(
    puts,
    puts,
    deletes,
    st.builds(pb.CompareAndSwap, key=keys, value=values, revision=small, lease=leases),
    st.builds(
        pb.Transaction, when=st.lists(conditions, max_size=2), then=branches, otherwise=branches
    ),
    st.builds(pb.LeaseGrant, ttl_seconds=st.floats(1, 86_400)),
    st.builds(pb.LeaseRefresh, lease=small),
    st.builds(pb.LeaseRevoke, lease=small),
    st.builds(pb.LeaseExpire, lease=small, refreshed=small),
)


def held(key_value: pb.KeyValue) -> Held:
    """Return a key as the model writes it."""
    return Held(
        key_value.value,
        key_value.revision,
        key_value.created,
        key_value.version,
        key_value.lease,
    )


def check_result(result: pb.KvResult, expected: dict[str, object]) -> None:
    """Compare a result with what the model says."""
    assert result.succeeded is expected.get("succeeded", True)
    assert result.deleted == expected.get("deleted", 0)
    if "lease" in expected:
        assert result.lease == expected["lease"]
    assert (held(result.current) if result.HasField("current") else None) == expected.get("current")
    answers: list[object] = []
    for one, wanted in zip(result.results, expected.get("results", []), strict=True):
        answers.append(held(one.key_value) if one.found else (one.deleted or wanted))
        assert one.found is isinstance(wanted, Held)
    assert answers == expected.get("results", [])


def replay(rows: list[RowRecord]) -> dict[bytes, Held]:
    """Return the table that the row changes make, checking every image before."""
    table: dict[bytes, Held] = {}
    for change in rows:
        row = change.before or change.after
        key = row["key"]
        before = table.pop(key, None)
        assert (change.before is None) is (before is None)
        for image in (change.before, change.after):
            assert image is None or image["key"] == key
        if change.before is not None:
            assert before == Held(*[change.before[name] for name in list(change.before)[1:]])
        if change.after is not None:
            table[key] = Held(*[change.after[name] for name in list(change.after)[1:]])
            assert table[key].revision == change.sequence
    return table


@settings(max_examples=150, deadline=None)
@given(st.lists(bodies, max_size=25))
def test_machine_does_what_the_model_says(commands: list[object]) -> None:
    """Any commands give the model's results, state and row changes, and do so again on a replay."""
    harness, model = KvHarness(), Model()
    for body in commands:
        try:
            expected = model.run(body)
        except Refused:
            with pytest.raises(Rejected):
                harness.run(body)
        else:
            check_result(harness.run(body), expected)
        harness.check_layout()
    answer = harness.ask(range=pb.Range())
    assert {one.key: held(one) for one in answer.key_values} == model.keys
    assert [one.key for one in answer.key_values] == sorted(model.keys)
    assert replay(harness.rows) == model.keys
    for lease in range(14):
        lease_answer = harness.ask(lease=pb.LeaseInfo(lease=lease))
        assert lease_answer.found is (lease in model.leases)
        assert list(lease_answer.lease_keys) == sorted(
            key for key, one in model.keys.items() if lease and one.lease == lease
        )
    harness.check_replay()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), bodies.map(command)), st.data())
def test_noise_is_rejected_and_never_raises(noise: bytes, data: st.DataObject) -> None:
    """Random bytes, and damaged commands, come to a result or a rejection; queries likewise."""
    if noise and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(noise) - 1))
        noise = noise[:at] + data.draw(st.binary(max_size=3)) + noise[at + 1 :]
    harness = KvHarness()
    with contextlib.suppress(Rejected):
        pb.KvResult.FromString(harness.execute(noise))
    if harness.history[0].rejected:
        assert not harness.state.pairs
    harness.check_layout()
    with contextlib.suppress(InvalidInput):
        pb.KvAnswer.FromString(harness.query(noise))


@pytest.mark.parametrize("noise", [b"", b"\xff", b"\x0a\x05abc", b"\x7a\x00"])
def test_malformed_commands_say_so(noise: bytes) -> None:
    """Bytes that are no command of this version are rejected with the same words everywhere."""
    harness = KvHarness()
    with pytest.raises(Rejected, match="^malformed command$"):
        harness.execute(noise)


def test_the_built_in_is_what_it_declares() -> None:
    """The kv machine is inline, and its columns stand in the order that watches rely on."""
    machine = registry.load("kv")
    assert type(machine) is KvMachine is Defined
    assert (machine.name, machine.version, machine.inline) == ("kv", 1, True)
    assert list(machine.tables["kv"]) == [
        "key",
        "value",
        "revision",
        "created",
        "version",
        "lease",
    ]
