"""``python -m raftlog.storage.lmdb PATH``: the process that `verification.verify` starts."""

from __future__ import annotations

import sys

from raftlog.storage.lmdb.verification import run_child

if __name__ == "__main__":
    sys.exit(run_child(sys.argv[1]))
