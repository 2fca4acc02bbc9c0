"""The systemd unit: systemd accepts it, it is closed where it can be, and it fits the node."""

from __future__ import annotations

import configparser
import pathlib
import shutil
import subprocess
import sys

import pytest

from raftlog.cli.output import ExitCode
from raftlog.config.load import load
from raftlog.server.main import STOP_SECONDS
from tests.test_docs import resolve

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
