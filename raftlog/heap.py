"""How the C library treats the heap of a process that sends and receives groups all the time."""

from __future__ import annotations

MAPPED_BYTES = 4 * 1024 * 1024


def keep_heap() -> None:
    """Let glibc keep up to 8 MiB that were freed at the end of its heap, instead of 128 KiB.

    Otherwise the buffers of one group may go back to the kernel, and those of the next be faulted
    in anew, page by page: whether they do depends on what happens to lie behind them. glibc raises
    the bound by itself to twice the size of the first buffer that it had mapped for itself and that
    is freed. Here one is, untouched: two system calls. Elsewhere it has no effect.
    Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    bytes(MAPPED_BYTES)
