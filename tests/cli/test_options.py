"""Global options work before and after a command, and from the environment."""

from __future__ import annotations

import click
import pytest

from raftlog.cli import main, options
from raftlog.cli.options import Globals, Group
from raftlog.cli.output import OutputFormat


@pytest.fixture
def seen():
    """Return a root group whose command notes the global options it got."""
    found = []
    root = Group(name="r", is_root=True, context_settings={"auto_envvar_prefix": "RAFTLOG"})
    noun = options.group("noun", "A noun.")
    root.add_command(noun)

    @noun.command("verb", examples=["r noun verb   like this"])
    @click.option("--own", "its_own", help="Its own.")
    @click.pass_obj
    def verb(given, its_own):
        """Do it."""
        found.append((given, its_own))

    return lambda *arguments: (root.main(arguments, standalone_mode=False), found.pop())[1]


def test_defaults(seen):
    """Without a word the options are the contract's."""
    assert seen("noun", "verb") == (Globals(), None)
    assert Globals().endpoints == "127.0.0.1:7101"


@pytest.mark.parametrize(
    "line",
    [
        ("-o", "json", "--timeout", "3", "noun", "verb"),
        ("noun", "-o", "json", "verb", "--timeout", "3"),
        ("noun", "verb", "--timeout", "3", "--output", "json"),
        ("--timeout", "9", "-o", "table", "noun", "verb", "--timeout", "3", "-o", "json"),
    ],
)
def test_they_stand_anywhere(seen, line):
    """Before the noun, before the verb or after it; the last word counts."""
    given, _ = seen(*line)
    assert (given.output, given.timeout) == (OutputFormat.JSON, 3.0)
    assert given.output_given


@pytest.mark.parametrize("wrong", ["nan", "0", "-1", "soon"])
def test_a_timeout_is_a_number_of_seconds(seen, wrong):
    """What is no positive number is wrong usage, before anything is done."""
    with pytest.raises(click.UsageError):
        seen("noun", "verb", "--timeout", wrong)


def test_every_option_has_a_variable(seen, monkeypatch):
    """Global options and a command's own come from RAFTLOG_* variables, flags going first."""
    monkeypatch.setenv("RAFTLOG_ENDPOINTS", "a:1,b:2")
    monkeypatch.setenv("RAFTLOG_OUTPUT", "json")
    monkeypatch.setenv("RAFTLOG_YES", "1")
    monkeypatch.setenv("RAFTLOG_NOUN_VERB_OWN", "mine")
    given, own = seen("noun", "verb", "--endpoints", "c:3")
    assert (given.endpoints, given.output, given.yes) == ("c:3", OutputFormat.JSON, True)
    assert own == "mine"


@pytest.mark.parametrize("line", [("--timeout", "0"), ("--timeout", "x"), ("-o", "yaml")])
def test_wrong_values_are_wrong_usage(seen, line):
    """A value that cannot be is refused before anything is asked."""
    with pytest.raises(click.UsageError):
        seen("noun", "verb", *line)


def commands(command, path=()):
    """Yield every command with the words that reach it."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield path, command


ALL = dict(commands(main.root))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself(raftlog, path):
    """--help of every command says what it does and ends with examples."""
    result = raftlog(*path, "--help")
    assert result.code == 0
    assert result.err == ""
    assert "Examples:" in result.text
    assert "Usage: raftlog " + " ".join(path) in result.text
    assert ALL[path].help


def test_no_command_shadows_a_global_option():
    """No option of a command takes the name of a global one, nor the same variable twice."""
    for path, command in ALL.items():
        flags = [flag for parameter in command.params for flag in parameter.opts]
        assert len(set(flags)) == len(flags), path
        names = [parameter.name for parameter in command.params]
        assert len(set(names)) == len(names), path
