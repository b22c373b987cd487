"""From adapters to candidates, on a known reward surface: budgets, fronts, failures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mva_ray.compare.methods import METHODS
from mva_ray.compare.scoring import Blend, Scoring
from mva_ray.config import RunConfig
from mva_ray.constraints import Limit
from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.evaluate import EvaluationSetting, failed, succeeded
from mva_ray.records import Evaluation, Generation
from tests.compare.test_methods import ingredients

VALUES = ("helpful", "harmless")


class Surface:
    """Two adapters that trade off: rewards w_1 - w_2^2 and w_2 - w_1^2; `broken` fails a blend."""

    def __init__(self, broken: Sequence[Blend] = ()) -> None:
        self.asked: list[tuple[str, Blend]] = []
        self._broken = list(broken)

    def evaluate(self, split: str, blends: Sequence[Blend]) -> list[Evaluation]:
        self.asked += [(split, blend) for blend in blends]
        return [self._evaluate(split, blend) for blend in blends]

    def _evaluate(self, split: str, blend: Mapping[str, float]) -> Evaluation:
        setting = EvaluationSetting("c", split, ("a?", "b?"), VALUES, "base", dict.fromkeys(blend, "sha"), {}, 0)
        weights = list(blend.values())
        if blend in self._broken:
            return failed(setting, weights, CandidateFailure("generation_raised", "boom"), 0.1)
        first = sum(number for name, number in blend.items() if name.startswith("helpful"))
        second = sum(number for name, number in blend.items() if name.startswith("harmless"))
        rewards = {"helpful": [first - second**2] * 2, "harmless": [second - first**2] * 2}
        return succeeded(setting, weights, [Generation("a?", "x", 1, False)] * 2, rewards, 0.1)


@pytest.fixture
def config() -> RunConfig:
    prompts = {split: {"path": f"/{split}.jsonl"} for split in ("train", "search", "held_out")}
    settings: dict[str, Any] = {
        "name": "c",
        "base_model": "org/model",
        "prompts": prompts,
        "values": [{"name": value, "reward": "mva_ray.rewards:brief"} for value in VALUES],
        "search": {"candidates": 10, "population": 4, "bounds": (0.0, 1.5)},
        "compare": {"candidates": 9},
    }
    return RunConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("name", "budget"),
    [(name, 9) for name in ("mva", "mva_c1", "mva_no_extrapolation", "soup", "vc_soup_free")]
    + [("soup_scaled", 8), ("dpo_lw", 4), ("dpo_seqt", 2)],
)
def test_no_method_evaluates_more_than_its_budget(config: RunConfig, name: str, budget: int) -> None:
    surface = Surface()
    scoring = Scoring(config, surface, {})
    scoring.search({name: METHODS[name].make(ingredients())})
    searched = [blend for split, blend in surface.asked if split == "search"]
    assert len(searched) == scoring.of(name).evaluations == budget
    held_out = [blend for split, blend in surface.asked if split == "held_out"]
    assert len(held_out) == len(scoring.of(name).candidates)
    assert all(blend in searched for blend in held_out)
    assert len(scoring.of(name).searched) == budget


def test_methods_search_side_by_side_and_find_what_each_finds_alone(config: RunConfig) -> None:
    """As many rounds as the longest search alone has, and not their sum."""

    class Rounds(Surface):
        rounds = 0

        def evaluate(self, split: str, blends: Sequence[Blend]) -> list[Evaluation]:
            self.rounds += 1
            return super().evaluate(split, blends)

    made = {name: METHODS[name].make(ingredients()) for name in ("mva", "mva_no_extrapolation", "soup", "dpo_lw")}
    surface = Rounds()
    together = Scoring(config, surface, {})
    together.search(made)
    longest = 0
    for name, method in made.items():
        by_itself = Rounds()
        alone = Scoring(config, by_itself, {})
        alone.search({name: method})
        assert together.of(name) == alone.of(name)
        longest = max(longest, by_itself.rounds)
    assert surface.rounds == longest


@pytest.mark.parametrize("name", ["soup", "mva_no_extrapolation"])
def test_convex_methods_stay_on_the_simplex(config: RunConfig, name: str) -> None:
    surface = Surface()
    Scoring(config, surface, {}).search({name: METHODS[name].make(ingredients())})
    assert all(sum(blend.values()) == pytest.approx(1, abs=2e-4) for _, blend in surface.asked)


def test_mva_leaves_the_simplex_and_the_papers_box_ends_at_one(config: RunConfig) -> None:
    highest = {}
    for name in ("mva", "mva_c1"):
        surface = Surface()
        Scoring(config, surface, {}).search({name: METHODS[name].make(ingredients())})
        assert any(abs(sum(blend.values()) - 1) > 0.1 for _, blend in surface.asked)
        highest[name] = max(max(blend.values(), default=0) for _, blend in surface.asked)
    assert highest["mva"] > highest["mva_c1"] == 1


def test_a_convex_search_finds_more_than_a_lattice_where_the_front_is_short(config: RunConfig) -> None:
    """All that trades off lies between 0.4 and 0.6 of the first adapter, where a lattice of nine has one point."""

    class Narrow(Surface):
        def _evaluate(self, split: str, blend: Mapping[str, float]) -> Evaluation:
            inside = [min(1.0, max(0.0, (number - 0.4) / 0.2)) for number in blend.values()]
            return super()._evaluate(split, dict(zip(blend, inside, strict=True)))

    found = {}
    for name in ("soup", "mva_no_extrapolation"):
        scoring = Scoring(config, Narrow(), {})
        scoring.search({name: METHODS[name].make(ingredients())})
        found[name] = len({tuple(one.search_means.values()) for one in scoring.of(name).candidates})
    assert found["mva_no_extrapolation"] > found["soup"]


def test_only_what_nothing_dominates_is_held_out(config: RunConfig) -> None:
    scoring = Scoring(config, Surface(), {})
    scoring.search({"soup": METHODS["soup"].make(ingredients())})
    means = [candidate.search_means for candidate in scoring.of("soup").candidates]
    assert means
    assert not any(all(b[v] >= a[v] for v in VALUES) and a != b for a in means for b in means)


def test_a_failed_candidate_is_told_and_left_out(config: RunConfig) -> None:
    method = METHODS["soup"].make(ingredients())
    broken = {method.adapters[0].directory: 1.0}
    scoring = Scoring(config, Surface([broken]), {})
    scoring.search({"soup": method})
    assert scoring.of("soup").failures == ["helpful 1, harmless 0: generation_raised: boom"]
    assert all(candidate.coefficients["helpful"] < 1 for candidate in scoring.of("soup").candidates)


@pytest.mark.parametrize("name", ["mva", "soup", "dpo_lw"])
def test_only_candidates_that_keep_the_constraints_are_on_a_front(config: RunConfig, name: str) -> None:
    """A value's mean is limited, so that a user who forbids it does not see it win; the search is told, too."""
    scoring = Scoring(config, Surface(), {"helpful": Limit(max=0.5)})
    scoring.search({name: METHODS[name].make(ingredients())})
    free = Scoring(config, Surface(), {})
    free.search({name: METHODS[name].make(ingredients())})
    best = max(candidate.search_means["helpful"] for candidate in free.of(name).candidates)
    assert best > 0.5 >= max(candidate.search_means["helpful"] for candidate in scoring.of(name).candidates)


def test_a_candidate_that_breaks_a_constraint_on_the_held_out_prompts_is_said_and_left_out(config: RunConfig) -> None:
    class Drifting(Surface):
        def evaluate(self, split: str, blends: Sequence[Blend]) -> list[Evaluation]:
            tokens = {"search": 10.0, "held_out": 30.0}[split]
            return [replace(row, metrics={"tokens": tokens}) for row in super().evaluate(split, blends)]

    scoring = Scoring(config, Drifting(), {"tokens": Limit(max=20)})
    scoring.search({"dpo_lw": METHODS["dpo_lw"].make(ingredients())})
    assert scoring.of("dpo_lw").candidates == []
    assert "0/1: infeasible on the held_out prompts: tokens 30 is 10 above 20" in scoring.of("dpo_lw").failures


def test_that_no_candidate_keeps_the_constraints_is_said(config: RunConfig) -> None:
    scoring = Scoring(config, Surface(), {"harmless": Limit(min=7)})
    scoring.search({"soup": METHODS["soup"].make(ingredients())})
    assert scoring.of("soup").failures == ["none of 9 candidates keeps the constraints"]
    assert scoring.of("soup").candidates == []


def test_a_search_most_of_whose_candidates_fail_stops_and_says_why(config: RunConfig) -> None:
    class Broken(Surface):
        def _evaluate(self, split: str, blend: Mapping[str, float]) -> Evaluation:
            setting = EvaluationSetting("c", split, ("a?",), VALUES, "base", dict.fromkeys(blend, "sha"), {}, 0)
            return failed(setting, list(blend.values()), CandidateFailure("actor_died", "boom"), 0.1)

    scoring = Scoring(config, Broken(), {})
    scoring.search({"mva": METHODS["mva"].make(ingredients())})
    assert scoring.of("mva").evaluations == 4, "the references"
    assert scoring.of("mva").failures[0] == "the search stopped: 4 of 4 candidates failed; most often: boom"


def test_base_and_single_adapters_are_held_out_once_asked(config: RunConfig) -> None:
    method = METHODS["mva"].make(ingredients())
    scoring = Scoring(config, Surface(), {})
    assert scoring.held_out({method.adapters[1].directory: 1.0}) is None
    scoring.hold_out([method])
    alone = scoring.held_out({method.adapters[1].directory: 1.0})
    assert alone is not None
    assert replace(alone, generations=()).reward_mean == {"helpful": -1.0, "harmless": 1.0}
    assert scoring.base == {"helpful": [0.0, 0.0], "harmless": [0.0, 0.0]}
