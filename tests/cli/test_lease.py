"""`kv lease`."""

from __future__ import annotations

import signal

import pytest

from raftlog.cli.lease import lease
from raftlog.local import wait_until

from .conftest import spawn

pytestmark = pytest.mark.integration


def test_a_leases_life(ask, request):
    """Granted, used, shown, refreshed and revoked; its keys go with it."""
    assert lease.name == "lease"
    granted = ask("kv", "lease", "grant", "60", "-o", "json").json
    key = request.node.name
    assert ask("kv", "put", key, "v", "--lease", granted["lease"]).code == 0
    shown = ask("kv", "lease", "show", granted["lease"], "-o", "json").json
    assert shown["keys"] == [key]
    assert 0 < shown["left_seconds"] <= shown["ttl_seconds"] == 60
    assert shown["key_count"] == 1
    listed = ask("kv", "lease", "list", "-o", "json").json["leases"]
    assert [each["key_count"] for each in listed if each["lease"] == granted["lease"]] == [1]
    assert str(granted["lease"]) in ask("kv", "lease", "list").text
    assert ask("kv", "lease", "refresh", granted["lease"]).code == 0
    assert ask("kv", "lease", "revoke", granted["lease"], "-o", "json").json["revoked"] is True
    assert ask("kv", "get", key).code == 1
    for verb, code in (("refresh", 3), ("revoke", 3), ("show", 1), ("keep", 1)):
        assert ask("kv", "lease", verb, granted["lease"]).code == code, verb


def test_a_lease_is_kept_until_interrupted(cluster, ask):
    """keep refreshes in the background, and Ctrl-C leaves the lease to its time."""
    granted = ask("kv", "lease", "grant", "30", "-o", "json").json["lease"]
    with spawn("--endpoints", cluster.endpoints, "kv", "lease", "keep", granted) as child:
        assert f"keeping lease {granted}".encode() in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 130
    assert ask("kv", "lease", "show", granted).code == 0


def test_what_is_left_grows_less_and_is_measured_by_the_leader_alone(ask):
    """The leader counts down; another member says that it does not know."""
    lease = ask("kv", "lease", "grant", "2m", "-o", "json").json["lease"]

    def left() -> float:
        return ask("kv", "lease", "show", lease, "-o", "json").json["left_seconds"]

    first = left()
    assert wait_until(lambda: left() < min(first, 120), 10)
    leader = ask("leader", "show", "-o", "json").json["leader"]
    other = next(name for name in ("n1", "n2", "n3") if name != leader)
    asked = ask("--member", other, "kv", "lease", "show", lease, "-o", "json").json
    assert (asked["left_seconds"], asked["ttl_seconds"]) == (None, 120)
    ask("kv", "lease", "revoke", lease)


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "5x", "0ms"])
def test_a_wrong_time_is_wrong_usage(raftlog, seconds):
    """A lease lives longer than nothing."""
    assert raftlog("kv", "lease", "grant", "--", seconds).code == 128
