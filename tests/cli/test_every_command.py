"""What holds of every command, walked by the tree of commands, so that a new one is held to it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import sys
import time

import click
import pytest
from rich.cells import cell_len

from raftlog.cli import main, tables
from raftlog.cli.options import Seconds
from raftlog.wire.pb import kv_pb2

from .conftest import spawn

KEY = "walk/\x1b]0;title\x07\u202e\U0001f600"
NOBODY = "n\x1b]0;x\x07\x9b"
NO_LEASE = str(1 << 60)
NO_KEY = "walk/\x1b]0;x\x07\x9b\x9b31m"
VALUE = os.fsdecode(b"\xff\xfe\x00\x1b[31m") + "\u6f22\u5b57" * 60
STREAM = "\u6f22\u5b57\U0001f600" * 9
ENTRY = json.dumps({"then": [{"put": KEY, "value": "\x1b]0;x\x07\x9b"}, {"get": KEY}]})
QUERY = os.fsdecode(kv_pb2.KvQuery(get=kv_pb2.Get(key=KEY.encode())).SerializeToString())
COMMAND = os.fsdecode(
    kv_pb2.KvCommand(
        put=kv_pb2.Put(key=KEY.encode(), value=b"\x1b]0;x\x07\x9b")
    ).SerializeToString()
)

ASKING = {
    "status": (),
    "backup create": ("NEW",),
    "backup follow": ("NEW", "--once"),
    "bench kv": ("--clients", "1", "--operations", "2"),
    "bench read": ("--clients", "1", "--operations", "2"),
    "alarm list": (),
    "bench tail": ("--clients", "1", "--operations", "2"),
    "bench write": ("--clients", "1", "--operations", "2"),
    "config show": ("--all",),
    "debug bundle": ("--file", "NEW"),
    "kv cas": (KEY, VALUE, "--revision", "0"),
    "kv delete": (NO_KEY,),
    "kv get": (KEY,),
    "kv lease grant": ("1m",),
    "kv lease keep": (NO_LEASE,),
    "kv lease list": (),
    "kv lease refresh": ("LEASE",),
    "kv lease revoke": (NO_LEASE,),
    "kv lease show": ("LEASE",),
    "kv lock": ("walk/\u6f22", "--wait", "500ms", "--", "true"),
    "kv put": (KEY, VALUE, "--lease", "LEASE"),
    "kv range": ("--prefix", "walk/"),
    "kv txn": ("FILE",),
    "kv watch": ("--prefix", "walk/", "--after-revision", "0", "--count", "1"),
    "cluster upgrade": ("--dry-run",),
    "leader cancel-transfer": (),
    "leader history": (),
    "leader pause-elections": ("--for", "1ms"),
    "leader resume-elections": (),
    "leader show": (),
    "leader step-down": (),
    "leader transfer": (NOBODY,),
    "log append": ("FILE", "--stream", STREAM),
    "log consumer delete": ("walk",),
    "log consumer list": (),
    "log consumer reset": ("walk", "--oldest"),
    "log get": ("PLACE",),
    "log info": (),
    "log streams": (),
    "log tail": ("--last", "2", "--stream", STREAM),
    "machine execute": (COMMAND,),
    "machine query": (QUERY,),
    "machine upgrade": ("--dry-run",),
    "snapshot list": (),
    "snapshot take": (),
    "member add": ("n\x1b]0;x\x9b", "walk:1"),
    "member demote": ("n\x1b]0;x\x07\x9b",),
    "member list": (),
    "member promote": ("n\x1b]0;x\x07\x9b",),
    "member remove": ("n1", "--dry-run"),
    "member replace": ("n1", "n2", "--dry-run"),
    "member update": ("n\x1b]0;x\x07\x9b", "--address", "walk:1"),
    "node campaign": ("--member", NOBODY),
    "node drain": ("--member", NOBODY),
    "node no-campaign": ("--member", NOBODY),
    "node undrain": ("--member", NOBODY),
}
"""Commands that ask a cluster, with arguments that make them meet what is hostile."""

ALONE = {
    "backup list": ("no\x1b]0;x\x07\x9bsuch",),
    "backup restore": (
        "no\x1b]0;x\x07\x9bsuch",
        "--data-dir",
        "no\x1bsuch",
        "--node-id",
        "n1",
        "--address",
        "a:1",
    ),
    "backup verify": ("no\x1b]0;x\x07\x9bsuch",),
    "bench catch-up": ("--size", "no\x1b]0;x\x07\x9bsuch"),
    "certs create": ("a\x1b]0;x\x07\x9b",),
    "completion": ("no\x07shell",),
    "config check": ("FILE",),
    "demo": ("--nodes", "\x1b]0;x\x07\x9b"),
    "local grow": ("--dir", "no\x1b]0;x\x07\x9bsuch", "--nodes", "4"),
    "local start": ("--dir", "FILE"),
    "local status": ("--dir", "no\x1b]0;x\x07\x9bsuch"),
    "local stop": ("--dir", "no\x1b]0;x\x07\x9bsuch"),
    "log compact": ("--data-dir", "no\x1b]0;x\x07\x9bsuch"),
    "log verify": ("--data-dir", "no\x1b]0;x\x07\x9bsuch"),
    "recover force-new-cluster": ("--data-dir", "no\x1b]0;x\x07\x9bsuch", "--yes"),
    "recover inspect": ("--data-dir", "no\x1b]0;x\x07\x9bsuch"),
    "recover repair": ("--data-dir", "no\x1b]0;x\x07\x9bsuch", "--yes"),
    "serve": ("--config", "no\x1b]0;x\x07\x9bsuch"),
    "version": ("--no\x1b]0;x\x07\x9bsuch",),
}
"""Commands that ask no cluster, with arguments that are wrong."""

FAILING = {
    *("kv lease keep", "kv lease revoke", "leader transfer"),
    *("member add", "member demote", "member promote", "member update"),
    *("node campaign", "node drain", "node no-campaign", "node undrain"),
    "log consumer reset",
}
SPARED = {"leader step-down", "bench kv", "bench read", "bench tail"}
"""What would move the leader of the others' cluster; what is slow, and as `bench write` is."""
LINES = {"kv watch", "log tail"}
"""What prints a document per line."""
SILENT = {"kv lock"}
"""What prints nothing of its own."""

OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
REPR = re.compile(
    r"(?<![\w-])b['\"]|\bNone\b|<[A-Z]\w*[.:]|datetime\.|\bdatetime\(|\[Errno|Traceback"
)


def leaves(group: click.Group, path: str = ""):
    """Yield every command that does something, with the words it is called by."""
    for name, command in sorted(group.commands.items()):
        words = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from leaves(command, words)
        else:
            yield words, command


EVERY = dict(leaves(main.root))


@pytest.fixture
def line(tmp_path):
    """Return a function that gives a command's whole line."""
    file = tmp_path / "input"
    file.write_text(ENTRY, encoding="utf-8")
    found = {"FILE": str(file), "NEW": str(tmp_path / "new"), "LEASE": "1", "PLACE": "1"}

    def make(words, **known):
        names = found | known
        return (*words.split(), *(names.get(each, each) for each in (ASKING | ALONE)[words]))

    return make


def test_every_command_is_here():
    """None is left out of what follows."""
    assert set(EVERY) == set(ASKING) | set(ALONE)
    assert not set(ASKING) & set(ALONE)


@pytest.mark.parametrize("words", EVERY)
def test_help_teaches_with_an_example_and_times_take_units(words, raftlog):
    """Each help ends with an example of this command, and no time is a bare number."""
    command = EVERY[words]
    assert any(f"raftlog {words}" in each for each in command.examples), words
    told = raftlog(*words.split(), "--help")
    assert told.code == 0
    assert f"raftlog {words}" in told.text
    for option in command.params:
        if isinstance(option.type, click.types.FloatParamType | click.FloatRange):
            assert isinstance(option.type, Seconds), f"{words} {option.name}"


@pytest.mark.parametrize("words", EVERY)
def test_wrong_usage_of_every_command_is_a_document(words, raftlog):
    """With -o json, for programs; with the code of wrong usage."""
    told = raftlog(*words.split(), "--no-such-option", "-o", "json")
    assert (told.code, told.json["exit_code"]) == (128, 128)
    assert told.json["error"]["code"] == "usage"
    assert told.json["error"]["definite"] is True


@pytest.mark.parametrize("words", sorted(ALONE))
def test_what_is_wrong_is_a_document_and_no_sequence_of_escapes(words, raftlog, line):
    """Of a command that asks no cluster; what was typed is shown, and nothing of it obeyed."""
    told = raftlog(*line(words), "-o", "json")
    assert told.code in {1, 3, 6, 128}, told.err
    assert told.json["exit_code"] == told.code
    assert told.json["error"]["message"]
    assert_harmless(told)
    plain = raftlog(*line(words))
    assert plain.code == told.code
    assert plain.err
    assert_harmless(plain)


@pytest.mark.parametrize("words", sorted(ASKING))
def test_nobody_there_is_a_document(words, raftlog, line):
    """Of each command that asks a cluster, within the timeout, and definite: nothing was sent."""
    lonely = ("--endpoints", "127.0.0.1:1", "--timeout", "100ms", "-o", "json")
    told = raftlog(*lonely, *line(words))
    assert told.code == 2, told.err
    assert told.json["error"]["code"] == "connect_failed"
    assert told.json["error"]["definite"] is True


def assert_harmless(told):
    """Neither a terminal obeys any of it, nor does it show how Python writes a value."""
    for text in (told.text, told.err):
        found = OBEYED.search(text) or REPR.search(text)
        assert not found, repr(text[max(found.start() - 40, 0) : found.end() + 40])


@pytest.fixture(scope="module")
def stored(cluster, tmp_path_factory):
    """Store what is hostile, and return where it lies."""
    file = tmp_path_factory.mktemp("walk") / "payload"
    file.write_bytes(os.fsencode(VALUE))

    def document(*arguments):
        line = ("--endpoints", cluster.endpoints, "--timeout", "20s", "-o", "json", *arguments)
        with spawn(*line) as child:
            out, err = child.communicate(timeout=60)
            assert child.returncode == 0, err
        return json.loads(out)

    lease = document("kv", "lease", "grant", "10m")["lease"]
    document("kv", "put", KEY, "\x9b31m", "--lease", str(lease))
    place = document("log", "append", str(file), "--stream", STREAM)["last_sequence"]
    return {"LEASE": str(lease), "PLACE": str(place)}


@pytest.mark.integration
@pytest.mark.parametrize("words", sorted(set(ASKING) - SPARED))
def test_nothing_stored_is_obeyed_by_a_terminal(words, ask, line, stored, monkeypatch):
    """Whatever keys, values, streams and payloads hold, in a table on a terminal and in JSON."""
    monkeypatch.setattr(tables, "width", lambda: 80)
    plain = ask("-o", "table", *line(words, **stored))
    assert plain.code in ({1, 3, 4} if words in FAILING else {0, 1, 3}), plain.err
    assert_harmless(plain)
    if words in {"status", "kv range", "kv lease list", "log streams", "config show"}:
        assert plain.text
        assert all(cell_len(each) <= 80 for each in plain.text.splitlines())
    programs = ask("-o", "json", *line(words, **stored))
    assert_harmless(programs)
    documents = programs.text.splitlines() if words in LINES else [programs.text]
    assert documents
    for text in documents if words not in SILENT else ():
        assert isinstance(json.loads(text), dict)


@pytest.mark.integration
@pytest.mark.parametrize("words", sorted(set(ASKING) - SPARED - FAILING - SILENT))
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_full_device_exits_6(words, form, cluster, line, stored, monkeypatch, capfdbinary):
    """Of every command, in both forms, at once: nobody takes what was not printed for printed."""
    began = time.monotonic()
    with pathlib.Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        code = main.run(["--endpoints", cluster.endpoints, "-o", form, *line(words, **stored)])
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
    err = capfdbinary.readouterr().err.decode()
    assert code == 6, err
    assert "No space left on device" in err
    assert not REPR.search(err), err
    assert time.monotonic() - began < 20
