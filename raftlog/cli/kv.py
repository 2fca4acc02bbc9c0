"""`kv`: the key-value machine from the command line."""

from __future__ import annotations

import sys

import click

from raftlog.cli import lease as leases
from raftlog.cli import lock as locks
from raftlog.cli.options import Globals, consistency_option, content_of, group
from raftlog.cli.output import (
    ExitCode,
    OutputFormat,
    bytes_of,
    emit,
    emit_raw,
    say,
    text_of,
    to_json,
)
from raftlog.cli.session import ask
from raftlog.cli.tables import show, table
from raftlog.cli.transactions import parse_transaction, read_text
from raftlog.client.client import Client
from raftlog.client.values import Change, KeyValue
from raftlog.errors import InvalidInput
from raftlog.kv import prefix_end

kv = group(
    "kv",
    "Keys and values. A revision is the sequence of the transaction that made it.",
    ["raftlog kv put greeting hello", "raftlog kv get greeting"],
)
kv.add_command(leases.lease)
kv.add_command(locks.lock)


def describe(entry: KeyValue) -> dict[str, object]:
    """Return an entry as JSON has it."""
    return {
        "key": text_of(entry.key),
        "value": text_of(entry.value),
        "revision": entry.revision,
        "created": entry.created,
        "version": entry.version,
        "lease": entry.lease,
    }


@kv.command(
    "put",
    examples=[
        "raftlog kv put greeting hello",
        "raftlog kv put picture - < picture.png",
        "raftlog kv put worker/7 alive --lease 1234",
    ],
)
@click.argument("key")
@click.argument("value")
@click.option("--lease", default=0, help="The key vanishes when this lease ends.")
@click.pass_obj
def put(options: Globals, key: str, value: str, lease: int) -> None:
    """Set KEY to VALUE (- reads it from standard input)."""
    content = content_of(value)

    async def work(client: Client) -> dict[str, object]:
        done = await client.kv.put(bytes_of(key), content, lease=lease)
        return {"key": text_of(bytes_of(key)), "revision": done.revision}

    emit(options.output, ask(options, work))


@kv.command(
    "get",
    examples=[
        "raftlog kv get greeting",
        "raftlog kv get greeting --consistency stale --member n3 -o json",
        "raftlog kv get picture --raw > picture.png",
    ],
)
@click.argument("key")
@consistency_option
@click.option("--raw", is_flag=True, help="Write the value alone, byte for byte.")
@click.pass_obj
def get(options: Globals, *, key: str, consistency: str | None, raw: bool) -> int:
    """Print KEY; exit 1 if there is none."""

    async def work(client: Client) -> KeyValue | None:
        return await client.kv.get(bytes_of(key), consistency=consistency, member=options.member)

    entry = ask(options, work)
    if raw and entry is not None:
        emit_raw(entry.value)
        return ExitCode.OK
    document = None if entry is None else describe(entry)
    if entry is None:
        say(f"no key {key}")
        if options.output is OutputFormat.JSON:
            emit(options.output, None)
        return ExitCode.FAILED
    emit(options.output, document)
    return ExitCode.OK


@kv.command(
    "delete", examples=["raftlog kv delete greeting", "raftlog kv delete --prefix app/ -o json"]
)
@click.argument("key", required=False)
@click.option("--prefix", help="Every key that begins with this.")
@click.pass_obj
def delete(options: Globals, key: str | None, prefix: str | None) -> None:
    """Remove KEY, or every key of a prefix. That there was none is no error."""
    if (key is None) == (prefix is None):
        raise InvalidInput("name a KEY or a --prefix")

    async def work(client: Client) -> dict[str, object]:
        if prefix is not None:
            start = bytes_of(prefix)
            done = await client.kv.delete(start, end=_after_prefix(start))
        else:
            done = await client.kv.delete(bytes_of(key or ""))
        return {"deleted": done.deleted, "revision": done.revision}

    emit(options.output, ask(options, work))


def _after_prefix(prefix: bytes) -> bytes:
    end = prefix_end(prefix)
    if not end:
        raise InvalidInput("a prefix must have a byte below 0xff")
    return end


@kv.command(
    "cas",
    examples=[
        "raftlog kv cas greeting goodbye --revision 17",
        "raftlog kv cas lock mine --revision 0     only if it does not exist",
    ],
)
@click.argument("key")
@click.argument("value")
@click.option("--revision", type=click.IntRange(min=0), required=True, help="0: no such key yet.")
@click.option("--lease", default=0, help="The key vanishes when this lease ends.")
@click.pass_obj
def cas(options: Globals, key: str, value: str, revision: int, lease: int) -> int:
    """Set KEY to VALUE if its revision is still the one named; exit 1 if it is not."""
    content = content_of(value)

    async def work(client: Client) -> dict[str, object]:
        done = await client.kv.compare_and_swap(
            bytes_of(key), content, revision=revision, lease=lease
        )
        return {
            "swapped": bool(done),
            "revision": done.revision,
            "current": None if done.current is None else describe(done.current),
        }

    document = ask(options, work)

    def human() -> str:
        state = "swapped" if document["swapped"] else "not swapped"
        return f"{state}; the key's revision is {document['revision']}"

    emit(options.output, document, human)
    return ExitCode.OK if document["swapped"] else ExitCode.FAILED


@kv.command(
    "range",
    examples=["raftlog kv range --prefix app/", "raftlog kv range --start a --end m --limit 10"],
)
@click.option("--prefix", help="Keys that begin with this.")
@click.option("--start", default="", help="From this key on.")
@click.option("--end", help="Up to but without this key.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many.")
@click.option("--reverse", is_flag=True, help="From the high end down.")
@click.option("--keys-only", is_flag=True, help="Without values.")
@consistency_option
@click.pass_obj
def range_(options: Globals, /, **wanted: object) -> None:
    """Print the keys of a range, in order, with their values."""

    async def work(client: Client) -> list[KeyValue]:
        prefix, start, end = (wanted[name] for name in ("prefix", "start", "end"))
        limit = wanted["limit"]
        return [
            entry
            async for entry in client.kv.range(
                prefix=bytes_of(str(prefix)) if prefix is not None else None,
                start=bytes_of(str(start)),
                end=bytes_of(str(end)) if end is not None else None,
                limit=limit if isinstance(limit, int) else None,
                reverse=bool(wanted["reverse"]),
                keys_only=bool(wanted["keys_only"]),
                consistency=None if wanted["consistency"] is None else str(wanted["consistency"]),
                member=options.member,
            )
        ]

    entries = ask(options, work)

    def human() -> str:
        columns = ["key", "revision"] if wanted["keys_only"] else ["key", "value", "revision"]
        return table(columns, [[getattr(entry, name) for name in columns] for entry in entries])

    emit(options.output, {"entries": [describe(entry) for entry in entries]}, human)


@kv.command(
    "watch",
    examples=[
        "raftlog kv watch --prefix app/",
        "raftlog kv watch greeting --after-revision 0 -o json",
        "raftlog kv watch --prefix app/ --count 1      wait for one change",
    ],
)
@click.argument("key", required=False)
@click.option("--prefix", help="Keys that begin with this.")
@click.option(
    "--after-revision", type=click.IntRange(min=0), help="0: from the beginning. [from now on]"
)
@click.option("--count", type=click.IntRange(min=1), help="End after this many changes.")
@click.pass_obj
def watch(
    options: Globals,
    key: str | None,
    prefix: str | None,
    after_revision: int | None,
    count: int | None,
) -> None:
    """Print changes as they are committed: of KEY, of a prefix, or of all. One per line."""
    if key is not None and prefix is not None:
        raise InvalidInput("name a KEY or a --prefix, not both")

    async def work(client: Client) -> None:
        seen = 0
        changes = client.kv.watch(
            bytes_of(key) if key is not None else None,
            prefix=bytes_of(prefix) if prefix is not None else None,
            after_revision=after_revision,
            member=options.member,
        )
        async for change in changes:
            click.echo(_line(options.output, change))
            sys.stdout.flush()
            seen += 1
            if seen == count:
                return

    ask(options, work)


def _line(output: OutputFormat, change: Change) -> str:
    if output is OutputFormat.JSON:
        return to_json(
            {
                "kind": change.kind,
                "key": text_of(change.key),
                "value": text_of(change.value),
                "revision": change.revision,
                "served_by": change.served_by,
            }
        )
    key, value = show(change.key), show(change.value)
    return f"{change.revision} {change.kind.value} {key}" + (f" = {value}" if value else "")


# ---------------------------------------------------------------- transactions

_EXAMPLE = (
    '{"when": [{"key": "lock", "exists": false}], '
    '"then": [{"put": "lock", "value": "me"}], "otherwise": [{"get": "lock"}]}'
)


@kv.command(
    "txn",
    examples=[
        f"echo '{_EXAMPLE}' \\",
        "    | raftlog kv txn -",
        "raftlog kv txn change.json -o json",
    ],
)
@click.argument("file", type=click.Path(allow_dash=True))
@click.pass_obj
def txn(options: Globals, file: str) -> int:
    """Do several things at one revision, if all conditions hold; FILE is JSON (- is stdin).

    \b
    when       conditions: {"key": K} and one of "exists": true|false,
               "value": V, "revision": N, "revision_below": N
    then, otherwise
               operations: {"put": K, "value": V, "lease": N}, {"get": K},
               {"delete": K} or {"delete": K, "end": K2}

    Keys and values are text, or {"base64": ...}. Exits 1 if `otherwise` was taken.
    """  # noqa: D301 - click's mark for a paragraph that keeps its lines
    parts = parse_transaction(read_text(file))

    async def work(client: Client) -> dict[str, object]:
        done = await client.kv.transaction(
            when=parts.when, then=parts.then, otherwise=parts.otherwise
        )
        results = [
            {
                "deleted": result.deleted,
                "entry": None if result.entry is None else describe(result.entry),
            }
            for result in done.results
        ]
        return {"succeeded": bool(done), "revision": done.revision, "results": results}

    document = ask(options, work)
    emit(options.output, document, lambda: to_json(document, indent=2))
    return ExitCode.OK if document["succeeded"] else ExitCode.FAILED
