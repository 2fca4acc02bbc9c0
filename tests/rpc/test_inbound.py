"""When losing streams means that a peer was lost."""

from __future__ import annotations

import asyncio

from raftlog.rpc.inbound import Inbound, InboundStreams
from raftlog.rpc.links import Channel
from raftlog.rpc.writer import Outbox
from raftlog.types import NodeId

PEER = NodeId("n2")


async def write(_: bytes) -> None:
    """Take everything."""


def stream(channel: Channel, peer: NodeId = PEER) -> Inbound:
    box = Outbox(write, count_max=10, bytes_max=1000)
    return Inbound(peer=peer, channel=channel, outbox=box, task=None)


def both(streams: InboundStreams) -> tuple[Inbound, Inbound]:
    bulk, control = stream(Channel.BULK), stream(Channel.CONTROL)
    streams.add(bulk)
    streams.add(control)
    return bulk, control


def test_lost_when_the_last_of_both_ends() -> None:
    """Only the end of the second stream is the peer's loss, and only once."""
    streams = InboundStreams()
    bulk, control = both(streams)
    assert streams.remove(bulk) is None
    assert streams.remove(control) is False
    assert streams.remove(control) is None


def test_a_peer_that_was_never_whole_is_not_lost() -> None:
    """One stream that came and went says nothing."""
    streams = InboundStreams()
    bulk = stream(Channel.BULK)
    streams.add(bulk)
    assert streams.remove(bulk) is None


def test_a_stream_that_came_back_keeps_the_peer() -> None:
    """While one of the two is there at any time, the peer is not lost."""
    streams = InboundStreams()
    bulk, control = both(streams)
    assert streams.remove(bulk) is None
    again = stream(Channel.BULK)
    streams.add(again)
    assert streams.remove(control) is None
    assert streams.remove(again) is False


def test_a_goodbye_is_remembered_until_the_loss() -> None:
    """An announced end is told apart, and does not outlive the peer's return."""
    streams = InboundStreams()
    bulk, control = both(streams)
    streams.announce(PEER)
    assert streams.remove(control) is None
    assert streams.remove(bulk) is True
    bulk, control = both(streams)
    assert streams.remove(control) is None
    assert streams.remove(bulk) is False


def test_a_new_stream_takes_a_goodbye_back() -> None:
    """A peer that said Goodbye and connected again is there."""
    streams = InboundStreams()
    bulk, control = both(streams)
    streams.announce(PEER)
    streams.remove(control)
    again = stream(Channel.CONTROL)
    streams.add(again)
    assert streams.remove(bulk) is None
    assert streams.remove(again) is False


def test_a_superseded_stream_is_not_the_peers() -> None:
    """A newer stream takes the place; the older one's end is no loss and its outbox is dead."""
    streams = InboundStreams()
    bulk, control = both(streams)
    newer = stream(Channel.BULK)
    streams.add(newer)
    assert bulk.superseded
    assert not bulk.outbox.push(b"x")
    assert streams.outbox(PEER, Channel.BULK) is newer.outbox
    assert streams.remove(bulk) is None
    assert streams.remove(control) is None
    assert streams.remove(newer) is False


def test_outbox_of_a_peer_without_streams() -> None:
    """A response to a peer that is away goes nowhere."""
    streams = InboundStreams()
    assert streams.outbox(PEER, Channel.BULK) is None
    bulk, _ = both(streams)
    streams.remove(bulk)
    assert streams.outbox(PEER, Channel.BULK) is None
    streams.announce(NodeId("ghost"))


async def test_the_end_of_all_streams_is_the_end_of_what_serves_them() -> None:
    """Nothing more is written to a peer, and whoever closes has the tasks to wait for."""
    streams = InboundStreams()
    bulk, control = both(streams)
    without_task = stream(Channel.BULK, NodeId("n3"))
    streams.add(without_task)
    serving = asyncio.get_running_loop().create_future()
    for each in (bulk, control):
        each.task = asyncio.create_task(asyncio.wait_for(serving, 60))
    ended = streams.end_all()
    assert ended == [bulk.task, control.task]
    await asyncio.wait(ended, timeout=10)
    assert all(task.cancelled() for task in ended)
    for each in (bulk, control, without_task):
        assert not each.outbox.push(b"x")
        assert not each.superseded
