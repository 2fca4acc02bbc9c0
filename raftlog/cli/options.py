"""The global options, which every command takes before or after its name, and command classes.

``raftlog -o json status`` and ``raftlog status -o json`` mean the same. Each option has a
`RAFTLOG_*` twin: the global ones by their name, a command's own by command and name
(``RAFTLOG_LOG_APPEND_STREAM``). Help of a command lists its own options, then examples.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import click

from raftlog.cli.members import MEMBER_ID
from raftlog.cli.output import OutputFormat
from raftlog.config.values import parse_duration
from raftlog.types import Consistency

ENDPOINTS_DEFAULT = "127.0.0.1:7101"
TIMEOUT_SECONDS_DEFAULT = 10.0
ENVIRONMENT_PREFIX = "RAFTLOG"
_PREFIX = "global_"  # keeps their parameters' names apart from a command's own


@dataclasses.dataclass(slots=True, kw_only=True)
class Globals:
    """The global options' values; a command gets them as its first argument (`pass_obj`)."""

    endpoints: str = ENDPOINTS_DEFAULT
    endpoints_given: bool = False
    member: str | None = None
    timeout: float = TIMEOUT_SECONDS_DEFAULT
    timeout_given: bool = False
    output: OutputFormat = OutputFormat.TABLE
    output_given: bool = False
    yes: bool = False
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    cluster_id: str | None = None


def _store(context: click.Context, parameter: click.Parameter, value: object) -> None:
    values = context.ensure_object(Globals)
    if value is None or parameter.name is None:
        return
    name = parameter.name.removeprefix(_PREFIX)
    if name == "output":
        values.output, values.output_given = OutputFormat(value), True
    else:
        setattr(values, name, value)
        values.endpoints_given |= name == "endpoints"
        values.timeout_given |= name == "timeout"


class Seconds(click.FloatRange):
    """How long something lasts: a number of seconds, or text with a unit such as 500ms, 1s, 2m."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert, and check the range."""
        if isinstance(value, str) and value.strip()[-1:].isalpha():
            try:
                value = parse_duration(value)
            except ValueError:
                if value.strip().lower() not in {"inf", "infinity"}:
                    self.fail(f"{value} is no duration: write 10, 500ms, 1s, 2m or 1h", param, ctx)
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds", param, ctx)
        return seconds


SECONDS = Seconds(min=0, min_open=True)


class _Moment(click.ParamType["datetime"]):
    """A time: ISO 8601, in this machine's time zone unless it names one, or so long ago."""

    name = "time"
    _SUFFIXES: ClassVar[dict[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Convert."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        try:
            if text[-1:] in self._SUFFIXES:
                ago = timedelta(seconds=float(text[:-1]) * self._SUFFIXES[text[-1]])
                return datetime.now(UTC) - ago
            return datetime.fromisoformat(text).astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time: write 2026-01-31T08:00, or 90s, 15m, 2h, 7d (ago)",
                param,
                ctx,
            )


MOMENT = _Moment()

consistency_option = click.option(
    "--consistency",
    type=click.Choice([word.value for word in Consistency]),
    help="How fresh the answer must be; linearizable, or follower with --member.",
)


def content_of(argument: str) -> bytes:
    """Return the bytes of an argument as they were typed, or all of standard input for a dash."""
    return sys.stdin.buffer.read() if argument == "-" else os.fsencode(argument)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, as far as one that does not parse can tell."""
    given = [*arguments, ""]
    for at, argument in enumerate(arguments):
        if argument in {"-o", "--output"}:
            return given[at + 1] == OutputFormat.JSON.value
        if argument in {"-ojson", "--output=json"}:
            return True
    return os.environ.get(f"{ENVIRONMENT_PREFIX}_OUTPUT") == OutputFormat.JSON.value


def _shared_options(*, is_root: bool) -> list[click.Option]:
    def option(*names: str, **settings: Any) -> click.Option:
        name = names[-1].lstrip("-").replace("-", "_")
        variable = f"{ENVIRONMENT_PREFIX}_{name.upper()}"
        return click.Option(
            [*names, _PREFIX + name],
            expose_value=False,
            callback=_store,
            default=None,
            hidden=not is_root,
            envvar=variable if is_root else None,
            show_envvar=is_root,
            allow_from_autoenv=False,
            **settings,
        )

    formats = click.Choice([format_.value for format_ in OutputFormat])
    return [
        option(
            "--endpoints",
            metavar="HOST:PORT,...",
            help=f"Any of the members; the leader is found from there. [{ENDPOINTS_DEFAULT}]",
        ),
        option(
            "--member",
            type=MEMBER_ID,
            metavar="ID",
            help="Ask this member only (reads and status).",
        ),
        option("--timeout", type=SECONDS, metavar="TIME", help="Of one operation: 5, 500ms. [10]"),
        option(
            "--cluster-id",
            metavar="ID",
            help="Refuse to talk to any other cluster (status shows the id).",
        ),
        option("-o", "--output", type=formats, help="Table for people, JSON for programs."),
        option("--yes", is_flag=True, help="Answer yes to questions."),
        option("--cacert", metavar="FILE", help="Certificate authority to trust (TLS)."),
        option("--cert", metavar="FILE", help="Certificate to show (TLS)."),
        option("--key", metavar="FILE", help="Its private key (TLS)."),
    ]


class Command(click.Command):
    """A command that also takes the global options, and ends its help with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = tuple(examples)
        own = [
            parameter
            for parameter in self.params
            if isinstance(parameter, click.Option) and parameter.allow_from_autoenv
        ]
        for parameter in own:
            parameter.show_envvar = True
        self._twins = [parameter for parameter in own if parameter.envvar is None]
        self.params += _shared_options(is_root=False)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; an option's variable is named as the option is typed, not as the code has it."""
        for parameter in self._twins:
            typed = max(parameter.opts, key=len).lstrip("-").replace("-", "_").upper()
            parameter.envvar = f"{ctx.auto_envvar_prefix}_{typed}"
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are typed."""
        super().format_epilog(ctx, formatter)
        write_examples(formatter, self.examples)
        with formatter.section("Global options"):
            formatter.write_text("see `raftlog --help`; they may stand before or after the command")


class Group(click.Group):
    """A noun: its verbs are commands. It takes the global options too."""

    command_class = Command
    group_class = type

    def __init__(
        self, *args: Any, examples: Sequence[str] = (), is_root: bool = False, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.examples = tuple(examples)
        self.params += _shared_options(is_root=is_root)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are typed."""
        super().format_epilog(ctx, formatter)
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write an Examples section, unwrapped."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{' ' * formatter.current_indent}{example}\n")


def group(name: str, help_: str, examples: Sequence[str] = ()) -> Group:
    """Return an empty noun group."""
    return Group(name=name, help=help_, examples=examples)


Verb = Callable[..., int | None]
