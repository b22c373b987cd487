"""The shape of the package in numbers: `python -m tests.support.shape [PACKAGE]`.

A room is a folder of the package, or a module in its root; an arrow is a room that imports another one.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parents[2] / "mva_ray"
LONG_RAY_FILE = 150


class Import(NamedTuple):
    line: int
    name: str
    lazy: bool


def imports(source: str, package: str) -> Iterator[Import]:
    """Every import of a module in `package`, with its full dotted name."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lazy = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, id(node) in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            start = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (Import(node.lineno, f"{start}.{alias.name}", id(node) in lazy) for alias in node.names)


def package_of(path: PurePosixPath) -> str:
    """The dotted package of a file of the package, such as `mva_ray.data` for `data/files.py`."""
    return ".".join(("mva_ray", *path.parent.parts))


def room_of(module: str) -> str:
    """`data` for `data.files`, `records` for `records`; the package itself is ""."""
    return module.partition(".")[0].removesuffix("__init__")


def files(package: Path = PACKAGE) -> list[PurePosixPath]:
    return sorted(PurePosixPath(path.relative_to(package).as_posix()) for path in package.rglob("*.py"))


def arrows(package: Path = PACKAGE) -> set[tuple[str, str]]:
    """Who imports whom, as (room, room)."""
    found = set()
    for path in files(package):
        own = room_of(".".join(path.with_suffix("").parts))
        for each in imports((package / path).read_text(encoding="utf-8"), package_of(path)):
            if each.name.startswith("mva_ray."):
                found.add((own, room_of(each.name.removeprefix("mva_ray."))))
    return {(own, other) for own, other in found if own != other}


def functions(package: Path = PACKAGE) -> Iterator[tuple[int, str]]:
    """The lines of every function, and where it is."""
    for path in files(package):
        for node in ast.walk(ast.parse((package / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield node.end_lineno - node.lineno + 1, f"{path}:{node.name}"


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def main(package: Path) -> None:
    root = [path for path in package.glob("*.py") if not path.name.startswith("__")]
    ray = {path: lines_of(path) for path in package.rglob("ray_*.py")}
    long = [f"{path.relative_to(package)} ({count})" for path, count in sorted(ray.items()) if count > LONG_RAY_FILE]
    length, place = max(functions(package))
    print(f"modules in the package root: {len(root)}")
    print(f"rooms: {len({room_of('.'.join(path.with_suffix('').parts)) for path in files(package)} - {''})}")
    print(f"import arrows between rooms: {len(arrows(package))}")
    print(f"longest function: {length} lines, {place}")
    print(f"Ray files: {len(ray)}, over {LONG_RAY_FILE} lines: {', '.join(long) or 'none'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
