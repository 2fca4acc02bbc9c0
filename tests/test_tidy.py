"""The rules of docs/STYLE.md that a program can check. An exemption carries its reason."""

from __future__ import annotations

import ast
import functools
import graphlib
import inspect
import pathlib
import re
from collections.abc import Iterator

from raftlog._tools import diagrams, genproto, gensync
from tests.sources import parsed, walked

TOP = pathlib.Path(__file__).resolve().parents[1]
GENERATED = {TOP / "raftlog" / "wire" / "pb", TOP / "raftlog" / "client" / "_sync"}
TREES = ("raftlog", "tests", "deploy", "docs", "proto", "jepsen", ".ci")
TEXT_SUFFIXES = {".py", ".pyi", ".md", ".toml", ".yml", ".yaml", ".proto", ".sh", ".txt", ""}

LINE_CHARACTERS_MAX = 100
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 600
CORE_FILE_LINES_MAX = 400
PARAMETERS_MAX = 6

BANNED_WORDS = {"utils", "util", "helpers", "common", "manager", "impl", "data", "info", "misc"}
CORE_MAY_IMPORT = {
    "__future__", "bisect", "collections", "dataclasses", "enum", "functools", "itertools", "json",
    "math", "struct", "typing", "zlib",
}  # fmt: skip
CORE_MAY_IMPORT_OF_RAFTLOG = (
    "raftlog.core", "raftlog.types", "raftlog.errors", "raftlog.checksum", "raftlog.defaults",
)  # fmt: skip

_HEADER = "an entry's header has nine fields, and this is its hot path"
_CALL = "the public call: every parameter is one of the surface's options, by keyword"
_WIRING = "wires parts together once; each argument is a port or a callback, by keyword"
PARAMETER_EXEMPTIONS = {
    "raftlog/checksum.py:chain": _HEADER,
    "raftlog/core/entries.py:Seal.__call__": _HEADER,
    "raftlog/client/members.py:MemberVerbs.add_member": _CALL,
    "raftlog/client/members.py:MemberVerbs.update_member": _CALL,
    "raftlog/client/kv.py:Kv.range": _CALL,
    "raftlog/client/kv.py:Kv.watch": _CALL,
    "raftlog/client/log.py:Log.tail": _CALL,
    "raftlog/client/log.py:Log.tail_batches": _CALL,
    "raftlog/core/raft.py:Raft.__init__": _WIRING,
    "raftlog/node/housekeeping.py:Housekeeping.__init__": _WIRING,
}
LENGTH_EXEMPTIONS: dict[str, str] = {}
IMPORT_EXEMPTIONS: dict[str, str] = {}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: pathlib.Path) -> str:
    """Return the path as messages and exemptions write it."""
    return path.relative_to(TOP).as_posix()


@functools.cache
def texts() -> tuple[pathlib.Path, ...]:
    """Return every hand-written text file of the repository."""
    found = [path for path in TOP.iterdir() if path.is_file() and not path.name.startswith(".")]
    for tree in TREES:
        found += [path for path in (TOP / tree).rglob("*") if path.is_file()]
    return tuple(
        sorted(
            path
            for path in found
            if path.suffix in TEXT_SUFFIXES
            and "__pycache__" not in path.parts
            and GENERATED.isdisjoint(path.parents)
        )
    )


def sources(*trees: str) -> list[pathlib.Path]:
    """Return the hand-written Python files, of those trees only if any are named."""
    wanted = trees or TREES
    return [p for p in texts() if p.suffix == ".py" and p.relative_to(TOP).parts[0] in wanted]


@functools.cache
def functions(path: pathlib.Path) -> tuple[tuple[str, Function], ...]:
    """Return every function with its dotted name inside the file."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                yield prefix + child.name, child
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            elif not isinstance(child, ast.expr):  # no expression holds a function with a name
                yield from walk(child, prefix)

    return tuple(walk(parsed(path), ""))


@functools.cache
def imports(path: pathlib.Path) -> set[str]:
    """Return the dotted names a file imports; `from a import b` counts as both a and a.b."""
    found: set[str] = set()
    for node in walked(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def complain(rows: list[str]) -> None:
    """Fail with one row for each breach."""
    assert not rows, "\n" + "\n".join(rows)


def test_lines_are_short() -> None:
    """No line of Python is longer than 100 characters."""
    complain(
        [
            f"{name_of(path)}:{number}: {len(line)} characters"
            for path in sources()
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
            if len(line) > LINE_CHARACTERS_MAX
        ]
    )


def test_functions_are_short() -> None:
    """No function is longer than 60 lines, unless it is exempt for a reason."""
    complain(
        [
            f"{name_of(path)}:{node.lineno}: {name} has {length} lines"
            for path in sources()
            for name, node in functions(path)
            if (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
            and f"{name_of(path)}:{name}" not in LENGTH_EXEMPTIONS
        ]
    )


def test_files_are_short() -> None:
    """No file is longer than 600 lines, in the core 400."""
    rows = []
    for path in sources():
        limit = CORE_FILE_LINES_MAX if name_of(path).startswith("raftlog/core/") else FILE_LINES_MAX
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > limit:
            rows.append(f"{name_of(path)}: {lines} lines, at most {limit}")
    complain(rows)


def test_modules_say_what_they_are() -> None:
    """Every module that has content opens with a docstring."""
    complain(
        [
            name_of(path)
            for path in sources()
            if parsed(path).body and not ast.get_docstring(parsed(path))
        ]
    )


def test_tests_name_their_property() -> None:
    """Every test has a docstring whose first paragraph is a sentence."""
    rows = []
    for path in sources("tests"):
        for name, node in functions(path):
            if not node.name.startswith("test_") or not path.name.startswith("test_"):
                continue
            first = (ast.get_docstring(node) or "").split("\n\n")[0]
            if not first.endswith((".", "?", "!")):
                rows.append(f"{name_of(path)}:{node.lineno}: {name}")
    complain(rows)


def test_every_product_module_is_imported_by_a_test() -> None:
    """No module is without a test that names it."""
    imported = set().union(*(imports(path) for path in sources("tests")))
    rows = []
    for path in sources("raftlog"):
        module = ".".join(path.relative_to(TOP).with_suffix("").parts)
        if path.stem in {"__init__", "__main__"} or module in IMPORT_EXEMPTIONS:
            continue
        if module not in imported:
            rows.append(module)
    complain(rows)


def test_module_names_are_nouns_that_say_something() -> None:
    """No module or package is named after a drawer for odds and ends."""
    complain(
        [
            name_of(path)
            for path in sources()
            for part in path.relative_to(TOP).with_suffix("").parts
            if BANNED_WORDS & set(part.strip("_").split("_"))
        ]
    )


def test_nothing_speaks_of_one_machine() -> None:
    """No file names a path of the machine it was written on."""
    pattern = re.compile(r"(?<![\w.$}])/(?:work|farm|root|home|Users)/")
    complain(
        [
            f"{name_of(path)}:{number}: {line.strip()[:80]}"
            for path in texts()
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
            if pattern.search(line)
        ]
    )


def test_nothing_is_left_unfinished() -> None:
    """No marker of unfinished work stands without an issue's number."""
    pattern = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))|raise NotImplementedError")
    own = pathlib.Path(__file__)
    complain(
        [
            f"{name_of(path)}:{number}: {line.strip()[:80]}"
            for path in sources()
            if path != own
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
            if pattern.search(line)
        ]
    )


def is_click_command(node: Function) -> bool:
    """Whether click hands it one parameter for each option."""
    return any(
        "option" in text or "command" in text for text in map(ast.unparse, node.decorator_list)
    )


def test_parameters_are_few() -> None:
    """No function takes more than six parameters, unless it is exempt for a reason."""
    rows = []
    seen: set[str] = set()
    for path in sources("raftlog"):
        for name, node in functions(path):
            spec = node.args
            named = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
            count = len([a for a in named if a not in {"self", "cls"}])
            key = f"{name_of(path)}:{name}"
            if count <= PARAMETERS_MAX or is_click_command(node):
                continue
            seen.add(key)
            if key not in PARAMETER_EXEMPTIONS:
                rows.append(f"{key} (line {node.lineno}) takes {count}")
    rows += [f"{key}: exempt without need" for key in PARAMETER_EXEMPTIONS.keys() - seen]
    complain(rows)


def test_core_imports_only_what_is_pure() -> None:
    """The core imports pure parts of the standard library and the shared words only."""
    rows = []
    for path in sources("raftlog"):
        if not name_of(path).startswith("raftlog/core/"):
            continue
        for module in imports(path):
            ours = module.startswith(CORE_MAY_IMPORT_OF_RAFTLOG)
            if not ours and module.split(".")[0] not in CORE_MAY_IMPORT:
                rows.append(f"{name_of(path)}: {module}")
    complain(rows)


def is_sleep(call: ast.Call) -> bool:
    """Whether a call lets time pass: `sleep(0)` lets others run."""
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
    if name != "sleep" or ast.unparse(call.func) not in {"time.sleep", "asyncio.sleep", "sleep"}:
        return False
    return not call.args or ast.unparse(call.args[0]) != "0"


def sleeps_outside_loops(path: pathlib.Path) -> Iterator[int]:
    """Yield the lines of sleeps that do not poll: those that stand in no loop."""

    def walk(node: ast.AST, *, looping: bool) -> Iterator[int]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call) and not looping and is_sleep(child):
                yield child.lineno
            inside = looping or isinstance(child, ast.While | ast.For | ast.AsyncFor)
            yield from walk(child, looping=inside and not isinstance(child, Function))

    yield from walk(parsed(path), looping=False)


def test_tests_do_not_sleep() -> None:
    """A test waits for a condition with a deadline, never for time to pass."""
    complain([f"{name_of(p)}:{line}" for p in sources("tests") for line in sleeps_outside_loops(p)])


BEGINS_PROCESSES = re.compile(
    r"raftlog_(cluster|client|sync_client)\b|_raftlog_shared|make_cluster|testing\.cluster\("
    r"|LocalCluster\.create\(|raftlog local start"
)
PROCESSES_EXEMPTIONS = {
    *("tests/test_tidy.py", "tests/test_docs.py"),
    *("tests/bench/bench_load.py", "tests/bench/bench_restart.py"),
}


def test_longer_tests_of_real_processes_run_one_after_another() -> None:
    """A file that begins nodes as processes is among those whose longer tests run alone."""
    listed = re.search(
        r"^PROCESSES := ((?:.*\\\n)*.*)$", (TOP / "Makefile").read_text(), re.MULTILINE
    )
    assert listed
    alone = {TOP / name for name in listed[1].replace("\\", "").split()}
    assert all(path.exists() for path in alone)
    complain(
        [
            f"{name_of(path)} begins processes: name it in PROCESSES of the Makefile"
            for path in sources("tests")
            if BEGINS_PROCESSES.search(path.read_text(encoding="utf-8"))
            and alone.isdisjoint((path, *path.parents))
            and name_of(path) not in PROCESSES_EXEMPTIONS
        ]
    )


def test_generated_code_is_what_proto_says() -> None:
    """The checked-in protobuf modules are what proto/ generates."""
    assert genproto.stale() == []


def test_the_sync_client_is_what_the_async_client_says() -> None:
    """Its calls are generated; a change of one side goes to the other by `make sync`."""
    assert gensync.OUTPUT.read_text(encoding="utf-8") == gensync.generate()


def test_diagrams_and_tables_are_what_the_code_says() -> None:
    """The diagrams and tables in docs/ are drawn from the code's own tables."""
    assert diagrams.stale() == []


CIRCLES = {
    "raftlog.sim.core": "a world and its parts speak of one another, for type checkers only",
    "raftlog.sim.shell": "a world and its parts speak of one another, for type checkers only",
}


def room(module: str) -> str:
    """Return the exempt package a module belongs to, or the module itself."""
    if module in {"raftlog.sim.checker", "raftlog.sim.transcript"}:
        return "raftlog.sim.core"  # they look at engine 1's processes, and at engine 2's alike
    return next((each for each in CIRCLES if module.startswith(each + ".")), module)


def test_imports_go_in_no_circles() -> None:
    """What a file needs can be read before it; imports for type checkers count as well."""
    known = {
        ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sources("raftlog")
    }
    needs: dict[str, set[str]] = {}
    for module, path in known.items():
        wanted = {room(name) for name in imports(path) if name in known and path.stem != "__init__"}
        needs.setdefault(room(module), set()).update(wanted - {room(module)})
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as circle:
        complain([" needs ".join(circle.args[1])])


_BARE_WORD = re.compile(r"[.:] `\w+`\.$")
_FRAGMENT = re.compile(r"(?:And|Or|By|Of|To|Times|What|Who|Whose) ")
_FRAGMENT_WORDS_MAX = 12
_HALF_OPEN = re.compile(r"\[[^\[\]()]*\)")


def docstrings(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Yield every string that stands for itself, with its line: docstrings, and those of fields."""
    for node in walked(path):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield statement.lineno, value.value


def is_cut_in_two(docstring: str) -> bool:
    """Whether a docstring looks as if a full stop had been put into its first sentence.

    The marks of it: a bracket that the first paragraph opens and the second closes, a sentence that
    is one word of code, a second paragraph that is no sentence.
    """
    summary, _, rest = inspect.cleandoc(docstring).partition("\n\n")
    words = rest.split()
    whole = _HALF_OPEN.sub("", summary)
    return (
        whole.count("(") != whole.count(")")
        or _BARE_WORD.search(summary) is not None
        or (0 < len(words) <= _FRAGMENT_WORDS_MAX and _FRAGMENT.match(rest) is not None)
    )


def test_docstrings_are_whole() -> None:
    """No docstring's first sentence was cut in two to fit a line."""
    complain(
        [
            f"{name_of(path)}:{line}: {docstring.strip().splitlines()[0]}"
            for path in sources()
            for line, docstring in docstrings(path)
            if is_cut_in_two(docstring)
        ]
    )


def test_a_cut_docstring_would_be_noticed() -> None:
    """What a formatter once made of our docstrings is refused, and their whole forms are not."""
    assert is_cut_in_two("Return pairs with start <= key < end (None.\n\nTo the last), in order.")
    assert is_cut_in_two("Both streams FROM `peer` ended. `announced`.\n\nIt said so before.")
    assert is_cut_in_two("Base delay before a pre-vote.\n\n    Times the rank.\n    ")
    assert is_cut_in_two("Two layers.\n\nWhat waits for a round, and what one makes durable.")
    assert not is_cut_in_two("Return the keys in [start, end), in order.")
    assert not is_cut_in_two("Both streams ended.\n\n`announced`: the peer said so before.")


def test_every_dependency_has_its_reason() -> None:
    """Each library that users must install stands beside one line that says why."""
    text = (TOP / "pyproject.toml").read_text(encoding="utf-8")
    (section,) = re.findall(r"(?ms)^dependencies = \[.*?\n(.*?)^\]", text)
    rows = section.splitlines()
    assert len(rows) > 10
    complain([row for row in rows if not re.fullmatch(r' +"[^"]+",   # \S.{10,}', row)])
