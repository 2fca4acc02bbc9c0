"""Who may campaign: the bootstrap rule, the known instance, and what the node withholds."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.checksum import chain
from raftlog.core.membership import Membership
from raftlog.core.raft import Raft
from raftlog.core.settings import CoreSettings
from raftlog.interfaces import Identity
from raftlog.node.enrolment import Enrolment
from tests.node.harness import Notebook
from tests.node.parts import MEMBERSHIP, boundary, new_storage


class Even:
    def uniform(self, low, high):
        return (low + high) / 2


class Rig:
    def __init__(self, membership: Membership = MEMBERSHIP) -> None:
        storage = new_storage(membership)
        self.raft = Raft(
            node_id="n1",
            settings=CoreSettings(),
            log=storage,
            hard_state=storage.recovered().hard_state,
            seal=chain,
            random=Even(),
            now=0.0,
        )
        self.observer = Notebook()
        self.enrolment = Enrolment(
            raft=self.raft,
            identity=Identity(cluster_id="c1", node_id="n1", instance_id="i1"),
            boundary=boundary(membership=membership),
            observer=self.observer,
        )

    def see(self, *peers: str, fresh: bool = True) -> None:
        for peer in peers:
            self.enrolment.identified(peer, f"{peer}-instance", fresh=fresh)


@pytest.fixture
def rig():
    return Rig()


def test_a_fresh_member_campaigns_once_it_has_seen_all_fresh(rig):
    """A member that is not fresh knows better, so seeing it does not count."""
    assert not rig.raft.may_campaign
    rig.see("n2")
    rig.see("n3", fresh=False)
    assert not rig.raft.may_campaign
    assert "n3" in rig.enrolment.alarm
    rig.see("n3")
    assert rig.raft.may_campaign
    assert rig.enrolment.alarm is None


def test_what_the_node_withholds_outlives_every_update(rig):
    """A node that stops, or whose machine halted, stays out of elections whatever it hears."""
    rig.see("n2", "n3")
    rig.enrolment.withhold("stopping")
    rig.enrolment.withhold("machine_halted")
    rig.see("n2", "n3")
    rig.enrolment.update()
    assert not rig.raft.may_campaign
    rig.enrolment.release("machine_halted")
    assert not rig.raft.may_campaign
    rig.enrolment.release("stopping")
    assert rig.raft.may_campaign


def bound(instance_id: str) -> Membership:
    """Return the membership with n1 bound to `instance_id`."""
    members = tuple(
        dataclasses.replace(m, instance_id=instance_id) if m.node_id == "n1" else m
        for m in MEMBERSHIP.members
    )
    return dataclasses.replace(MEMBERSHIP, members=members)


def test_another_directory_than_the_known_one_stays_out():
    """A directory that is not the member's own never campaigns, and says why."""
    rig = Rig(bound("another"))
    rig.see("n2", "n3")
    assert not rig.raft.may_campaign
    assert "emptied or replaced" in rig.enrolment.alarm
    assert rig.observer.named("not_the_known_instance")


def test_a_bound_member_is_refused_under_another_instance():
    """Only the instance the membership names is let in; members not bound yet are."""
    rig = Rig(bound("i1"))
    assert rig.enrolment.check("n1", "i1") is None
    assert "emptied" in rig.enrolment.check("n1", "i2")
    assert rig.enrolment.check("n2", "whatever") is None


def test_binding_names_only_members_that_were_seen(rig):
    """Instances come from handshakes; a member not seen stays unbound."""
    assert not rig.enrolment.all_known
    rig.see("n2")
    bound_ids = {m.node_id: m.instance_id for m in rig.enrolment.unbound().members}
    assert bound_ids == {"n1": "i1", "n2": "n2-instance", "n3": ""}
    rig.see("n3")
    assert rig.enrolment.all_known
