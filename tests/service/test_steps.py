"""A way from the worst corner of a run's front to a candidate, by the names of those one walks towards."""

import io
from pathlib import Path

import pytest

from mva_ray.errors import ConfigError
from mva_ray.service.show import show
from mva_ray.service.steps import names_in, steps
from tests.support.evaluations import make_run, ok

MEANS = {"first": (0.0, 8.0), "second": (1.0, 4.0), "third": (2.0, 2.0), "fourth": (4.0, 0.0), "lower": (0.5, 1.0)}
VALUES = ("positive", "brief")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    def pair(numbers: tuple[float, float]) -> dict[str, float]:
        return dict(zip(VALUES, numbers, strict=True))

    make_run(tmp_path, [ok(name, pair((0.1 * i, 0.2)), pair(m)) for i, (name, m) in enumerate(MEANS.items())], VALUES)
    return tmp_path


def test_a_way_by_hand(run: Path) -> None:
    begun = steps(run, of=2)
    assert (begun.here.means, begun.here.towards) == ({"positive": 0.0, "brief": 0.0}, None)
    assert begun.here.best == {"positive": 4.0, "brief": 8.0}
    assert {point.towards for point in begun.offered} == {"first", "second", "third", "fourth"}
    half = next(point for point in begun.offered if point.towards == "second")
    assert (half.means, half.reachable) == ({"positive": 0.5, "brief": 2.0}, ("third", "second"))
    assert half.best == {"positive": 2.0, "brief": 4.0}
    then = steps(run, ["sec"], 2)
    assert (then.here, then.left, then.chosen) == (half, 1, None)
    end = steps(run, ["second", "third"], 2)
    assert (end.chosen, end.offered, end.here.means) == ("third", (), {"positive": 2.0, "brief": 2.0})


@pytest.mark.parametrize(
    ("taken", "of", "words"),
    [
        (["second", "first"], 3, "no such candidate within reach: step 2 can go towards"),
        (["lower"], 3, "no such candidate within reach"),
        (["f"], 3, "2 candidates begin with it"),
        (["first"] * 3, 2, "3 taken of 2"),
        ([], 0, "1 to 20 steps"),
    ],
)
def test_steps_that_cannot_be_taken(run: Path, taken: list[str], of: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        steps(run, taken, of)


def test_names_as_people_type_them() -> None:
    assert names_in(" a, b,") == ["a", "b"]
    assert names_in(None) == names_in("") == []


def test_it_says_how_to_go_on(run: Path) -> None:
    out = io.StringIO()
    show(steps(run, ["second"], 2), "table", out)
    assert "Step 2 of 2" in out.getvalue()
    assert "--towards second,CANDIDATE" in out.getvalue()
    show(steps(run, ["second", "third"], 2), "table", out)
    assert "arrived at third" in out.getvalue()
