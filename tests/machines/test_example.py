"""The machine of docs/machines.md, taken from the page and run as written."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import types
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import raftlog
from raftlog.local import find_base_port
from raftlog.machines import load
from raftlog.machines.testing import MachineHarness
from tests.test_docs import shell_lines

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "machines.md"


def blocks(language: str) -> list[str]:
    """Return the page's code blocks in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[types.ModuleType]:
    """Save the page's first block as inventory.py, and load it as a node does."""
    directory = tmp_path_factory.mktemp("example")
    (directory / "inventory.py").write_text(blocks("python")[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setattr(sys, "path", [*sys.path, str(directory)])
        load("inventory:Inventory")
        yield sys.modules["inventory"]
        del sys.modules["inventory"]


@pytest.fixture
def harness(inventory: types.ModuleType) -> MachineHarness:
    """Return the example's machine, empty."""
    return MachineHarness(inventory.Inventory())


def order(verb: object, sku: object, count: object) -> bytes:
    """Return a command."""
    return json.dumps({"verb": verb, "sku": sku, "count": count}).encode()


def test_the_pages_own_test_passes(inventory: types.ModuleType) -> None:
    """The test that the page shows runs as written."""
    (text,) = [block for block in blocks("python") if "MachineHarness" in block]
    names: dict[str, object] = {}
    exec(compile(text, str(PAGE), "exec"), names)
    tests = [name for name in names if name.startswith("test_")]
    assert tests
    for name in tests:
        names[name]()  # type: ignore[operator]


def test_the_pages_commands_run_it(tmp_path: pathlib.Path) -> None:
    """The command starts a cluster with the machine, and the page's program calls it."""
    module, call = blocks("python")[:2]
    base = find_base_port(3)
    (tmp_path / "inventory.py").write_text(module)
    (tmp_path / "call.py").write_text(
        re.sub(r":710(\d)", lambda m: f":{base - 1 + int(m[1])}", call)
    )
    (command,) = [line for line in shell_lines(PAGE) if line.startswith("raftlog local start")]
    stop = "raftlog local stop --dir ./cluster"
    assert f"`{stop}`" in PAGE.read_text()
    done = subprocess.run(
        ["bash", "-c", f"trap {stop!r} EXIT; {command} && python call.py"],
        cwd=tmp_path,
        env=os.environ
        | {
            "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAFTLOG_LOCAL_START_BASE_PORT": str(base),
        },
        capture_output=True,
        timeout=100,
        check=False,
        text=True,
    )
    assert """b'{"sku": "bolt", "count": 7}' b'{"bolt": 7}'""" in done.stdout, done.stderr


def test_the_page_and_the_package_agree(inventory: types.ModuleType) -> None:
    """The page's other blocks are legal Python and TOML, and name what exists."""
    for block in blocks("python"):
        compile("async def page():\n    " + block.replace("\n", "\n    "), str(PAGE), "exec")
    assert blocks("toml") == [
        '[project.entry-points."raftlog.machines"]\ninventory = "inventory:Inventory"\n'
    ]
    assert (PAGE.parent.parent / "raftlog/machines/kv/leases.py").exists()
    assert inventory.Inventory.tables["stock"]["count"] is raftlog.types.Int64


def test_rows_follow_the_stock(harness: MachineHarness) -> None:
    """An article's row is inserted, updated and deleted with its count."""
    for verb, count in (("receive", 5), ("ship", 2), ("ship", 3)):
        harness.execute(order(verb, "bolt", count))
    assert [
        (row.before and row.before["count"], row.after and row.after["count"])
        for row in harness.rows
    ] == [(None, 5), (5, 3), (3, None)]
    assert not harness.state.pairs


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (b"", "malformed command"),
        (b"{}", "malformed command"),
        (b"[]", "malformed command"),
        (b"7", "malformed command"),
        (b"\xff", "malformed command"),
        (b"[" * 500, "malformed command"),
        (b"[" * 100_000, "malformed command"),
        (order("steal", "bolt", 1), "verb is receive or ship"),
        (order([], "bolt", 1), "verb is receive or ship"),
        (order("ship", "", 1), "sku is an ASCII text of 1 to 100 characters"),
        (order("ship", "x" * 101, 1), "sku is an ASCII text"),
        (order("ship", "\ud800", 1), "sku is an ASCII text"),
        (order("ship", None, 1), "sku is an ASCII text"),
        (order("ship", "bolt", 0), "count is a whole number"),
        (order("ship", "bolt", 1.5), "count is a whole number"),
        (order("ship", "bolt", True), "count is a whole number"),
        (order("ship", "bolt", 1_000_001), "count is a whole number"),
        (order("ship", "bolt", 1), "only 0 of bolt are left"),
    ],
)
def test_refusals(harness: MachineHarness, command: bytes, why: str) -> None:
    """Each wrong command is rejected with its sentence, and none is a fault."""
    with pytest.raises(raftlog.Rejected, match=re.escape(why)):
        harness.execute(command)


def test_queries(harness: MachineHarness) -> None:
    """A query answers by prefix, and refuses one that cannot be."""
    for sku in ("bolt", "bolt-m3", "nut"):
        harness.execute(order("receive", sku, 4))
    assert json.loads(harness.query(b"bolt")) == {"bolt": 4, "bolt-m3": 4}
    assert json.loads(harness.query(b"\xff")) == {}
    with pytest.raises(raftlog.errors.InvalidInput):
        harness.query(b"x" * 101)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    commands=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(
                order,
                st.sampled_from(["receive", "ship"]),
                st.sampled_from(["bolt", "nut"]),
                st.integers(-1, 5),
            ),
        ),
        max_size=20,
    )
)
def test_the_stock_is_what_was_received_less_what_was_shipped(
    inventory: types.ModuleType, commands: list[bytes]
) -> None:
    """Against a plain sum, with noise between: no count is ever negative, and a replay agrees."""
    harness = MachineHarness(inventory.Inventory())
    stock = {"bolt": 0, "nut": 0}
    for command in commands:
        try:
            answer = json.loads(harness.execute(command))
        except raftlog.Rejected:
            continue
        said = json.loads(command)
        stock[said["sku"]] += said["count"] if said["verb"] == "receive" else -said["count"]
        assert answer == {"sku": said["sku"], "count": stock[said["sku"]]}
        assert stock[said["sku"]] >= 0
    assert json.loads(harness.query(b"")) == {sku: n for sku, n in stock.items() if n}
    harness.check_replay()
