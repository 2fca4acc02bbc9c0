"""The core's messages and protobuf's, total both ways.

Encoding cannot fail for a message the core made. Decoding treats what came as hostile: anything
that does not fit becomes `InvalidInput` with a sentence, never another exception, so that a broken
or newer peer ends its stream and nothing else. `InstallSnapshot` does not travel as a message; its
bytes have a stream of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as PbMessage

from raftlog.core import messages
from raftlog.core.entries import Entry, EntryKind
from raftlog.core.messages import Message
from raftlog.errors import InvalidInput, InvariantBroken
from raftlog.types import Index, NodeId, Position, Term
from raftlog.wire.pb import raft_pb2 as pb

CODEC_MAX = 255
_KINDS = {int(kind): kind for kind in EntryKind}
_VERDICTS = {int(verdict): verdict for verdict in messages.TrialVerdict}
_P = TypeVar("_P", bound=PbMessage)


def parse(kind: type[_P], data: bytes) -> _P:
    """Return `data` parsed as a protobuf of that kind.

    Raises:
        InvalidInput: it does not parse.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise InvalidInput(f"{len(data)} bytes do not parse as {name}") from None


def encode(message: Message) -> bytes:
    """Return the bytes of the PeerMessage that carries `message`."""
    encoder = _ENCODERS.get(type(message))
    if encoder is None:
        raise InvariantBroken(f"{type(message).__name__} does not travel as a peer message")
    return encoder(message).SerializeToString()


def decode(data: bytes) -> Message | pb.Hello | pb.Goodbye:
    """Return the core's message, or the Hello or Goodbye that is the transport's own.

    Raises:
        InvalidInput: whatever does not fit.
    """
    try:
        message = pb.PeerMessage.FromString(data)
    except DecodeError:
        raise InvalidInput(f"{len(data)} bytes do not parse as PeerMessage") from None
    name = message.WhichOneof("body")
    if name is None:
        raise InvalidInput("peer message is empty, or of a kind that is not known here")
    body = getattr(message, name)
    decoder = _DECODERS.get(name)
    if decoder is None:
        return body  # type: ignore[no-any-return]  # Hello or Goodbye
    return decoder(body)


def entry_from_pb(entry: pb.Entry) -> Entry:
    """Return the entry that came."""
    kind = _KINDS.get(entry.kind)
    if kind is None:
        raise InvalidInput(
            f"entry {entry.index} is of kind {entry.kind}, which this version does not know"
        )
    if entry.codec > CODEC_MAX:
        raise InvalidInput(f"entry {entry.index} has codec {entry.codec}, over {CODEC_MAX}")
    return Entry(
        term=Term(entry.term),
        index=Index(entry.index),
        kind=kind,
        codec=entry.codec,
        first_sequence=entry.first_sequence,
        count=entry.count,
        timestamp=entry.timestamp,
        checksum=entry.checksum,
        payload=entry.payload,
    )


def _position(message: PbMessage, field: str) -> Position:
    if not message.HasField(field):
        raise InvalidInput(f"{message.DESCRIPTOR.name} lacks its position {field!r}")
    position = getattr(message, field)
    return Position(Term(position.term), Index(position.index))


def _pb_position(position: Position) -> pb.Position:
    return pb.Position(term=position.term, index=position.index)


# ---------------------------------------------------------------- to protobuf


def _encode_pre_vote_request(m: messages.PreVoteRequest) -> pb.PeerMessage:
    body = pb.PreVoteRequest(term=m.term, last=_pb_position(m.last))
    return pb.PeerMessage(pre_vote_request=body)


def _encode_pre_vote_response(m: messages.PreVoteResponse) -> pb.PeerMessage:
    return pb.PeerMessage(pre_vote_response=pb.PreVoteResponse(term=m.term, granted=m.granted))


def _encode_vote_request(m: messages.VoteRequest) -> pb.PeerMessage:
    body = pb.VoteRequest(term=m.term, last=_pb_position(m.last), transfer=m.transfer)
    return pb.PeerMessage(vote_request=body)


def _encode_vote_response(m: messages.VoteResponse) -> pb.PeerMessage:
    return pb.PeerMessage(vote_response=pb.VoteResponse(term=m.term, granted=m.granted))


def _encode_append_request(m: messages.AppendRequest) -> pb.PeerMessage:
    message = pb.PeerMessage()
    request = message.append_request
    request.term = m.term
    request.previous.term, request.previous.index = m.previous.term, m.previous.index
    request.previous_checksum = m.previous_checksum
    request.commit_index = m.commit_index
    request.previous.SetInParent()  # a position of zeros is there too
    for entry in m.entries:
        request.entries.add(
            term=entry.term,
            index=entry.index,
            kind=entry.kind,
            codec=entry.codec,
            first_sequence=entry.first_sequence,
            count=entry.count,
            timestamp=entry.timestamp,
            checksum=entry.checksum,
            payload=entry.payload,
        )
    return message


def _encode_append_response(m: messages.AppendResponse) -> pb.PeerMessage:
    body = pb.AppendResponse(
        term=m.term,
        success=m.success,
        match_index=m.match_index,
        hint=None if m.hint is None else _pb_position(m.hint),
    )
    return pb.PeerMessage(append_response=body)


def _encode_heartbeat_request(m: messages.HeartbeatRequest) -> pb.PeerMessage:
    body = pb.HeartbeatRequest(
        term=m.term,
        commit_index=m.commit_index,
        context=m.context,
        last_index=m.last_index,
        lease_seconds=m.lease_seconds,
        floor=m.floor,
    )
    return pb.PeerMessage(heartbeat_request=body)


def _encode_heartbeat_response(m: messages.HeartbeatResponse) -> pb.PeerMessage:
    body = pb.HeartbeatResponse(
        term=m.term,
        context=m.context,
        applied_index=m.applied_index,
        lacks_room=m.lacks_room,
        is_damaged=m.is_damaged,
    )
    return pb.PeerMessage(heartbeat_response=body)


def _encode_timeout_now(m: messages.TimeoutNow) -> pb.PeerMessage:
    body = pb.TimeoutNow(term=m.term, stopped_seconds=m.stopped_seconds, by_priority=m.by_priority)
    return pb.PeerMessage(timeout_now=body)


def _encode_trial_request(m: messages.TrialRequest) -> pb.PeerMessage:
    body = pb.TrialRequest(term=m.term, context=m.context, last=_pb_position(m.last))
    return pb.PeerMessage(trial_request=body)


def _encode_trial_vote_request(m: messages.TrialVoteRequest) -> pb.PeerMessage:
    body = pb.TrialVoteRequest(term=m.term, context=m.context, last=_pb_position(m.last))
    return pb.PeerMessage(trial_vote_request=body)


def _encode_trial_vote_response(m: messages.TrialVoteResponse) -> pb.PeerMessage:
    body = pb.TrialVoteResponse(term=m.term, context=m.context, verdict=m.verdict)
    return pb.PeerMessage(trial_vote_response=body)


def _encode_trial_report(m: messages.TrialReport) -> pb.PeerMessage:
    body = pb.TrialReport(term=m.term, context=m.context, voter=m.voter, verdict=m.verdict)
    return pb.PeerMessage(trial_report=body)


def _encode_read_index_request(m: messages.ReadIndexRequest) -> pb.PeerMessage:
    body = pb.ReadIndexRequest(term=m.term, context=m.context)
    return pb.PeerMessage(read_index_request=body)


def _encode_read_index_response(m: messages.ReadIndexResponse) -> pb.PeerMessage:
    body = pb.ReadIndexResponse(term=m.term, context=m.context, index=m.index)
    return pb.PeerMessage(read_index_response=body)


# ---------------------------------------------------------------- from protobuf


def _decode_pre_vote_request(m: pb.PreVoteRequest) -> Message:
    return messages.PreVoteRequest(term=Term(m.term), last=_position(m, "last"))


def _decode_pre_vote_response(m: pb.PreVoteResponse) -> Message:
    return messages.PreVoteResponse(term=Term(m.term), granted=m.granted)


def _decode_vote_request(m: pb.VoteRequest) -> Message:
    return messages.VoteRequest(term=Term(m.term), last=_position(m, "last"), transfer=m.transfer)


def _decode_vote_response(m: pb.VoteResponse) -> Message:
    return messages.VoteResponse(term=Term(m.term), granted=m.granted)


def _decode_append_request(m: pb.AppendRequest) -> Message:
    previous = _position(m, "previous")
    entries = tuple(map(entry_from_pb, m.entries))
    for expected, entry in enumerate(entries, previous.index + 1):
        if entry.index != expected:
            raise InvalidInput(
                f"AppendRequest after index {previous.index} holds entry {entry.index} "
                f"where {expected} belongs"
            )
    return messages.AppendRequest(
        term=Term(m.term),
        previous=previous,
        previous_checksum=m.previous_checksum,
        entries=entries,
        commit_index=Index(m.commit_index),
    )


def _decode_append_response(m: pb.AppendResponse) -> Message:
    return messages.AppendResponse(
        term=Term(m.term),
        success=m.success,
        match_index=Index(m.match_index),
        hint=_position(m, "hint") if m.HasField("hint") else None,
    )


def _decode_heartbeat_request(m: pb.HeartbeatRequest) -> Message:
    if not (math.isfinite(m.lease_seconds) and m.lease_seconds >= 0):
        raise InvalidInput(f"heartbeat asks for a lease of {m.lease_seconds} seconds")
    return messages.HeartbeatRequest(
        term=Term(m.term),
        commit_index=Index(m.commit_index),
        context=m.context,
        last_index=Index(m.last_index),
        lease_seconds=m.lease_seconds,
        floor=Index(m.floor),
    )


def _decode_heartbeat_response(m: pb.HeartbeatResponse) -> Message:
    return messages.HeartbeatResponse(
        term=Term(m.term),
        context=m.context,
        applied_index=Index(m.applied_index) if m.HasField("applied_index") else None,
        lacks_room=m.lacks_room,
        is_damaged=m.is_damaged,
    )


def _decode_timeout_now(m: pb.TimeoutNow) -> Message:
    if not (math.isfinite(m.stopped_seconds) and m.stopped_seconds >= 0):
        raise InvalidInput(f"TimeoutNow tells of {m.stopped_seconds} seconds")
    return messages.TimeoutNow(
        term=Term(m.term), stopped_seconds=m.stopped_seconds, by_priority=m.by_priority
    )


def _decode_trial_request(m: pb.TrialRequest) -> Message:
    return messages.TrialRequest(term=Term(m.term), context=m.context, last=_position(m, "last"))


def _decode_trial_vote_request(m: pb.TrialVoteRequest) -> Message:
    return messages.TrialVoteRequest(
        term=Term(m.term), context=m.context, last=_position(m, "last")
    )


def _decode_trial_vote_response(m: pb.TrialVoteResponse) -> Message:
    return messages.TrialVoteResponse(
        term=Term(m.term), context=m.context, verdict=_verdict(m.verdict)
    )


def _decode_trial_report(m: pb.TrialReport) -> Message:
    return messages.TrialReport(
        term=Term(m.term),
        context=m.context,
        voter=NodeId(m.voter),
        verdict=_verdict(m.verdict),
    )


def _verdict(number: int) -> messages.TrialVerdict:
    return _VERDICTS.get(number, messages.TrialVerdict.UNKNOWN)


def _decode_read_index_request(m: pb.ReadIndexRequest) -> Message:
    return messages.ReadIndexRequest(term=Term(m.term), context=m.context)


def _decode_read_index_response(m: pb.ReadIndexResponse) -> Message:
    return messages.ReadIndexResponse(
        term=Term(m.term),
        context=m.context,
        index=Index(m.index) if m.HasField("index") else None,
    )


_ENCODERS: dict[type, Callable[..., pb.PeerMessage]] = {
    messages.PreVoteRequest: _encode_pre_vote_request,
    messages.PreVoteResponse: _encode_pre_vote_response,
    messages.VoteRequest: _encode_vote_request,
    messages.VoteResponse: _encode_vote_response,
    messages.AppendRequest: _encode_append_request,
    messages.AppendResponse: _encode_append_response,
    messages.HeartbeatRequest: _encode_heartbeat_request,
    messages.HeartbeatResponse: _encode_heartbeat_response,
    messages.TimeoutNow: _encode_timeout_now,
    messages.TrialRequest: _encode_trial_request,
    messages.TrialVoteRequest: _encode_trial_vote_request,
    messages.TrialVoteResponse: _encode_trial_vote_response,
    messages.TrialReport: _encode_trial_report,
    messages.ReadIndexRequest: _encode_read_index_request,
    messages.ReadIndexResponse: _encode_read_index_response,
}

_DECODERS: dict[str, Callable[..., Message]] = {
    "pre_vote_request": _decode_pre_vote_request,
    "pre_vote_response": _decode_pre_vote_response,
    "vote_request": _decode_vote_request,
    "vote_response": _decode_vote_response,
    "append_request": _decode_append_request,
    "append_response": _decode_append_response,
    "heartbeat_request": _decode_heartbeat_request,
    "heartbeat_response": _decode_heartbeat_response,
    "timeout_now": _decode_timeout_now,
    "trial_request": _decode_trial_request,
    "trial_vote_request": _decode_trial_vote_request,
    "trial_vote_response": _decode_trial_vote_response,
    "trial_report": _decode_trial_report,
    "read_index_request": _decode_read_index_request,
    "read_index_response": _decode_read_index_response,
}
