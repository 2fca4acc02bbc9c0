"""Which snapshot files a member keeps."""

from __future__ import annotations

from raftlog.interfaces import Round
from raftlog.storage.memory import MemoryStorage

from .builders import FIRST, IDENTITY, Writer, round_of, vote


def test_the_snapshot_just_staged_is_kept_however_old(rig) -> None:
    """Two newer files, staged and never installed, do not push out the one to be installed."""
    writer = Writer()
    source = MemoryStorage.create(identity=IDENTITY, boundary=FIRST)
    taken = []
    for index in (1, 2, 3):
        source.commit(round_of(writer.make(), hard_state=vote(1, commit=index)))
        source.commit(Round(applied=writer.boundary_at(index)))
        info = source.take_snapshot(None)
        taken.append((info, source.read_snapshot(info.snapshot_id, 0, info.size_bytes)))
    for info, content in reversed(taken):
        staged = rig.storage.stage_snapshot(info.snapshot_id, info.size_bytes)
        staged.write(0, content)
        staged.finish()
    oldest = taken[0][0]
    rig.storage.commit(Round(install_snapshot_id=oldest.snapshot_id, hard_state=vote(1, commit=1)))
    assert rig.crash().boundary.index == 1
