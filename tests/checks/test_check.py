"""One list of checks: what one caller refuses all refuse, in the same words and before anything is made."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mva_ray.checks.check import CHECKS, Needs, check, examine
from mva_ray.checks.show_data import show_data
from mva_ray.checks.subject import Purpose, Subject
from mva_ray.compare.ray_compare import compare
from mva_ray.config import read_config
from mva_ray.errors import ConfigError
from mva_ray.pipeline import explore
from mva_ray.placement.capacity import Capacity, NodeType
from mva_ray.plan.dry_run import dry_run
from tests.support.tiny import random_adapter

CALLERS: dict[Purpose, Callable[[Path, Path], object]] = {
    Purpose.EXPLORE: explore,
    Purpose.DRY_RUN: dry_run,
    Purpose.COMPARE: compare,
    Purpose.DATA_CHECK: lambda config, run_dir: show_data(config, io.StringIO()),
}


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path) -> dict[str, Any]:
    for split in ("train", "search", "held_out"):
        rows = [json.dumps({"prompt": f"{split} {number}"}) for number in range(4)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows))
    return {
        "name": "demo",
        "base_model": str(tiny_model),
        "prompts": {split: {"path": f"{split}.jsonl"} for split in ("train", "search", "held_out")},
        "values": [
            {"name": "brief", "reward": "mva_ray.rewards:brief"},
            {"name": "warm", "reward": "mva_ray.rewards:positive"},
        ],
        "search": {"resources": {"num_cpus": 0.5}},
    }


def write(directory: Path, settings: dict[str, Any]) -> Path:
    path = directory / "demo.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def problems_of(directory: Path, settings: dict[str, Any], purpose: Purpose) -> list[str]:
    found = examine(Subject(read_config(write(directory, settings)), purpose, directory / "run"))
    return [problem.text.partition(", ")[2] for problem in found.problems]


@pytest.mark.parametrize("purpose", Purpose)
def test_a_config_that_is_right_is_right_for_all(tmp_path: Path, settings: dict[str, Any], purpose: Purpose) -> None:
    config, warnings = check(write(tmp_path, settings), purpose)
    assert (config.name, [line for line in warnings if "scored two texts in" not in line]) == ("demo", [])


@pytest.mark.parametrize("purpose", Purpose)
def test_what_one_refuses_all_refuse(
    tmp_path: Path, settings: dict[str, Any], purpose: Purpose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every kind one, at once: data, adapters, modules, runs and where the run would be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "held_out.jsonl").write_text('{"prompt": "search 1"}\n{"prompt": "p"}\n')
    settings["values"].append({"name": "mine", "reward": "mva_ray.rewards:plain", "adapter": "nowhere"})
    settings["training"] = {"lora": {"target_modules": ["q_proj", "v_porj"]}}
    with pytest.raises(ConfigError) as caught:
        CALLERS[purpose](write(tmp_path, settings), tmp_path / "file" / "run")
    assert caught.value.exit_code == 2
    refused = [problem.partition(": ")[0].partition(", ")[2] for problem in caught.value.problems]
    expected = ["prompts.held_out.path", "values[2].adapter", "training.lora.target_modules[1]"]
    assert [location for location in refused if location] == expected
    needs_pairs = any("train on pairs of every value, and 'mine' brings" in one for one in caught.value.problems)
    assert needs_pairs is (purpose is Purpose.COMPARE)
    unplaced = any("the run directory" in problem for problem in caught.value.problems)
    assert unplaced is (purpose is not Purpose.DATA_CHECK)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("purpose", [Purpose.EXPLORE, Purpose.DRY_RUN, Purpose.DATA_CHECK])
def test_where_nothing_is_trained_its_settings_do_not_matter(
    tmp_path: Path, settings: dict[str, Any], purpose: Purpose, tiny_gpt2: Path
) -> None:
    """GPT-2 has none of the modules that training adapts by default."""
    trained = settings | {"base_model": str(tiny_gpt2)}
    assert len(problems_of(tmp_path, trained, purpose)) == 4
    for value in settings["values"]:
        directory = tmp_path / value["name"]
        random_adapter(directory, tiny_gpt2, 1, r=2, alpha=4, target_modules=["c_attn"])
        value["adapter"] = str(directory)
    assert problems_of(tmp_path, settings | {"base_model": str(tiny_gpt2)}, purpose) == []


@pytest.mark.parametrize(
    ("section", "written", "refused"),
    [
        ("search", {"answers": 96}, "search.answers: every candidate of a comparison answers all prompts"),
        ("training", {"schedule": "concurrent"}, "training.schedule: adapters of a comparison build on each other"),
        ("compare", {"box": {"nobody": [0, 1]}}, "compare.box: needs a reference point and an ideal for each value"),
        ("compare", {"instructions": {"nobody": "Hush."}}, "compare.instructions: needs a sentence for each value"),
        (
            "search",
            {"coefficients": "per_value_and_block", "blocks": 2},
            "search.coefficients: every method is compared with one coefficient a value",
        ),
    ],
)
def test_what_would_change_a_comparison_is_refused(
    tmp_path: Path, settings: dict[str, Any], section: str, written: dict[str, Any], refused: str
) -> None:
    settings[section] = settings.get(section, {}) | written
    (problem,) = problems_of(tmp_path, settings, Purpose.COMPARE)
    assert problem.startswith(refused)
    assert problems_of(tmp_path, settings, Purpose.EXPLORE) == []


def test_a_yardstick_knows_no_constraints(tmp_path: Path, settings: dict[str, Any]) -> None:
    limited = settings | {"constraints": {"base_nll": {"max": 2}}, "compare": {"best_of": 4}}
    (problem,) = problems_of(tmp_path, limited, Purpose.COMPARE)
    assert problem.startswith("constraints: compare.best_of would not keep them")
    assert problems_of(tmp_path, limited, Purpose.EXPLORE) == []


def test_earlier_runs_are_nothing_to_a_comparison(tmp_path: Path, settings: dict[str, Any]) -> None:
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "run.json").write_text("{}")
    problems = problems_of(tmp_path, settings | {"warm_start": ["earlier"]}, Purpose.COMPARE)
    assert "warm_start: every method of a comparison starts anew: leave warm_start out" in problems


def test_what_a_comparison_has_settings_of_its_own_for_is_said(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings |= {"seed": 3, "constraints": {"tokens": {"max": 30}}}
    settings["search"]["candidates"] = 30
    _, warnings = check(write(tmp_path, settings), Purpose.COMPARE)
    assert warnings == [
        "seed is not used by compare: compare.seeds is",
        "search.candidates is not used by compare: compare.candidates is",
    ]


@pytest.mark.parametrize(("purpose", "section"), [(Purpose.EXPLORE, "search"), (Purpose.COMPARE, "compare")])
def test_a_budget_needs_room_for_the_references_and_a_search(
    tmp_path: Path, settings: dict[str, Any], purpose: Purpose, section: str
) -> None:
    settings[section] = settings.get(section, {}) | {"candidates": 5}
    assert problems_of(tmp_path, settings, purpose) == [
        f"{section}.candidates: the base model and 2 adapters alone are 3 references, which may take half of the "
        "budget: give at least 6 candidates, got 5"
    ]
    settings[section]["candidates"] = 6
    assert problems_of(tmp_path, settings, purpose) == []


def test_methods_that_train_their_models_need_no_budget_but_say_how_many_they_train(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings["compare"] = {"methods": ["dpo_lw", "modpo"], "candidates": 4, "weight_partitions": 9}
    _, warnings = check(write(tmp_path, settings), Purpose.COMPARE)
    assert warnings == [
        "compare.weight_partitions: 9 trains 10 models for each seed of dpo_lw and modpo: other methods are given 4 "
        "candidates"
    ]


def test_mixes_that_were_asked_for_and_do_not_fit_are_said(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Nothing is said of the default, which means as many as fit."""
    settings["search"] |= {"candidates": 8}
    assert check(write(tmp_path, settings), Purpose.EXPLORE)[1] == []
    settings["search"] |= {"convex_partitions": 10}
    assert check(write(tmp_path, settings), Purpose.EXPLORE)[1] == [
        "search.convex_partitions: 10 asks for 13 references, and half of 8 candidates is the search's: fewer mixes "
        "are evaluated; search.candidates: 26 has room for all of them"
    ]


def test_a_surrogate_of_thousands_is_refused_with_the_reason(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["search"] |= {"candidates": 2001}
    (problem,) = problems_of(tmp_path, settings, Purpose.EXPLORE)
    assert problem.startswith("search.candidates: the surrogate needs minutes for each of the last proposals of 2,001")
    settings["search"] |= {"method": "nsga2"}
    assert problems_of(tmp_path, settings, Purpose.EXPLORE) == []


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVA_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("no_hub")
def test_models_that_cannot_be_had_are_problems_where_they_are_written(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings["base_model"] = "org/absent"
    settings["values"][1]["reward"] = {"model": "org/judge"}
    settings["constraints"] = {"fluency": {"min": 0, "reward": {"model": "org/fluency"}}}
    computing = problems_of(tmp_path, settings, Purpose.EXPLORE)
    assert [problem.partition(": model")[0] for problem in computing] == [
        "base_model",
        "values[1].reward.model",
        "constraints.fluency.reward.model",
    ]
    assert computing == problems_of(tmp_path, settings, Purpose.COMPARE)
    for purpose in (Purpose.DRY_RUN, Purpose.DATA_CHECK):
        assert problems_of(tmp_path, settings, purpose) == []


@pytest.mark.usefixtures("no_hub")
def test_models_are_brought_for_a_config_that_is_right_so_far(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings |= {"base_model": "org/absent", "warm_start": ["nowhere"]}
    (problem,) = problems_of(tmp_path, settings, Purpose.EXPLORE) or ["nothing but what the config says itself"]
    assert problem == "nothing but what the config says itself"
    (tmp_path / "train.jsonl").write_text("")
    del settings["warm_start"]
    assert [problem.partition(":")[0] for problem in problems_of(tmp_path, settings, Purpose.EXPLORE)] == [
        "prompts.train.path"
    ]


def test_more_than_this_machine_has_is_refused(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster may grow: what it may start is counted, and where that is not known, it waits."""
    settings["search"]["evaluators"] = 10_000
    (problem,) = examine(Subject(read_config(write(tmp_path, settings)), Purpose.EXPLORE)).problems
    assert "search.evaluators and the rewards' resources need 5000.2 CPU, this machine has" in problem.text
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    for types, wrong in [((NodeType({"CPU": 64}, 100),), 0), ((NodeType({"CPU": 4}, 100),), 1), (None, 0)]:
        there = Capacity(({"CPU": 2},), types)
        monkeypatch.setattr("mva_ray.checks.subject.capacity_there", lambda there=there: there)
        found = examine(Subject(read_config(write(tmp_path, settings)), Purpose.EXPLORE))
        assert len(found.problems) == wrong
        assert any("need 5000.2 CPU, the cluster has 2 CPU" in line for line in found.warnings) == (types is None)


def test_a_server_is_asked_by_one_process(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Two would ask for twice what `max_loras` and `concurrency` allow."""
    server = {"base_url": "http://host:8000/v1", "model": "m", "adapters_dir": str(tmp_path), "max_lora_rank": 64}
    settings |= {"engine": {"openai": server}}
    settings["search"]["evaluators"] = 2
    problems = [
        problem.text for problem in examine(Subject(read_config(write(tmp_path, settings)), Purpose.EXPLORE)).problems
    ]
    assert any("search.evaluators: a server is asked by one process" in problem for problem in problems)
    settings["search"]["evaluators"] = 1
    problems = [
        problem.text for problem in examine(Subject(read_config(write(tmp_path, settings)), Purpose.EXPLORE)).problems
    ]
    assert not any("asked by one process" in problem for problem in problems)


def test_the_base_model_is_looked_at_after_its_directory() -> None:
    order = list(Needs)
    assert [check.needs for check in CHECKS] == sorted((check.needs for check in CHECKS), key=order.index)
