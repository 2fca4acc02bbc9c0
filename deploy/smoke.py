"""Starts deploy/docker-compose.yml on a real container engine, kills the leader, checks, stops.

It runs as ``python deploy/smoke.py`` and prints one JSON document. Where there is no engine that
answers, and this is root on Linux with `dockerd` installed, it starts one by hand, in a directory
of its own, and stops it again. Where no registry can be reached it makes the base image on the spot
with debootstrap, from this machine's own Debian mirror. Wheels are fetched on the host, so that
nothing inside a container needs a package index. Exit codes: 0 all well, 1 failed, 77 no engine can
start here (the reason is on standard error).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

TOP = pathlib.Path(__file__).resolve().parents[1]
BASE_IMAGE = "python:3.11-slim-bookworm"
MEMBERS = ("n1", "n2", "n3")
LINES_PER_BATCH = 200
ENGINE_SECONDS = 60.0
HEALTHY_SECONDS = 120.0
FAILOVER_SECONDS = 60.0
NO_ENGINE = 77
BRIDGE = "10.97.0.1/24"
PROJECT = "raftlogsmoke"


class NoEngine(Exception):
    """No container engine can start here; the message says why."""


class Failed(Exception):
    """The cluster did not do what it must."""


def say(message: str) -> None:
    """Tell people what is going on, on standard error."""
    print(f"[smoke] {message}", file=sys.stderr, flush=True)


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    timeout: float = 600.0,
    given: bytes | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end; a failure carries the last it said."""
    done = subprocess.run(command, input=given, capture_output=True, timeout=timeout, check=False)
    if check and done.returncode:
        words = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise Failed(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{words}")
    return done


def wait_until(what: str, condition: Callable[[], bool], seconds: float) -> None:
    """Poll until `condition` holds; raises `Failed` when time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds:g} s: {what}")
        time.sleep(0.25)


# ---------------------------------------------------------------- the engine


def engine_answers() -> bool:
    """Whether `docker` reaches an engine."""
    if shutil.which("docker") is None:
        return False
    return run(["docker", "info"], timeout=30, check=False).returncode == 0


@contextlib.contextmanager
def engine(scratch: pathlib.Path) -> Iterator[None]:
    """Give an engine: the one that answers, or one started by hand for as long as this lasts.

    Raises:
        NoEngine: neither is possible here.
    """
    if engine_answers():
        yield
        return
    for program in ("docker", "dockerd"):
        if shutil.which(program) is None:
            raise NoEngine(f"{program} is not installed (Debian: docker.io)")
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise NoEngine("no engine answers, and only root on Linux can start one")
    firewall = save_firewall()
    socket = scratch / "docker.sock"
    pid_file = scratch / "docker.pid"
    previous = os.environ.get("DOCKER_HOST")
    with (scratch / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                "dockerd",
                *("--data-root", scratch / "data", "--exec-root", scratch / "exec"),
                *("--host", f"unix://{socket}", "--pidfile", pid_file, "--bip", BRIDGE),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    os.environ["DOCKER_HOST"] = f"unix://{socket}"
    try:
        started = time.monotonic()
        while not engine_answers():
            late = time.monotonic() > started + ENGINE_SECONDS
            if late or daemon.poll() is not None:
                words = (scratch / "dockerd.log").read_text(errors="replace")[-1500:]
                raise NoEngine(f"dockerd does not start here:\n{words}")
            time.sleep(0.2)
        say("started dockerd by hand")
        yield
    finally:
        stop_engine(daemon, pid_file)
        os.environ.pop("DOCKER_HOST")
        if previous is not None:
            os.environ["DOCKER_HOST"] = previous
        restore_firewall(firewall)


def stop_engine(daemon: subprocess.Popen[bytes], pid_file: pathlib.Path) -> None:
    """Stop the engine that was started here, by the pid it wrote, and wait for its end."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


FORWARDING = pathlib.Path("/proc/sys/net/ipv4/ip_forward")


def save_firewall() -> tuple[bytes, str]:
    """Return the rules and the forwarding switch that an engine changes."""
    rules = b""
    if shutil.which("iptables-save"):
        rules = run(["iptables-save"], check=False).stdout
    return rules, FORWARDING.read_text() if FORWARDING.exists() else ""


def restore_firewall(saved: tuple[bytes, str]) -> None:
    """Put back what an engine that was started by hand leaves behind."""
    rules, forwarding = saved
    if shutil.which("iptables-restore"):
        run(["iptables-restore"], given=rules or b"*filter\nCOMMIT\n*nat\nCOMMIT\n", check=False)
    if shutil.which("ip"):
        run(["ip", "link", "delete", "docker0"], check=False)
    if forwarding:
        with contextlib.suppress(OSError):
            FORWARDING.write_text(forwarding)


# ---------------------------------------------------------------- the images


def debian_mirror(sources: str, codename: str) -> str | None:
    """Return the first mirror of `codename` in apt's own lists, one-line or deb822 format."""
    for block in re.split(r"\n\s*\n", sources):
        pairs = (line.partition(":") for line in block.splitlines() if line[:1] != "#")
        fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if codename in fields.get("suites", "").split() and fields.get("uris"):
            return fields["uris"].split()[0]
    for match in re.finditer(r"(?m)^deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)\s", sources):
        if match[2] == codename:
            return match[1]
    return None


def apt_sources() -> str:
    """Return apt's lists as one text."""
    etc = pathlib.Path("/etc/apt")
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    return "\n\n".join(f.read_text(errors="replace") for f in files if f.is_file())


def make_base_image(tag: str, scratch: pathlib.Path) -> None:
    """Make an image like the hub's slim Python from this Debian's own packages.

    Raises:
        NoEngine: this is no Debian, or debootstrap is missing.
    """
    if shutil.which("debootstrap") is None:
        raise NoEngine("no registry can be reached, and debootstrap is not installed")
    release = pathlib.Path("/etc/os-release").read_text()
    codename = re.search(r"(?m)^VERSION_CODENAME=\"?(\w+)", release)
    mirror = debian_mirror(apt_sources(), codename[1]) if codename else None
    if codename is None or mirror is None:
        raise NoEngine("no registry can be reached, and apt names no Debian mirror")
    say(f"making {tag} with debootstrap (about a minute)")
    root = scratch / "rootfs"
    include = "--include=python3,python3-pip,python3-venv"
    run(["debootstrap", "--variant=minbase", include, codename[1], root, mirror], timeout=900)
    shutil.rmtree(root / "var" / "cache" / "apt", ignore_errors=True)
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    archive = scratch / "rootfs.tar"
    run(["tar", "--numeric-owner", "-C", root, "-cf", archive, "."])
    run(["docker", "import", archive, tag])
    shutil.rmtree(root)
    archive.unlink()


def ensure_base_image(tag: str, scratch: pathlib.Path) -> None:
    """Have the base image: there already, pulled, or made."""
    if run(["docker", "image", "inspect", tag], check=False).returncode == 0:
        return
    with contextlib.suppress(subprocess.TimeoutExpired):
        if run(["docker", "pull", tag], timeout=300, check=False).returncode == 0:
            return
    make_base_image(tag, scratch)


def collect_wheels(source: pathlib.Path, target: pathlib.Path, base: str) -> None:
    """Put `source`'s wheel and those of its dependencies, for the image's Python, into `target`."""
    asked = run(
        ["docker", "run", "--rm", base, "python3", "-c", "import sys; print(sys.version_info[:2])"]
    )
    major, minor = re.findall(rb"\d+", asked.stdout)[:2]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run([*pip, "wheel", "--no-deps", "--wheel-dir", target, source])
    platforms = [f"manylinux_2_{number}_{platform.machine()}" for number in range(36, 4, -1)]
    platforms += [f"manylinux2014_{platform.machine()}", f"manylinux2010_{platform.machine()}"]
    run(
        [
            *pip,
            *("download", "--only-binary", ":all:", "--dest", target, "--implementation", "cp"),
            *("--python-version", f"{major.decode()}.{minor.decode()}"),
            *(part for name in platforms for part in ("--platform", name)),
            next(target.glob("raftlog-*.whl")),
        ]
    )


def stage(context: pathlib.Path, base: str) -> pathlib.Path:
    """Copy what the image is built from into `context`, with wheels; return the compose file."""
    for name in ("pyproject.toml", "README.md", "LICENSE", ".dockerignore"):
        shutil.copy(TOP / name, context / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TOP / "raftlog", context / "raftlog", ignore=ignored)
    shutil.copytree(
        TOP / "deploy", context / "deploy", ignore=shutil.ignore_patterns("__pycache__", "wheels")
    )
    say("fetching wheels on the host")
    collect_wheels(context, context / "deploy" / "wheels", base)
    return context / "deploy" / "docker-compose.yml"


# ---------------------------------------------------------------- the cluster


def compose_command() -> list[str]:
    """Return how compose is called here, v2 or v1.

    Raises:
        NoEngine: there is neither.
    """
    has_docker = shutil.which("docker") is not None
    if has_docker and run(["docker", "compose", "version"], check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise NoEngine("neither docker compose nor docker-compose is installed")


class Compose:
    """The three members of the compose file."""

    def __init__(self, file: pathlib.Path) -> None:
        self._command = [*compose_command(), "--file", str(file), "--project-name", PROJECT]

    def call(
        self, *arguments: str, given: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one compose command."""
        return run([*self._command, *arguments], given=given, check=check)

    def raftlog(
        self, member: str, *arguments: str, given: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command line inside a member's container."""
        return self.call("exec", "-T", member, "raftlog", *arguments, given=given, check=check)

    def health(self, member: str) -> str:
        """Return what the engine's health check says of a member."""
        container = self.call("ps", "-q", member).stdout.decode().strip()
        if not container:
            return "absent"
        asked = run(["docker", "inspect", "--format", "{{.State.Health.Status}}", container])
        return asked.stdout.decode().strip()

    def leader(self, asked: str) -> str | None:
        """Return who leads, as one member knows it; None while nobody does."""
        answer = self.raftlog(asked, "-o", "json", "--member", asked, "status", check=False)
        if answer.returncode:
            return None
        leader = json.loads(answer.stdout)["leader"]
        return str(leader) if leader else None

    def append(self, member: str, lines: Sequence[str]) -> int:
        """Append a transaction for each line; return how many were acknowledged."""
        given = "".join(f"{line}\n" for line in lines).encode()
        done = self.raftlog(member, "-o", "json", "log", "append", "--lines", "-", given=given)
        return int(json.loads(done.stdout)["appended"])

    def lines(self, member: str) -> list[str]:
        """Return what a member itself holds."""
        raw = self.raftlog(member, "--member", member, "log", "tail", "--raw").stdout
        return raw.decode().splitlines()


def kill_the_leader(compose: Compose) -> dict[str, object]:
    """Write, kill the leader's container, write again, start it; return what was seen."""
    wait_until(
        "every member is healthy",
        lambda: all(compose.health(member) == "healthy" for member in MEMBERS),
        HEALTHY_SECONDS,
    )
    wait_until("a leader", lambda: compose.leader("n1") is not None, HEALTHY_SECONDS)
    before = [f"before {number}" for number in range(LINES_PER_BATCH)]
    appended = compose.append("n1", before)
    killed = compose.leader("n1") or ""
    survivors = [member for member in MEMBERS if member != killed]
    say(f"killing {killed}")
    compose.call("kill", "-s", "SIGKILL", killed)

    def another_leads() -> bool:
        return compose.leader(survivors[0]) in survivors

    wait_until("another leader", another_leads, FAILOVER_SECONDS)
    after = [f"after {number}" for number in range(LINES_PER_BATCH)]
    appended += compose.append(survivors[0], after)
    took_over = compose.leader(survivors[0])
    compose.call("start", killed)
    expected = before + after
    wait_until(
        "every member holds all of it, once and in order",
        lambda: all(compose.lines(member) == expected for member in MEMBERS),
        HEALTHY_SECONDS,
    )
    return {"appended": appended, "killed": killed, "took_over": took_over, "members": len(MEMBERS)}


def smoke(base: str) -> dict[str, object]:
    """Bring the cluster up, put it to the test, take everything down again."""
    with (
        tempfile.TemporaryDirectory(prefix="raftlog-smoke-") as made,
        contextlib.ExitStack() as stack,
    ):
        scratch = pathlib.Path(made)
        (scratch / "context").mkdir()
        stack.enter_context(engine(scratch))
        ensure_base_image(base, scratch)
        os.environ["RAFTLOG_BASE_IMAGE"] = base
        for member in MEMBERS:  # whoever has the usual ports keeps them
            os.environ |= {f"{member.upper()}_PORT": "0", f"{member.upper()}_HTTP_PORT": "0"}
        compose = Compose(stage(scratch / "context", base))
        stack.callback(compose.call, "down", "--volumes", "--rmi", "local", check=False)
        say("building and starting")
        compose.call("up", "--detach", "--build")
        try:
            report = kill_the_leader(compose)
        except Failed:
            words = compose.call("logs", "--tail", "40", check=False).stdout
            say(words.decode(errors="replace"))
            raise
    if report["appended"] != 2 * LINES_PER_BATCH:
        raise Failed(f"{report['appended']} of {2 * LINES_PER_BATCH} lines were acknowledged")
    return report


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="smoke test of deploy/docker-compose.yml")
    parser.add_argument("--base", default=BASE_IMAGE, help="base image (default: %(default)s)")
    chosen = parser.parse_args()
    try:
        report = smoke(chosen.base)
    except NoEngine as error:
        print(f"no engine: {error}", file=sys.stderr)
        return NO_ENGINE
    except (Failed, subprocess.TimeoutExpired) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
