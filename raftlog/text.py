"""How what was stored is written where people read: in errors, tables and logs.

Rule: no control character, escape sequence or sign that turns the direction of text gets through;
each is written as its escape instead, and bytes that are no UTF-8 likewise.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Return text with everything that is not shown as a letter written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def shown(stored: bytes | bytearray) -> str:
    """Return bytes as text."""
    return printable(bytes(stored).decode(errors="backslashreplace"))
