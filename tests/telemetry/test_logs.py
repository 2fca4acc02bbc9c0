"""Log lines are structured, and carry the same context whoever writes them."""

from __future__ import annotations

import io
import json
import logging

import pytest

from raftlog.telemetry.logs import lead_standard_logging, make_logger

CONTEXT = {"node": "n1", "term": 3, "role": "leader"}


@pytest.fixture
def stream():
    """Return where lines go."""
    return io.StringIO()


@pytest.fixture
def standard_logging():
    """Leave the standard library's root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield root
    root.handlers, _ = handlers, root.setLevel(level)


def lines(stream):
    """Return the lines written, parsed."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_carry_the_context(stream):
    """A line is one JSON object with event, fields, level, time, node, term and role."""
    make_logger(lambda: CONTEXT, stream=stream).info("peer_lost", peer="n2", seconds=0.5)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "peer_lost", "level": "info", "peer": "n2", "seconds": 0.5, **CONTEXT}


def test_the_context_is_that_of_the_moment(stream):
    """Term and role are asked for at every line."""
    role = ["follower"]
    logger = make_logger(lambda: {"role": role[0]}, stream=stream)
    logger.info("one")
    role[0] = "leader"
    logger.info("two")
    assert [line["role"] for line in lines(stream)] == ["follower", "leader"]


def test_an_events_own_field_wins(stream):
    """An event about a term is not overwritten by the node's own."""
    make_logger(lambda: CONTEXT, stream=stream).info("standing", term=9)
    assert lines(stream)[0]["term"] == 9


def test_lines_below_the_level_are_not_written(stream):
    """The level is the least severity written."""
    logger = make_logger(lambda: CONTEXT, level="warning", stream=stream)
    logger.info("quiet")
    logger.warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_console_lines_are_for_people(stream):
    """On a console a line is text, with the same facts in it."""
    make_logger(lambda: CONTEXT, format_="console", stream=stream).error("disk_full", why="full")
    text = stream.getvalue()
    assert "disk_full" in text
    assert "why=full" in text
    assert "role=leader" in text


def test_standard_logging_goes_the_same_way(stream, standard_logging):
    """A library's warning becomes a line with the node's context, and its exception is in it."""
    lead_standard_logging(make_logger(lambda: CONTEXT, stream=stream), "info")
    library = logging.getLogger("some.library")
    library.info("chatter")
    try:
        raise ValueError("bad day")
    except ValueError:
        library.exception("it failed with %s", "this")
    (line,) = lines(stream)
    assert line["event"] == "it failed with this"
    assert line["logger"] == "some.library"
    assert line["node"] == "n1"
    assert "ValueError: bad day" in line["exception"]


def test_a_log_that_cannot_be_written_stops_nobody(stream, standard_logging):
    """A closed log drops lines rather than raise into whoever logs."""
    lead_standard_logging(make_logger(lambda: CONTEXT, stream=stream), "info")
    stream.close()
    logging.getLogger("some.library").error("nobody hears this")
