"""Structured log lines: an event, its fields, and always the node, its term and its role.

JSON, one object per line, where nobody watches; aligned and coloured on a terminal. The standard
library's `logging` (gRPC, aiohttp, asyncio) is led into the same lines, so that a log has one
format.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable
from typing import TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

Context = Callable[[], dict[str, object]]


def make_logger(
    context: Context, *, level: str = "info", format_: str = "auto", stream: TextIO | None = None
) -> FilteringBoundLogger:
    """Return a logger that adds `context()` to every line.

    Args:
        context: returns node, term and role as they are now.
        level: the least severity written: debug, info, warning or error.
        format_: json, console, or auto (console on a terminal).
        stream: where to; standard error unless given.
    """
    out = stream or sys.stderr
    console = format_ == "console" or (format_ == "auto" and out.isatty())

    def add_context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for name, value in context().items():
            event.setdefault(name, value)
        return event

    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_context,
        structlog.processors.format_exc_info,
    ]
    if console:
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty()))
    else:
        processors.append(structlog.processors.JSONRenderer(default=str, sort_keys=False))
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(out),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def make_standard_logger(name: str, context: Context) -> FilteringBoundLogger:
    """Return a logger for a guest: warnings and errors go to the standard logger of that name."""

    def add_context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**context(), **event}

    logger: FilteringBoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[add_context, structlog.processors.JSONRenderer(default=str, sort_keys=False)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        context_class=dict,
    )
    return logger


class Bridge(logging.Handler):
    """Leads records of the standard library's `logging` into a structured logger."""

    def __init__(self, logger: FilteringBoundLogger, level: int) -> None:
        super().__init__(level)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a line; a log that cannot be written is dropped."""
        with contextlib.suppress(OSError, ValueError):
            self._logger.log(
                record.levelno,
                record.getMessage(),
                logger=record.name,
                exc_info=record.exc_info,
            )


def lead_standard_logging(logger: FilteringBoundLogger, level: str) -> None:
    """Make every standard logger write through `logger`, from `level`, at least warnings."""
    root = logging.getLogger()
    threshold = max(LEVELS[level], logging.WARNING)
    root.handlers = [Bridge(logger, threshold)]
    root.setLevel(threshold)
