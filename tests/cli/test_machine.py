"""`machine`: commands and questions for whatever machine runs."""

from __future__ import annotations

import pytest

from raftlog.cli.machine import machine
from raftlog.wire.pb import kv_pb2

from .conftest import spawn

pytestmark = pytest.mark.integration


def test_a_command_and_a_question_byte_for_byte(ask, cluster, request):
    """Commands and answers are any bytes: from standard input, to standard output with --raw."""
    assert machine.name == "machine"
    key = request.node.name.encode()
    put = kv_pb2.KvCommand(put=kv_pb2.Put(key=key, value=b"\xff"))
    with spawn("--endpoints", cluster.endpoints, "machine", "execute", "-", "--raw") as child:
        out, err = child.communicate(put.SerializeToString(), timeout=30)
        assert child.returncode == 0, err
    assert kv_pb2.KvResult.FromString(out) is not None
    question = kv_pb2.KvQuery(get=kv_pb2.Get(key=key))
    with spawn("--endpoints", cluster.endpoints, "machine", "query", "-", "--raw") as child:
        out, err = child.communicate(question.SerializeToString(), timeout=30)
        assert child.returncode == 0, err
    assert kv_pb2.KvAnswer.FromString(out).key_values[0].value == b"\xff"


def test_what_the_machine_refuses_is_invalid_input(ask):
    """Exit 3, with its words; nothing happened."""
    rejected = ask("machine", "execute", "no command", "-o", "json")
    assert rejected.code == 3
    assert rejected.json["error"]["definite"] is True
    assert ask("machine", "query", "no question").code == 3


def test_an_answer_is_told_with_its_place(ask):
    """A document has the answer, and for a command its sequence."""
    command = kv_pb2.KvCommand(lease_grant=kv_pb2.LeaseGrant(ttl_seconds=5)).SerializeToString()
    done = ask("machine", "execute", command.decode(errors="surrogateescape"), "-o", "json")
    assert done.code == 0
    assert done.json["sequence"] > 0
    assert "answer" in done.json


def test_upgrade_says_what_is_and_refuses_what_no_member_has(ask):
    """What is in force is a success and says so; a version that is nowhere exits 4 with names."""
    for arguments in ((), ("1",), ("--dry-run",)):
        found = ask("machine", "upgrade", *arguments, "-o", "json")
        assert found.code == 0
        members = [{"id": name, "versions": [1]} for name in ("n1", "n2", "n3")]
        assert found.json == {
            "machine": "kv",
            "before": 1,
            "version": 1,
            "outcome": "already in force",
            "index": None,
            "members": members,
        }
    for arguments in (("2",), ("2", "--dry-run")):
        refused = ask("machine", "upgrade", *arguments)
        assert refused.code == 4
        assert all(f"{name} has 1" in refused.err for name in ("n1", "n2", "n3"))
        assert "nothing was changed" in refused.err
    assert ask("machine", "upgrade").code == 0  # for people
    assert ask("machine", "upgrade", "0").code in {3, 128}
    assert ask("machine", "upgrade", str(2**40)).code == 3
