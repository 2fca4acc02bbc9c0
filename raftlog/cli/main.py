"""`raftlog`: the root command, and the one place where errors become exit codes.

A command's module is imported when the command is first asked for: a node needs no client, and a
client no progress bar. Only the help of the root, and completion, ask for all of them.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence

import click

from raftlog.cli import shell
from raftlog.cli.options import ENVIRONMENT_PREFIX, Globals, Group, wants_json
from raftlog.cli.output import (
    ExitCode,
    OutputFormat,
    begin_output,
    exit_code,
    first_error,
    prepare_streams,
    say,
    show_error,
    show_error_document,
    silence_stdout,
)
from raftlog.errors import RaftLogError

PROGRAM = "raftlog"
COMPLETION_VARIABLE = "_RAFTLOG_COMPLETE"


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name, each imported from its module when it is looked up."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = dict(modules)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            self._loaded[name] = getattr(importlib.import_module(self._modules[name]), name)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._modules[name], self._loaded[name] = "", command

    def __delitem__(self, name: str) -> None:
        del self._modules[name]
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


COMMANDS = LazyCommands(
    {
        "alarm": "raftlog.cli.alarm",
        "backup": "raftlog.cli.backup",
        "bench": "raftlog.cli.bench",
        "certs": "raftlog.cli.certs",
        "cluster": "raftlog.cli.cluster",
        "completion": "raftlog.cli.shell",
        "config": "raftlog.cli.settings",
        "debug": "raftlog.cli.debug",
        "demo": "raftlog.cli.demo",
        "kv": "raftlog.cli.kv",
        "leader": "raftlog.cli.leader",
        "local": "raftlog.cli.local",
        "log": "raftlog.cli.log",
        "machine": "raftlog.cli.machine",
        "member": "raftlog.cli.member",
        "node": "raftlog.cli.drain",
        "recover": "raftlog.cli.recover",
        "serve": "raftlog.cli.node",
        "snapshot": "raftlog.cli.snapshot",
        "status": "raftlog.cli.status",
        "version": "raftlog.cli.shell",
    }
)
"""Each command, and the module that has it under that name."""

root = Group(
    name=PROGRAM,
    commands=COMMANDS,
    is_root=True,
    params=[shell.VERSION_OPTION],
    help=(
        "A replicated log: transactions ordered by Raft, on the disks of a quorum before they are "
        "acknowledged.\n\nExit codes: 0 ok, 1 failed, 2 cannot connect, 3 invalid input, 4 refused "
        "by a safety check, 5 no quorum or unhealthy and it certainly did not happen, 6 I/O or "
        "corruption, 7 outcome unknown (it may have happened), 128 wrong usage, 130 interrupted."
    ),
    examples=(
        "raftlog demo                                  see it survive kill -9",
        "raftlog local start --dir ./cluster           three nodes on this machine",
        "seq 1000 | raftlog log append --lines -       a transaction per line",
        "raftlog log tail --follow                     what is committed, as it is",
        "raftlog status -o json                        who leads, who lags",
    ),
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": ENVIRONMENT_PREFIX,
        "max_content_width": 100,
        "show_default": True,
    },
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises, but for SystemExit.

    Not through click's own `main`, which has exit codes of its own for what goes wrong.
    """
    if COMPLETION_VARIABLE in os.environ:
        root.main(prog_name=PROGRAM)
    options = Globals()
    given = sys.argv[1:] if arguments is None else list(arguments)
    begin_output()
    try:
        with root.make_context(PROGRAM, given, obj=options) as context:
            answer = root.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except BaseException as raised:  # noqa: BLE001 - every error becomes an exit code here
        as_json = options.output is OutputFormat.JSON or wants_json(given)
        return _fail(first_error(raised), as_json=as_json)
    return answer if isinstance(answer, int) else ExitCode.OK


def _fail(error: BaseException, *, as_json: bool) -> int:
    code = exit_code(error)
    if as_json and not isinstance(error, SystemExit):
        show_error_document(error, code)
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, click.UsageError):
        shown = io.StringIO()
        error.show(shown)
        say(shown.getvalue().rstrip("\n"))  # what was typed is shown, and not obeyed
    elif isinstance(error, click.ClickException):
        say(f"error: {error.format_message()}", bold=True)
    elif code is ExitCode.BROKEN_PIPE:
        silence_stdout()
    elif code is not ExitCode.INTERRUPTED:
        show_error(error)
        if not isinstance(error, RaftLogError | OSError):
            sys.excepthook(type(error), error, error.__traceback__)
    return code


def main() -> None:
    """Run the command line of this process."""
    prepare_streams()
    code = run()
    try:
        sys.stdout.flush()
    except OSError:
        silence_stdout()  # the interpreter's own last flush would make its own code of it
    sys.exit(code)


if __name__ == "__main__":
    main()
