"""Finds a state machine by what `--machine` says, and checks it before a node starts with it.

A spec is a built-in name (`kv`, `log`), the name of an entry point in the group `raftlog.machines`,
or `module:Class`. Built-in names are looked up first and need no package metadata, so they work
from a source tree or a zip, and no other package can take them over: a cluster pins name and
version in its log, and two machines of one name would be taken for each other.

What is wrong with a machine's declaration is said here, in a sentence, rather than by a node that
stops in the middle of its log.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Collection, Mapping
from importlib import metadata

from raftlog.errors import ConfigInvalid, InvalidInput
from raftlog.interfaces import StateMachine
from raftlog.types import ColumnType

GROUP = "raftlog.machines"
BUILT_IN: dict[str, str] = {
    "kv": "raftlog.machines.kv:KvMachine",
    "log": "raftlog.machines.log:LogMachine",
}
NAME_BYTES_MAX = 64
VERSION_MAX = 2**31 - 1
VERSIONS_COUNT_MAX = 64

_EXTERNAL_METHODS = ("snapshot", "restore", "applied_sequence")


def load(spec: str) -> StateMachine:
    """Return a new instance of the machine that `spec` names.

    Raises:
        ConfigInvalid: there is no such machine, or it does not declare itself as one must.
    """
    machine_class = _check_class(spec, _find(spec))
    check_declaration(machine_class)
    owner = BUILT_IN.get(machine_class.name)
    if owner is not None and machine_class is not _import(machine_class.name, owner):
        raise ConfigInvalid(
            f"machine {_qualified(machine_class)} calls itself {machine_class.name!r}, "
            "which is a built-in machine's name; choose another"
        )
    try:
        return machine_class()
    except Exception as error:
        raise ConfigInvalid(
            f"machine {_qualified(machine_class)} could not be constructed without arguments: "
            f"{_describe(error)}"
        ) from error


def names() -> list[str]:
    """Return every name `load` knows without a colon, sorted."""
    return sorted(BUILT_IN.keys() | {entry.name for entry in metadata.entry_points(group=GROUP)})


def check_declaration(machine_class: type[StateMachine]) -> None:
    """Check a machine's name, version, tables and methods.

    Raises:
        ConfigInvalid: one of them cannot be used; the message says which and why.
    """
    where = f"machine {_qualified(machine_class)}"
    name: object = machine_class.name
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ConfigInvalid(f"{where} needs a printable, non-empty name, not {name!r}")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise ConfigInvalid(f"{where}: its name is over {NAME_BYTES_MAX} bytes")
    version: object = machine_class.version
    if type(version) is not int or not 1 <= version <= VERSION_MAX:
        raise ConfigInvalid(
            f"{where} needs a version that is a whole number from 1, not {version!r}"
        )
    _check_versions(where, version, machine_class.versions)
    for method in ("apply", "query"):
        if getattr(machine_class, method) is getattr(StateMachine, method):
            raise ConfigInvalid(f"{where} does not define {method}()")
    _check_tables(where, machine_class.tables)
    if machine_class.external:
        missing = [
            method
            for method in _EXTERNAL_METHODS
            if getattr(machine_class, method) is getattr(StateMachine, method)
        ]
        if missing:
            raise ConfigInvalid(
                f"{where} says its state is external and does not define "
                + ", ".join(f"{method}()" for method in missing)
            )


def _check_versions(where: str, version: int, versions: object) -> None:
    if not isinstance(versions, Collection) or isinstance(versions, str | bytes):
        raise ConfigInvalid(f"{where}: versions must be numbers such as (1, 2), not {versions!r}")
    if len(versions) > VERSIONS_COUNT_MAX:
        raise ConfigInvalid(f"{where} has over {VERSIONS_COUNT_MAX} versions")
    for each in versions:
        if type(each) is not int or not 1 <= each <= version:
            raise ConfigInvalid(
                f"{where}: versions holds {each!r}; each is a whole number from 1 to version, "
                f"the newest, which is {version}"
            )
    if versions and version not in versions:
        raise ConfigInvalid(f"{where}: versions must hold version, which is {version}")


def _check_tables(where: str, tables: object) -> None:
    if not isinstance(tables, Mapping):
        raise ConfigInvalid(f"{where}: tables must map names to columns, not be {tables!r}")
    for table, columns in tables.items():
        if not isinstance(table, str) or not table.isidentifier():
            raise ConfigInvalid(f"{where}: {table!r} cannot name a table")
        if not isinstance(columns, Mapping) or not columns:
            raise ConfigInvalid(f"{where}: table {table!r} needs a mapping of columns to types")
        for column, column_type in columns.items():
            if not isinstance(column, str) or not column.isidentifier():
                raise ConfigInvalid(f"{where}: {column!r} cannot name a column of {table!r}")
            if not isinstance(column_type, ColumnType):
                known = ", ".join(member.name.capitalize() for member in ColumnType)
                raise ConfigInvalid(
                    f"{where}: column {table}.{column} has type {column_type!r}; "
                    f"raftlog.types has {known}"
                )


def _find(spec: str) -> object:
    if ":" in spec:
        return _import(spec, spec)
    built_in = BUILT_IN.get(spec)
    if built_in is not None:
        return _import(spec, built_in)
    found = tuple(metadata.entry_points(group=GROUP, name=spec))
    if not found:
        raise ConfigInvalid(_unknown(spec))
    return _import(spec, found[0].value)


def _unknown(spec: str) -> str:
    known = names()
    message = f"no machine is called {spec!r}; "
    near = difflib.get_close_matches(spec, known, n=1)
    if near:
        return f"{message}did you mean {near[0]!r}?"
    return f"{message}known are {', '.join(known)}, or name one's own as module:Class"


def _import(spec: str, path: str) -> object:
    module_name, _, class_path = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *class_path.split("."))):
        raise ConfigInvalid(f"machine {spec!r} is not of the form module:Class")
    found: object = _import_module(spec, module_name)
    for part in class_path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigInvalid(
                f"machine {spec!r}: module {module_name!r} has no {part!r}{hint}"
            ) from None
    return found


def _import_module(spec: str, module_name: str) -> object:
    # A console script's path lacks the working directory, where a machine under development
    # lies; it goes last, so that nothing in it can shadow an installed module.
    here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if added:
            sys.path.remove(here)
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ConfigInvalid(f"machine {spec!r}: there is no module {missing!r}") from error
        raise ConfigInvalid(
            f"machine {spec!r}: module {module_name!r} needs {missing!r}, which is not installed"
        ) from error
    except Exception as error:
        raise ConfigInvalid(
            f"machine {spec!r}: module {module_name!r} failed to import: {_describe(error)}"
        ) from error


def _check_class(spec: str, found: object) -> type[StateMachine]:
    if not isinstance(found, type):
        raise ConfigInvalid(f"machine {spec!r} is not a class but {type(found).__name__}")
    if not issubclass(found, StateMachine) or found is StateMachine:
        raise ConfigInvalid(f"machine {spec!r} is not a subclass of raftlog.StateMachine")
    return found


def _qualified(machine_class: type) -> str:
    return f"{machine_class.__module__}:{machine_class.__qualname__}"


def _describe(error: Exception) -> str:
    text = error.message if isinstance(error, InvalidInput) else str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
