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


def words_of(error: BaseException) -> str:
    """Return what an error says, without what Python puts around it; "" if it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{error.filename}: "
        return printable(f"{where}{error.strerror}")
    return printable(str(error))


def reason(error: BaseException) -> str:
    """Return the kind and the words of an error nobody foresaw; of a group, those of the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    kind, words = type(error).__name__, words_of(error)
    return f"{kind}: {words}" if words else kind


def shown(stored: bytes | bytearray) -> str:
    """Return bytes as text."""
    return printable(bytes(stored).decode(errors="backslashreplace"))
