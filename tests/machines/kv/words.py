"""Short ways to say a kv command, to run it, and to look at what a machine holds."""

from __future__ import annotations

import struct

from raftlog.machines.kv import KvMachine, layout
from raftlog.machines.testing import MachineHarness
from raftlog.wire.pb import kv_pb2 as pb


def put(key: bytes, value: bytes = b"v", lease: int = 0) -> pb.Put:
    """Return a put."""
    return pb.Put(key=key, value=value, lease=lease)


def delete(key: bytes, range_end: bytes = b"") -> pb.Delete:
    """Return a delete."""
    return pb.Delete(key=key, range_end=range_end)


def swap(key: bytes, value: bytes, revision: int, lease: int = 0) -> pb.CompareAndSwap:
    """Return a compare-and-swap."""
    return pb.CompareAndSwap(key=key, value=value, revision=revision, lease=lease)


def get(key: bytes) -> pb.Get:
    """Return a get."""
    return pb.Get(key=key)


Operand = pb.Put | pb.Delete | pb.Get


def operation(body: Operand) -> pb.Operation:
    """Return an operation of a transaction."""
    if isinstance(body, pb.Put):
        return pb.Operation(put=body)
    if isinstance(body, pb.Delete):
        return pb.Operation(delete=body)
    return pb.Operation(get=body)


def transaction(
    *, when: list[pb.Condition] | None = None, then: list[Operand], otherwise: list[Operand] = ()
) -> pb.Transaction:
    """Return a transaction."""
    return pb.Transaction(
        when=when or [],
        then=[operation(body) for body in then],
        otherwise=[operation(body) for body in otherwise],
    )


_FIELDS = {
    pb.Put: "put",
    pb.Delete: "delete",
    pb.CompareAndSwap: "compare_and_swap",
    pb.Transaction: "transaction",
    pb.LeaseGrant: "lease_grant",
    pb.LeaseRefresh: "lease_refresh",
    pb.LeaseRevoke: "lease_revoke",
    pb.LeaseExpire: "lease_expire",
}


def command(body: object) -> bytes:
    """Return the bytes of a KvCommand around `body`."""
    return pb.KvCommand(**{_FIELDS[type(body)]: body}).SerializeToString()


class KvHarness(MachineHarness):
    """A harness that speaks kv."""

    def __init__(self) -> None:
        super().__init__(KvMachine())

    def run(self, body: object) -> pb.KvResult:
        """Apply a command."""
        return pb.KvResult.FromString(self.execute(command(body)))

    def grant(self, ttl_seconds: float = 10.0) -> int:
        """Make a lease and return its id."""
        return self.run(pb.LeaseGrant(ttl_seconds=ttl_seconds)).lease

    def ask(self, **body: object) -> pb.KvAnswer:
        """Query."""
        return pb.KvAnswer.FromString(self.query(pb.KvQuery(**body).SerializeToString()))

    def value(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None."""
        answer = self.ask(get=get(key))
        return answer.key_values[0].value if answer.found else None

    def keys(self) -> list[bytes]:
        """Return all keys."""
        return [pair[1:] for pair in self.state.pairs if pair[:1] == layout.KEY]

    def check_layout(self) -> None:
        """Check the invariant that `layout` states, from the raw pairs."""
        held: dict[int, list[tuple[bytes, int]]] = {}
        index: list[tuple[int, bytes]] = []
        leases: dict[int, layout.Lease] = {}
        for pair, stored in self.state.pairs.items():
            if pair[:1] == b"k":
                lease = struct.unpack_from("<Q", stored, 24)[0]
                if lease:
                    held.setdefault(lease, []).append((pair[1:], len(pair) - 1 + len(stored) - 32))
            elif pair[:1] == b"i":
                index.append((int.from_bytes(pair[1:9], "big"), pair[9:]))
            else:
                leases[layout.lease_id(pair)] = layout.unpack_lease(stored)
        assert index == [(lease, key) for lease in sorted(held) for key, _ in sorted(held[lease])]
        assert held.keys() <= leases.keys()
        for lease, record in leases.items():
            pairs = held.get(lease, [])
            assert record.key_count == len(pairs)
            assert record.size_bytes == sum(size for _, size in pairs)
