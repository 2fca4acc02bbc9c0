"""Where settings come from: TOML, overridden by `RAFTLOG_*` variables, overridden by flags.

Whatever is wrong is said with the place it stands at (file, variable or flag), the key, and what is
expected there. An unknown key is an error that names the nearest known one. An unknown variable is
not: container platforms inject variables of their own (``RAFTLOG_SERVICE_HOST``); a near miss of a
known one is.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from raftlog.config.schema import (
    ENVIRONMENT_PREFIX,
    SECTIONS,
    SETTINGS,
    Setting,
    Settings,
    check,
)
from raftlog.errors import ConfigInvalid

_CLIENT_VARIABLES = frozenset(
    ENVIRONMENT_PREFIX + name
    for name in (
        "ENDPOINTS", "MEMBER", "TIMEOUT", "OUTPUT", "YES", "CACERT", "CERT", "KEY", "CONFIG",
    )
)  # fmt: skip
_NEAR_MISS = 0.9


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The effective settings, and for each key that is not a default, where it was set."""

    settings: Settings
    sources: dict[str, str]


def load(
    *,
    path: str | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    assignments: Iterable[str] = (),
) -> Loaded:
    """Return the settings from a TOML file, the environment and the flags, the last one winning.

    Args:
        path: the TOML file, if any.
        environment: variables; those that are not `RAFTLOG_*` are ignored.
        flags: values by key; None means that the flag was not given.
        assignments: ``key=value`` texts, as given to ``--set``; they win over everything.

    Raises:
        ConfigInvalid: anything at all is wrong; the message says where and what is expected, a
            line for each wrong key.
    """
    layers: list[Iterable[tuple[str, str, object]]] = []
    if path is not None:
        layers.append(_file_layer(path))
    layers.append(_environment_layer(environment or {}))
    layers.append(
        (f"--{key.rpartition('.')[2].replace('_', '-')}", key, raw)
        for key, raw in (flags or {}).items()
        if raw is not None
    )
    layers.append(_split_assignment(text) for text in assignments)
    found: dict[str, object] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    for layer in layers:
        for source, key, raw in layer:
            try:
                found[key] = _known(key, source).checked(raw)
            except ConfigInvalid as error:
                problems.append(error.message)
            except ValueError as error:
                problems.append(f"{source}: {key}: {error}, got {_as_written(raw)}")
            sources[key] = source
    if problems:
        raise ConfigInvalid("\n".join(problems))
    return Loaded(settings=check(_build(found)), sources=sources)


def _as_written(raw: object) -> str:
    """Return a value about as a settings file has it, not as Python does."""
    if isinstance(raw, str):
        return repr(raw)
    return json.dumps(raw, default=str, ensure_ascii=False)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` was most likely meant to be."""
    choices = list(known)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    if close:
        return close[0]
    last = name.rpartition(".")[2]
    by_last = {choice.rpartition(".")[2]: choice for choice in choices}
    close = difflib.get_close_matches(last, list(by_last), n=1, cutoff=0.5)
    return by_last[close[0]] if close else None


def _known(key: str, source: str) -> Setting:
    if key in SETTINGS:
        return SETTINGS[key]
    if key in SECTIONS:
        raise ConfigInvalid(f"{source}: {key} is a section: expected [{key}] and keys in it")
    guess = nearest(key, SETTINGS)
    hint = f"; did you mean {guess}?" if guess else ""
    raise ConfigInvalid(f"{source}: unknown key {key}{hint}")


def _split_assignment(text: str) -> tuple[str, str, object]:
    key, separator, raw = text.partition("=")
    if not separator:
        raise ConfigInvalid(f"--set {text}: expected key=value")
    return "--set", key.strip(), raw.strip()


def _environment_layer(environment: Mapping[str, str]) -> Iterator[tuple[str, str, object]]:
    known = {setting.variable: setting.key for setting in SETTINGS.values()}
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _CLIENT_VARIABLES:
            continue
        if variable in known:
            yield variable, known[variable], environment[variable]
            continue
        close = difflib.get_close_matches(variable, known, n=1, cutoff=_NEAR_MISS)
        if close:
            raise ConfigInvalid(f"unknown variable {variable}; did you mean {close[0]}?")


def _file_layer(path: str) -> Iterator[tuple[str, str, object]]:
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigInvalid(f"{path}: expected TOML in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"{path}: not valid TOML: {error}") from None
    for name, raw in document.items():
        if name not in SECTIONS:
            yield path, name, raw
        elif not isinstance(raw, dict):
            raise ConfigInvalid(
                f"{path}: {name} is a section: expected [{name}], got {_as_written(raw)}"
            )
        else:
            for inner, value in raw.items():
                yield path, f"{name}.{inner}", value


def _build(found: Mapping[str, object]) -> Settings:
    top: dict[str, object] = {}
    inner: dict[str, dict[str, object]] = {}
    for key, value in found.items():
        section, dot, name = key.partition(".")
        if dot:
            inner.setdefault(section, {})[name] = value
        else:
            top[key] = value
    for section, fields in inner.items():
        top[section] = SECTIONS[section](**fields)
    return Settings(**top)  # type: ignore[arg-type]  # each value came from its own parser
