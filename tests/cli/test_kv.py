"""`kv`: keys and values from the command line."""

from __future__ import annotations

import json
import os
import time

import pytest

from raftlog.cli.kv import describe
from raftlog.client.values import KeyValue

pytestmark = pytest.mark.integration


@pytest.fixture
def prefix(request):
    """Return a prefix of this test's own, because the cluster is shared."""
    return f"{request.node.name}/"


def test_put_get_delete(ask, prefix):
    """A key is set, read and removed; reading nothing exits 1."""
    key = f"{prefix}k"
    put = ask("kv", "put", key, "v", "-o", "json")
    assert put.code == 0
    found = ask("kv", "get", key, "-o", "json").json
    assert (found["value"], found["revision"]) == ("v", put.json["revision"])
    assert ask("kv", "get", key, "--raw").out == b"v"
    assert ask("kv", "delete", key, "-o", "json").json["deleted"] == 1
    gone = ask("kv", "get", key, "-o", "json")
    assert (gone.code, gone.json) == (1, None)
    assert ask("kv", "delete", key, "-o", "json").json["deleted"] == 0


@pytest.mark.parametrize("consistency", ["linearizable", "lease", "follower", "stale"])
def test_every_consistency_can_be_asked_for(ask, prefix, consistency):
    """Each word is understood, and answers."""
    ask("kv", "put", f"{prefix}k", "v")
    result = ask("kv", "get", f"{prefix}k", "--consistency", consistency)
    assert result.code in ({0, 1} if consistency == "stale" else {0})


def test_a_member_reads_what_was_written(ask, cluster, prefix):
    """With --member a follower asks the leader how far it must be, so it sees the write."""
    ask("kv", "put", f"{prefix}k", "v")
    for node in cluster.nodes:
        assert ask("kv", "get", f"{prefix}k", "--member", node.id, "--raw").out == b"v"


def test_a_member_that_does_not_lead_says_so_at_once(ask, cluster, prefix):
    """A linearizable read of a follower by name is refused with the leader's name, not retried."""
    leader = ask("status", "-o", "json").json["leader"]
    follower = next(node.id for node in cluster.nodes if node.id != leader)
    began = time.monotonic()
    asked = ("kv", "get", f"{prefix}k", "--member", follower, "--consistency", "linearizable")
    result = ask(*asked)
    assert result.code == 5
    assert leader in result.err
    assert time.monotonic() - began < 10, "the timeout is 20 s"


def test_compare_and_swap(ask, prefix):
    """A swap needs the revision; what stands in the way is shown, and the exit code tells."""
    key = f"{prefix}k"
    made = ask("kv", "cas", key, "v1", "--revision", "0", "-o", "json")
    assert (made.code, made.json["swapped"]) == (0, True)
    refused = ask("kv", "cas", key, "v2", "--revision", "0", "-o", "json")
    assert (refused.code, refused.json["swapped"]) == (1, False)
    assert refused.json["current"]["value"] == "v1"
    assert ask("kv", "cas", key, "v2", "--revision", made.json["revision"]).code == 0


def test_ranges(ask, prefix):
    """A range is in order, limited, reversed, and of keys only when asked."""
    for name in ("a", "b", "c"):
        ask("kv", "put", prefix + name, name.upper())

    def keys(*options):
        found = ask("kv", "range", "-o", "json", *options).json["entries"]
        return [entry["key"].removeprefix(prefix) for entry in found]

    assert keys("--prefix", prefix) == ["a", "b", "c"]
    assert keys("--prefix", prefix, "--limit", "2") == ["a", "b"]
    assert keys("--prefix", prefix, "--reverse") == ["c", "b", "a"]
    assert keys("--start", f"{prefix}b", "--end", f"{prefix}c") == ["b"]
    shown = ask("kv", "range", "--prefix", prefix, "--keys-only").text
    assert "value" not in shown.splitlines()[0]
    assert ask("kv", "delete", "--prefix", prefix, "-o", "json").json["deleted"] == 3
    assert ask("kv", "range", "--prefix", prefix, "--start", "x").code == 3


def test_bytes_that_are_not_text(ask, prefix):
    """Keys and values that are not UTF-8 go in as typed and come out as base64."""
    key = prefix + os.fsdecode(b"\xff")
    assert ask("kv", "put", key, os.fsdecode(b"\xfe")).code == 0
    found = ask("kv", "get", key, "-o", "json").json
    assert found["value"] == {"base64": "/g=="}
    assert set(found["key"]) == {"base64"}
    assert ask("kv", "get", key, "--raw").out == b"\xfe"


def test_watch(ask, prefix):
    """A watch from a revision prints the changes after it, and ends after --count."""
    first = ask("kv", "put", f"{prefix}k", "v1", "-o", "json").json["revision"]
    ask("kv", "put", f"{prefix}k", "v2")
    ask("kv", "delete", f"{prefix}k")
    line = ("kv", "watch", "--prefix", prefix, "--after-revision", first, "--count", "2")
    found = [json.loads(text) for text in ask(*line, "-o", "json").text.splitlines()]
    assert [(change["kind"], change["value"]) for change in found] == [
        ("put", "v2"),
        ("delete", ""),
    ]
    assert f"put {prefix}k = v2" in ask(*line).text


def test_a_transaction(ask, prefix, tmp_path):
    """Either branch is taken as a whole, and the exit code says which."""
    file = tmp_path / "txn.json"
    key = f"{prefix}lock"
    document = {
        "when": [{"key": key, "exists": False}],
        "then": [{"put": key, "value": "me"}],
        "otherwise": [{"get": key}],
    }
    file.write_text(json.dumps(document))
    taken = ask("kv", "txn", file, "-o", "json")
    assert (taken.code, taken.json["succeeded"]) == (0, True)
    other = ask("kv", "txn", file, "-o", "json")
    assert (other.code, other.json["succeeded"]) == (1, False)
    assert other.json["results"][0]["entry"]["value"] == "me"
    file.write_text('{"then": [{"take": "x"}]}')
    assert ask("kv", "txn", file).code == 3


def test_wrong_keys_exit_3(ask):
    """An empty key and one that is too long are invalid input."""
    assert ask("kv", "put", "", "v").code == 3
    assert ask("kv", "put", "x" * 481, "v").code == 3
    assert ask("kv", "put", "k", "v", "--lease", "999999999").code == 3


def test_an_entrys_json():
    """Every field of an entry is there."""
    assert describe(KeyValue(b"k", b"\xff", 3, 2, 1, 0)) == {
        "key": "k", "value": {"base64": "/w=="}, "revision": 3, "created": 2, "version": 1,
        "lease": 0,
    }  # fmt: skip
