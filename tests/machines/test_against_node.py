"""The harness and the node agree: the same commands leave the same state, rows and results."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Container

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from raftlog.errors import Rejected
from raftlog.interfaces import Table
from raftlog.machines.kv import KvMachine
from raftlog.node.overlay import Overlay, StateView
from raftlog.node.workbench import ApplyState

from .kv.test_machine import bodies
from .kv.words import KvHarness, command


class Disk:
    """The tables of a storage, in memory: what a round wrote is durable."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, bytes] = {}

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return the durable value."""
        return self.pairs.get(key)

    def scan(
        self,
        table: Table,
        start: bytes,
        end: bytes | None,
        *,
        count_max: int,
        reverse: bool = False,
        hidden: Container[bytes] = (),
    ) -> list[tuple[bytes, bytes]]:
        """Return durable pairs in order."""
        keys = [
            key
            for key in self.pairs
            if start <= key and (end is None or key < end) and key not in hidden
        ]
        return [(key, self.pairs[key]) for key in sorted(keys, reverse=reverse)[:count_max]]

    def write(self, changes: dict[bytes, bytes | None]) -> None:
        """Make changes durable."""
        for key, value in changes.items():
            if value is None:
                self.pairs.pop(key, None)
            else:
                self.pairs[key] = value


class Node:
    """The node's own context and overlay around a machine, with rounds at any moment."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.overlay = Overlay(disk)
        self.machine = KvMachine()
        self.context = ApplyState(self.overlay, self.machine)
        self.changes: list[object] = []

    def apply(self, sequence: int, timestamp: int, body: bytes) -> tuple[bytes, str | None]:
        """Apply one command as the apply loop does."""
        self.context.sequence, self.context.timestamp = sequence, timestamp
        try:
            value, why = self.machine.apply(body, self.context), None
            self.context.accept()
        except Rejected as rejection:
            value, why = b"", rejection.message
            self.context.discard()
        return value, why

    def absorb(self) -> None:
        """Put what was applied into the overlay."""
        for record in self.context.finish_entry():
            self.changes += msgpack.unpackb(record)
        self.overlay.absorb({Table.STATE: self.context.take_writes()})

    def flush(self) -> None:
        """Make what the overlay holds durable."""
        layer = self.overlay.take()
        self.disk.write(layer[Table.STATE])
        self.overlay.settle()


def image(row: dict[str, object] | None) -> list[object] | None:
    """Return a row as a change record has it."""
    return None if row is None else list(row.values())


@settings(max_examples=100, deadline=None)
@given(st.lists(bodies.map(command), max_size=25), st.randoms(use_true_random=False))
def test_harness_and_node_agree(commands: list[bytes], dice: random.Random) -> None:
    """Whenever a round is written, and if the node restarts from an older one, all is the same."""
    harness, node = KvHarness(), Node(Disk())
    for body in commands:
        with contextlib.suppress(Rejected):
            harness.execute(body)
        applied = harness.history[-1]
        result = node.apply(applied.sequence, applied.timestamp, body)
        assert result == (applied.value, applied.rejected)
        if dice.random() < 0.5:
            node.absorb()
        if dice.random() < 0.3:
            node.flush()
    node.absorb()
    assert list(StateView(node.overlay).range()) == list(harness.state.pairs.items())
    assert node.changes == [
        [row.sequence, row.table, image(row.before), image(row.after)] for row in harness.rows
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(bodies.map(command), min_size=1, max_size=20), st.data())
def test_a_restart_applies_again_to_the_same_end(
    commands: list[bytes], draw: st.DataObject
) -> None:
    """Commands applied again, over the durable state before them, give what they gave before."""
    harness = KvHarness()
    for body in commands:
        with contextlib.suppress(Rejected):
            harness.execute(body)
    durable = draw.draw(st.integers(0, len(commands)))
    disk = Disk()
    first = Node(disk)
    for applied in harness.history:
        result = first.apply(applied.sequence, applied.timestamp, applied.command)
        assert result == (applied.value, applied.rejected)
        first.absorb()
        if applied.sequence == durable:
            first.flush()
    second = Node(disk)
    for applied in harness.history[durable:]:
        result = second.apply(applied.sequence, applied.timestamp, applied.command)
        assert result == (applied.value, applied.rejected)
    second.absorb()
    assert list(StateView(second.overlay).range()) == list(harness.state.pairs.items())
