"""A data directory: whose it is, and that nothing is founded by accident."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.errors import ConfigInvalid, IdentityMismatch, SafetyRefused
from raftlog.machines.kv import KvMachine
from raftlog.machines.log import LogMachine
from raftlog.recovery.lineage import successor
from raftlog.server.directory import cluster_id_of, first_boundary, open_storage
from raftlog.storage.lmdb import LmdbStorage
from raftlog.storage.lmdb.refounding import refound, survey
from raftlog.storage.refounding import sole_voter


def test_the_cluster_id_comes_from_the_token_alone(settings):
    """The same token is the same cluster, whatever the addresses; another token is another."""
    assert cluster_id_of("token") == cluster_id_of("token")
    assert cluster_id_of("token") != cluster_id_of("token2")
    assert "token" not in cluster_id_of("token")
    moved = dataclasses.replace(settings, initial_cluster=(("n1", "127.0.0.1:1"),))
    assert cluster_id_of(settings.bootstrap_token) == cluster_id_of(moved.bootstrap_token)


def test_members_founded_differently_disagree_at_once(settings, monkeypatch):
    """The first boundary's checksum covers cluster, machine, level and members, in any order."""
    members = (("n1", "a:1"), ("n2", "b:2"))
    one = first_boundary(dataclasses.replace(settings, initial_cluster=members), KvMachine())
    same = first_boundary(dataclasses.replace(settings, initial_cluster=members[::-1]), KvMachine())
    other = first_boundary(dataclasses.replace(settings, initial_cluster=members[:1]), KvMachine())
    opaque = first_boundary(dataclasses.replace(settings, initial_cluster=members), LogMachine())
    elsewhere = first_boundary(
        dataclasses.replace(settings, initial_cluster=members, bootstrap_token="t2"), KvMachine()
    )
    monkeypatch.setattr("raftlog.server.directory.FEATURE_LEVEL_MAX", one.feature_level + 1)
    newer = first_boundary(dataclasses.replace(settings, initial_cluster=members), KvMachine())
    assert one == same
    assert len({each.checksum for each in (one, other, opaque, elsewhere, newer)}) == 5
    assert (opaque.machine_name, opaque.machine_version) == ("log", 1)
    assert (one.index, one.next_sequence) == (0, 1)


def test_a_directory_is_founded_once_and_keeps_its_identity(settings):
    """Opening again gives the same instance, and initial_cluster is not looked at any more."""
    storage = open_storage(settings, KvMachine())
    first = storage.identity
    storage.close()
    again = open_storage(
        dataclasses.replace(settings, initial_cluster=(), bootstrap_token=""), KvMachine()
    )
    assert again.identity == first
    assert again.recovered().boundary.membership.node_ids == ("n1",)
    again.close()
    assert (first.node_id, first.cluster_id) == ("n1", cluster_id_of("token"))


@pytest.mark.parametrize(
    ("change", "error", "why"),
    [
        ({"node_id": "n2"}, IdentityMismatch, "directory of another node: of n1, not of n2"),
        ({"bootstrap_token": "t2"}, IdentityMismatch, "data directory of another cluster"),
    ],
)
def test_a_directory_of_something_else_is_refused(settings, change, error, why):
    """A directory of another node or cluster is refused in a sentence, and stays usable."""
    open_storage(settings, KvMachine()).close()
    with pytest.raises(error, match=why):
        open_storage(dataclasses.replace(settings, **change), KvMachine())
    open_storage(settings, KvMachine()).close()


def test_the_token_of_a_predecessor_still_opens_a_recovered_directory(settings):
    """A node starts with the settings that it had; another cluster's token is refused as before."""
    open_storage(settings, KvMachine()).close()
    held = survey(settings.data_dir)
    identity = successor(held.identity.cluster_id, (), "n1")
    refound(held, identity, sole_voter(held, identity.instance_id, None), 1)
    storage = open_storage(settings, KvMachine())
    assert storage.identity == identity
    assert storage.identity.predecessors == (cluster_id_of("token"),)
    storage.close()
    with pytest.raises(IdentityMismatch, match="data directory of another cluster"):
        open_storage(dataclasses.replace(settings, bootstrap_token="t2"), KvMachine())


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"listen": "127.0.0.1:7102"}, "listen is 127.0.0.1:7102, and initial_cluster has n2"),
        ({"advertise": "B.example:7101"}, "advertise is B.example:7101, .* has n3 there, not n1"),
    ],
)
def test_no_founder_stands_where_another_is(settings, own, said):
    """A line copied to the next machine, with another id alone, founds nothing."""
    members = (("n1", "a:1"), ("n2", "127.0.0.1:7102"), ("n3", "b.example:7101"))
    founding = dataclasses.replace(settings, initial_cluster=members)
    assert first_boundary(founding, KvMachine())
    with pytest.raises(ConfigInvalid, match=said):
        first_boundary(dataclasses.replace(founding, **own), KvMachine())


@pytest.mark.parametrize("missing", [{"bootstrap_token": ""}, {"initial_cluster": ()}])
def test_nothing_is_founded_by_accident(settings, missing):
    """An empty directory and no word on the cluster is an error, and leaves nothing behind."""
    with pytest.raises(ConfigInvalid, match="holds no node yet: --bootstrap-token"):
        open_storage(dataclasses.replace(settings, **missing), KvMachine())
    assert not LmdbStorage.exists(settings.data_dir)


def test_a_directory_in_use_is_refused(settings):
    """Two processes cannot open one directory."""
    storage = open_storage(settings, KvMachine())
    with pytest.raises(SafetyRefused):
        open_storage(settings, KvMachine())
    storage.close()
