"""A systemd that was booted: process 1 of namespaces of its own, over a copy of this machine."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

TOP = pathlib.Path(__file__).resolve().parents[2]
SYSTEMD = pathlib.Path("/lib/systemd/systemd")
BOOT = pathlib.Path(__file__).with_name("boot.sh")
BOOT_SECONDS = 60.0
NONE = 77
"""The exit code of boot.sh where the kernel grants no such namespaces."""


class NoNamespaces(Exception):
    """No systemd can be booted here; the message says why."""


class Booted:
    """The machine on which systemd was booted; what runs there sees nothing of this one."""

    def __init__(self, process_one: int) -> None:
        self._enter = [
            "nsenter", "--target", str(process_one),
            "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--",
            "env", "-i", "PATH=/opt/raftlog/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
        ]  # fmt: skip

    def run(self, line: str, *, code: int | None = 0) -> str:
        """Type a line into a shell of root's, in the checkout; return what it printed.

        Args:
            line: What is typed.
            code: The exit code that it must have; None for any.
        """
        done = subprocess.run(
            [*self._enter, "bash", "-c", f"cd /checkout && {line}"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if code not in {None, done.returncode}:
            said = (done.returncode, done.stdout, done.stderr)
            raise AssertionError(f"{line}: {said}\n{'' if 'journalctl' in line else self.log()}")
        return done.stdout

    def shown(self, name: str) -> str:
        """Return what systemd says of the unit by that name."""
        return self.run(f"systemctl show --value --property={name} raftlog").strip()

    def until(self, what: str, holds: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"not in time: {what}\n{self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        """Return what systemd's journal has of the unit."""
        return self.run("journalctl --unit=raftlog --no-pager --output=cat")


@contextlib.contextmanager
def boot(scratch: pathlib.Path) -> Iterator[Booted]:
    """Boot a systemd, and end it with all that runs there.

    Args:
        scratch: An empty directory.

    Raises:
        NoNamespaces: None can be had here.
    """
    if os.geteuid() != 0:
        raise NoNamespaces("only root can boot a systemd")
    if not SYSTEMD.exists():
        raise NoNamespaces("systemd is not installed (package systemd)")
    if missing := [each for each in ("unshare", "nsenter", "ip") if shutil.which(each) is None]:
        raise NoNamespaces(f"not installed: {', '.join(missing)}")
    place = scratch / "booted"
    place.mkdir()
    with _cgroup(scratch.name), (scratch / "console").open("wb") as console:
        command = ["unshare", "--mount", BOOT, place, sys.prefix, TOP, sys.base_prefix]
        starter = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console
        )
        try:
            yield Booted(_process_one(starter, scratch / "console"))
        finally:
            starter.kill()  # process 1 goes with it, and so does all that it started
            starter.wait()


@contextlib.contextmanager
def _cgroup(name: str) -> Iterator[None]:
    """Make a cgroup of that name for what is booted; remove it with those that were made in it."""
    seen = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    mounted = [fields[1] for fields in map(str.split, seen) if fields[2] == "cgroup2"]
    if not mounted:
        raise NoNamespaces("no cgroup2 is mounted here")
    group = pathlib.Path(mounted[0]) / name
    try:
        group.mkdir()
    except OSError as error:
        raise NoNamespaces(f"no cgroup can be made here: {error}") from None
    try:
        yield
    finally:
        deadline = time.monotonic() + 10
        while group.exists() and time.monotonic() < deadline:
            for directory, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):  # its last process is still on its way out
                    pathlib.Path(directory).rmdir()
            time.sleep(0.05)


def _process_one(starter: subprocess.Popen[bytes], console: pathlib.Path) -> int:
    """Return the process that is 1 where it runs, once it answers."""
    children = pathlib.Path(f"/proc/{starter.pid}/task/{starter.pid}/children")
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline:
        if starter.poll() is not None:
            said = console.read_text(errors="replace")
            if starter.returncode == NONE:
                raise NoNamespaces(said.strip().splitlines()[-1])
            raise AssertionError(f"systemd did not boot: {said}")
        with contextlib.suppress(OSError, ValueError):
            (child,) = children.read_text().split()
            if pathlib.Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                booted = Booted(int(child))
                if booted.run("systemctl is-system-running", code=None).strip() == "running":
                    return int(child)
        time.sleep(0.05)
    raise AssertionError(f"systemd is not up: {console.read_text(errors='replace')}")
