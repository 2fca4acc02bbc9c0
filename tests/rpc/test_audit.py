"""What an audit line says of a call."""

from __future__ import annotations

import pytest

from raftlog.rpc import audit
from raftlog.rpc.audit import (
    ARGUMENTS_CHARACTERS_MAX,
    VALUE_CHARACTERS_MAX,
    WHO_CHARACTERS_MAX,
    arguments_of,
    came_from,
    who,
)
from raftlog.wire.pb import admin_pb2, kv_pb2, log_pb2, machine_pb2, raft_pb2

MARK = "payload-that-nobody-may-see"


class Context:
    """A call as far as its certificate and its address go."""

    def __init__(self, uris: list[bytes], names: list[bytes], peer: str = "ipv4:127.0.0.1:5"):
        self._shown = {"peer_uri": uris, "x509_common_name": names}
        self._peer = peer

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._shown

    def peer(self) -> str:
        return self._peer


def test_bytes_are_told_by_their_size() -> None:
    """No payload, key, value or command is in a log of who did what."""
    put = kv_pb2.KvCommand(put=kv_pb2.Put(key=MARK.encode(), value=MARK.encode()))
    told = arguments_of("raftlog.v1.Kv", "Execute", put.SerializeToString())
    assert told == f"put.key=({len(MARK)} bytes) put.value=({len(MARK)} bytes)"
    for service, name, request in (
        ("Log", "Append", log_pb2.AppendOne(payload=MARK.encode())),
        ("Machine", "Execute", machine_pb2.ExecuteRequest(command=MARK.encode())),
    ):
        assert MARK not in arguments_of(f"raftlog.v1.{service}", name, request.SerializeToString())


def test_arguments_are_bounded_and_harmless() -> None:
    """However long a name is, and whatever a terminal would make of it."""
    long = admin_pb2.TransferRequest(to="x" * 10_000, timeout_seconds=2.5)
    told = arguments_of("raftlog.v1.Admin", "Transfer", long.SerializeToString())
    assert told == f"to={'x' * (VALUE_CHARACTERS_MAX - 3)}... timeout_seconds=2.5"
    escape = admin_pb2.TransferRequest(to="\x1b]0;x\x07").SerializeToString()
    assert arguments_of("raftlog.v1.Admin", "Transfer", escape).isprintable()
    assert "do not parse" in arguments_of("raftlog.v1.Admin", "Transfer", b"\xff\xff\xff")
    assert arguments_of("raftlog.v1.Log", "Write", object()) == "a stream"


def test_what_repeats_is_cut_and_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long list shows its beginning, flags their value, and a secret nothing."""
    monkeypatch.setattr("raftlog.rpc.audit._SECRET_WORDS", ("version",))
    request = machine_pb2.UpgradeRequest(version=3, dry_run=True).SerializeToString()
    told = arguments_of("raftlog.v1.Machine", "Upgrade", request)
    assert told == "version=*** dry_run=true"
    monkeypatch.undo()
    many = raft_pb2.Hello(machine_versions=range(1000), node_id="n" * 70, address="a" * 70)
    message = raft_pb2.PeerMessage(hello=many).SerializeToString()
    told = arguments_of("raftlog.v1.Raft", "Bulk", message)
    assert "hello.machine_versions=0,1,2,3,4,5,6,7,..." in told
    assert len(told) <= ARGUMENTS_CHARACTERS_MAX


def test_who_is_what_the_certificate_says() -> None:
    """Its URIs and its common name, bounded and harmless; or that there is none."""
    assert who(Context([], [])) == "no certificate"
    known = Context([b"raftlog://role/writer", b"spiffe://x/y"], [b"alice"])
    assert who(known) == "raftlog://role/writer, spiffe://x/y, CN=alice"
    hostile = who(Context([b"\x1b]0;\xff" * 500], [b"\x07"]))
    assert hostile.isprintable()
    assert len(hostile) <= WHO_CHARACTERS_MAX


def test_where_from_is_an_address() -> None:
    """IPv6 reads as people write it."""
    assert came_from(Context([], [])) == "ipv4:127.0.0.1:5"
    assert came_from(Context([], [], "ipv6:%5B::1%5D:40")) == "ipv6:[::1]:40"


def test_a_large_request_costs_its_line_nothing() -> None:
    """Anyone may send one, and be refused: it is told by its size, and read no further."""
    orders = b"\x0a\x00" * (audit.PARSED_BYTES_MAX // 2 + 1)
    assert arguments_of("raftlog.v1.Admin", "ChangeMembers", orders) == f"{len(orders)} bytes"
    long = admin_pb2.TransferRequest(to="\x07" * 30_000).SerializeToString()
    assert len(arguments_of("raftlog.v1.Admin", "Transfer", long)) < 200
    many = admin_pb2.ChangeMembersRequest(orders=[admin_pb2.MemberOrder(node_id="n")] * 1000)
    told = arguments_of("raftlog.v1.Admin", "ChangeMembers", many.SerializeToString())
    assert told.count("node_id") == audit.REPEATED_MAX
