"""An operator's word keeps its name, from the schema to the line that obeys it."""

from __future__ import annotations

import ast
import dataclasses
import pathlib

import pytest

import raftlog
from raftlog import defaults
from raftlog.config.schema import SETTINGS
from raftlog.core.settings import CoreSettings
from raftlog.node.settings import NodeSettings
from raftlog.rpc.settings import ServerSettings, TransportSettings
from raftlog.storage.lmdb import StorageSettings
from tests.sources import walked

TOP = pathlib.Path(raftlog.__file__).parent
PARTS = (CoreSettings, NodeSettings, ServerSettings, StorageSettings, TransportSettings)
TUNED = [key for key in SETTINGS if key.split(".")[0] in {"raft", "limits", "retention", "disk"}]
"""What is handed on to a part; all else is used where the settings are composed."""


def attributes_read() -> set[str]:
    """Return every attribute that the sources read, but for the schema and who hands it on."""
    found: set[str] = set()
    for path in TOP.rglob("*.py"):
        if path.parent.name == "config" or path.name in {"compose.py", "directory.py"}:
            continue
        for node in walked(path):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
    return found


@pytest.mark.parametrize("key", TUNED)
def test_a_setting_has_one_name_and_one_default(key: str) -> None:
    """It is a field of a part's settings by the same name, and begins with the same value."""
    name = key.rpartition(".")[2]
    parts = [each for each in PARTS if name in {field.name for field in dataclasses.fields(each)}]
    assert parts, f"no part knows {name}"
    assert getattr(defaults, name.upper()) == SETTINGS[key].default
    for part in parts:
        (field,) = (each for each in dataclasses.fields(part) if each.name == name)
        assert field.default == SETTINGS[key].default, part


def test_every_setting_is_obeyed() -> None:
    """Somebody reads it by the operator's own word."""
    read = attributes_read()
    assert {key for key in TUNED if key.rpartition(".")[2] not in read} == set()


def test_no_default_is_without_a_setting() -> None:
    """What no operator can set has its default where it is used."""
    units = {"MIB", "GIB", "DAY_SECONDS"}
    names = {name for name in vars(defaults) if name.isupper()} - units
    assert names == {key.rpartition(".")[2].upper() for key in TUNED}
