"""From bytes to records, in bounded memory."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from raftlog.cli import records
from raftlog.cli.records import NEWLINE, NUL, Source, Splitter, in_thread, read_whole
from raftlog.errors import InvalidInput, TooLarge


def split(content, separator=NEWLINE, chunk_bytes=1 << 20, bytes_max=1 << 20):
    """Return all records of `content` fed in chunks of a size."""
    splitter = Splitter(separator, bytes_max)
    found = []
    for start in range(0, len(content), chunk_bytes):
        found += splitter.feed(content[start : start + chunk_bytes])
    found += splitter.finish()
    assert splitter.count == len(found)
    return found


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"\n\n", [b"", b""]),
        (b"a\n\nb\n", [b"a", b"", b"b"]),
        (b"a\nlast", [b"a", b"last"]),
        (b"a\r\n\x00\xff\n", [b"a\r", b"\x00\xff"]),
    ],
)
def test_lines(content, expected):
    """Empty lines count, the newline is not part, and a last line may lack it."""
    assert split(content) == expected


def test_nul_ended_records_may_hold_newlines():
    """With NUL as separator a newline is a byte like others."""
    assert split(b"a\nb\0\0c", NUL) == [b"a\nb", b"", b"c"]


def test_chunks_do_not_matter(seed):
    """However the input arrives, the records are the same."""
    rng = random.Random(seed)
    content = b"".join(rng.choice([b"\n", b"ab", b"x" * 50]) for _ in range(500))
    expected = content.split(b"\n")
    expected = expected[:-1] if expected[-1] == b"" else expected
    for chunk_bytes in (1, 2, 7, 64, 1000):
        assert split(content, chunk_bytes=chunk_bytes) == expected


@pytest.mark.parametrize("chunk_bytes", [1, 3, 1000])
def test_a_record_over_the_limit_is_refused_by_its_number(chunk_bytes):
    """A line that is too long is refused before it is held, and named."""
    with pytest.raises(TooLarge, match="record 3 is over 10 bytes"):
        split(b"1\n2\n" + b"x" * 11 + b"\n4\n", chunk_bytes=chunk_bytes, bytes_max=10)
    with pytest.raises(TooLarge, match="record 1"):
        split(b"x" * 11, chunk_bytes=chunk_bytes, bytes_max=10)
    assert split(b"x" * 10, chunk_bytes=chunk_bytes, bytes_max=10) == [b"x" * 10]


async def take_all(source):
    """Return all groups of a source."""
    groups = []
    while group := await source.take():
        groups.append(group)
    return groups


async def test_a_source_gives_everything_in_groups(tmp_path, monkeypatch):
    """A file comes out whole and in order, no group over its limits, and then nothing."""
    monkeypatch.setattr(records, "GROUP_RECORDS_MAX", 10)
    monkeypatch.setattr(records, "GROUP_BYTES_MAX", 100)
    monkeypatch.setattr(records, "CHUNK_BYTES", 37)
    lines = [b"%d" % number * (number % 9) for number in range(300)] + [b"x" * 150, b""]
    file = tmp_path / "in"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    with file.open("rb") as opened:
        source = Source(opened.fileno(), NEWLINE)
        async with asyncio.timeout(10):
            groups = await take_all(source)
            assert await source.take() == []
    assert [line for group in groups for line in group] == lines
    assert all(len(group) <= 10 for group in groups)
    assert all(sum(map(len, group)) <= 100 or len(group) == 1 for group in groups)
    assert source.bytes_read == file.stat().st_size


async def test_what_a_slow_writer_wrote_does_not_wait():
    """A line that has come is given at once, though the pipe stays open."""
    reading, writing = os.pipe()
    source = Source(reading, NEWLINE)
    async with asyncio.timeout(10):
        os.write(writing, b"one\ntw")
        assert await source.take() == [b"one"]
        os.write(writing, b"o\nthree\n")
        found = await source.take()
        while len(found) < 2:
            found += await source.take()
        assert found == [b"two", b"three"]
        os.close(writing)
        assert await source.take() == []
    os.close(reading)


async def test_a_source_stays_a_few_groups_ahead(tmp_path, monkeypatch):
    """An input that is not taken is not read into memory."""
    monkeypatch.setattr(records, "GROUP_RECORDS_MAX", 1)
    monkeypatch.setattr(records, "CHUNK_BYTES", 2)
    file = tmp_path / "in"
    file.write_bytes(b"x\n" * 1000)
    with file.open("rb") as opened:
        source = Source(opened.fileno(), NEWLINE)
        async with asyncio.timeout(10):
            assert await source.take() == [b"x"]
            read_ahead = -1
            while read_ahead != (read_ahead := opened.tell()):
                await asyncio.sleep(0.05)
            assert read_ahead <= 2 * (records.GROUPS_AHEAD_MAX + 3)
            assert len(await take_all(source)) == 999


async def test_a_source_that_cannot_be_read(tmp_path):
    """A directory is not an input, and a long line fails in its turn."""
    directory = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory"):
        await Source(directory, NEWLINE).take()
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_whole(directory)
    os.close(directory)


def test_the_whole_input_is_one_record(tmp_path):
    """A whole input keeps its newlines, may be empty, and has a limit."""
    file = tmp_path / "in"
    file.write_bytes(b"a\nb\n")
    with file.open("rb") as opened:
        assert read_whole(opened.fileno()) == b"a\nb\n"
        assert read_whole(opened.fileno()) == b""
    with file.open("rb") as opened, pytest.raises(TooLarge, match="--lines"):
        read_whole(opened.fileno(), bytes_max=3)


async def test_work_in_a_thread():
    """Blocking work gives its result or its error to whoever awaits it."""
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)
