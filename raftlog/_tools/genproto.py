"""Generate raftlog/wire/pb from proto/; with --check, fail if what is checked in differs.

Run it as ``python -m raftlog._tools.genproto [--check]`` from the top of the repository.
"""

from __future__ import annotations

import pathlib
import re
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
OUTPUT = TOP / "raftlog" / "wire" / "pb"
PACKAGE_DOCSTRING = '"""Generated from proto/ by raftlog._tools.genproto; do not edit."""\n'


def generate(target: pathlib.Path) -> None:
    """Write the generated modules into `target`."""
    import grpc_tools.protoc  # noqa: PLC0415, a test dependency

    sources = sorted(str(path) for path in (TOP / "proto").rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        well_known = pathlib.Path(grpc_tools.protoc.__file__).parent / "_proto"
        code = grpc_tools.protoc.main(
            [
                "protoc",
                f"-I{TOP / 'proto'}",
                f"-I{well_known}",
                f"--python_out={scratch}",
                f"--pyi_out={scratch}",
                f"--grpc_python_out={scratch}",
                *sources,
            ]
        )
        if code:
            raise SystemExit(code)
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted((pathlib.Path(scratch) / "raftlog" / "v1").iterdir()):
            text = re.sub(
                r"from raftlog\.v1 import", "from raftlog.wire.pb import", path.read_text()
            )
            (target / path.name).write_text(text)
        (target / "__init__.py").write_text(PACKAGE_DOCSTRING)


def stale() -> list[str]:
    """Return the names of checked-in files that differ from what proto/ says."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = pathlib.Path(scratch)
        generate(fresh)
        names = {p.name for p in fresh.iterdir()} | {
            p.name for p in OUTPUT.iterdir() if p.is_file()
        }
        return sorted(
            name
            for name in names
            if not (fresh / name).is_file()
            or not (OUTPUT / name).is_file()
            or (fresh / name).read_text() != (OUTPUT / name).read_text()
        )


def main() -> int:
    """Generate, or check."""
    if "--check" not in sys.argv[1:]:
        generate(OUTPUT)
        return 0
    differing = stale()
    for name in differing:
        print(
            f"raftlog/wire/pb/{name} is not what proto/ generates: run make proto", file=sys.stderr
        )
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
