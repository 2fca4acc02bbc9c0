"""`version` and `completion`: what concerns the program itself."""

from __future__ import annotations

import platform
from importlib import metadata

import click
from click.shell_completion import get_completion_class

from raftlog.cli.options import Command, Globals
from raftlog.cli.output import emit

_LIBRARIES = ("grpcio", "lmdb", "protobuf", "uvloop")


def installed_version(package: str = "raftlog") -> str | None:
    """Return a package's installed version, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    """Print the version in one line and end: what `--version` does everywhere."""
    if wanted and not context.resilient_parsing:
        click.echo(f"raftlog {installed_version() or 'unknown'}")
        context.exit()


VERSION_OPTION = click.Option(
    ["--version"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,  # RAFTLOG_VERSION is what deployments call an image's tag
    callback=show_version,
    help="Print the version and end; `raftlog version` tells of the libraries too.",
)


@click.command("version", cls=Command, examples=["raftlog version", "raftlog version -o json"])
@click.pass_obj
def version(options: Globals) -> None:
    """Print the versions of raftlog, Python and the libraries that matter."""
    document: dict[str, object] = {
        "raftlog": installed_version() or "unknown",
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    document.update((name, installed_version(name)) for name in _LIBRARIES)
    emit(options.output, document)


@click.command(
    "completion",
    cls=Command,
    examples=[
        'eval "$(raftlog completion bash)"',
        "raftlog completion fish > ~/.config/fish/completions/raftlog.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a completion script for SHELL.

    Where a member's id is wanted, those of the cluster that --endpoints (or RAFTLOG_ENDPOINTS)
    names are offered, if it answers within half a second.
    """
    root = context.find_root()
    completer = get_completion_class(shell)
    if completer is None:
        raise click.UsageError(f"no completion for {shell}")
    name = root.info_name or "raftlog"
    click.echo(completer(root.command, {}, name, f"_{name.upper()}_COMPLETE").source())
