"""The documentation holds what it says: links resolve, examples parse, commands exist."""

from __future__ import annotations

import ast
import pathlib
import re
import shlex
from collections.abc import Iterator

import click
import pytest

from raftlog._tools import diagrams
from raftlog.cli.main import root

TOP = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted([TOP / "README.md", *(TOP / "docs").rglob("*.md")])
NOT_YET = "**(not yet)**"
_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)


def name_of(page: pathlib.Path) -> str:
    """Return how a failure names the page."""
    return page.relative_to(TOP).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def promised(page: pathlib.Path) -> str:
    """Return the page's running text without the lines that speak of what is not built yet."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return "\n".join(line for line in text.splitlines() if NOT_YET not in line)


def fences(page: pathlib.Path, *languages: str) -> Iterator[str]:
    """Yield the fenced blocks of these languages."""
    for match in _FENCE.finditer(page.read_text(encoding="utf-8")):
        if match["language"] in languages:
            yield match["body"]


def anchors(page: pathlib.Path) -> set[str]:
    """Return the anchors that a page's headings make."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def shell_lines(page: pathlib.Path) -> Iterator[str]:
    """Yield the commands typed in a page's console blocks, continued lines joined."""
    for body in fences(page, "console"):
        for line in body.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line[2:]


def raftlog_commands(line: str) -> Iterator[list[str]]:
    """Yield the arguments of every call of raftlog in a shell line, pipes and all."""
    bare = re.sub(r"\s[<>]\s*\S+", "", re.sub(r"\s#.*$", "", line))
    for part in re.split(r"[|;]|&&", bare):
        words = shlex.split(part)
        if words[:1] == ["raftlog"]:
            yield words[1:]
        elif "exec" in words and "raftlog" in words:
            yield words[words.index("raftlog") + 1 :]


def resolve(arguments: list[str]) -> click.Command:
    """Return the command that a command line means; a wrong option or name raises."""
    command: click.Command = root
    context: click.Context | None = None
    name = "raftlog"
    while isinstance(command, click.Group):
        context = command.make_context(name, list(arguments), parent=context)
        rest = [*context._protected_args, *context.args]
        found, target, arguments = command.resolve_command(context, rest)
        assert found is not None
        assert target is not None
        name, command = found, target
    command.make_context(name, list(arguments), parent=context)
    return command


@every_page
def test_links_resolve(page: pathlib.Path) -> None:
    """Every link inside the repository leads to a file, and to a heading in it if it names one."""
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in anchors(path), f"{target} names no heading"


@every_page
def test_python_examples_compile(page: pathlib.Path) -> None:
    """Every Python example is Python, `await` outside a function allowed."""
    for body in fences(page, "python"):
        compile(body, name_of(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@every_page
def test_commands_exist(page: pathlib.Path) -> None:
    """Every raftlog command in a console block exists and takes the options it is given."""
    for line in shell_lines(page):
        for arguments in raftlog_commands(line):
            resolve(arguments)


def test_a_wrong_command_would_be_noticed() -> None:
    """The check above refuses a command and an option that do not exist."""
    with pytest.raises(click.UsageError):
        resolve(["log", "apend"])
    with pytest.raises(click.UsageError):
        resolve(["log", "tail", "--from", "5"])


def test_inline_commands_exist() -> None:
    """Commands named in running text exist too, as far as they are names."""
    for page in PAGES:
        if page.name == "CHANGELOG.md":
            continue
        text = promised(page)
        for words in re.findall(r"`raftlog ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)[ `]", text):
            command: click.Command = root
            for word in words.split():
                if not isinstance(command, click.Group):
                    break
                found = command.get_command(click.Context(command), word)
                assert found is not None, f"{name_of(page)}: raftlog {words}"
                command = found


def test_every_page_is_listed() -> None:
    """The index leads to every page of the documentation."""
    index = (TOP / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        if page.name not in {"index.md", "README.md"}:
            assert page.relative_to(TOP / "docs").as_posix() in index


def test_make_targets_exist() -> None:
    """Every make target that the documentation names is in the Makefile."""
    targets = set(re.findall(r"(?m)^([a-z-]+):", (TOP / "Makefile").read_text(encoding="utf-8")))
    for page in PAGES:
        typed = "\n".join([promised(page), *shell_lines(page)])
        named = set(re.findall(r"(?m)(?:`|^)make ([a-z-]+)", typed))
        assert named <= targets, name_of(page)


def test_stale_pages_are_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """A page whose drawn block was edited by hand is named, and drawing it again mends it."""
    monkeypatch.setattr(diagrams, "TOP", tmp_path)
    monkeypatch.setattr(diagrams, "DOCS", tmp_path)
    page = tmp_path / "page.md"
    blocks = [f"<!-- drawn: {name} -->\nby hand\n<!-- end drawn -->\n" for name in diagrams.BLOCKS]
    page.write_text("\n".join(blocks))
    assert diagrams.stale() == ["page.md"]
    monkeypatch.setattr("sys.argv", ["diagrams"])
    assert diagrams.main() == 0
    assert diagrams.stale() == []
    assert "by hand" not in page.read_text()
    page.write_text("")
    assert f"block {next(iter(diagrams.BLOCKS))} is on no page" in diagrams.stale()
