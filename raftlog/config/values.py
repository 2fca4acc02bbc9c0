"""How one setting's value is written by people: durations, sizes, addresses, member lists.

A number is taken as the unit of the field (seconds, bytes); text may carry its own unit: "100 ms",
"7 d", "64 MiB". Every parser returns the value or raises `ValueError` with the words "expected
...", to which `load` adds the file and the key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from raftlog.addresses import place_of
from raftlog.errors import InvalidInput
from raftlog.types import NODE_ID_BYTES_MAX, NODE_ID_PATTERN

DURATION_UNITS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
SIZE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)\s*")


def _quantity(value: object, units: Mapping[str, float], plain: str) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    if not isinstance(value, str):
        return None
    match = _QUANTITY.fullmatch(value)
    if match is None:
        return None
    factor = units.get((match[2] or plain).lower())
    return None if factor is None else float(match[1]) * factor


def parse_duration(value: object) -> float:
    """Return seconds from 0.1, "100 ms", "5 s", "15 min", "1 h" or "7 d"."""
    seconds = _quantity(value, DURATION_UNITS, "s")
    if seconds is None or seconds < 0:
        raise ValueError('expected a duration, seconds or text such as "100 ms", "5 s" or "7 d"')
    return seconds


def parse_size(value: object) -> int:
    """Return bytes from 1024, "4 MiB", "10 GiB" or "500 MB"."""
    size = _quantity(value, SIZE_UNITS, "b")
    if size is None or size < 0 or size != int(size):
        raise ValueError('expected a size, bytes or text such as "64 KiB", "4 MiB" or "10 GiB"')
    return int(size)


def parse_count(value: object) -> int:
    """Return a whole number, from an integer or its digits."""
    if isinstance(value, str) and value.strip().lstrip("-").replace("_", "").isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("expected a whole number")  # noqa: TRY004 - load adds the key to it
    return value


def parse_fraction(value: object) -> float:
    """Return a number from 0 to below 1, also written as "5 %"."""
    number: float | None = None
    if isinstance(value, str):
        text = value.strip()
        scale = 0.01 if text.endswith("%") else 1.0
        try:
            number = float(text.rstrip("%")) * scale
        except ValueError:
            number = None
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    if number is None or not 0 <= number < 1:
        raise ValueError('expected a fraction from 0 to below 1, such as 0.05 or "5 %"')
    return number


def parse_boolean(value: object) -> bool:
    """Return a truth value from a TOML boolean or the words true, false, yes, no, on, off, 1, 0."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in {"true", "yes", "on", "1"}:
        return True
    if isinstance(value, str) and value.strip().lower() in {"false", "no", "off", "0", ""}:
        return False
    raise ValueError("expected true or false")


def parse_text(value: object) -> str:
    """Return text as it is."""
    if not isinstance(value, str):
        raise ValueError("expected text in quotes")  # noqa: TRY004 - load adds the key to it
    return value


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT or [IPV6]:PORT.

    Raises:
        InvalidInput: it is not written so, or the port is out of range.
    """
    host, separator, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(
            f"expected HOST:PORT with a port up to 65535 ([HOST]:PORT for IPv6), got {text!r}"
        )
    return host, int(port)


def parse_address(value: object) -> str:
    """Return HOST:PORT as it was written, checked; empty text stays empty."""
    text = parse_text(value).strip()
    if text:
        try:
            split_address(text)
        except InvalidInput as error:
            raise ValueError(error.message.partition(", got")[0]) from None
    return text


def parse_addresses(value: object) -> str:
    """Return HOST:PORT,HOST:PORT as one text, each checked, in order and without repeats."""
    parts = (part.strip() for part in parse_text(value).split(","))
    return ",".join(dict.fromkeys(parse_address(part) for part in parts if part))


def parse_node_id(value: object) -> str:
    """Return a member's id: letters, digits, dot, dash, underscore; at most 64 bytes."""
    text = parse_text(value).strip()
    if text and (not NODE_ID_PATTERN.fullmatch(text) or len(text) > NODE_ID_BYTES_MAX):
        raise ValueError(
            f"expected an id of at most {NODE_ID_BYTES_MAX} letters, digits, '.', '-' or '_'"
        )
    return text


def parse_members(value: object) -> tuple[tuple[str, str], ...]:
    """Return (id, address) pairs from "n1=H:P,n2=H:P" or a TOML table, sorted by id."""
    pairs: list[tuple[str, object]] = []
    if isinstance(value, Mapping):
        pairs = [(str(name), address) for name, address in value.items()]
    elif isinstance(value, str):
        for part in filter(None, (part.strip() for part in value.split(","))):
            name, _, address = part.partition("=")
            pairs.append((name, address))
    else:
        raise ValueError('expected members as "n1=HOST:PORT,n2=HOST:PORT"')  # noqa: TRY004
    members = []
    for name, raw in pairs:
        try:
            node_id, checked = parse_node_id(name), parse_address(raw)
        except ValueError as error:
            raise ValueError(f'{error} in member "{name}={raw}"') from None
        if not node_id or not checked:
            raise ValueError(f'expected members as "n1=HOST:PORT,n2=HOST:PORT", not "{name}"')
        members.append((node_id, checked))
    if len({name for name, _ in members}) != len(members):
        raise ValueError("expected every member's id to differ")
    if len({place_of(address) for _, address in members}) != len(members):
        raise ValueError("expected every member's address to differ")
    return tuple(sorted(members))
