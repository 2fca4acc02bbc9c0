"""The one table of errors and gRPC statuses, in both directions."""

from __future__ import annotations

import grpc
import pytest

from raftlog import errors
from raftlog.errors import ERROR_BY_CODE, LeaderHint, RaftLogError
from raftlog.wire import status
from raftlog.wire.pb import types_pb2

HINT = LeaderHint("n2", "n2.example:7101", 9)
CLASSES = sorted(ERROR_BY_CODE.values(), key=lambda kind: kind.code)


def rpc_error(
    code: grpc.StatusCode, details: str = "", trailing: tuple[tuple[str, bytes], ...] = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details=details
    )


def facts(error: RaftLogError) -> tuple[object, ...]:
    return type(error), error.message, error.definite, error.leader


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.code)
@pytest.mark.parametrize("definite", [True, False])
@pytest.mark.parametrize("leader", [None, HINT])
def test_every_error_survives_the_wire(
    kind: type[RaftLogError], definite: bool, leader: LeaderHint | None
) -> None:
    """Class, sentence, definiteness and leader hint come out as they went in."""
    error = kind("why it ✗ failed", definite=definite, leader=leader)
    sent = status.to_pb(error).SerializeToString()
    assert facts(status.from_pb(types_pb2.Error.FromString(sent))) == facts(error)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.code)
def test_every_error_survives_a_failed_call(kind: type[RaftLogError]) -> None:
    """What a server aborts with is what the client raises, whatever the client believed sent."""
    error = kind("sentence", leader=HINT)
    code, details, metadata = status.abort_details(error)
    assert code is status.STATUS_BY_ERROR[kind]
    assert code is not grpc.StatusCode.OK
    failed = rpc_error(code, details, metadata)
    for sent in (True, False):
        assert facts(status.from_rpc_error(failed, sent=sent)) == facts(error)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.code)
def test_what_becomes_indefinite_keeps_all_else(kind: type[RaftLogError]) -> None:
    """A refusal after an attempt that may have happened still says what it said of itself."""
    error = kind("sentence", definite=True, leader=HINT)
    if isinstance(error, errors.Compacted):
        error.oldest_sequence = 7
    if isinstance(error, errors.ConnectFailed):
        error.is_explained = True
    unsure = error.indefinite()
    assert facts(unsure) == (kind, "sentence", False, HINT)
    assert vars(unsure) == {**vars(error), "definite": False}
    assert error.definite
    assert unsure.indefinite() is unsure


def test_the_table_names_every_class() -> None:
    """A new error class must be given a status."""
    assert set(status.STATUS_BY_ERROR) == set(ERROR_BY_CODE.values())


def test_subclass_without_status_takes_the_nearest() -> None:
    """An error class made elsewhere is answered like the class it refines."""
    kind = type("Refined", (errors.TooLarge,), {})
    assert status.status_of(kind("x")) is grpc.StatusCode.INVALID_ARGUMENT


def test_code_of_a_newer_version_keeps_definite() -> None:
    """An unknown code is still an error with its sentence and the one fact."""
    error = status.from_pb(types_pb2.Error(code="from_the_future", message="m", definite=False))
    assert facts(error) == (RaftLogError, "m", False, None)


def test_an_overlong_sentence_is_cut() -> None:
    """Trailing metadata stays within what every end accepts."""
    assert len(status.to_pb(errors.NotFound("x" * 100_000)).message) == 1024


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    ],
)
def test_a_bare_status_is_definite_only_if_nothing_was_sent(code: grpc.StatusCode) -> None:
    """Without raftlog's own metadata a sent request may have happened."""
    sent = status.from_rpc_error(rpc_error(code, "Socket closed"), sent=True)
    assert type(sent) is errors.Indeterminate
    assert not sent.definite
    assert sent.message == f"{code.name}: Socket closed"
    unsent = status.from_rpc_error(rpc_error(code, "Socket closed"), sent=False)
    assert type(unsent) is errors.Unavailable
    assert unsent.definite


@pytest.mark.parametrize(
    "details",
    [
        "failed to connect to all addresses; last error: UNKNOWN: Connection refused",
        "DNS resolution failed for nowhere:1",
    ],
)
def test_words_prove_nothing(details: str) -> None:
    """Anybody may say that no connection was made; only this side knows whether it sent."""
    failed = rpc_error(grpc.StatusCode.UNAVAILABLE, details)
    error = status.from_rpc_error(failed, sent=True)
    assert type(error) is errors.ConnectFailed
    assert not error.definite
    assert status.from_rpc_error(failed, sent=False).definite


@pytest.mark.parametrize("code", list(grpc.StatusCode))
@pytest.mark.parametrize(
    "details",
    [
        "",
        "Method not found!",
        "Sent message larger than max (9 vs. 8)",
        "Received message larger than max (9 vs. 8)",
        "failed to connect to all addresses",
    ],
)
def test_no_foreign_status_is_definite_about_what_was_sent(
    code: grpc.StatusCode, details: str
) -> None:
    """A status without raftlog's own word on it may speak of the answer, or come from anybody."""
    failed = rpc_error(code, details)
    assert not status.from_rpc_error(failed, sent=True).definite
    assert status.from_rpc_error(failed, sent=False).definite


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", errors.InvalidInput),
        (grpc.StatusCode.PERMISSION_DENIED, "", errors.Unauthorized),
        (grpc.StatusCode.UNAUTHENTICATED, "", errors.Unauthorized),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Sent message larger than max", errors.TooLarge),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max", errors.TooLarge),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", errors.Overloaded),
    ],
)
def test_grpc_own_refusals(code: grpc.StatusCode, details: str, kind: type[RaftLogError]) -> None:
    """gRPC's own refusals become the error a caller can act on."""
    assert type(status.from_rpc_error(rpc_error(code, details), sent=True)) is kind


def test_a_status_without_words_is_told_by_its_name() -> None:
    """What gRPC leaves out is not made up."""
    assert status.from_rpc_error(rpc_error(grpc.StatusCode.ABORTED), sent=True).message == "ABORTED"


def test_the_code_that_a_call_ended_with_is_known() -> None:
    """An audit line names the error that was answered, and none where none was carried."""
    *_, metadata = status.abort_details(errors.NotFound("gone"))
    assert status.carried_code((("other-key", "x"), *metadata)) == "not_found"
    assert status.carried_code((("other-key", "x"),)) is None
    assert status.carried_code(None) is None


def test_metadata_that_does_not_parse_is_ignored() -> None:
    """Garbage under raftlog's key must not hide that the outcome is unknown."""
    garbage = ((status.METADATA_KEY, b"\xff\xff\xff"),)
    error = status.from_rpc_error(rpc_error(grpc.StatusCode.UNKNOWN, "", garbage), sent=True)
    assert type(error) is errors.Indeterminate


def test_an_rpc_error_without_a_status() -> None:
    """A bare RpcError, which has neither code nor metadata, is an unknown outcome if sent."""
    error = status.from_rpc_error(grpc.RpcError("odd"), sent=True)
    assert type(error) is errors.Indeterminate
    assert "odd" in error.message
