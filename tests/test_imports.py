"""Who may import whom: arrows between the parts of mva_ray point one way (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mva_ray"

EVERYONE = {"records", "errors", "files", "constraints"}
STAGES = {"config", "data", "adapters", "training", "evaluation", "search", "table", "maths", "report"}

ARROWS: dict[str, set[str]] = {
    "mva_ray": set(),
    "records": set(),
    "errors": set(),
    "files": set(),
    "constraints": {"records"},
    "rewards": set(),
    "maths": set(),
    "config": EVERYONE,
    "endpoint": EVERYONE | {"config"},
    "data": EVERYONE | {"config"},
    "adapters": EVERYONE | {"config", "maths"},
    "training": EVERYONE | {"config", "data", "adapters", "maths"},
    "evaluation": EVERYONE | {"config", "adapters", "endpoint"},
    "search": EVERYONE | {"config", "maths"},
    "table": EVERYONE | {"maths.pareto"},
    "report": EVERYONE | {"config", "table"},
    "service": EVERYONE | {"config", "table", "maths.pareto"},
    "compare": EVERYONE | STAGES | {"endpoint", "pipeline"},
    "pipeline": EVERYONE | STAGES,
    "explore": EVERYONE | {"config", "pipeline", "service"},
    "data_check": EVERYONE | {"config", "data", "adapters"},
    "cli": EVERYONE | {"service"},
}
"""What each part may import of the project, besides itself; a dotted name stands for that module alone."""

LAZY_ARROWS: dict[str, set[str]] = {
    "service": {"adapters"},
    "cli": {"adapters", "compare", "data_check", "explore", "pipeline", "report"},
}
"""What a part may import besides, inside functions only: queries start fast."""

PART_OF: dict[str, str] = {
    "__init__": "mva_ray",
    "__main__": "cli",
    **dict.fromkeys(("plan", "forecast", "dry_run", "estimate", "ray_session", "warm_start"), "pipeline"),
}
"""Modules that belong to the part of another name; config_*.py belong to config."""

SLOW = {"ray", "torch", "transformers"}
NOT_AT_THE_TOP: dict[str, set[str]] = dict.fromkeys(("config", "rewards", "service", "table", "report", "cli"), SLOW)
"""Libraries that a part must not load when it is imported."""

NEVER: dict[str, set[str]] = {"maths": {"ray", "transformers", "peft", "trl", "pathlib", "os"}}
"""Libraries that a part must not use at all: maths works on arrays, without files."""


class Import(NamedTuple):
    line: int
    name: str
    lazy: bool


def part_of(module: str) -> str:
    """The part that a module belongs to: `data` for `data.check`, `config` for `config_yaml`."""
    top = module.partition(".")[0]
    return "config" if top.startswith("config_") else PART_OF.get(top, top)


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


def violations(file: str, source: str) -> list[str]:
    """The forbidden imports of a file of the package, such as `data/check.py`."""
    path = PurePosixPath(file)
    package = ".".join(("mva_ray", *path.parent.parts))
    return [
        f"mva_ray/{file}:{found.line} imports {found.name}"
        for found in imports(source, package)
        if not (allowed_inside(path, found) if found.name.startswith("mva_ray.") else allowed_outside(path, found))
    ]


def allowed_inside(path: PurePosixPath, found: Import) -> bool:
    part, target = part_of(".".join(path.with_suffix("").parts)), found.name.removeprefix("mva_ray.")
    allowed = ARROWS[part] | (LAZY_ARROWS.get(part, set()) if found.lazy else set())
    known_as = {part_of(target), ".".join(target.split(".")[:2])}
    return part_of(target) == part or not known_as.isdisjoint(allowed)


def allowed_outside(path: PurePosixPath, found: Import) -> bool:
    part, library = part_of(".".join(path.with_suffix("").parts)), found.name.partition(".")[0]
    if library == "ray" and not (path.name.startswith("ray_") or str(path) in ("explore.py", "pipeline.py")):
        return False
    if library == "pymoo" and part != "search" and str(path) != "maths/pareto.py":
        return False
    too_early = not found.lazy and library in NOT_AT_THE_TOP.get(part, set())
    return not too_early and library not in NEVER.get(part, set())


FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def test_there_is_something_to_check() -> None:
    assert {"config.py", "records.py", "data/check.py", "rewards.py"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_imports_follow_the_arrows(file: str) -> None:
    assert part_of(".".join(PurePosixPath(file).with_suffix("").parts)) in ARROWS, "a new part: add its arrows"
    assert violations(file, (PACKAGE / file).read_text(encoding="utf-8")) == []


def test_arrows_point_one_way() -> None:
    def reachable(part: str) -> set[str]:
        below = {target.partition(".")[0] for target in ARROWS[part]}
        return below.union(*map(reachable, below))

    assert not [part for part in ARROWS if part in reachable(part)]


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("records.py", "from mva_ray.errors import MvaError", "mva_ray.errors.MvaError"),
        ("maths/hsic.py", "from pathlib import Path", "pathlib.Path"),
        ("config.py", "import mva_ray.data.files", "mva_ray.data.files"),
        ("config_yaml.py", "from mva_ray import data", "mva_ray.data"),
        ("data/files.py", "from ..training import dpo", "mva_ray.training.dpo"),
        ("data/files.py", "from .. import training", "mva_ray.training"),
        ("table/frame.py", "from mva_ray.maths.hsic import hsic", "mva_ray.maths.hsic.hsic"),
        ("table/frame.py", "from mva_ray.maths import hsic", "mva_ray.maths.hsic"),
        ("rewards.py", "def f():\n    from mva_ray.errors import MvaError", "mva_ray.errors.MvaError"),
        ("evaluation/generate.py", "def f():\n    import ray", "ray"),
        ("evaluation/generate.py", "from ray.util import queue", "ray.util.queue"),
        ("training/dpo.py", "import pymoo.core.problem", "pymoo.core.problem"),
        ("compare/judge.py", "import ray", "ray"),
        ("service/query.py", "import torch", "torch"),
        ("cli.py", "from mva_ray.pipeline import explore", "mva_ray.pipeline.explore"),
        ("plan.py", "from mva_ray.cli import main", "mva_ray.cli.main"),
    ],
)
def test_a_planted_violation_is_found(file: str, source: str, found: str) -> None:
    assert violations(file, source) == [f"mva_ray/{file}:{source.count(chr(10)) + 1} imports {found}"]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("evaluation/ray_evaluation.py", "import ray"),
        ("pipeline.py", "import ray"),
        ("maths/pareto.py", "from pymoo.indicators.hv import HV"),
        ("search/nsga2.py", "import pymoo"),
        ("table/frame.py", "from mva_ray.maths import pareto"),
        ("table/frame.py", "from .schema import SCHEMA"),
        ("cli.py", "def run():\n    from mva_ray.pipeline import explore"),
        ("service/query.py", "def chat():\n    import torch\n    from mva_ray.adapters import blend"),
        ("config.py", "from mva_ray.config_yaml import read_yaml"),
    ],
)
def test_what_is_allowed_passes(file: str, source: str) -> None:
    assert violations(file, source) == []
