"""How long the key-value machine takes per command: run this file with Python.

The context does what a node's does (collects writes over a map, makes a list of each row), without
a disk below it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from raftlog.errors import Rejected
from raftlog.machines.kv import KvMachine
from raftlog.wire.pb import kv_pb2 as pb

COUNT = 200_000
KEYS = 10_000
VALUE = b"x" * 256


class Context:
    """An ApplyContext that is its own state and its own rows."""

    def __init__(self, machine: KvMachine) -> None:
        self.state = self.rows = self
        self.pairs: dict[bytes, bytes | None] = {}
        self.changes: list[object] = []
        self.columns = tuple(machine.tables["kv"])
        self.sequence = 0
        self.timestamp = 0
        self.get = self.pairs.get
        self.put = self.pairs.__setitem__

    def delete(self, key: bytes | str, row: object = None) -> None:
        """Remove a pair, or record a removed row."""
        if row is None:
            self.pairs.pop(key, None)

    def range(self, *bounds: bytes, **how: object) -> Iterator[tuple[bytes, bytes]]:
        """Yield nothing; the commands measured here do not range."""
        return iter(())

    def insert(self, table: str, row: dict[str, object]) -> None:
        """Record a new row."""
        after = [row[column] for column in self.columns]
        self.changes.append((self.sequence, table, None, after))

    def update(self, table: str, before: dict[str, object], after: dict[str, object]) -> None:
        """Record a changed row."""
        columns = self.columns
        images = [before[column] for column in columns], [after[column] for column in columns]
        self.changes.append((self.sequence, table, *images))

    def reject(self, why: str) -> NoReturn:
        """Refuse the command."""
        raise Rejected(why)


def key(number: int) -> bytes:
    """Return a key."""
    return b"app/%06d" % (number % KEYS)


def measure(name: str, make: Callable[[int], pb.KvCommand]) -> None:
    """Apply COUNT commands and print what one took."""
    machine = KvMachine()
    context = Context(machine)
    apply = machine.apply
    commands = [make(number).SerializeToString() for number in range(COUNT)]
    began = time.perf_counter()
    for command in commands:
        context.sequence += 1
        apply(command, context)
        if len(context.changes) > 1_000:
            context.changes.clear()
    seconds = time.perf_counter() - began
    print(f"{name:<32} {seconds / COUNT * 1e6:6.2f} us")


def main() -> None:
    """Measure the commands that come most."""
    measure("put", lambda n: pb.KvCommand(put=pb.Put(key=key(n), value=VALUE)))
    measure(
        "compare_and_swap that fails",
        lambda n: pb.KvCommand(
            compare_and_swap=pb.CompareAndSwap(key=key(0), value=VALUE, revision=n and 7)
        ),
    )
    measure(
        "transaction: 1 condition, 2 puts",
        lambda n: pb.KvCommand(
            transaction=pb.Transaction(
                when=[pb.Condition(key=key(n), revision_below=2**62)],
                then=[
                    pb.Operation(put=pb.Put(key=key(n), value=VALUE)),
                    pb.Operation(put=pb.Put(key=key(n + 1), value=VALUE)),
                ],
            )
        ),
    )


if __name__ == "__main__":
    main()
