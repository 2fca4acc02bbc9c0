"""The data directory: whose it is, how a cluster is founded by it, what is done to it offline.

It is decided here, once, before anything listens:

- it is there: it must be of this node id and, where a token is given, of the token's cluster or of
  one that was recovered from it;
  ``initial_cluster`` is not looked at, because the log knows the members better;
- it is not there: ``bootstrap_token`` and ``initial_cluster`` found the cluster. The cluster id
  comes from the token alone, the instance id is drawn at random, and the boundary's checksum covers
  the cluster id, the machine and the membership, so that members founded differently disagree at
  the first message.

A verb that works on the directory of a stopped node belongs here too.
"""

from __future__ import annotations

import hashlib
import pathlib
import secrets
from collections.abc import Callable

from raftlog.addresses import place_of
from raftlog.checksum import crc32c
from raftlog.config.schema import Settings
from raftlog.core.entries import Boundary
from raftlog.core.membership import Member, Membership
from raftlog.errors import (
    ConfigInvalid,
    IdentityMismatch,
    MemberRemoved,
    RaftLogError,
    SafetyRefused,
)
from raftlog.interfaces import Identity, StateMachine
from raftlog.levels import FEATURE_LEVEL_MAX
from raftlog.storage.lmdb import (
    LmdbStorage,
    StorageSettings,
    VerifyReport,
    compaction,
    identity_at,
)
from raftlog.storage.lmdb import verify as verify_records
from raftlog.types import Index, NodeId, Term

CLUSTER_ID_BYTES = 16


def cluster_id_of(token: str) -> str:
    """Return the cluster id that a bootstrap token stands for; the token cannot be read from it."""
    digest = hashlib.blake2b(
        token.encode(), digest_size=CLUSTER_ID_BYTES, person=b"raftlog-cluster"
    )
    return digest.hexdigest()


def open_storage(settings: Settings, machine: StateMachine | None) -> LmdbStorage:
    """Open this node's data directory, founding it if it is not there yet.

    `machine`: what a cluster is founded with; None where the directory is there.

    Raises:
        IdentityMismatch: it is of another node or another cluster.
        ConfigInvalid: there is none, and nothing says which cluster to found.
    """
    if machine is not None and not LmdbStorage.exists(settings.data_dir):
        LmdbStorage.create(
            settings.data_dir,
            identity=_new_identity(settings),
            boundary=first_boundary(settings, machine),
        )
    storage = LmdbStorage.open(settings.data_dir, settings=storage_settings(settings))
    try:
        _check_identity(settings, storage.identity)
    except RaftLogError:
        storage.close()
        raise
    return storage


def is_without_machine(data_dir: str) -> bool:
    """Whether a directory is there and was made for a witness: no machine is loaded for it."""
    if not data_dir or not LmdbStorage.exists(data_dir):
        return False
    identity = identity_at(pathlib.Path(data_dir))
    return identity is not None and not identity.has_machine


def check_directory(settings: Settings) -> None:
    """Check that a directory that is there is this node's, as `open_storage` would.

    One that a running process uses is left alone.

    Raises:
        IdentityMismatch: it is of another node or another cluster.
        StorageCorrupt: it is of a newer version, or damaged beyond use.
    """
    try:
        storage = LmdbStorage.open(settings.data_dir, read_only=True)
    except IdentityMismatch:
        raise
    except SafetyRefused:
        return
    try:
        _check_identity(settings, storage.identity)
    finally:
        storage.close()


def _check_identity(settings: Settings, found: Identity) -> None:
    if found.node_id != settings.node_id:
        raise IdentityMismatch(
            f"{settings.data_dir} is the data directory of another node: "
            f"of {found.node_id}, not of {settings.node_id}"
        )
    token = settings.bootstrap_token
    if token and cluster_id_of(token) not in (found.cluster_id, *found.predecessors):
        raise IdentityMismatch(
            f"{settings.data_dir} is the data directory of another cluster: of {found.cluster_id}, "
            f"and the bootstrap token is that of {cluster_id_of(token)}"
        )


def removed(settings: Settings) -> MemberRemoved:
    """Return what is said of a directory that a committed membership has removed."""
    return MemberRemoved(
        f"{settings.node_id} was removed from the cluster, and {settings.data_dir} is out for "
        "good: to take this machine in again, empty the directory and start it with --join"
    )


def _new_identity(settings: Settings) -> Identity:
    return Identity(
        cluster_id=cluster_id_of(settings.bootstrap_token),
        node_id=NodeId(settings.node_id),
        instance_id=secrets.token_hex(8),
    )


def first_boundary(settings: Settings, machine: StateMachine) -> Boundary:
    """Return what lies below the first entry of a cluster founded by these settings.

    Raises:
        ConfigInvalid: the settings do not say which cluster to found, or leave this node out.
    """
    members = dict(settings.initial_cluster)
    if not settings.bootstrap_token or not members:
        raise ConfigInvalid(
            f"{settings.data_dir} holds no node yet: --bootstrap-token and --initial-cluster say "
            "which cluster to found (the same on every first member), or --join which one to join"
        )
    if settings.node_id not in members:
        raise ConfigInvalid(
            f"node_id {settings.node_id!r} is not in initial_cluster ({', '.join(members)})"
        )
    _check_own_address(settings, members)
    membership = Membership.of_voters(
        Member(node_id=NodeId(name), address=address) for name, address in members.items()
    )
    cluster_id = cluster_id_of(settings.bootstrap_token)
    # Founders that begin with different levels or machines disagree at once.
    pinned = f"{cluster_id} {machine.name} {machine.version} level {FEATURE_LEVEL_MAX}".encode()
    return Boundary(
        index=Index(0),
        term=Term(0),
        checksum=crc32c(pinned + membership.encode()),
        next_sequence=1,
        timestamp=0,
        membership=membership,
        feature_level=FEATURE_LEVEL_MAX,
        machine_name=machine.name,
        machine_version=machine.version,
    )


def _check_own_address(settings: Settings, members: dict[str, str]) -> None:
    """Refuse to found a cluster at another founder's address; later the log knows them better.

    Raises:
        ConfigInvalid: this node would listen, or be reached, where another founder is.
    """
    for key in ("advertise", "listen"):
        own = getattr(settings, key)
        for name, address in members.items():
            if own and name != settings.node_id and place_of(address) == place_of(own):
                raise ConfigInvalid(
                    f"{key} is {own}, and initial_cluster has {name} there, not "
                    f"{settings.node_id}: give each its own address"
                )


def storage_settings(settings: Settings) -> StorageSettings:
    """Return the storage's part of the settings."""
    return StorageSettings(
        cache_bytes_max=settings.retention.cache_bytes_max,
        free_fraction_min=settings.disk.free_fraction_min,
        free_bytes_min=settings.disk.free_bytes_min,
    )


# ---------------------------------------------------------------- offline verbs


def verify(data_dir: str, progress: Callable[[int, int], None]) -> VerifyReport:
    """Check a stopped node's directory: every checksum and the chain, LMDB, the hard state.

    `progress` is told how many records are done, and of how many.
    """
    return verify_records(data_dir, progress)


def compact(
    data_dir: str, progress: Callable[[int, int], None], *, dry_run: bool = False
) -> compaction.Compaction:
    """Make a stopped node's data file as small as what it holds; `dry_run`: say how small.

    `progress` is told how many bytes are written, and of about how many.
    """
    return compaction.plan(data_dir) if dry_run else compaction.compact(data_dir, progress)
