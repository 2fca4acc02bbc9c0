"""What concerns the program itself."""

from __future__ import annotations

import pytest

from raftlog.cli import shell


def test_version(raftlog):
    """The version says what matters in a bug report."""
    found = raftlog("version", "-o", "json").json
    assert found["raftlog"] == shell.installed_version()
    assert {"python", "grpcio", "lmdb", "protobuf"} <= set(found)
    assert "raftlog" in raftlog("version").text


def test_a_package_that_is_not_installed():
    """A package that is not there has no version."""
    assert shell.installed_version("no-such-package-here") is None


@pytest.mark.parametrize("name", ["zsh", "fish"])
def test_completion(raftlog, name):
    """A completion script names the program's variable."""
    result = raftlog("completion", name)
    assert result.code == 0
    assert "_RAFTLOG_COMPLETE" in result.text
