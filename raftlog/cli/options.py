"""The global options, which every command takes before or after its name, and command classes.

``raftlog -o json status`` and ``raftlog status -o json`` mean the same. Each option has a
`RAFTLOG_*` twin: the global ones by their name, a command's own by command and name
(``RAFTLOG_LOG_APPEND_STREAM``). Help of a command lists its own options, then examples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import click

from raftlog.cli.output import OutputFormat

ENDPOINTS_DEFAULT = "127.0.0.1:7101"
TIMEOUT_SECONDS_DEFAULT = 10.0
ENVIRONMENT_PREFIX = "RAFTLOG"
_PREFIX = "global_"  # keeps their parameters' names apart from a command's own


@dataclasses.dataclass(slots=True, kw_only=True)
class Globals:
    """The global options' values; a command gets them as its first argument (`pass_obj`)."""

    endpoints: str = ENDPOINTS_DEFAULT
    member: str | None = None
    timeout: float = TIMEOUT_SECONDS_DEFAULT
    output: OutputFormat = OutputFormat.TABLE
    output_given: bool = False
    yes: bool = False
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None


def _store(context: click.Context, parameter: click.Parameter, value: object) -> None:
    values = context.ensure_object(Globals)
    if value is None or context.resilient_parsing or parameter.name is None:
        return
    name = parameter.name.removeprefix(_PREFIX)
    if name == "output":
        values.output, values.output_given = OutputFormat(value), True
    else:
        setattr(values, name, value)


class _Seconds(click.FloatRange):
    """A number of seconds; what is not a number is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert, and check the range."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


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


def _shared_options(*, is_root: bool) -> list[click.Option]:
    def option(*names: str, **settings: Any) -> click.Option:
        name = names[-1].lstrip("-")
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

    seconds = _Seconds(min=0, min_open=True)
    formats = click.Choice([format_.value for format_ in OutputFormat])
    return [
        option(
            "--endpoints",
            metavar="HOST:PORT,...",
            help=f"Any of the members; the leader is found from there. [{ENDPOINTS_DEFAULT}]",
        ),
        option("--member", metavar="ID", help="Ask this member only (reads and status)."),
        option("--timeout", type=seconds, metavar="SECONDS", help="Of one operation. [10]"),
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
