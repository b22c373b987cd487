"""The source files that a reward's module imports from beside it: where one changes, scores may change."""

import ast
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

OURS = "mva_ray"


def neighbours(module: str, file: Path, directories: Sequence[Path]) -> dict[str, Path]:
    """The files that a module imports, and those that these import, by the names of their modules.

    Those count that lie where the module's own package lies, or in `directories`; what is installed does not. Imports
    inside functions count, too; data files, and modules that are found in other ways, do not.

    Args:
        module: its full name.
        file: its source.
        directories: where its imports are looked for besides.
    """
    roots = [root for root in dict.fromkeys([_root(module, file), *directories]) if not is_installed(root)]
    found: dict[str, Path] = {}
    left = [(module, file)]
    while left:
        for name in _imports(*left.pop()):
            path = next(filter(None, (_source(root, name) for root in roots)), None)
            if path and path != file and name not in found and name.partition(".")[0] != OURS:
                found[name] = path
                left.append((name, path))
    return found


def _imports(module: str, file: Path) -> Iterator[str]:
    """Full names of all that a file imports, of the packages that hold it, and of what it takes from them."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):  # no Python source
        return
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield from _with_packages(f"{source}.{alias.name}".lstrip("."))


def _with_packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _source(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split("."))
    return next((file for file in (path / "__init__.py", path.with_name(f"{path.name}.py")) if file.is_file()), None)


def _root(module: str, file: Path) -> Path:
    """The directory that a module was found in: above its packages."""
    return file.parents[module.count(".") + (file.name == "__init__.py")]


def is_installed(directory: Path) -> bool:
    """Whether a file or directory is of the Python installation, which all nodes have."""
    paths = sysconfig.get_paths()
    return any(directory.is_relative_to(paths[kind]) for kind in ("stdlib", "purelib", "platlib"))
