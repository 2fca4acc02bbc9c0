"""What a named session keeps between runs."""

from __future__ import annotations

import pytest

from raftlog.cli.journal import Journal, Progress, digest, state_directory
from raftlog.errors import InvalidInput, SafetyRefused

PROGRESS = Progress(
    cluster_id="c", session=7, number=3, stream="s", separator="\n", records=2, digest=9,
    first_sequence=1, last_sequence=2, pending=(b"", b"\xff\n\0", b"x"),
)  # fmt: skip


@pytest.fixture
def journal(tmp_path):
    """Return the journal of a session that has none yet."""
    return Journal("import-7", tmp_path / "sessions")


def test_what_is_saved_is_loaded(journal):
    """Progress and the group under way come back byte for byte."""
    assert journal.load() is None
    with journal.exclusive():
        journal.save(PROGRESS)
        assert journal.load() == PROGRESS
        journal.save(PROGRESS.acknowledged(PROGRESS.pending, 3, 5))
    assert Journal("import-7", journal.path.parent).load().pending == ()


def test_what_is_saved_survives(journal, syncs):
    """Before a group is sent, the journal and the new directories above it are on disk."""
    with journal.exclusive():
        for progress in (PROGRESS, PROGRESS.acknowledged(PROGRESS.pending, 3, 5)):
            journal.save(progress)
            assert syncs.at_risk(journal.path) == []


def test_an_answer_moves_the_progress_on():
    """Number, count, digest and sequences follow an acknowledged group."""
    after = PROGRESS.acknowledged([b"a", b"b"], 10, 11)
    assert (after.number, after.records, after.pending) == (4, 4, ())
    assert (after.first_sequence, after.last_sequence) == (1, 11)
    assert after.digest == digest([b"a", b"b"], b"\n", 9)


def test_the_digest_does_not_depend_on_the_groups():
    """The same records give the same digest in any grouping, and other records another."""
    records = [b"a", b"", b"bc", b"d"]
    whole = digest(records, b"\n")
    assert digest(records[1:], b"\n", digest(records[:1], b"\n")) == whole
    assert digest([b"a", b"b", b"c", b"d"], b"\n") != whole
    assert digest([b"a", b"bc", b"d"], b"\n") != whole


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"not json\n", b'{"version": 1, "checksum": 0}\nx']
)
def test_a_damaged_file_is_said(journal, content):
    """A journal that does not parse stops the run rather than repeat or skip."""
    with journal.exclusive():
        journal.path.write_bytes(content)
    with pytest.raises(InvalidInput, match="does not parse"):
        journal.load()


def test_a_changed_file_is_said(journal):
    """A pending group that is not what was saved is never sent."""
    with journal.exclusive():
        journal.save(PROGRESS)
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-1] + b"y")
    with pytest.raises(InvalidInput, match="damaged"):
        journal.load()


def test_a_session_lies_where_the_platform_keeps_state(monkeypatch, tmp_path):
    """Without a directory of its own, a journal is in the user's; with one, it is there."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert Journal("s").path == state_directory() / "s.session"
    assert Journal("s", tmp_path / "own").path == tmp_path / "own" / "s.session"


def test_two_runs_cannot_share_a_session(journal):
    """The second run of the same name is refused while the first one lives."""
    with journal.exclusive(), pytest.raises(SafetyRefused, match="in use"), journal.exclusive():
        pass
    with journal.exclusive():
        pass


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "é", "x" * 101])
def test_a_name_must_be_one(name):
    """A name that could leave the directory is refused."""
    with pytest.raises(InvalidInput, match="session name"):
        Journal(name)


def test_the_state_directory(monkeypatch, tmp_path):
    """Sessions lie where the platform keeps state."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_directory() == tmp_path / "raftlog" / "sessions"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_directory() == tmp_path / ".local" / "state" / "raftlog" / "sessions"
