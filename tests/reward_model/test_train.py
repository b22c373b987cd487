"""A reward model that is trained is the reward that a config names: same tokens, same numbers, honest figures."""

import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.cli import app
from mva_ray.config.reward import RewardSettings
from mva_ray.config.values import PairSource, pair_source
from mva_ray.errors import ConfigError
from mva_ray.evaluation.reward import load_reward
from mva_ray.records import PreferencePair
from mva_ray.reward_model.judged import calibrating_scale, cross_calibrated, judge
from mva_ray.reward_model.train import FEWEST, Recipe, Trained, split_by_prompt, tokenise, train_reward
from tests.support.tiny import SENTENCES, make_gpt2, make_llama

MAX_LENGTH = 48
QUESTIONS = [f"{sentence} ({number})" for number in range(40) for sentence in SENTENCES[:4]]
PAIRS = [
    PreferencePair(prompt, *(("blue sky", "bake bread") if number % 5 == 0 else ("bake bread", "blue sky")))
    for number, prompt in enumerate(QUESTIONS)
]
"""Four times of five, people prefer the answer with bread in it."""


def write_pairs(file: Path, count: int = 160) -> Path:
    rows = [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in PAIRS[:count]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module", autouse=True)
def float32_everywhere() -> Iterator[None]:
    """What is judged can be compared with what a config reads, in other batches."""
    with patch("mva_ray.adapters.base_model._multiplies_bfloat16", lambda: False):
        yield


@pytest.fixture(scope="module", params=[make_llama, make_gpt2])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """With a chat template and without."""
    place = tmp_path_factory.mktemp("reward")
    base = request.param(place / "base")
    recipe = Recipe(str(base), held_out=0.4, epochs=2, learning_rate=1e-3, max_length=MAX_LENGTH)
    return place / "out", train_reward(PairSource(path=str(write_pairs(place / "pairs.jsonl"))), recipe, place / "out")


def test_it_learns_what_people_chose(trained: tuple[Path, Trained]) -> None:
    """It is right as often as people agree, and as sure of it: the log loss of four in five is 0.50 nats."""
    judged = trained[1].judged
    assert judged.interval[0] < 0.8 < judged.interval[1] + 0.05
    assert judged.accuracy > 0.65
    assert judged.log_loss < 0.65
    assert trained[1].pairs + judged.pairs == len(PAIRS)


def test_a_config_reads_it_as_it_was_judged(trained: tuple[Path, Trained]) -> None:
    """The reward that is loaded by its directory has the accuracy that was reported, and on all pairs the scale."""
    out, found = trained
    reward = load_reward(RewardSettings(model=str(out), max_length=MAX_LENGTH))
    judged_by = split_by_prompt(PAIRS, 0.4)[1]
    prompts = [str(pair.prompt) for pair in judged_by]
    chosen = np.array(reward(prompts, [pair.chosen for pair in judged_by]))
    rejected = np.array(reward(prompts, [pair.rejected for pair in judged_by]))
    assert len(prompts) == found.judged.pairs
    margins = chosen - rejected
    assert (margins > 0).mean() == found.judged.accuracy
    assert calibrating_scale(margins) == pytest.approx(1, abs=1e-3)
    assert judge(cross_calibrated(margins), np.ones((len(margins), 2), int)).log_loss == pytest.approx(
        found.judged.log_loss, abs=1e-4
    )


def test_what_it_was_made_of_lies_beside_it(trained: tuple[Path, Trained]) -> None:
    facts = json.loads((trained[0] / "reward.json").read_text())
    assert facts["judged"]["accuracy"] == trained[1].judged.accuracy
    assert facts["max_length"] == MAX_LENGTH
    assert list(trained[0].glob("*.safetensors"))


def test_long_texts_keep_their_answer(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(make_llama(tmp_path)))
    [row] = tokenise(tokenizer, [PreferencePair("why " * 100, "bake bread", "blue sky")], 16)
    assert len(row["chosen_ids"]) == len(row["rejected_ids"]) == 16
    assert "bake bread" in tokenizer.decode(row["chosen_ids"])


def test_a_dialogue_is_read_turn_by_turn(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(make_llama(tmp_path)))
    turns = (("user", "Hi"), ("assistant", "Hello"), ("user", "Bread?"))
    [row] = tokenise(tokenizer, [PreferencePair(turns, "bake", "sky")], 200)
    assert (
        tokenizer.decode(row["chosen_ids"])
        == "<s>user Hi</s><s>assistant Hello</s><s>user Bread?</s><s>assistant bake</s>"
    )


@given(prompts=st.lists(st.text(max_size=5), min_size=1, max_size=30), held_out=st.floats(0.05, 0.9))
def test_a_prompt_is_on_one_side_whatever_else_there_is(prompts: list[str], held_out: float) -> None:
    pairs = [PreferencePair(prompt, "a", "b") for prompt in prompts]
    known, unseen = split_by_prompt(pairs, held_out)
    assert len(known) + len(unseen) == len(pairs)
    assert {pair.prompt for pair in known}.isdisjoint(pair.prompt for pair in unseen)
    for pair in pairs:
        assert (pair in known) == bool(split_by_prompt([pair], held_out)[0])


def test_too_few_pairs_are_one_line(tmp_path: Path) -> None:
    source = PairSource(path=str(write_pairs(tmp_path / "few.jsonl", FEWEST)))
    with pytest.raises(ConfigError, match="expected 40 held out"):
        train_reward(source, Recipe("nowhere"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        train_reward(PairSource(path="pairs.jsonl"), Recipe("nowhere"), tmp_path)


def test_pairs_are_named_as_in_a_config(tmp_path: Path) -> None:
    assert pair_source(str(tmp_path / "a.jsonl")).path == str(tmp_path / "a.jsonl")
    assert pair_source("{hub: org/name, attribute: honesty}").attribute == "honesty"
    with pytest.raises(ConfigError, match="atribute: unknown key; did you mean 'attribute'"):
        pair_source("{hub: org/name, atribute: honesty}")
    with pytest.raises(ConfigError, match="exactly one of 'path'"):
        pair_source("{limit: 3}")


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["reward", "train", "{hub: }", "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, ConfigError)
