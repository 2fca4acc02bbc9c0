"""deploy/: what the compose file promises, and the real thing on a container engine."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import types

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
SMOKE = TOP / "deploy" / "smoke.py"


@pytest.fixture(scope="module")
def smoke() -> types.ModuleType:
    """Return deploy/smoke.py as a module."""
    spec = importlib.util.spec_from_file_location("smoke", SMOKE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_line_sources_name_their_mirror(smoke: types.ModuleType) -> None:
    """The mirror is found in apt's one-line format, options and other suites notwithstanding."""
    text = (
        "# deb http://old.example/debian bookworm main\n"
        "deb http://security.example/debian bookworm-security main\n"
        "deb [signed-by=/usr/share/keyrings/a.gpg] http://mirror.example/debian bookworm main\n"
    )
    assert smoke.debian_mirror(text, "bookworm") == "http://mirror.example/debian"


def test_deb822_sources_name_their_mirror(smoke: types.ModuleType) -> None:
    """The mirror is found in apt's deb822 format too."""
    text = (
        "Types: deb\nURIs: http://one.example/debian\nSuites: trixie\n\n"
        "Types: deb\n# http://snapshot.example\nURIs: http://two.example/debian\n"
        "Suites: bookworm bookworm-updates\nComponents: main\n"
    )
    assert smoke.debian_mirror(text, "bookworm") == "http://two.example/debian"


def test_no_mirror_is_said_not_guessed(smoke: types.ModuleType) -> None:
    """Lists that do not name the release give no mirror."""
    assert smoke.debian_mirror("deb http://mirror.example/debian trixie main\n", "bookworm") is None


def test_published_ports_are_loopback_only() -> None:
    """No port of the compose file is published to the outside."""
    text = (TOP / "deploy" / "docker-compose.yml").read_text(encoding="utf-8")
    published = re.findall(r"- (\S+:\d+)\n", text)
    assert published
    assert all(entry.startswith("127.0.0.1:") for entry in published)


def test_image_runs_as_nobody_in_particular() -> None:
    """The last stage of the image drops root before it names its entry point."""
    last_stage = (TOP / "deploy" / "Dockerfile").read_text(encoding="utf-8").rsplit("\nFROM ", 1)[1]
    user = re.search(r"(?m)^USER (\d+)", last_stage)
    assert user is not None
    assert int(user[1]) > 0
    assert last_stage.index("USER ") < last_stage.index("ENTRYPOINT ")


def test_a_machine_without_docker_has_no_engine(
    smoke: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Where no program of an engine is installed, that is said, and is no traceback."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(smoke.NoEngine, match="neither"):
        smoke.compose_command()


@pytest.mark.container
def test_compose_file_is_valid(smoke: types.ModuleType) -> None:
    """The compose command of this machine, v1 or v2, accepts the file and sees three members."""
    try:
        command = smoke.compose_command()
    except smoke.NoEngine as reason:
        pytest.skip(str(reason))
    file = TOP / "deploy" / "docker-compose.yml"
    checked = subprocess.run(
        [*command, "--file", file, "config", "--services"], capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr.decode()
    assert set(checked.stdout.decode().split()) == {"certs", *smoke.MEMBERS}


@pytest.mark.long
@pytest.mark.container
@pytest.mark.timeout(1200)
def test_cluster_in_containers_survives_the_leader(smoke: types.ModuleType) -> None:
    """Three containers with certificates lose their leader and no acknowledged line."""
    done = subprocess.run([sys.executable, SMOKE], capture_output=True, check=False)
    words = done.stderr.decode(errors="replace")
    if done.returncode == smoke.NO_ENGINE:
        pytest.skip(words.strip().splitlines()[-1])
    assert done.returncode == 0, words
    report = json.loads(done.stdout)
    assert report["appended"] == 2 * smoke.LINES_PER_BATCH
    assert report["took_over"] in set(smoke.MEMBERS) - {report["killed"]}


def test_missing_engine_is_a_reason(
    smoke: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Without an engine and without a daemon to start, the reason names what is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(smoke.NoEngine, match="docker is not installed"), smoke.engine(tmp_path):
        pass
