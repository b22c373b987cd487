"""Two candidates against each other."""

import io
import json
from pathlib import Path

import pytest

from mva_ray.errors import ConfigError
from mva_ray.service.diff import diff
from mva_ray.service.show import show
from tests.support.evaluations import VALUES, answered, failed, make_run

WEIGHTS = {"positive": 1.0, "brief": 0.5}
FIRST = [{"positive": 1.0, "brief": 5.0}, {"positive": 2.0, "brief": 1.0}, {"positive": 3.0, "brief": 1.0}]
SECOND = [{"positive": 0.0, "brief": 1.0}, {"positive": 0.0, "brief": 1.0}, {"positive": 0.0, "brief": 1.0}]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    rows = [
        answered("first", WEIGHTS, FIRST, ["[bold]\x1b[31mred", "same", "a"]),
        answered("second", WEIGHTS, SECOND, ["", "same", "b"]),
        answered("first", WEIGHTS, SECOND, split="search"),
        answered("third", WEIGHTS, FIRST, split="search"),
        failed("broken", WEIGHTS),
    ]
    make_run(run, rows, VALUES[:2])
    return run


def test_by_hand(run: Path) -> None:
    """Differences of positive: 1, 2, 3 (mean 2, t = 2 sqrt 3); of brief: 4, 0, 0."""
    found = diff(run, "fi", "second")
    assert (found.first, found.second, found.split, found.n_prompts, found.same) == (
        "first",
        "second",
        "held_out",
        3,
        1,
    )
    positive, brief = found.values["positive"], found.values["brief"]
    assert (positive.first, positive.second, positive.difference.estimate) == (2, 0, 2)
    assert positive.difference.low == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3)
    assert positive.p == pytest.approx(0.0742, abs=1e-3)
    assert brief.difference.holds_zero
    assert [prompt.prompt for prompt in found.prompts] == ["prompt 2", "prompt 0"]
    assert found.prompts[0].first_rewards == FIRST[2]
    assert found.prompts[0].distance == pytest.approx(3 / (2 / 3) ** 0.5)
    assert found.prompts[1].distance == pytest.approx(1 / (2 / 3) ** 0.5 + 4 / (32 / 9) ** 0.5)


def test_the_other_way_round(run: Path) -> None:
    one, other = diff(run, "first", "second"), diff(run, "second", "first")
    for value in VALUES[:2]:
        assert one.values[value].difference.estimate == -other.values[value].difference.estimate
        assert one.values[value].p == other.values[value].p


def test_on_the_prompts_that_both_have(run: Path) -> None:
    assert diff(run, "first", "third").split == "search"
    assert diff(run, "first", "second", prompts=1).prompts[0].prompt == "prompt 2"
    with pytest.raises(ConfigError, match="second and third have no prompts in common"):
        diff(run, "second", "third")


def test_every_problem_at_once(run: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        diff(run, "nobody", "broken")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["candidate 'nobody'", "candidate 'broken'"]
    with pytest.raises(ConfigError, match="both are first: give two candidates"):
        diff(run, "first", "fir")


def test_what_a_model_says_does_not_steer_the_terminal(run: Path) -> None:
    out = io.StringIO()
    show(diff(run, "first", "second"), "table", out)
    assert "\x1b" not in out.getvalue()
    assert "[bold]" in out.getvalue()
    assert "(nothing)" in out.getvalue()
    assert "1 of 3 prompts are answered alike" in out.getvalue()


def test_json(run: Path) -> None:
    out = io.StringIO()
    show(diff(run, "first", "second"), "json", out)
    parsed = json.loads(out.getvalue())
    assert parsed["prompts"][1]["first"] == "[bold]\x1b[31mred"
    assert parsed["values"]["positive"]["difference"]["estimate"] == 2
