"""Cautions of a run: on the recorded surfaces they are said, on real trade-offs they are not."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mva_ray.table.cautions import cautions, redundant_values
from mva_ray.table.frame import flat_frame
from mva_ray.table.pareto_table import WITHOUT_TEXTS
from mva_ray.table.schema import to_arrow
from tests.support.evaluations import ok

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = {"brief": ("brief",), "thorough": ("thorough",)}


@pytest.fixture(scope="module", autouse=True)
def _benchmarks() -> None:
    sys.path.append(str(BENCHMARKS))


@pytest.mark.parametrize("name", ["surface_smollm2", "surface_smollm2_three"])
def test_the_recorded_values_are_nearly_one(name: str) -> None:
    from reward_surfaces import read_recorded

    surface = read_recorded(BENCHMARKS / f"{name}.json.gz")
    answers = surface.rewards.reshape(-1, *surface.rewards.shape[-2:])
    means, errors = answers.mean(axis=1), answers.std(axis=1) / np.sqrt(answers.shape[1])
    values = ["brief", "thorough", "positive"][: means.shape[1]]
    (line,) = redundant_values(means, errors, values)
    assert "is nearly a function of" in line
    assert "R² 0.9" in line


@pytest.mark.parametrize("n_values", [2, 3])
@pytest.mark.parametrize("name", ["distances", "collapse"])
def test_a_real_trade_off_is_left_in_peace(name: str, n_values: int) -> None:
    from reward_surfaces import SURFACES, Synthetic

    surface = Synthetic(SURFACES[name], n_values)
    for seed in range(5):
        w = np.random.default_rng(seed).uniform(0, 1.5, (24, n_values))
        assert not redundant_values(surface.measured(seed)(w), surface.errors(w), ["a", "b", "c"][:n_values])


def test_nothing_is_said_of_few_candidates_or_of_values_that_vary_by_their_errors_alone() -> None:
    curve = np.column_stack([np.arange(12), -np.arange(12)])
    assert redundant_values(curve, np.full((12, 2), 0.1), ["a", "b"])
    assert not redundant_values(curve[:7], np.full((7, 2), 0.1), ["a", "b"])
    assert not redundant_values(curve, np.full((12, 2), 10.0), ["a", "b"])


def test_a_run_is_told_of_both_faults_by_its_complete_search_rows() -> None:
    def rows(split: str) -> list[str]:
        weights = [{"brief": index / 10, "thorough": 0.0} for index in range(9)]
        made = [ok(f"c{w['brief']}", w, {"brief": w["brief"], "thorough": -w["brief"]}, split) for w in weights]
        for row in made:
            row.metrics["truncated"] = 0.75
        return cautions(flat_frame(to_arrow(made).select(WITHOUT_TEXTS), NAMES, {}), list(NAMES))

    function, cut_off = rows("search")
    assert function.startswith("'brief' is nearly a function of 'thorough' over 9 candidates (R² 1.000)")
    assert cut_off.startswith("75% of the answers to search prompts were cut off")
    assert rows("held_out") == []
