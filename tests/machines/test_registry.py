"""Finding machines by name, and the sentence for each way of not finding or not accepting one."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Iterator
from importlib import metadata

import pytest

from raftlog.errors import ConfigInvalid
from raftlog.interfaces import versions_of
from raftlog.machines import load, registry
from raftlog.machines.kv import KvMachine
from raftlog.machines.log import LogMachine

GOOD = """
import raftlog
from raftlog.machines.kv import KvMachine
from raftlog.machines.log import LogMachine as Imported

class Good(raftlog.StateMachine):
    name, version = "good", 3
    tables = {"stock": {"sku": raftlog.types.Text, "count": raftlog.types.Int64}}
    def apply(self, command, context): return b""
    def query(self, request, state): return b""
    class Nested(raftlog.StateMachine):
        name = "nested"
        def apply(self, command, context): return b""
        def query(self, request, state): return b""

def machine(**fields):
    return type("Made", (Good,), fields)

NoName = machine(name="")
Unprintable = machine(name="a\\nb")
LongName = machine(name="x" * 65)
NumberName = machine(name=7)
ZeroVersion = machine(version=0)
TextVersion = machine(version="1")
TrueVersion = machine(version=True)
HugeVersion = machine(version=2**31)
Both = machine(versions=(2, 3))
Ranged = machine(versions=range(1, 4))
TextVersions = machine(versions="123")
NoCollection = machine(versions=3)
FutureVersions = machine(versions=(3, 4))
FalseVersions = machine(versions=(True, 3))
WithoutNewest = machine(versions=(1, 2))
ManyVersions = machine(version=65, versions=range(1, 66))
ListTables = machine(tables=["stock"])
ListColumns = machine(tables={"stock": ["sku"]})
NoColumns = machine(tables={"stock": {}})
OddTable = machine(tables={"my stock": {"sku": raftlog.types.Text}})
OddColumn = machine(tables={"stock": {"": raftlog.types.Text}})
PlainType = machine(tables={"stock": {"sku": str}})
TakesKv = machine(name="kv")
External = machine(external=True, snapshot=lambda self: iter(()))

class SubKv(KvMachine):
    pass

class Bare(raftlog.StateMachine):
    name = "bare"

class NoQuery(raftlog.StateMachine):
    name = "no-query"
    def apply(self, command, context): return b""

class NeedsMore(Good):
    def __init__(self, path): pass

class Explodes(Good):
    def __init__(self): raise ValueError("no luck today")

class Unrelated:
    pass

instance = Good()
"""


@pytest.fixture
def workplace(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], None]]:
    """Work in an empty directory; yields a function that writes a module there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "").startswith(str(tmp_path)):
            del sys.modules[name]


def refusal(spec: str) -> str:
    """Load a spec that must be refused; return why."""
    with pytest.raises(ConfigInvalid) as caught:
        load(spec)
    return caught.value.message


def test_built_ins_by_name() -> None:
    """The built-in machines come by their names, a new instance at a time."""
    assert type(load("kv")) is KvMachine
    assert type(load("log")) is LogMachine
    assert load("kv") is not load("kv")


def test_built_ins_by_path() -> None:
    """A built-in named as module:Class is still the built-in."""
    assert type(load("raftlog.machines.kv:KvMachine")) is KvMachine
    assert type(load("raftlog.machines.kv.machine:KvMachine")) is KvMachine


def test_built_ins_need_no_package_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a source tree, without entry points, the built-ins are found all the same."""
    monkeypatch.setattr(metadata, "entry_points", lambda **_: ())
    assert type(load("kv")) is KvMachine
    assert registry.names() == ["kv", "log"]


def test_the_package_declares_its_built_ins() -> None:
    """What pyproject.toml declares and what the registry knows agree."""
    text = (pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text()
    section = text.split('[project.entry-points."raftlog.machines"]')[1].split("[")[0]
    declared = dict(line.replace('"', "").split(" = ") for line in section.split("\n") if line)
    assert declared == registry.BUILT_IN


def test_entry_points(
    workplace: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package's entry point is found by its name, and cannot take a built-in's."""
    workplace("declared", GOOD)
    points = metadata.EntryPoints(
        metadata.EntryPoint(name, value, registry.GROUP)
        for name, value in {"stock": "declared:Good", "kv": "declared:Good"}.items()
    )
    monkeypatch.setattr(metadata, "entry_points", points.select)
    assert load("stock").name == "good"
    assert type(load("kv")) is KvMachine
    assert refusal("stok") == "no machine is called 'stok'; did you mean 'stock'?"


def test_a_module_in_the_working_directory(workplace: Callable[[str, str], None]) -> None:
    """module:Class finds a file beside where the node was started, and a nested class in it."""
    workplace("mine", GOOD)
    machine = load("mine:Good")
    assert (machine.name, machine.version) == ("good", 3)
    assert load("mine:Good.Nested").name == "nested"
    assert type(load("mine:Imported")) is LogMachine


def test_a_miss_leaves_the_import_path_alone(workplace: Callable[[str, str], None]) -> None:
    """A module that is not there leaves no trace in sys.path."""
    before = list(sys.path)
    refusal("absent_module:Thing")
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("kvv", "no machine is called 'kvv'; did you mean 'kv'?"),
        ("zebra", "no machine is called 'zebra'; known are kv, log, or name one's own as"),
        ("", "no machine is called ''"),
        (":", "machine ':' is not of the form module:Class"),
        ("mine:", "is not of the form module:Class"),
        (":Good", "is not of the form module:Class"),
        ("a b:Good", "is not of the form module:Class"),
        ("mine:Good:Good", "is not of the form module:Class"),
        ("..mine:Good", "is not of the form module:Class"),
        ("absent_module:Good", "there is no module 'absent_module'"),
        ("mine.absent:Good", "there is no module 'mine.absent'"),
        ("needy:Good", "module 'needy' needs 'absent_dependency', which is not installed"),
        ("broken:Good", "module 'broken' failed to import: SyntaxError"),
        ("raising:Good", "module 'raising' failed to import: RuntimeError: on purpose"),
        ("mine:Godo", "module 'mine' has no 'Godo'; did you mean 'Good'?"),
        ("mine:Qqqq", "module 'mine' has no 'Qqqq'"),
        ("mine:machine", "is not a class but function"),
        ("mine:instance", "is not a class but Good"),
        ("mine:Unrelated", "is not a subclass of raftlog.StateMachine"),
        ("raftlog:StateMachine", "is not a subclass of raftlog.StateMachine"),
        ("mine:NoName", "needs a printable, non-empty name, not ''"),
        ("mine:Unprintable", "needs a printable, non-empty name"),
        ("mine:LongName", "its name is over 64 bytes"),
        ("mine:NumberName", "needs a printable, non-empty name, not 7"),
        ("mine:ZeroVersion", "needs a version that is a whole number from 1, not 0"),
        ("mine:TextVersion", "whole number from 1, not '1'"),
        ("mine:TrueVersion", "whole number from 1, not True"),
        ("mine:HugeVersion", "whole number from 1, not 2147483648"),
        ("mine:TextVersions", "versions must be numbers such as (1, 2), not '123'"),
        ("mine:NoCollection", "versions must be numbers such as (1, 2), not 3"),
        ("mine:FutureVersions", "versions holds 4"),
        ("mine:FalseVersions", "versions holds True"),
        ("mine:WithoutNewest", "versions must hold version, which is 3"),
        ("mine:ManyVersions", "over 64 versions"),
        ("mine:ListTables", "tables must map names to columns"),
        ("mine:ListColumns", "table 'stock' needs a mapping of columns to types"),
        ("mine:NoColumns", "table 'stock' needs a mapping of columns to types"),
        ("mine:OddTable", "'my stock' cannot name a table"),
        ("mine:OddColumn", "'' cannot name a column of 'stock'"),
        ("mine:PlainType", "raftlog.types has Text, Blob, Int64, Float64, Boolean"),
        ("mine:TakesKv", "calls itself 'kv', which is a built-in machine's name; choose another"),
        ("mine:SubKv", "calls itself 'kv', which is a built-in machine's name; choose another"),
        ("mine:Bare", "does not define apply()"),
        ("mine:NoQuery", "does not define query()"),
        ("mine:External", "does not define restore(), applied_sequence()"),
        ("mine:NeedsMore", "could not be constructed without arguments: TypeError"),
        ("mine:Explodes", "could not be constructed without arguments: ValueError: no luck today"),
    ],
)
def test_refusals(workplace: Callable[[str, str], None], spec: str, why: str) -> None:
    """Each mistake in a spec or a declaration is refused with a sentence that names it."""
    workplace("mine", GOOD)
    workplace("needy", "import absent_dependency")
    workplace("broken", "def")
    workplace("raising", "raise RuntimeError('on purpose')")
    assert why in refusal(spec)


def test_versions(workplace: Callable[[str, str], None]) -> None:
    """A machine has the versions that it declares, or its own version alone."""
    workplace("mine", GOOD)
    found = [versions_of(load(f"mine:{name}")) for name in ("Good", "Both", "Ranged")]
    assert found == [(3,), (2, 3), (1, 2, 3)]
