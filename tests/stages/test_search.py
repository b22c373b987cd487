"""The search stage where all is in the table: nothing is proposed twice, and nothing is told to another candidate.

There is no Ray here: whatever would have to be evaluated raises.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mva_ray.config import load_config
from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.evaluate import failed, succeeded
from mva_ray.plan.keys import make_plan
from mva_ray.records import Coefficients, Evaluation, Generation, Proposal
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.search.proposer import make_proposer
from mva_ray.search.results import Reader
from mva_ray.search.rounds import Rounds
from mva_ray.stages import search as stage
from mva_ray.stages.adapters import value_adapters
from mva_ray.stages.evaluations import Evaluations
from mva_ray.stages.run import Run
from tests.support.tiny import random_adapter
from tests.test_pipeline import write_config

SEARCH = {"method": "nsga2", "candidates": 10, "population": 4, "bounds": [-0.5, 1.5]}
NO_RAY = "no Ray to compute with"


@dataclass
class Directory:
    """A run directory, and the adapters that its configs bring."""

    path: Path
    model: Path

    def opened(self, values: Sequence[dict[str, Any]], **search: Any) -> tuple[Run, Evaluations]:
        config = load_config(write_config(self.path, self.model, values=list(values), search=SEARCH | search))
        run = Run(config, make_plan(config), RunDirectory(self.path / "run"))
        return run, Evaluations(run, value_adapters(run, {}))

    def evaluated(self, values: Sequence[dict[str, Any]], **search: Any) -> list[Coefficients]:
        """Everything that the search proposes is in the table now, in this order."""
        run, evaluations = self.opened(values, **search)
        config, setting = run.config, evaluations.settings["search"]
        references, pending = evaluations.references(), evaluations.at_once("search")
        rounds = Rounds(make_proposer(config.search, config.bounds, 2, references, config.seed, pending))
        while asked := rounds.ask():
            rows = [evaluated(evaluations, proposal.coefficients) for proposal in asked]
            evaluations.table.append(rows)
            for proposal, row in zip(asked, rows, strict=True):
                rounds.tell(Reader(setting.values).result(proposal, row))
        return [proposal.coefficients for proposal in rounds.proposals]


def evaluated(evaluations: Evaluations, row: Coefficients) -> Evaluation:
    """`brief` rewards its own coefficient alone, `thorough` dislikes it."""
    setting = evaluations.settings["search"]
    w = dict(zip(setting.adapters, row, strict=True))
    means = {"brief": w["brief"], "thorough": w["thorough"] - 2 * w["brief"]}
    rewards = {value: (np.arange(len(setting.prompts)) + mean).tolist() for value, mean in means.items()}
    answers = [Generation(prompt, "x", 1, False) for prompt in setting.prompts]
    return succeeded(setting, row, answers, rewards, 1.0)


@pytest.fixture(scope="module")
def values(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The bounds differ, so that a swap is no symmetry."""
    directory = tmp_path_factory.mktemp("adapters")
    bounds = {"brief": [-0.5, 0.5], "thorough": [0.75, 2.25]}
    return [
        {
            "name": name,
            "reward": f"mva_ray.rewards:{name}",
            "adapter": str(random_adapter(directory / name, tiny_model, seed, r=2, alpha=4)),
            "bounds": interval,
        }
        for seed, (name, interval) in enumerate(bounds.items())
    ]


@pytest.fixture
def directory(tmp_path: Path, tiny_model: Path) -> Directory:
    return Directory(tmp_path, tiny_model)


@pytest.fixture
def forbid_proposals(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid(*arguments: object) -> None:
        raise AssertionError("a proposer was made")

    return lambda: monkeypatch.setattr(stage, "make_proposer", forbid)


def test_a_search_whose_trials_end_early_is_not_finished(
    directory: Directory, values: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune returns where its trials fail, too; the front of what is there would be taken for the front."""
    monkeypatch.setattr(stage, "_run_trials", lambda run, evaluations, rounds: None)
    run, evaluations = directory.opened(values)
    with pytest.raises(RunError, match=r"^the search ended with 0 of 10 candidates evaluated: what was computed"):
        stage.search(run, evaluations)
    assert run.directory.search.read_object() is None


def test_a_finished_search_is_proposed_again_once_at_most(
    directory: Directory, values: list[dict[str, Any]], forbid_proposals: Callable[[], None]
) -> None:
    """Run directories of earlier versions do not say that they have finished: these are replayed, once."""
    candidates = directory.evaluated(values)
    stage.search(*directory.opened(values))
    content = directory.opened(values)[0].directory.search.read_object()
    assert content is not None
    assert [tuple(row) for row, _ in content["asked"]] == candidates
    forbid_proposals()
    stage.search(*directory.opened(values))


@pytest.mark.parametrize("content", [b"", b'{"key": "', b"[]", b"7", b'{"key": 3}', b"\xff"])
def test_a_damaged_note_of_a_finished_search_is_replaced(
    directory: Directory, values: list[dict[str, Any]], content: bytes
) -> None:
    candidates = directory.evaluated(values)
    file = directory.opened(values)[0].directory.search
    file.write(content)
    stage.search(*directory.opened(values))
    assert [tuple(row) for row, _ in (file.read_object() or {})["asked"]] == candidates


@pytest.mark.parametrize("changes", [{"candidates": 9}, {"bounds": [-0.5, 1.4]}, {"population": 5}, {"evaluators": 9}])
def test_a_search_that_would_propose_something_else_is_proposed_again(
    directory: Directory, values: list[dict[str, Any]], forbid_proposals: Callable[[], None], changes: dict[str, Any]
) -> None:
    without_bounds = [{key: value[key] for key in value if key != "bounds"} for value in values]
    directory.evaluated(without_bounds)
    stage.search(*directory.opened(without_bounds))
    forbid_proposals()
    with pytest.raises(AssertionError, match="a proposer was made"):
        stage.search(*directory.opened(without_bounds, **changes))


def test_a_candidate_that_failed_is_tried_again_by_the_next_start(
    directory: Directory, values: list[dict[str, Any]]
) -> None:
    candidates = directory.evaluated(values)
    stage.search(*directory.opened(values))
    run, evaluations = directory.opened(values)
    table = evaluations.table.evaluations()
    setting = evaluations.settings["search"]
    failure = failed(setting, candidates[-1], CandidateFailure("reward_raised", "no luck"), 1.0)
    kept = [row for row in table if row.candidate != failure.candidate]
    other = replace(run, directory=RunDirectory(directory.path / "other"))
    other.directory.search.write_json(run.directory.search.read_object())
    again = Evaluations(other, value_adapters(other, {}))
    again.table.append([*kept, failure])
    with pytest.raises(RuntimeError, match=NO_RAY):
        stage.search(other, again)
    again.table.append([row for row in table if row.candidate == failure.candidate])
    stage.search(other, again)


def test_rows_are_found_by_the_names_of_the_values_when_these_change_places(
    directory: Directory, values: list[dict[str, Any]]
) -> None:
    """Everything that the grid wants is there, under the same names, and has the rewards of the same candidate."""
    candidates = directory.evaluated(values, method="grid", population=None, candidates=16)
    run, evaluations = directory.opened(values[::-1], method="grid", population=None, candidates=16)
    known = evaluations.known("search")
    assert list(known) == [row[::-1] for row in candidates]
    for (thorough, brief), row in known.items():
        outcome = Reader(evaluations.settings["search"].values).result(Proposal((thorough, brief)), row).outcome
        offset = (len(evaluations.settings["search"].prompts) - 1) / 2
        assert outcome.rewards == pytest.approx((thorough - 2 * brief + offset, brief + offset))
    stage.search(run, evaluations)


def test_a_search_that_only_looks_the_same_after_values_changed_places_is_not_taken_for_done(
    directory: Directory, values: list[dict[str, Any]]
) -> None:
    """NSGA-II draws other candidates of the swapped values: by position, half of them would be found."""
    directory.evaluated(values)
    stage.search(*directory.opened(values))
    with pytest.raises(RuntimeError, match=NO_RAY):
        stage.search(*directory.opened(values[::-1]))
