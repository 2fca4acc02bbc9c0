"""The syntax trees of source files, read once for all tests that look at them."""

from __future__ import annotations

import ast
import functools
import gc
import pathlib


@functools.cache
def parsed(path: pathlib.Path) -> ast.Module:
    """Return the file's syntax tree.

    A tree is all new and all kept: the collector would look at it in vain, again and again.
    """
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        if was_collecting:
            gc.enable()


@functools.cache
def walked(path: pathlib.Path) -> tuple[ast.AST, ...]:
    """Return every node of the file's syntax tree."""
    return tuple(ast.walk(parsed(path)))


def forget() -> None:
    """Drop all trees: whoever collects garbage later would look at millions of nodes."""
    walked.cache_clear()
    parsed.cache_clear()
