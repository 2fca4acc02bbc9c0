"""Callers, batches and windows for tests of sessions."""

from __future__ import annotations

from raftlog.client.session import Batch, Window
from raftlog.groups import OPAQUE_TAG


class Caller:
    """Stands in for a future."""

    def __init__(self, payload: bytes = b"") -> None:
        self.payload = payload
        self.result = None
        self.error = None

    def done(self) -> bool:
        """Whether it was answered."""
        return self.result is not None or self.error is not None

    def set_result(self, result) -> None:
        """Take a result; nobody is answered twice."""
        assert not self.done()
        self.result = result

    def set_exception(self, error) -> None:
        """Take an error; nobody is answered twice."""
        assert not self.done()
        self.error = error


def batch_of(*payloads: bytes, order: int = 1, deadline: float = 10.0, tag=OPAQUE_TAG) -> Batch:
    """Return a batch of these payloads, each with a caller of its own."""
    batch = Batch(order, tag)
    for payload in payloads:
        batch.add(payload, tag, Caller(payload), deadline)
    return batch


def window_of(count: int, *, sent: bool = True) -> tuple[Window, list[Batch]]:
    """Return a window with so many groups of one transaction each, and their batches."""
    window = Window(7)
    batches = [batch_of(b"%d" % n, order=n) for n in range(1, count + 1)]
    window.stream_opened()
    for batch in batches:
        window.admit(batch).open = sent
    return window, batches


def errors_of(batch: Batch) -> list:
    """Return what each caller of a batch failed with."""
    return [waiter.error for waiter in batch.waiters]
