"""A watch delivers every change once, also where a revision comes in several replies."""

from __future__ import annotations

import random
import types

import pytest

from raftlog.client.context import Context
from raftlog.client.feed import Feed
from raftlog.client.watch import Watch
from raftlog.wire.pb import kv_pb2

REVISIONS = [(5, 3), (6, 1), (7, 4), (9, 2)]
"""Each revision, and how many changes it holds."""


def events() -> list[kv_pb2.KvEvent]:
    return [
        kv_pb2.KvEvent(key=b"%d/%d" % (revision, at), revision=revision)
        for revision, count in REVISIONS
        for at in range(count)
    ]


def replies(after: int, dice: random.Random):
    """Yield what a member sends after a revision: cut anywhere, each with what it reaches."""
    left = [event for event in events() if event.revision > after]
    while left:
        count = dice.randint(1, 3)
        part, left = left[:count], left[count:]
        position = left[0].revision - 1 if left else 9
        yield kv_pb2.KvWatchReply(events=part, position=position, served_by="n1")


class Subscription:
    """Loses its connection whenever the dice say so; every call begins at the watch's position."""

    def __init__(self, watch: Watch, dice: random.Random) -> None:
        self.watch, self.dice = watch, dice
        self.opened = 0

    async def replies(self):
        peer = types.SimpleNamespace(kv=types.SimpleNamespace(Watch=lambda request: request))
        while True:
            self.opened += 1
            request = self.watch._open(peer)
            for reply in replies(request.after_revision, self.dice):
                yield reply
                if self.dice.random() < 0.4:
                    break
            else:
                return

    def note_progress(self) -> None:
        pass


@pytest.mark.parametrize("after", [0, 5, 6])
async def test_a_revision_in_several_replies_comes_once_across_connections(
    after: int, seed: int
) -> None:
    """Lost in the middle of a revision, a watch goes on behind what it has delivered of it."""
    dice = random.Random(f"{seed}:{after}")
    opened = 0
    for _ in range(50):
        context = Context(("127.0.0.1:1",), tls=None, timeout_seconds=1.0)
        watch = Watch(context, b"", b"", after_revision=after, member=None, timeout=None)
        watch._subscription = subscription = Subscription(watch, dice)
        feed = watch.feed()
        assert isinstance(feed, Feed)
        assert await feed.begun() == after
        got = [(change.revision, change.key) async for change in feed]
        opened += subscription.opened
        assert got == [(e.revision, e.key) for e in events() if e.revision > after]
    assert opened > 60
