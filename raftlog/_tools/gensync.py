"""Generate the sync client's calls from the async client's; with --check, only compare.

What is generated is what would be copied by hand: for each class below, a class without await whose
methods have the same names, parameters, defaults and contracts. How a call crosses the threads is
written once, in `raftlog/client/loop_thread.py`. Run it as
``python -m raftlog._tools.gensync [--check]`` from the top of the repository.
"""

from __future__ import annotations

import ast
import itertools
import pathlib
import re
import subprocess
import sys
import textwrap

TOP = pathlib.Path(__file__).resolve().parents[2]
SOURCES = TOP / "raftlog" / "client"
OUTPUT = SOURCES / "_sync" / "calls.py"

CLASSES = {
    "Lease": ("lease", "SyncLease"),
    "Lock": ("lock", "SyncLock"),
    "Election": ("lock", "SyncElection"),
    "LogSession": ("log", "SyncLogSession"),
    "ConsumerVerbs": ("consumer", "SyncConsumerVerbs"),
    "Log": ("log", "SyncLog"),
    "Kv": ("kv", "SyncKv"),
    "Machine": ("machine", "SyncMachine"),
    "MemberVerbs": ("members", "SyncMemberVerbs"),
    "Cluster": ("cluster", "SyncCluster"),
    "Backup": ("backup", "SyncBackup"),
}
"""Each async class: its module, and its twin's name. What others return comes first."""
HANDLES = ("Lease", "Lock", "Election", "LogSession")
"""What a call may return and must be wrapped in its twin."""
NEEDS_NO_LOOP = {"attach_lease"}
"""Calls that only make a handle: they work on a client that is not open as well."""
LEASE_ARGUMENT = "LeaseRef"
DUNDERS = {"__aenter__": "__enter__", "__aexit__": "__exit__"}

HEAD = '''"""Generated from raftlog/client by raftlog._tools.gensync; do not edit.

The async client's calls without await: the same names, parameters and contracts.
"""

from __future__ import annotations

'''

Method = ast.FunctionDef | ast.AsyncFunctionDef


def generate() -> str:
    """Return the generated module, formatted as the linter wants it."""
    modules = {
        name: ast.parse((SOURCES / f"{name}.py").read_text(encoding="utf-8"))
        for name in dict.fromkeys(module for module, _ in CLASSES.values())
    }
    body = "\n\n".join(
        _class(_find(modules[module], name), twin) for name, (module, twin) in CLASSES.items()
    )
    imports = _imports(modules.values(), body)
    return _formatted(HEAD + imports + "\n\n" + body)


def _find(module: ast.Module, name: str) -> ast.ClassDef:
    return next(n for n in module.body if isinstance(n, ast.ClassDef) and n.name == name)


def _class(source: ast.ClassDef, twin: str) -> str:
    """Return the twin of a class."""
    methods = [node for node in source.body if isinstance(node, Method)]
    names = {method.name for method in methods}
    doc = f"`raftlog.client.{CLASSES[source.name][0]}.{source.name}` without await."
    bases = [CLASSES[base][1] for base in map(ast.unparse, source.bases) if base in CLASSES]
    parts = [
        f'class {twin}{"(" + bases[0] + ")" if bases else ""}:\n    """{doc}"""\n',
        f"    def __init__(self, loop: LoopThread, target: {source.name}) -> None:",
        "        super().__init__(loop, target)" if bases else "        self._loop = loop",
        f"        self._target: {source.name} = target\n",
    ]
    if "__init__" in names:
        parts += _attributes(methods)
    for method in methods:
        if method.name in DUNDERS or method.name == "__int__" or method.name[0] != "_":
            parts.append(_method(method, names))
    return "\n".join(parts)


def _attributes(methods: list[Method]) -> list[str]:
    """Return properties for the documented attributes that `__init__` takes from parameters."""
    made = next(method for method in methods if method.name == "__init__")
    kinds = {a.arg: ast.unparse(a.annotation) for a in made.args.args if a.annotation}
    found = []
    for statement, following in itertools.pairwise(made.body):
        if not (isinstance(statement, ast.Assign) and isinstance(following, ast.Expr)):
            continue
        name, doc = ast.unparse(statement.targets[0]).removeprefix("self."), following.value
        if isinstance(doc, ast.Constant) and name[0] != "_" and isinstance(doc.value, str):
            found.append(
                f"    @property\n    def {name}(self) -> {kinds[ast.unparse(statement.value)]}:\n"
                f'        """Return {doc.value}"""\n'
                f"        return self._target.{name}\n"
            )
    return found


def _method(method: Method, names: set[str]) -> str:
    """Return the twin of a method, with its contract."""
    returns = ast.unparse(method.returns) if method.returns else "None"
    is_property = any(ast.unparse(each) == "property" for each in method.decorator_list)
    lines = ["@property"] if is_property else []
    name = DUNDERS.get(method.name, method.name)
    signature = ast.unparse(method.args).replace(LEASE_ARGUMENT, "SyncLease | int")
    lines.append(f"def {name}({signature}) -> {_twin_type(returns)}:")
    doc = ast.get_docstring(method, clean=True)
    if doc is not None:
        lines.append(textwrap.indent(f'"""{doc}{_closing(doc)}"""', "    "))
    lines += [f"    {line}" for line in _body(method, returns, names, is_property=is_property)]
    return textwrap.indent("\n".join(lines), "    ") + "\n"


def _closing(doc: str) -> str:
    return "\n" if "\n" in doc else ""


def _twin_type(returns: str) -> str:
    """Return a return type as a caller without await sees it."""
    returns = re.sub(r"^AsyncIterator\[", "Iterator[", returns)
    returns = re.sub(r"^Feed\[", "SyncFeed[", returns)
    for handle in HANDLES:
        returns = re.sub(rf"\b{handle}\b", CLASSES[handle][1], returns)
    return returns


def _body(method: Method, returns: str, names: set[str], *, is_property: bool) -> list[str]:
    target = f"self._target.{method.name}"
    if is_property:
        return [f"return {target}"]
    if method.name == "__int__":
        return ["return int(self._target)"]
    if method.name == "__aenter__":
        return [f"self._loop.call({target})", "return self"]
    given = _arguments(method)
    call = ", ".join([target, *given])
    if returns.startswith("Feed["):
        batches = f"{method.name}_batches"
        if batches in names:  # what comes in batches crosses the threads in batches
            start = f"self._target.{batches}({', '.join(given)})"
            return [f"return self._loop.feed_of_batches(lambda: {start})"]
        return [f"return self._loop.feed(lambda: {target}({', '.join(given)}))"]
    if returns.startswith("AsyncIterator["):
        return [f"return self._loop.iterate(lambda: {target}({', '.join(given)}))"]
    how = "call" if isinstance(method, ast.AsyncFunctionDef) else "run"
    done = f"self._loop.{how}({call})"
    if method.name in NEEDS_NO_LOOP:
        done = f"{target}({', '.join(given)})"
    if returns in HANDLES:
        return [f"return {CLASSES[returns][1]}(self._loop, {done})"]
    return [done] if returns == "None" else [f"return {done}"]


def _arguments(method: Method) -> list[str]:
    """Return the parameters as the twin hands them on."""

    def value(argument: ast.arg) -> str:
        is_lease = argument.annotation and ast.unparse(argument.annotation) == LEASE_ARGUMENT
        return f"int({argument.arg})" if is_lease else argument.arg

    arguments = method.args
    found = [value(a) for a in (*arguments.posonlyargs, *arguments.args) if a.arg != "self"]
    if arguments.vararg:
        found.append(f"*{arguments.vararg.arg}")
    return found + [f"{a.arg}={value(a)}" for a in arguments.kwonlyargs]


def _imports(modules: object, body: str) -> str:
    """Return the imports of the async modules that the generated text needs."""
    used = set(re.findall(r"\w+", re.sub(r'""".*?"""', "", body, flags=re.DOTALL)))
    wanted = {"from collections.abc import Iterator"}
    wanted.add("from raftlog.client.loop_thread import LoopThread, SyncFeed")
    for module in modules:  # type: ignore[attr-defined]
        for node in module.body:
            if not isinstance(node, ast.ImportFrom) or node.module == "__future__":
                continue
            for alias in node.names:
                if (alias.asname or alias.name) in used:
                    shown = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
                    wanted.add(f"from {node.module} import {shown}")
    for name, (module, _) in CLASSES.items():
        wanted.add(f"from raftlog.client.{module} import {name}")
    if "SessionState" in used:
        wanted.add("from raftlog.client.log import SessionState")
    return "\n".join(sorted(wanted))


def _formatted(text: str) -> str:
    """Return the text as ruff leaves it; ruff is a test dependency."""
    for arguments in (
        ["check", "--quiet", "--fix-only", "--select", "I,F401"],
        ["format", "--quiet"],
    ):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(OUTPUT), "-"]
        done = subprocess.run(  # noqa: S603 - a fixed program, our own text
            command, input=text, capture_output=True, text=True, check=True, cwd=TOP
        )
        text = done.stdout
    return text


def main() -> int:
    """Generate, or check."""
    fresh = generate()
    if "--check" not in sys.argv[1:]:
        OUTPUT.write_text(fresh, encoding="utf-8")
        return 0
    if OUTPUT.read_text(encoding="utf-8") == fresh:
        return 0
    print(
        f"{OUTPUT.relative_to(TOP)} is not what the async client generates: run make sync",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
