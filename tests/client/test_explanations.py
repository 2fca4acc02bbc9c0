"""What was found out at each address is said once, and of whom."""

from __future__ import annotations

from raftlog.client.explanations import explained
from raftlog.errors import ConnectFailed
from raftlog.wire.diagnosis import Finding, Trouble

NOBODY = Finding(Trouble.NOBODY_LISTENS, "a")


def test_the_same_reason_everywhere_is_said_once():
    """Nobody listens: nothing has to be passed, so the hint to other endpoints stays."""
    error = explained(ConnectFailed("no"), {"a:1": NOBODY, "b:1": NOBODY}, ("a:1", "b:1"))
    assert error.message == f"no; {NOBODY.for_client()}"
    assert not error.is_explained


def test_different_reasons_name_their_addresses():
    """An address that was not looked at is not spoken of."""
    tls = Finding(Trouble.TLS_NEEDED, "b")
    error = explained(ConnectFailed("no"), {"a:1": NOBODY, "b:1": tls}, ("a:1", "b:1", "c:1"))
    assert f"a:1: {NOBODY.for_client()}" in error.message
    assert f"b:1: {tls.for_client()}" in error.message
    assert "c:1" not in error.message
    assert error.is_explained
    plain = ConnectFailed("no")
    assert explained(plain, {"a:1": None}, ("a:1",)) is plain
