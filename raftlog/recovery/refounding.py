"""Makes one survivor the first member of a new cluster: a plan to be read, and then the deed.

Everything in the survivor's log is kept. What it did not know to be committed is kept too, and is
committed by the new cluster: it may have been acknowledged, and nobody is left to say that it was
not.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable

from raftlog.core.membership import Membership
from raftlog.errors import SafetyRefused
from raftlog.interfaces import Identity
from raftlog.recovery.lineage import SECRETS, successor
from raftlog.recovery.survivors import is_quorum
from raftlog.storage.lmdb import verify
from raftlog.storage.lmdb.refounding import refound, survey
from raftlog.storage.refounding import Holding, sole_voter


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done to a directory: from what `before` holds to `identity`, `membership`.

    `uncommitted`: how many of the last transactions that are kept may never have been
    acknowledged. `may_be_lost`: the others could have acknowledged more without this member.
    """

    before: Holding
    identity: Identity
    membership: Membership
    uncommitted: int
    may_be_lost: bool


def plan(data_dir: str, address: str | None, progress: Callable[[int, int], None]) -> Plan:
    """Look at a stopped node's directory, every record of it, and say what would become of it.

    Nothing is written. `address`: where the member will be reached, if not where it was.

    Raises:
        ConfigInvalid: there is no data directory.
        SafetyRefused: a running process uses it, it is damaged, it cannot be a voter, or it is the
            only one already.
        StorageError: it cannot be read.
    """
    report = verify(data_dir, progress)
    held = survey(data_dir)
    if report.problems:
        raise SafetyRefused(
            f"{data_dir} is damaged ({report.problems[0]}): recover from another survivor, see "
            "`raftlog recover inspect`, or restore a backup"
        )
    return plan_of(held, address)


def plan_of(held: Holding, address: str | None, dice: random.Random = SECRETS) -> Plan:
    """Say what becomes of a log every record of which is sound.

    Raises:
        SafetyRefused: as `plan`, but for damage.
    """
    before = held.identity
    identity = successor(before.cluster_id, before.predecessors, before.node_id, dice)
    others = held.last.membership.all_voters - {before.node_id}
    if not others:
        raise SafetyRefused(
            f"{before.node_id} is the only voter of cluster {before.cluster_id} already, so it "
            "leads when it is started: nothing was changed"
        )
    return Plan(
        before=held,
        identity=identity,
        membership=sole_voter(held, identity.instance_id, address),
        uncommitted=held.last.next_sequence - 1 - held.commit_sequence,
        may_be_lost=is_quorum(held.last.membership, others),
    )


def carry_out(made: Plan) -> None:
    """Do what the plan says; a crash leaves the old directory or the new one, never half of it.

    Raises:
        SafetyRefused: a running process uses the directory, or it changed since the plan was made.
        StorageError: the disk said no.
    """
    refound(made.before, made.identity, made.membership, time.time_ns() // 1000)
