"""What an audit line says of a call: who asked for what, and where from.

Nothing in it is longer than a line of a log should be, no payload is in it, and nothing in it is
obeyed by a terminal: a certificate may say of its owner what it likes.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from raftlog.rpc.handshake import certificate_uris
from raftlog.rpc.methods import Context
from raftlog.text import printable

ARGUMENTS_CHARACTERS_MAX = 400
VALUE_CHARACTERS_MAX = 80
REPEATED_MAX = 8
PARSED_BYTES_MAX = 1 << 16
"""An operator's request is small; what is larger is told by its size, and not read for the line."""
WHO_CHARACTERS_MAX = 200
_NAME_KEY = "x509_common_name"
_SECRET_WORDS = ("token", "secret", "password")


def who(context: Context) -> str:
    """Return what the certificate of a call says of its owner: its URIs and its common name."""
    found = [uri.decode(errors="backslashreplace") for uri in certificate_uris(context)]
    names: Iterable[object] = context.auth_context().get(_NAME_KEY) or ()
    found += [
        f"CN={name.decode(errors='backslashreplace')}" for name in names if isinstance(name, bytes)
    ]
    text = printable(", ".join(found)) or "no certificate"
    return _cut(text, WHO_CHARACTERS_MAX)


def came_from(context: Context) -> str:
    """Return where a call came from, as ``ipv4:HOST:PORT``."""
    return _cut(printable(urllib.parse.unquote(context.peer())), VALUE_CHARACTERS_MAX)


def arguments_of(service: str, name: str, request: object) -> str:
    """Return a request's fields as ``name=value``: bounded, bytes by their size, secrets hidden."""
    if not isinstance(request, bytes):
        return "a stream"
    if len(request) > PARSED_BYTES_MAX:
        return f"{len(request)} bytes"
    described = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    message = message_factory.GetMessageClass(described.input_type)()
    try:
        message.ParseFromString(request)
    except DecodeError:
        return f"{len(request)} bytes that do not parse"
    return _cut(" ".join(_fields(message)), ARGUMENTS_CHARACTERS_MAX)


def _fields(message: Message, prefix: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        name = prefix + field.name
        is_many = field.is_repeated
        # A slice of what is repeated: the rest of it is never touched.
        values = list(value[:REPEATED_MAX]) if is_many else [value]
        if any(word in field.name for word in _SECRET_WORDS):
            yield f"{name}=***"
        elif isinstance(values[0], Message):
            for each in values:
                yield from _fields(each, f"{name}.")
        else:
            shown = ",".join(map(_shown, values))
            yield f"{name}={shown}{',...' if is_many and len(value) > REPEATED_MAX else ''}"


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return _cut(printable(str(value)[: VALUE_CHARACTERS_MAX + 1]), VALUE_CHARACTERS_MAX)


def _cut(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else text[: characters_max - 3] + "..."
