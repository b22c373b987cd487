"""The configs that come with the project: each loads, and says on top how it is run."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from mva_ray.checks.resources import shortages
from mva_ray.config import load_config
from mva_ray.config.reward import Resources
from mva_ray.placement.capacity import Capacity

DIRECTORY = Path(__file__).parents[1] / "tune_configs"
CONFIGS = sorted(DIRECTORY.glob("*.yaml"))


@pytest.fixture(scope="module")
def from_hub() -> dict[str, Any]:
    return runpy.run_path(str(DIRECTORY / "prompts" / "from_hub.py"))


def test_there_are_configs() -> None:
    names = {path.stem for path in CONFIGS}
    assert {"quickstart", "three_values", "llama2_hh", "llama2_safe_rlhf", "llama2_three_values"} < names


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_loads_and_tells_its_command(path: Path) -> None:
    """Neither models nor data of the hub are needed for that."""
    load_config(path)
    commands = ("python -m mva_ray.explore", "mva-ray compare")
    assert any(f"#   {command} --config tune_configs/{path.name}" in path.read_text() for command in commands)


@pytest.mark.parametrize("name", ["llama2_hh", "llama2_safe_rlhf"])
def test_the_papers_settings(name: str) -> None:
    """Section 4 of arXiv 2511.17579 and the authors' code."""
    config = load_config(DIRECTORY / f"{name}.yaml")
    training, lora = config.training, config.training.lora
    assert (training.epochs, training.learning_rate, training.beta) == (3, 1e-5, 0.1)
    assert (lora.r, lora.alpha, lora.dropout) == (64, 128, 0.05)
    assert lora.target_modules == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert (training.penalty.kind, training.penalty.weight) == ("paper", 10)
    assert config.bounds == [(0.1, 1.0)] * 2


def test_prompts_are_the_only_questions_of_dialogues(from_hub: dict[str, Any]) -> None:
    rows = [
        {"chosen": "\n\nHuman: Why? \n\nAssistant: Because."},
        {"chosen": "\n\nHuman: Why?\n\nAssistant: So.\n\nHuman: How?\n\nAssistant: Thus."},
        {"prompt": " Plain "},
    ]
    assert list(from_hub["first_turns"](rows)) == ["Why?", "Plain"]


def test_splits_are_disjoint_and_were_not_trained_on(from_hub: dict[str, Any], tmp_path: Path) -> None:
    sizes = from_hub["SIZES"]
    asked = [f"Question {number}?" for number in range(sum(sizes.values()) + 3)]
    prompts = from_hub["splits"]([*asked, *asked, ""], trained=asked[:3])
    assert prompts == from_hub["splits"](reversed(asked), trained=asked[:3])
    drawn = [prompt for split in prompts.values() for prompt in split]
    assert sorted(drawn) == sorted(asked[3:])
    assert {split: len(texts) for split, texts in prompts.items()} == sizes
    from_hub["write"](tmp_path, prompts, "\n\nHuman: {}\n\nAssistant:")
    [first, *_] = (tmp_path / "train.jsonl").read_text().splitlines()
    assert json.loads(first) == {"prompt": f"\n\nHuman: {prompts['train'][0]}\n\nAssistant:"}


def test_too_few_prompts_are_said(from_hub: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="only 1 prompts are left"):
        from_hub["splits"](["Why?"], [])


def test_the_quickstart_fits_two_cores() -> None:
    config, there = load_config(DIRECTORY / "quickstart.yaml"), Capacity(({"CPU": 2},))
    assert shortages(config, there) == []
    search = config.search.model_copy(update={"resources": Resources(num_cpus=0.95)})
    (line,) = shortages(config.model_copy(update={"search": search}), there)
    assert line == "search.evaluators and the rewards' resources need 2.1 CPU, this machine has 2"
