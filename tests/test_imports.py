"""Who may import whom: arrows between the rooms of mva_ray point one way (docs/architecture.md).

A room is a folder of the package, or a module in its root.
"""

from pathlib import PurePosixPath

import pytest

from tests.support.shape import PACKAGE, Import, arrows, files, imports, package_of, room_of

MOST_ROOT_MODULES = 10

EVERYONE = {"records", "errors", "constraints", "run_dir"}

ARROWS: dict[str, set[str]] = {
    "": set(),
    "__main__": {"cli"},
    "records": set(),
    "errors": set(),
    "rewards": set(),
    "signals": {"errors"},
    "logs": set(),
    "maths": set(),
    "constraints": {"records"},
    "run_dir": {"records", "errors", "constraints"},
    "config": EVERYONE,
    "placement": EVERYONE | {"config"},
    "cluster": EVERYONE | {"config", "service"},
    "endpoint": EVERYONE | {"config"},
    "data": EVERYONE | {"config"},
    "adapters": EVERYONE | {"config"},
    "table": EVERYONE | {"maths.pareto", "maths.choice", "maths.redundancy"},
    "training": EVERYONE | {"config", "adapters", "maths", "placement"},
    "evaluation": EVERYONE | {"config", "adapters", "endpoint", "placement"},
    "reward_model": EVERYONE | {"config", "data", "adapters", "evaluation.reward"},
    "search": EVERYONE | {"config", "maths", "placement"},
    "checks": EVERYONE | {"config", "data", "adapters", "table", "evaluation", "search", "placement"},
    "plan": EVERYONE | {"config", "data", "adapters", "table", "evaluation", "checks", "placement"},
    "stages": EVERYONE
    | {"config", "data", "adapters", "table", "evaluation", "search", "training", "placement"}
    | {"plan", "signals"},
    "report": EVERYONE | {"table"},
    "service": EVERYONE | {"table", "maths"},
    "export": EVERYONE | {"table", "adapters"},
    "serve": EVERYONE | {"adapters", "table", "evaluation", "service", "export", "cluster"},
    "pipeline": EVERYONE | {"checks", "plan", "stages", "report"},
    "explore": EVERYONE | {"plan", "pipeline", "service", "signals", "logs"},
    "compare": EVERYONE
    | {"config", "adapters", "table", "evaluation", "search", "training", "maths", "endpoint"}
    | {"checks", "plan", "stages", "report"},
    "cli": EVERYONE | {"export", "service", "signals"},
}
"""What each room may import of the project, besides itself; a dotted name stands for that module alone."""

LAZY_ARROWS: dict[str, set[str]] = {
    "pipeline": {"cluster"},
    "cli": {
        "adapters",
        "checks",
        "cluster",
        "compare",
        "config",
        "explore",
        "export",
        "report",
        "reward_model",
        "serve",
    },
}
"""What a room may import besides, inside functions only: queries start fast."""

SLOW = {"ray", "torch", "transformers"}
NOT_AT_THE_TOP: dict[str, set[str]] = dict.fromkeys(
    ("config", "rewards", "service", "table", "report", "cli", "run_dir"), SLOW
)
"""Libraries that a room must not load when it is imported."""

NEVER: dict[str, set[str]] = {"maths": {"ray", "transformers", "peft", "trl", "pathlib", "os"}}
"""Libraries that a room must not use at all: maths works on arrays, without files."""


def violations(file: str, source: str) -> list[str]:
    """The forbidden imports of a file of the package, such as `data/files.py`."""
    path = PurePosixPath(file)
    return [
        f"mva_ray/{file}:{found.line} imports {found.name}"
        for found in imports(source, package_of(path))
        if not (allowed_inside(path, found) if found.name.startswith("mva_ray.") else allowed_outside(path, found))
    ]


def own_room(path: PurePosixPath) -> str:
    return room_of(".".join(path.with_suffix("").parts))


def allowed_inside(path: PurePosixPath, found: Import) -> bool:
    room, target = own_room(path), found.name.removeprefix("mva_ray.")
    allowed = ARROWS[room] | (LAZY_ARROWS.get(room, set()) if found.lazy else set())
    known_as = {room_of(target), ".".join(target.split(".")[:2])}
    return room_of(target) == room or not known_as.isdisjoint(allowed)


def allowed_outside(path: PurePosixPath, found: Import) -> bool:
    room, library = own_room(path), found.name.partition(".")[0]
    if library == "ray" and not path.name.startswith("ray_"):
        return False
    if library == "pymoo" and room != "search" and str(path) != "maths/pareto.py":
        return False
    too_early = not found.lazy and library in NOT_AT_THE_TOP.get(room, set())
    return not too_early and library not in NEVER.get(room, set())


FILES = list(map(str, files()))


def test_there_is_something_to_check() -> None:
    assert {"config/run.py", "records.py", "checks/data.py", "rewards.py"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_imports_follow_the_arrows(file: str) -> None:
    assert own_room(PurePosixPath(file)) in ARROWS, "a new room: add its arrows"
    assert violations(file, (PACKAGE / file).read_text(encoding="utf-8")) == []


def test_arrows_point_one_way() -> None:
    def reachable(room: str) -> set[str]:
        below = {target.partition(".")[0] for target in ARROWS[room]}
        return below.union(*map(reachable, below))

    assert not [room for room in ARROWS if room in reachable(room)]


def test_every_arrow_that_is_allowed_is_there() -> None:
    """Permissions that nothing uses would let in what the layout does not show."""
    used = arrows()
    allowed = {
        (room, target.partition(".")[0])
        for table in (ARROWS, LAZY_ARROWS)
        for room, targets in table.items()
        for target in targets - EVERYONE
    }
    assert sorted(allowed - used) == []


def test_the_root_stays_small() -> None:
    root = [file for file in FILES if "/" not in file and not file.startswith("__")]
    assert len(root) <= MOST_ROOT_MODULES


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("records.py", "from mva_ray.errors import MvaError", "mva_ray.errors.MvaError"),
        ("maths/hsic.py", "from pathlib import Path", "pathlib.Path"),
        ("config/run.py", "import mva_ray.data.files", "mva_ray.data.files"),
        ("config/document.py", "from mva_ray import data", "mva_ray.data"),
        ("data/files.py", "from ..training import dpo", "mva_ray.training.dpo"),
        ("data/files.py", "from .. import training", "mva_ray.training"),
        ("table/frame.py", "from mva_ray.maths.hsic import hsic", "mva_ray.maths.hsic.hsic"),
        ("table/frame.py", "from mva_ray.maths import hsic", "mva_ray.maths.hsic"),
        ("rewards.py", "def f():\n    from mva_ray.errors import MvaError", "mva_ray.errors.MvaError"),
        ("evaluation/local.py", "def f():\n    import ray", "ray"),
        ("evaluation/local.py", "from ray.util import queue", "ray.util.queue"),
        ("training/dpo.py", "import pymoo.core.problem", "pymoo.core.problem"),
        ("compare/judge.py", "import ray", "ray"),
        ("pipeline.py", "import ray", "ray"),
        ("service/query.py", "import torch", "torch"),
        ("cli.py", "from mva_ray.pipeline import explore", "mva_ray.pipeline.explore"),
        ("plan/keys.py", "from mva_ray.cli import main", "mva_ray.cli.main"),
    ],
)
def test_a_planted_violation_is_found(file: str, source: str, found: str) -> None:
    assert violations(file, source) == [f"mva_ray/{file}:{source.count(chr(10)) + 1} imports {found}"]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("evaluation/ray_actors.py", "import ray"),
        ("maths/pareto.py", "from pymoo.indicators.hv import HV"),
        ("search/nsga2.py", "import pymoo"),
        ("table/frame.py", "from mva_ray.maths import pareto"),
        ("table/frame.py", "from .schema import SCHEMA"),
        ("cli.py", "def run():\n    from mva_ray.explore import explore_and_show"),
        ("service/query.py", "def chat():\n    import torch"),
        ("config/run.py", "from mva_ray.config.document import read_yaml"),
    ],
)
def test_what_is_allowed_passes(file: str, source: str) -> None:
    assert violations(file, source) == []
