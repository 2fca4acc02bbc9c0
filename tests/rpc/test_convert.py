"""The core's messages and protobuf's, both ways."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftlog.core import messages
from raftlog.core.entries import Entry, EntryKind
from raftlog.core.messages import Message
from raftlog.errors import InvalidInput, InvariantBroken
from raftlog.rpc import convert
from raftlog.types import Index, NodeId, Position, Term
from raftlog.wire.pb import raft_pb2 as pb
from tests.rpc.memory_snapshots import snapshot_info

U64 = (1 << 64) - 1
u64 = st.integers(0, U64)
terms = u64.map(Term)
indexes = u64.map(Index)
verdicts = st.sampled_from(messages.TrialVerdict)
positions = st.builds(Position, terms, indexes)


@st.composite
def appends(draw: st.DrawFn) -> messages.AppendRequest:
    previous = Position(Term(draw(u64)), Index(draw(st.integers(0, U64 - 8))))
    entries = tuple(
        Entry(
            term=Term(draw(u64)),
            index=Index(previous.index + 1 + offset),
            kind=draw(st.sampled_from(EntryKind)),
            codec=draw(st.integers(0, 255)),
            first_sequence=draw(u64),
            count=draw(st.integers(0, (1 << 32) - 1)),
            timestamp=draw(st.integers(-(1 << 63), (1 << 63) - 1)),
            checksum=draw(st.integers(0, (1 << 32) - 1)),
            payload=draw(st.binary(max_size=40)),
        )
        for offset in range(draw(st.integers(0, 4)))
    )
    return messages.AppendRequest(
        term=Term(draw(u64)),
        previous=previous,
        previous_checksum=draw(st.integers(0, (1 << 32) - 1)),
        entries=entries,
        commit_index=Index(draw(u64)),
    )


any_message: st.SearchStrategy[Message] = st.one_of(
    st.builds(messages.PreVoteRequest, term=terms, last=positions),
    st.builds(messages.PreVoteResponse, term=terms, granted=st.booleans()),
    st.builds(messages.VoteRequest, term=terms, last=positions, transfer=st.booleans()),
    st.builds(messages.VoteResponse, term=terms, granted=st.booleans()),
    appends(),
    st.builds(
        messages.AppendResponse,
        term=terms,
        success=st.booleans(),
        match_index=indexes,
        hint=st.none() | positions,
    ),
    st.builds(
        messages.HeartbeatRequest,
        term=terms,
        commit_index=indexes,
        context=u64,
        last_index=indexes,
        lease_seconds=st.floats(0, 1e9),
        floor=indexes,
    ),
    st.builds(
        messages.HeartbeatResponse,
        term=terms,
        context=u64,
        applied_index=st.none() | indexes,
        lacks_room=st.booleans(),
        is_damaged=st.booleans(),
    ),
    st.builds(
        messages.TimeoutNow,
        term=terms,
        stopped_seconds=st.floats(0, 1e9),
        by_priority=st.booleans(),
    ),
    st.builds(messages.TrialRequest, term=terms, context=u64, last=positions),
    st.builds(messages.TrialVoteRequest, term=terms, context=u64, last=positions),
    st.builds(messages.TrialVoteResponse, term=terms, context=u64, verdict=verdicts),
    st.builds(
        messages.TrialReport, term=terms, context=u64, voter=st.text().map(NodeId), verdict=verdicts
    ),
    st.builds(messages.ReadIndexRequest, term=terms, context=u64),
    st.builds(messages.ReadIndexResponse, term=terms, context=u64, index=st.none() | indexes),
)


@given(message=any_message)
@settings(max_examples=300, deadline=None)
def test_every_message_survives(message: Message) -> None:
    """Decoding what was encoded gives the same message."""
    assert convert.decode(convert.encode(message)) == message


@given(data=st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    """Whatever bytes come, the answer is a message or InvalidInput, never another exception."""
    with contextlib.suppress(InvalidInput):
        convert.decode(data)


@given(message=any_message, cut=st.integers(0, 100), flip=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_damaged_messages_decode_or_are_refused(message: Message, cut: int, flip: int) -> None:
    """A message with one damaged byte is another message or InvalidInput."""
    data = bytearray(convert.encode(message))
    if data:
        data[cut % len(data)] ^= flip
    with contextlib.suppress(InvalidInput):
        convert.decode(bytes(data))


def refused(message: pb.PeerMessage, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        convert.decode(message.SerializeToString())


def test_a_verdict_of_a_newer_version_is_a_refusal_that_is_not_understood() -> None:
    """It is neither an error, which would end the stream, nor a grant."""
    body = pb.TrialVoteResponse(term=1, context=1, verdict=99)
    found = convert.decode(pb.PeerMessage(trial_vote_response=body).SerializeToString())
    assert isinstance(found, messages.TrialVoteResponse)
    assert found.verdict is messages.TrialVerdict.UNKNOWN


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_no_duration_is_refused(seconds: float) -> None:
    """What a leader says of its own gap is counted with later."""
    body = pb.TimeoutNow(term=1, stopped_seconds=seconds)
    refused(pb.PeerMessage(timeout_now=body), "seconds")


def append_of(*entries: pb.Entry, index: int = 4) -> pb.PeerMessage:
    body = pb.AppendRequest(previous=pb.Position(index=index), entries=entries)
    return pb.PeerMessage(append_request=body)


def test_an_unknown_entry_kind_is_refused_by_number() -> None:
    """An entry of a newer version names its kind in the refusal."""
    refused(append_of(pb.Entry(index=5, kind=99)), "kind 99")


def test_a_codec_that_no_record_can_hold_is_refused() -> None:
    """The codec is one byte on disk."""
    refused(append_of(pb.Entry(index=5, kind=1, codec=256)), "codec 256")


@pytest.mark.parametrize("indexes_sent", [(6,), (5, 7), (5, 5)])
def test_entries_that_do_not_follow_are_refused(indexes_sent: tuple[int, ...]) -> None:
    """Entries must follow the previous position without gap or repeat."""
    refused(append_of(*(pb.Entry(index=i, kind=1) for i in indexes_sent)), "belongs")


def test_missing_positions_are_refused() -> None:
    """A vote without a last position must not read as one with an empty log."""
    refused(pb.PeerMessage(vote_request=pb.VoteRequest(term=1)), "last")
    refused(pb.PeerMessage(pre_vote_request=pb.PreVoteRequest(term=1)), "last")
    refused(pb.PeerMessage(append_request=pb.AppendRequest(term=1)), "previous")


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_a_lease_that_is_no_duration_is_refused(seconds: float) -> None:
    """A lease is a finite time."""
    body = pb.HeartbeatRequest(term=1, lease_seconds=seconds)
    refused(pb.PeerMessage(heartbeat_request=body), "lease")


def test_an_empty_message_is_refused() -> None:
    """A kind of message that this version does not know reads as empty."""
    refused(pb.PeerMessage(), "not known here")


def test_hello_and_goodbye_are_the_transports_own() -> None:
    """They come out as protobufs, which the core never sees."""
    hello = pb.Hello(node_id="n1")
    assert convert.decode(pb.PeerMessage(hello=hello).SerializeToString()) == hello
    goodbye = pb.PeerMessage(goodbye=pb.Goodbye()).SerializeToString()
    assert isinstance(convert.decode(goodbye), pb.Goodbye)


def test_a_snapshot_does_not_travel_as_a_message() -> None:
    """Snapshots have a stream of their own; sending one here is a programmer's error."""
    snapshot = messages.InstallSnapshot(
        term=Term(1), boundary=snapshot_info("1-1-aa", 1).boundary, snapshot_id="1-1-aa"
    )
    with pytest.raises(InvariantBroken):
        convert.encode(snapshot)


def test_bytes_that_do_not_parse_are_refused_by_their_kind() -> None:
    """They are no message at all, not an empty one."""
    hello = pb.Hello(node_id="n1")
    assert convert.parse(pb.Hello, hello.SerializeToString()) == hello
    with pytest.raises(InvalidInput, match="3 bytes do not parse as PeerMessage"):
        convert.parse(pb.PeerMessage, b"\xff\xff\xff")
