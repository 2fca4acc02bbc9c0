"""The systemd unit: systemd accepts it, it is closed where it can be, and it fits the node."""

from __future__ import annotations

import configparser
import itertools
import pathlib
import resource
import shutil
import subprocess
import sys

import pytest

from raftlog.cli.output import ExitCode
from raftlog.config.load import load
from raftlog.server.main import STOP_SECONDS
from tests.deploy.booted import Booted, NoNamespaces, boot
from tests.test_docs import resolve, shell_lines

TOP = pathlib.Path(__file__).resolve().parents[2]
PLACE = TOP / "deploy" / "systemd"
EXPOSURE_MAX = 2.0
"""Of systemd's ten; what is left is the network, and the little of /proc that metrics come from."""


class Repeated(dict):
    """Keeps every value of a key that is given more than once, as systemd does."""

    def __setitem__(self, key, value):
        if key in self and isinstance(value, list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


@pytest.fixture(scope="module")
def unit() -> dict[str, dict[str, list[str]]]:
    """The sections of the unit, with each key's values."""
    parser = configparser.RawConfigParser(dict_type=Repeated, strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((PLACE / "raftlog.service").read_text(encoding="utf-8"))
    return {name: {k: v.split("\n") for k, v in parser[name].items()} for name in parser.sections()}


@pytest.fixture
def analyze(tmp_path: pathlib.Path):
    """Return a function that lets systemd-analyze judge the unit, with a program that is there."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (package systemd)")
    text = (PLACE / "raftlog.service").read_text(encoding="utf-8")
    file = tmp_path / "raftlog.service"
    file.write_text(text.replace("/opt/raftlog/bin/raftlog", sys.executable))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments, str(file)], capture_output=True, text=True, check=False
        )

    return run


def test_systemd_accepts_it(analyze) -> None:
    """No key is unknown, none has a wrong value."""
    done = analyze("verify", "--man=no")
    ours = [line for line in done.stderr.splitlines() if "raftlog" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_it_is_closed(analyze) -> None:
    """By systemd's own measure of what a unit may touch."""
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MAX * 10:g}")
    assert done.returncode == 0, done.stdout


def test_its_numbers_fit_the_node(unit) -> None:
    """There is time to stop and to start, descriptors for every connection, and no futile start."""
    service = unit["Service"]
    assert service["Type"] == ["notify"]
    assert float(service["TimeoutStopSec"][0].removesuffix("s")) > STOP_SECONDS
    assert service["TimeoutStartSec"] == ["infinity"]
    assert int(service["LimitNOFILE"][0]) > 4 * load().settings.limits.connections_max
    futile = {int(code) for code in service["RestartPreventExitStatus"][0].split()}
    assert futile == {ExitCode.INVALID_INPUT, ExitCode.REFUSED, ExitCode.USAGE}


def test_its_command_and_its_settings_exist(unit) -> None:
    """The command line is one that there is, and the example's settings are legal."""
    program, *words = unit["Service"]["ExecStart"][0].split()
    assert program.endswith("/raftlog")
    assert resolve(words).name == "serve"
    file = words[words.index("--config") + 1]
    assert pathlib.PurePath(file).name == "node.toml"
    variables = dict(value.split("=", 1) for value in unit["Service"]["Environment"])
    settings = load(path=str(PLACE / "node.toml"), environment=variables).settings
    assert settings.node_id in dict(settings.initial_cluster)
    assert settings.tls.is_configured
    assert settings.tls.roles
    state = f"/var/lib/{unit['Service']['StateDirectory'][0]}"
    assert settings.data_dir.startswith(f"{state}/")


def test_its_user_can_be_made(unit) -> None:
    """The file for systemd-sysusers makes the user that the unit names."""
    lines = (PLACE / "raftlog.sysusers").read_text(encoding="utf-8").splitlines()
    (line,) = (each.split() for each in lines if not each.startswith("#"))
    assert line[:2] == ["u", unit["Service"]["User"][0]]
    program = shutil.which("systemd-sysusers")
    if program is None:
        pytest.skip("systemd-sysusers is not installed (package systemd)")
    command = [program, "--dry-run", str(PLACE / "raftlog.sysusers")]
    subprocess.run(command, capture_output=True, check=True)


SETTINGS = "/etc/raftlog/node.toml"
CERTIFICATES = (
    "--cacert /etc/raftlog/ca.crt --cert /tmp/certs/client.crt --key /tmp/certs/client.key"
)
CLIENT = f"raftlog --endpoints 10.0.0.1:7101 {CERTIFICATES}"


def install(machine: Booted) -> None:
    """Install the unit as docs/deploying.md says, up to where it is started.

    The wheel alone is not: its place is there. The member founds its cluster alone.
    """
    lines = shell_lines(TOP / "docs" / "deploying.md")
    ours = list(itertools.takewhile(lambda line: "certs create" not in line, lines))
    wheel, *install_lines, check, start, status = ours
    assert "pip install" in wheel
    for line in install_lines:
        machine.run(line)
    machine.run(f"sed -i 's/,n2=.*/\"/' {SETTINGS}")
    machine.run("raftlog certs create --dir /tmp/certs n1 --host 10.0.0.1")
    machine.run(
        "install -m 640 -g raftlog /tmp/certs/ca.crt /tmp/certs/n1.crt /tmp/certs/n1.key "
        "/etc/raftlog/"
    )
    machine.run(check)
    machine.run(start)
    assert "active (running)" in machine.run(status)


def hardened(machine: Booted, unit: dict[str, dict[str, list[str]]]) -> None:
    """What the unit forbids is forbidden in the node's process, and the node does not mind."""
    pid = machine.shown("MainPID")
    status = machine.run(f"cat /proc/{pid}/status")
    found = dict(line.split(":", 1) for line in status.splitlines())
    assert found["NoNewPrivs"].strip() == "1"
    assert found["Seccomp"].strip() == "2"
    assert int(found["CapBnd"], 16) == int(found["CapEff"], 16) == 0
    assert found["Uid"].split()[0] == machine.run("id -u raftlog").strip()
    limits = machine.run(f"grep 'Max open files' /proc/{pid}/limits")
    ours = str(
        resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    )  # all there is, where none may raise it
    assert limits.split()[3] in {unit["Service"]["LimitNOFILE"][0], ours}
    inside = f"nsenter --target {pid} --mount --"
    assert machine.run(f"{inside} touch /etc/raftlog/new /usr/new /opt/raftlog/new", code=1) == ""
    assert machine.run(f"{inside} ls /root /home", code=None).split() == ["/home:", "/root:"]
    assert machine.run(f"{inside} ls /tmp") == ""
    modes = machine.run("stat --format '%U %a' /var/lib/raftlog /var/lib/raftlog/data/data.mdb")
    assert modes.splitlines() == ["raftlog 700", "raftlog 600"]


def leads(machine: Booted, pid: str = "") -> bool:
    """Whether a node leads that is not that process."""
    is_another = machine.shown("MainPID") not in {"0", pid}
    return is_another and machine.shown("StatusText").startswith("leads")


@pytest.mark.long
@pytest.mark.container
@pytest.mark.timeout(600)
def test_systemd_runs_it(unit, tmp_path: pathlib.Path) -> None:
    """Installed as the page says under a systemd that was booted, it starts, is watched, and stops.

    Only what the kernel keeps to itself in namespaces is not tried: `OOMScoreAdjust`.
    """
    try:
        with boot(tmp_path) as machine:
            install(machine)
            machine.until("the only member leads", lambda: leads(machine))
            hardened(machine, unit)
            machine.run(f"{CLIENT} log append --lines <<< kept")

            killed = machine.shown("MainPID")
            machine.run(f"kill -KILL {killed}")
            machine.until("a killed node is started again", lambda: leads(machine, killed))
            assert machine.shown("NRestarts") == "1"
            assert machine.run(f"{CLIENT} log tail --raw") == "kept\n"

            is_watched(machine)
            machine.run("systemctl stop raftlog")
            stopped = [machine.shown(name) for name in ("ActiveState", "Result", "ExecMainStatus")]
            assert stopped == ["inactive", "success", "0"]

            machine.run(f"echo 'nonsense = 1' >> {SETTINGS}")
            machine.run("systemctl start raftlog", code=1)
            refused = [machine.shown(name) for name in ("ActiveState", "ExecMainStatus")]
            assert refused == ["failed", str(int(ExitCode.INVALID_INPUT))]
    except NoNamespaces as reason:
        pytest.skip(str(reason))


def is_watched(machine: Booted) -> None:
    """A node whose event loop shows nothing is ended, with its stacks in the log; then it runs."""
    assert machine.shown("WatchdogUSec") == "30s"
    machine.run("mkdir -p /etc/systemd/system/raftlog.service.d")
    machine.run(
        "printf '[Service]\nWatchdogSec=4s\n' > /etc/systemd/system/raftlog.service.d/w.conf"
    )
    machine.run("systemctl daemon-reload && systemctl restart raftlog")
    watched = machine.shown("MainPID")
    began = int(machine.shown("WatchdogTimestampMonotonic"))
    patience = 6_000_000
    machine.until(
        "a node that runs shows it for longer than the patience",
        lambda: int(machine.shown("WatchdogTimestampMonotonic")) > began + patience,
    )
    assert (machine.shown("MainPID"), machine.shown("NRestarts")) == (watched, "0")
    machine.run(f"kill -STOP {watched}")
    machine.until("one that stands still is started again", lambda: leads(machine, watched))
    assert machine.shown("NRestarts") == "1"
    assert "Fatal Python error: Aborted" in machine.log()
