"""The schema is the one list of settings, and its defaults are the contract's."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.config import schema
from raftlog.config.schema import SETTINGS, Settings, check, effective
from raftlog.errors import ConfigInvalid

MIB, GIB = 1 << 20, 1 << 30

PROMISED = {
    "raft.heartbeat_seconds": 0.1,
    "raft.election_timeout_seconds": 0.5,
    "raft.lease_seconds": 0.0,
    "limits.transaction_bytes_max": 16 * MIB,
    "limits.group_bytes_max": 4 * MIB,
    "limits.session_groups_max": 64,
    "limits.session_expiry_seconds": 3600.0,
    "limits.inbox_groups_max": 10_000,
    "limits.subscriber_bytes_max": 4 * MIB,
    "limits.connections_max": 4096,
    "retention.log_bytes_max": 10 * GIB,
    "retention.log_seconds_max": 7 * 86400.0,
    "retention.snapshot_log_bytes": GIB,
    "retention.cache_bytes_max": 64 * MIB,
    "disk.free_bytes_min": GIB,
    "disk.free_fraction_min": 0.05,
    "listen": "127.0.0.1:7101",
    "http": "127.0.0.1:7201",
    "machine": "kv",
    "insecure": False,
    "tls.roles": False,
}


@pytest.mark.parametrize(("key", "value"), PROMISED.items())
def test_defaults_are_what_users_were_promised(key, value):
    """Every default of the contract's table is the schema's default."""
    assert effective(Settings())[key] == value


def test_every_default_is_legal_and_documented():
    """A default passes its own parser, and every key says what it is."""
    for key, setting in SETTINGS.items():
        if setting.default not in ("", ()):
            assert setting.checked(setting.default) == setting.default, key
        assert setting.doc, key


def test_keys_and_variables_do_not_collide():
    """No two keys share an environment variable."""
    variables = [setting.variable for setting in SETTINGS.values()]
    assert len(set(variables)) == len(variables)
    assert SETTINGS["raft.heartbeat_seconds"].variable == "RAFTLOG_RAFT_HEARTBEAT_SECONDS"


@pytest.mark.parametrize(
    ("section", "fields", "why"),
    [
        ("raft", {"election_timeout_seconds": 0.15}, "at least twice raft.heartbeat_seconds"),
        ("raft", {"catch_up_bytes_per_second": 65_535}, "must be 0, .* or at least 65536"),
        ("raft", {"lease_seconds": 0.6}, "raft.lease_seconds .* must not be above"),
        ("limits", {"inbox_groups_max": 10}, "session_groups_max must not be above"),
        ("tls", {"cacert": "ca.crt"}, "tls needs all three"),
    ],
)
def test_values_that_disagree_are_refused(section, fields, why):
    """Settings that are legal alone and not together are refused, naming the keys."""
    part = dataclasses.replace(getattr(Settings(), section), **fields)
    with pytest.raises(ConfigInvalid, match=why):
        check(dataclasses.replace(Settings(), **{section: part}))


def test_a_node_must_be_among_the_first_members():
    """A node that founds a cluster it is not in is refused."""
    settings = Settings(node_id="n9", initial_cluster=(("n1", "a:1"),))
    with pytest.raises(ConfigInvalid, match="'n9' is not in initial_cluster"):
        check(settings)


def test_an_address_is_advertised_only_where_it_was_given():
    """By itself, or among those of members that moved; else the membership's stands."""
    assert Settings(listen="a:1").advertised == ""
    assert Settings(listen="a:1", advertise="b:2").advertised == "b:2"
    moved = (("n1", "c:3"), ("n2", "d:4"))
    assert Settings(node_id="n1", listen="a:1", peers=moved).advertised == "c:3"


def test_sections_are_known_by_name():
    """Every section of the settings can be named in a file."""
    assert set(schema.SECTIONS) == {
        "raft", "limits", "retention", "disk", "tls", "logging", "debug",
    }  # fmt: skip
