"""Traces of several nodes, in an order in which every send comes before its receives.

Each node's lines keep their order; whose turn it is is decided by the time on the line, but a line
that receives what no other has sent so far waits, for clocks are read before a line is written.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping

from raftlog.sim.spec.refusal import NotAllowed
from raftlog.sim.spec.validator import Line, Unsent, Validator

Waiting = dict[str, collections.deque[Line]]


class Refused(Exception):
    """A line that the specification does not allow; `before` is the state it was to start from."""

    def __init__(self, line: Line, why: str, before: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why
        self.before = before


def validate(lines: Iterable[Line]) -> Validator:
    """Hold the lines of any nodes, each node's in its order, against the specification.

    Raises:
        Refused: at the first line that is not allowed.
    """
    waiting: Waiting = {}
    for line in lines:
        waiting.setdefault(str(line.get("node")), collections.deque()).append(line)
    validator = Validator()
    for name in sorted(waiting):
        # Where each begins comes first: it may tell of logs that others name.
        _feed(validator, waiting[name])
    while any(waiting.values()):
        _take_next(validator, waiting)
    return validator


def _take_next(validator: Validator, waiting: Waiting) -> None:
    """Feed the earliest line that may come now."""
    heads = [(_time(queue[0]), name) for name, queue in waiting.items() if queue]
    stuck: list[tuple[Line, str]] = []
    for _, name in sorted(heads):
        queue = waiting[name]
        try:
            _feed(validator, queue)
        except Unsent as error:
            stuck.append((queue[0], str(error)))
            continue
        return
    for line, why in stuck:
        # The others wait for what this one's node would have sent next.
        if not _is_sent_by(line, waiting.get(str(line["from"]), ())):
            raise Refused(line, why, _state(validator))
    line, why = stuck[0]
    raise Refused(line, why, _state(validator))


def _is_sent_by(line: Line, following: Iterable[Line]) -> bool:
    """Whether one of these lines sends what `line` receives."""
    message = line["message"]
    key, wanted = "sent", [line["node"], message]
    if isinstance(message, dict) and message.get("type") == "InstallSnapshot":
        key, wanted = "snapshots", [line["node"], message.get("term")]
    for other in following:
        sent = other.get(key, [])
        if isinstance(sent, list) and wanted in sent:
            return True
    return False


def _feed(validator: Validator, queue: collections.deque[Line]) -> None:
    line = queue[0]
    try:
        validator.feed(line)
    except NotAllowed as error:
        raise Refused(line, str(error), _state(validator)) from None
    except (KeyError, ValueError, TypeError) as error:
        raise Refused(line, f"not a trace line: {error!r}", _state(validator)) from None
    queue.popleft()


def _time(line: Mapping[str, object]) -> float:
    time = line.get("time")
    return time if isinstance(time, int | float) else 0.0


def _state(validator: Validator) -> str:
    """Return what the specification knew of the node before its line, for a person."""
    return repr(validator.before) if validator.before is not None else "a node not seen before"
