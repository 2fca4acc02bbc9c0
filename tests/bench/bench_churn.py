"""How large a data file gets while many times what is live is written through it.

``python -m tests.bench.bench_churn [LIVE_BYTES] [TIMES]``: on a storage of its own, keys are
overwritten and the log is purged behind a snapshot, as a node with little retention does. It prints
the file's size each time as much as is live has passed; `grown` should not grow. The last line is
what offline compaction leaves.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path

from raftlog.interfaces import Table
from raftlog.storage.lmdb import compaction, layout
from tests.storage.churn import Churn

LIVE_BYTES = 8 << 20
TIMES = 100
EVERY = 10


def main() -> None:
    """Print the table."""
    live, times = (int(each) for each in (*sys.argv[1:], LIVE_BYTES, TIMES)[:2])
    place = Path(tempfile.mkdtemp(prefix="raftlog-churn-"))
    try:
        churn = Churn(place / "data", live, random.Random(0))  # noqa: S311 - any bytes
        for number in range(1, times + 1):
            churn.overwrite_all()
            if number == 1 or number % EVERY == 0:
                size = layout.data_path(place / "data").stat().st_size
                print(  # noqa: T201
                    f"{number:4} times the live set written: file {size / 1e6:8.1f} MB, "
                    f"{size / live:5.2f} times what is live; log kept "
                    f"{churn.storage.log_bytes() / 1e6:.1f} MB"
                )
        kept = len(churn.storage.scan(Table.STATE, b"", None, count_max=1))
        churn.storage.close()
        made = compaction.compact(place / "data", lambda _done, _total: None)
        print(f"compacted: {made.after_bytes / 1e6:.1f} MB, {kept} or more keys")  # noqa: T201
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
