"""A whole comparison on a tiny model, on real Ray: the result, what is shared, what a second run computes."""

import json
from pathlib import Path

import pytest
import yaml

import mva_ray.rewards
from mva_ray.adapters.hashes import delta_hash
from mva_ray.compare.ray_compare import compare
from mva_ray.compare.results import ComparisonResult, read_result
from mva_ray.errors import ConfigError
from mva_ray.table import ParetoTable
from tests.test_pipeline import SEARCH, VALUES, write_config

METHODS = ["mva", "mva_no_hsic", "soup", "dpo_lw", "vc_soup"]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def config(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five methods, one seed; no pair is consistent enough for VC-Soup, and every candidate keeps the constraints."""
    settings = {
        "seeds": [3],
        "methods": METHODS,
        "candidates": 6,
        "weight_partitions": 2,
        "consistency": 1.0,
        "alphas": [0.5],
    }
    limits = {"base_nll": {"max": 1000}, "calm": {"reward": "mva_ray.rewards:brief", "min": -1000}}
    search = {name: setting for name, setting in SEARCH.items() if name != "answers"}
    directory = tmp_path_factory.mktemp("compared")
    return write_config(directory, tiny_model, compare=settings, constraints=limits, search=search)


@pytest.fixture(scope="module")
def compared(config: Path) -> tuple[Path, ComparisonResult]:
    directory = Path(compare(config, config.parent / "out"))
    return directory, read_result(directory / "comparison.json.gz")


def test_every_method_has_a_front_or_says_why_not(compared: tuple[Path, ComparisonResult]) -> None:
    directory, result = compared
    assert [run.name for run in result.methods] == METHODS
    assert all(run.candidates and not run.failures for run in result.methods[:-1])
    broken = result.methods[-1]
    assert not broken.candidates
    assert "pairs of 'brief' have a consistency of at least 1, fewer than training.pairs_per_step" in broken.failures[0]
    assert {path.name for path in directory.iterdir()} >= {"report.html", "README.md", "fronts.png", "table"}
    assert "VC-Soup" in (directory / "README.md").read_text()
    assert all({"base_nll", "calm"} <= row.metrics.keys() for row in ParetoTable(directory).evaluations())


def test_budgets_and_rewards_are_those_of_the_config(compared: tuple[Path, ComparisonResult]) -> None:
    _, result = compared
    assert {run.name: run.evaluations for run in result.methods[:-1]} == {
        "mva": 6,
        "mva_no_hsic": 6,
        "soup": 6,
        "dpo_lw": 3,
    }
    assert (result.seeds, result.values, len(result.prompts)) == ([3], VALUES, 6)
    assert {(single.penalty, single.value) for single in result.singles} == {
        (penalty, value) for penalty in ("hsic", "none") for value in VALUES
    }
    assert [(alpha.alpha, alpha.penalty) for alpha in result.alphas] == [(0, "hsic"), (0.003, "hsic"), (0.5, "hsic")]
    fronts = {run.name: run.candidates for run in result.methods}
    assert [alpha.candidates for alpha in result.alphas] == [fronts["mva_no_hsic"], fronts["mva"], []]
    assert {pair.penalty for pair in result.interference} == {"hsic", "none"}


def test_methods_share_adapters(compared: tuple[Path, ComparisonResult]) -> None:
    """Two plain ones, one decorrelated, one for alpha, one for equal weights: five in all."""
    adapters = sorted(path.name.rpartition("-")[0] for path in (compared[0] / "seed-3" / "adapters").iterdir())
    assert adapters == ["brief", "dpo_lw_0.50_0.50", "thorough", "thorough_hsic", "thorough_hsic"]


def test_a_second_run_computes_nothing_anew(config: Path, compared: tuple[Path, ComparisonResult]) -> None:
    directory, result = compared
    rows = {path.name for path in (directory / "table").glob("*.parquet")}
    compare(config, directory)
    assert {path.name for path in (directory / "table").glob("*.parquet")} == rows
    assert read_result(directory / "comparison.json.gz") == result


def test_adapters_that_are_brought_are_blended_and_not_trained(
    config: Path, compared: tuple[Path, ComparisonResult], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first value's own adapter of another comparison: only the second is trained, penalised against it."""
    (mine,) = (compared[0] / "seed-3" / "adapters").glob("brief-*")
    written = yaml.safe_load(config.read_text())
    del written["constraints"]
    written["values"][0] = {"name": "brief", "reward": "noted_rewards:brief", "adapter": str(mine)}
    words = {"brief": "Be brief.", "thorough": "Be thorough."}
    written["compare"] = {
        "seeds": [3],
        "methods": ["mva", "soup"],
        "candidates": 6,
        "instructions": words,
        "best_of": 3,
    }
    own = config.with_name("own.yaml")
    own.write_text(yaml.safe_dump(written))
    directory = Path(compare(own, config.parent / "own"))
    assert "adapters: 1 of 3 are there, 2 to train" in capsys.readouterr().out
    result = read_result(directory / "comparison.json.gz")
    assert all(run.candidates and not run.failures for run in result.methods)
    adapters = directory / "seed-3" / "adapters"
    (copied,) = adapters.glob("brief-*")
    assert delta_hash(copied) == delta_hash(mine)
    assert len(list(adapters.glob("thorough-*"))) == len(list(adapters.glob("thorough_hsic-*"))) == 1
    assert {pair.penalty for pair in result.interference} == {"hsic", "none"}
    _check_yardsticks(directory, result)
    answers = {path.name: path.stat().st_mtime_ns for path in (directory / "yardsticks").iterdir()}
    compare(own, directory)
    assert {path.name: path.stat().st_mtime_ns for path in (directory / "yardsticks").iterdir()} == answers
    assert read_result(directory / "comparison.json.gz") == result


def _check_yardsticks(directory: Path, result: ComparisonResult) -> None:
    """They are marked; rewards are told the prompts alone, and the model what comes after them as well."""
    prompting, best = result.methods[-2:]
    assert [(run.name, run.yardstick, run.evaluations) for run in result.methods] == [
        *(("mva", False, 6), ("soup", False, 6)),
        *(("prompting", True, 3), ("best_of_n", True, 5)),
    ]
    assert {candidate.label for candidate in prompting.candidates} <= {"brief", "thorough", "brief and thorough"}
    for run in (prompting, best):
        assert all(mva_ray.rewards.brief([], one.completions) == one.rewards["brief"] for one in run.candidates)
    noted = map(json.loads, (directory.parent / "scored.jsonl").read_text().splitlines())
    assert not [prompt for prompt, _ in noted if "Be brief." in prompt or "Be thorough." in prompt]
    assert "Without training anything, " in (directory / "README.md").read_text()


def test_methods_that_need_the_pairs_of_all_values_are_refused_beside_a_brought_adapter(
    config: Path, compared: tuple[Path, ComparisonResult], tmp_path: Path
) -> None:
    (mine,) = (compared[0] / "seed-3" / "adapters").glob("brief-*")
    own = config.with_name("refused.yaml")
    text = config.read_text().replace("reward: noted_rewards:brief", f"reward: noted_rewards:brief\n  adapter: {mine}")
    own.write_text(text)
    with pytest.raises(
        ConfigError, match=r"compare\.methods: dpo_lw, vc_soup train on pairs of every value, and 'brief'"
    ):
        compare(own, tmp_path)


def test_coefficients_per_block_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, tiny_model, search={"coefficients": "per_value_and_block", "blocks": 2})
    with pytest.raises(ConfigError) as caught:
        compare(config, tmp_path / "out")
    (problem,) = caught.value.problems
    assert (
        "search.coefficients: every method is compared with one coefficient a value: leave it at per_value" in problem
    )
    assert not (tmp_path / "out").exists()
