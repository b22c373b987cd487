"""Which files a reward's module imports from beside it: found by reading, so that nothing has to run."""

from pathlib import Path

import pytest

from mva_ray import rewards
from mva_ray.evaluation.neighbours import neighbours


def write(directory: Path, **files: str) -> None:
    """Modules by name, `__` for a package's dot."""
    for name, source in files.items():
        path = directory.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import json, os.path", []),
        ("import a", ["a"]),
        ("import a as b", ["a"]),
        ("from a import x", ["a"]),
        ("from a import *", ["a"]),
        ("def score():\n    import a", ["a"]),
        ("try:\n    import a\nexcept ImportError:\n    import missing", ["a"]),
        ("import b.c", ["b.c"]),
        ("from b import c", ["b.c"]),
        ("from b.c import x", ["b.c"]),
        ("import chain", ["a", "chain"]),
        ("import circle", ["circle"]),
        ("import broken", ["broken"]),
        ("from mva_ray.rewards import brief", []),
        ("not python at all", []),
    ],
)
def test_imports_of_a_module(tmp_path: Path, source: str, found: list[str]) -> None:
    write(tmp_path, a="x = 1", b__c="x = 1", chain="import a", circle="import mine", broken="x = = 1", mine=source)
    write(tmp_path, mva_ray__rewards="x = 1", stranger="x = 1")
    assert sorted(neighbours("mine", tmp_path / "mine.py", [])) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from . import util", ["pack.util"]),
        ("from .util import x", ["pack.util"]),
        ("from ..top import x", ["top"]),
        ("from pack import util", ["pack.util"]),
        ("import top", ["top"]),
        ("from pack.sub.deep import x", ["pack.sub", "pack.sub.deep"]),
    ],
)
def test_imports_of_a_module_in_a_package(tmp_path: Path, source: str, found: list[str]) -> None:
    write(tmp_path, pack__util="", pack__mine=source, top="", pack__sub__deep="")
    (tmp_path / "pack/sub/__init__.py").touch()
    assert sorted(neighbours("pack.mine", tmp_path / "pack/mine.py", [])) == found


def test_a_package_imports_what_is_in_it(tmp_path: Path) -> None:
    write(tmp_path, pack__util="")
    (tmp_path / "pack/__init__.py").write_text("from .util import x")
    assert neighbours("pack", tmp_path / "pack/__init__.py", []) == {"pack.util": tmp_path / "pack/util.py"}


def test_other_directories_are_looked_in_after_its_own(tmp_path: Path) -> None:
    """A module beside the config may import one of the current directory."""
    write(tmp_path / "config", mine="import a, b", a="")
    write(tmp_path / "here", a="", b="")
    found = neighbours("mine", tmp_path / "config/mine.py", [tmp_path / "config", tmp_path / "here"])
    assert found == {"a": tmp_path / "config/a.py", "b": tmp_path / "here/b.py"}


def test_what_is_installed_is_no_neighbour() -> None:
    """Its version is the function's own to say. That holds for our own rewards, too."""
    assert neighbours("pytest", Path(pytest.__file__), []) == {}
    assert rewards.__file__ is not None
    assert neighbours("mva_ray.rewards", Path(rewards.__file__), [Path.cwd()]) == {}
