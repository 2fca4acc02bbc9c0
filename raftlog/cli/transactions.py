"""A key-value transaction written as JSON: what `kv txn` reads."""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
from collections.abc import Callable
from typing import TypeVar

from raftlog import kv as words
from raftlog.errors import InvalidInput

T = TypeVar("T")


def read_text(file: str) -> str:
    """Return a file's text; - is standard input. Raises `InvalidInput`."""
    try:
        if file == "-":
            return sys.stdin.read()
        with open(file, encoding="utf-8") as opened:  # noqa: PTH123 - as it was typed
            return opened.read()
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} is not UTF-8") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """A transaction's three lists."""

    when: list[words.Condition]
    then: list[words.Operation]
    otherwise: list[words.Operation]


def parse_transaction(text: str) -> Parts:
    """Return the transaction that a JSON document describes.

    Raises:
        InvalidInput: it does not parse; the message says which part.
    """
    try:
        document = json.loads(text, object_pairs_hook=_unrepeated)
    except ValueError as error:
        raise InvalidInput(f"the transaction is not JSON: {error}") from None
    if not isinstance(document, dict) or not document.keys() <= {"when", "then", "otherwise"}:
        raise InvalidInput('a transaction is {"when": [...], "then": [...], "otherwise": [...]}')
    return Parts(
        _each(document.get("when", []), "when", _condition),
        _each(document.get("then", []), "then", _operation),
        _each(document.get("otherwise", []), "otherwise", _operation),
    )


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object, unless it names something twice: JSON would keep only the last."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'"{twice}" stands twice in one object')
    return found


def _each(parts: object, name: str, parse: Callable[[dict[str, object]], T]) -> list[T]:
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise InvalidInput(f'"{name}" must be a list of objects')
    made = []
    for at, part in enumerate(parts):
        try:
            made.append(parse(part))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"{name}[{at}]: {error}") from None
    return made


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{json.dumps(value)} is no valid text") from None
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return base64.b64decode(value["base64"], validate=True)
    raise ValueError(f'expected text or {{"base64": ...}}, got {json.dumps(value)}')


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a whole number from 0, got {json.dumps(value)}")
    return value


def _condition(part: dict[str, object]) -> words.Condition:
    tests = sorted(part.keys() - {"key"})
    if "key" not in part or len(tests) != 1:
        raise ValueError('a condition has a "key" and exactly one test')
    key, test, value = _bytes(part["key"]), tests[0], part[tests[0]]
    if test == "exists":
        if not isinstance(value, bool):
            raise ValueError(f'"exists" is true or false, not {json.dumps(value)}')
        return words.Exists(key) if value else words.Missing(key)
    if test == "value":
        return words.Value(key, _bytes(value))
    if test == "revision":
        return words.Revision(key, _number(value))
    if test == "revision_below":
        return words.RevisionBelow(key, _number(value))
    raise ValueError(f'no test "{test}"; there are exists, value, revision, revision_below')


def _operation(part: dict[str, object]) -> words.Operation:
    names = part.keys() & {"put", "get", "delete"}
    allowed = {"put": {"value", "lease"}, "get": set[str](), "delete": {"end"}}
    if len(names) != 1:
        raise ValueError('an operation has exactly one of "put", "get", "delete"')
    name = names.pop()
    extra = part.keys() - {name} - allowed[name]
    if extra:
        raise ValueError(f'"{name}" does not take "{min(extra)}"')
    key = _bytes(part[name])
    if name == "put":
        if "value" not in part:
            raise ValueError('a "put" has a "value"; write "" for an empty one')
        return words.Put(key, _bytes(part["value"]), _number(part.get("lease", 0)))
    if name == "get":
        return words.Get(key)
    return words.Delete(key, _bytes(part["end"])) if "end" in part else words.Delete(key)
