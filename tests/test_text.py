"""What was stored is written as text that nothing obeys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raftlog.text import printable, reason, shown, words_of


@given(st.text())
def test_text_is_printable_and_what_was_stays(text: str) -> None:
    """No letter is left that is not shown; letters that are shown stay as they are."""
    written = printable(text)
    assert written.isprintable()
    assert written == text or not text.isprintable()


@given(st.binary())
def test_any_bytes_are_text(stored: bytes) -> None:
    """Bytes that are no UTF-8 are escapes."""
    assert shown(stored).isprintable()
    assert shown(bytearray(stored)) == shown(stored)


def test_escapes_are_readable() -> None:
    """As Python and C write them."""
    assert printable("a\x1bb") == "a\\x1bb"
    assert shown(b"\xff\n") == "\\xff\\n"


def test_an_error_is_told_without_what_python_puts_around_it() -> None:
    """Its number and quotes are left out, its kind is named where nobody foresaw it."""
    full = OSError(28, "No space left on device", "a\x1bb")
    assert words_of(full) == "a\\x1bb: No space left on device"
    assert reason(full) == "OSError: a\\x1bb: No space left on device"
    assert words_of(ValueError("b\x07")) == "b\\x07"
    assert reason(TimeoutError()) == "TimeoutError"
    assert reason(ExceptionGroup("tasks", [ValueError("b"), full])) == "ValueError: b"
