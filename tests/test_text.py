"""What was stored is written as text that nothing obeys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raftlog.text import printable, shown


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
