"""Every error raftlog raises, and the one fact each carries: whether the operation happened.

`definite` is true only if the operation certainly did NOT happen, on any attempt. The SDK's
retries, the command line's exit code and a fault harness's bookkeeping all come from that fact. A
foreign exception (gRPC, LMDB, OSError) is mapped to one of these where it enters; it never leaks
inward.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import ClassVar


@dataclasses.dataclass(frozen=True, slots=True)
class LeaderHint:
    """Who leads, as far as the answering node knows; `address` is the advertised HOST:PORT."""

    node_id: str
    address: str
    term: int


class RaftLogError(Exception):
    """The root of raftlog's errors.

    `definite`: the operation certainly did not happen, on any attempt. `leader`: whom to ask
    instead, where that is known. `is_explained`: the message says why, and what to do next.
    """

    code: ClassVar[str] = "failed"
    default_definite: ClassVar[bool] = True
    is_explained = False

    def __init__(
        self, message: str, *, definite: bool | None = None, leader: LeaderHint | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.definite = self.default_definite if definite is None else definite
        self.leader = leader

    def indefinite(self) -> RaftLogError:
        """Return the same error for an operation an earlier attempt of which may have happened."""
        if not self.definite:
            return self
        error = copy.copy(self)
        error.definite = False
        return error


class NotLeader(RaftLogError):
    """This node does not lead; `leader` says who does, if known."""

    code = "not_leader"


class ProposalDropped(RaftLogError):
    """The leader refused to append, so it did not happen (say, a transfer is under way)."""

    code = "proposal_dropped"


class Indeterminate(RaftLogError):
    """It may have happened: it entered a log and the answer was lost or did not come in time."""

    code = "indeterminate"
    default_definite = False


class LeadershipLost(Indeterminate):
    """The leader stepped down before the entry was committed.

    A later leader may still commit it.
    """

    code = "leadership_lost"


class Unavailable(RaftLogError):
    """No quorum, no leader, or no answer in time; it certainly did not happen."""

    code = "unavailable"


class ConnectFailed(Unavailable):
    """None of the endpoints could be reached at all."""

    code = "connect_failed"


class Overloaded(RaftLogError):
    """A bounded queue is full; try again later."""

    code = "overloaded"


class DiskFull(Overloaded):
    """The free-space guard refuses appends on this node."""

    code = "disk_full"


class InvalidInput(RaftLogError):
    """The caller's argument is wrong; repeating it will not help."""

    code = "invalid_input"


class InvalidGroup(InvalidInput):
    """A group's framing does not parse; it was refused before it became an entry."""

    code = "invalid_group"


class TooLarge(InvalidInput):
    """A transaction or group is over its size limit."""

    code = "too_large"


class NotFound(RaftLogError):
    """No such sequence, stream, lease or member."""

    code = "not_found"


class Rejected(RaftLogError):
    """The state machine refused the command: a deterministic result, with no effect on state."""

    code = "rejected"


class SafetyRefused(RaftLogError):
    """A safety check refuses the operation."""

    code = "safety_refused"


class MembershipRejected(SafetyRefused):
    """The membership change is not allowed now."""

    code = "membership_rejected"


class Compacted(RaftLogError):
    """The position asked for was purged; `oldest_sequence` is the oldest kept, 0 if unknown."""

    code = "compacted"

    def __init__(
        self,
        message: str,
        *,
        definite: bool | None = None,
        leader: LeaderHint | None = None,
        oldest_sequence: int = 0,
    ) -> None:
        super().__init__(message, definite=definite, leader=leader)
        self.oldest_sequence = oldest_sequence


class SessionExpired(RaftLogError):
    """The session is unknown or expired; an earlier attempt in it may have happened."""

    code = "session_expired"


class ConsumerMoved(RaftLogError):
    """The named consumer was reset, or made anew, since this reader began under its name."""

    code = "consumer_moved"


class SessionMismatch(InvalidInput):
    """A retry under a known session number carries other bytes, or a number leaves a gap."""

    code = "session_mismatch"


class IdentityMismatch(SafetyRefused):
    """A peer or directory of another cluster, or not the instance the membership knows."""

    code = "identity_mismatch"


class WrongCluster(SafetyRefused):
    """The call is meant for another cluster than the one that answers; nothing was done."""

    code = "wrong_cluster"


class MemberRemoved(IdentityMismatch):
    """The data directory was removed from the cluster, and is out for good."""

    code = "member_removed"


class MachineMismatch(SafetyRefused):
    """The code of the machine that the log names, in the version in force, is not here."""

    code = "machine_mismatch"


class VersionTooOld(SafetyRefused):
    """This raftlog cannot read the cluster's feature level; nothing is wrong with the data."""

    code = "version_too_old"


class Unauthorized(RaftLogError):
    """The peer's or client's credentials do not allow this."""

    code = "unauthorized"


class ConfigInvalid(InvalidInput):
    """A setting is unknown or out of range; the message names the nearest known one."""

    code = "config_invalid"


class StorageError(RaftLogError):
    """The disk said no. After a failed commit the node stops, and the outcome is unknown."""

    code = "storage_error"
    default_definite = False


class StorageCorrupt(StorageError):
    """A record failed verification, or the directory is of a format this version cannot read."""

    code = "storage_corrupt"


class MachineHalted(RaftLogError):
    """The state machine raised: apply stands still on this member until an operator acts."""

    code = "machine_halted"
    default_definite = False


class InvariantBroken(RaftLogError):
    """A programmer's error: the node stops rather than go on."""

    code = "invariant_broken"
    default_definite = False


def invariant(condition: object, message: str) -> None:
    """Stop the node with `InvariantBroken` unless `condition` holds.

    Unlike assert, never optimised away.
    """
    if not condition:
        raise InvariantBroken(message)


def _tree(root: type[RaftLogError]) -> dict[str, type[RaftLogError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


ERROR_BY_CODE: dict[str, type[RaftLogError]] = _tree(RaftLogError)
