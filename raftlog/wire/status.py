"""Errors and gRPC statuses: one table, read in both directions.

An error crosses the wire as `types_pb2.Error`: on streams inside a reply, on unary calls as the
trailing metadata entry `METADATA_KEY`. A status without that entry was made by gRPC itself or by
something between the two ends; such a one is definite only where this side knows that nothing it
sent can matter, whatever the status says.
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from google.protobuf.message import DecodeError

from raftlog import errors
from raftlog.errors import LeaderHint, RaftLogError
from raftlog.wire.pb import types_pb2

METADATA_KEY = "raftlog-error-bin"
CLUSTER_KEY = "raftlog-cluster-id"
"""The metadata entry of a call by which it names the cluster that it is meant for."""
UNREACHED_KEY = "raftlog-leader-unreached"
"""That of a probe by which a client says that it cannot reach the leader of that term."""

MESSAGE_CHARACTERS_MAX = 1024
"""Trailing metadata is limited to 8 KiB by most ends; a sentence needs less."""

Metadata = tuple[tuple[str, bytes], ...]
_Code = grpc.StatusCode

STATUS_BY_ERROR: dict[type[RaftLogError], grpc.StatusCode] = {
    errors.RaftLogError: _Code.UNKNOWN,
    errors.NotLeader: _Code.FAILED_PRECONDITION,
    errors.ProposalDropped: _Code.ABORTED,
    errors.Indeterminate: _Code.UNKNOWN,
    errors.LeadershipLost: _Code.UNKNOWN,
    errors.Unavailable: _Code.UNAVAILABLE,
    errors.ConnectFailed: _Code.UNAVAILABLE,
    errors.Overloaded: _Code.RESOURCE_EXHAUSTED,
    errors.DiskFull: _Code.RESOURCE_EXHAUSTED,
    errors.InvalidInput: _Code.INVALID_ARGUMENT,
    errors.InvalidGroup: _Code.INVALID_ARGUMENT,
    errors.TooLarge: _Code.INVALID_ARGUMENT,
    errors.NotFound: _Code.NOT_FOUND,
    errors.Rejected: _Code.FAILED_PRECONDITION,
    errors.SafetyRefused: _Code.FAILED_PRECONDITION,
    errors.MachineMismatch: _Code.FAILED_PRECONDITION,
    errors.VersionTooOld: _Code.FAILED_PRECONDITION,
    errors.MembershipRejected: _Code.FAILED_PRECONDITION,
    errors.Compacted: _Code.OUT_OF_RANGE,
    errors.SessionExpired: _Code.FAILED_PRECONDITION,
    errors.ConsumerMoved: _Code.FAILED_PRECONDITION,
    errors.SessionMismatch: _Code.INVALID_ARGUMENT,
    errors.IdentityMismatch: _Code.FAILED_PRECONDITION,
    errors.MemberRemoved: _Code.FAILED_PRECONDITION,
    errors.WrongCluster: _Code.FAILED_PRECONDITION,
    errors.Unauthorized: _Code.PERMISSION_DENIED,
    errors.ConfigInvalid: _Code.INVALID_ARGUMENT,
    errors.StorageError: _Code.INTERNAL,
    errors.StorageCorrupt: _Code.DATA_LOSS,
    errors.MachineHalted: _Code.INTERNAL,
    errors.InvariantBroken: _Code.INTERNAL,
}

_FOREIGN: dict[grpc.StatusCode, type[RaftLogError]] = {
    _Code.UNIMPLEMENTED: errors.InvalidInput,
    _Code.INVALID_ARGUMENT: errors.InvalidInput,
    _Code.UNAUTHENTICATED: errors.Unauthorized,
    _Code.PERMISSION_DENIED: errors.Unauthorized,
}
"""Refusals that repeating will not mend. Who said so, and when, is not known."""

_NEVER_CONNECTED = ("failed to connect to all addresses", "DNS resolution failed")
"""gRPC's words for a call that no connection took."""

_TOO_LARGE = "message larger than max"
"""gRPC's words at either end, of a request or of an answer: they do not say which."""


def to_pb(error: RaftLogError) -> types_pb2.Error:
    """Return the error as it travels. An overlong sentence is cut."""
    leader = error.leader
    return types_pb2.Error(
        code=error.code,
        message=error.message[:MESSAGE_CHARACTERS_MAX],
        definite=error.definite,
        leader=None
        if leader is None
        else types_pb2.LeaderHint(node_id=leader.node_id, address=leader.address, term=leader.term),
        oldest_sequence=error.oldest_sequence if isinstance(error, errors.Compacted) else 0,
    )


def from_pb(pb: types_pb2.Error) -> RaftLogError:
    """Return the error that travelled. A code of a newer version becomes a plain `RaftLogError`."""
    leader = None
    if pb.HasField("leader"):
        leader = LeaderHint(pb.leader.node_id, pb.leader.address, pb.leader.term)
    kind = errors.ERROR_BY_CODE.get(pb.code, RaftLogError)
    if kind is errors.Compacted:
        return errors.Compacted(
            pb.message, definite=pb.definite, leader=leader, oldest_sequence=pb.oldest_sequence
        )
    return kind(pb.message, definite=pb.definite, leader=leader)


def status_of(error: RaftLogError) -> grpc.StatusCode:
    """Return the gRPC status of the error's class, or of the nearest class above it."""
    return next(STATUS_BY_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_BY_ERROR)


def abort_details(error: RaftLogError) -> tuple[grpc.StatusCode, str, Metadata]:
    """Return what `context.abort` takes: status, sentence and trailing metadata."""
    pb = to_pb(error)
    return status_of(error), pb.message, ((METADATA_KEY, pb.SerializeToString()),)


def from_rpc_error(error: grpc.RpcError, *, sent: bool) -> RaftLogError:
    """Return what a failed call means.

    Args:
        error: What grpc or grpc.aio raised.
        sent: Whether anything whose outcome matters may have left. False only if certainly not.
    """
    carried = _carried(error)
    if carried is not None:
        return carried
    code = error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else None
    details = _details(error)
    name = "an unknown error" if code is None else code.name
    sentence = f"{name}: {details}" if details else name
    if any(words in details for words in _NEVER_CONNECTED) and code is _Code.UNAVAILABLE:
        return errors.ConnectFailed(sentence, definite=not sent)
    if code is _Code.RESOURCE_EXHAUSTED:
        if _TOO_LARGE in details:
            return errors.TooLarge(sentence, definite=not sent)
        return errors.Overloaded(sentence, definite=not sent)
    if code in _FOREIGN:
        return _FOREIGN[code](sentence, definite=not sent)
    if sent:
        return errors.Indeterminate(sentence)
    return errors.Unavailable(sentence)


def carried_code(metadata: Iterable[tuple[str, object]] | None) -> str | None:
    """Return the code of the error that a call's trailing metadata carries, or None."""
    found = _carried_in(metadata)
    return None if found is None else found.code


def _carried(error: grpc.RpcError) -> RaftLogError | None:
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return None
    return _carried_in(error.trailing_metadata())


def _carried_in(metadata: Iterable[tuple[str, object]] | None) -> RaftLogError | None:
    for key, value in metadata or ():
        if key == METADATA_KEY and isinstance(value, bytes):
            try:
                return from_pb(types_pb2.Error.FromString(value))
            except DecodeError:
                return None
    return None


def _details(error: grpc.RpcError) -> str:
    if isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return error.details() or ""
    return str(error)
