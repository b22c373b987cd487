"""Tokens, not text: what was generated is what is scored and trained, whatever its text tokenises to."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.adapters.prompting import completion_ids, prompt_ids
from mva_ray.config.generation import GenerationSettings, Sampling
from mva_ray.config.training import Lora, Training
from mva_ray.data.pairs import best_against_worst
from mva_ray.errors import RunError
from mva_ray.evaluation.local import LocalGenerator
from mva_ray.records import Generation, PreferencePair
from mva_ray.training.dpo import tokenise
from mva_ray.training.job import TrainingJob
from mva_ray.training.train import train_adapter
from tests.support.endings import END, OTHER, OTHER_TOKEN, edit, ending
from tests.support.tiny import PROMPTS, SENTENCES, load

ALL = (*PROMPTS, *SENTENCES[:3])
SETTINGS = GenerationSettings(max_new_tokens=12)
SAMPLING = Sampling(completions_per_prompt=4)
pytestmark = pytest.mark.usefixtures("float32_products")


def job(model: Path, pairs: Sequence[PreferencePair]) -> TrainingJob:
    training = Training(steps=1, pairs_per_step=1, lora=Lora(r=4))
    return TrainingJob("one", str(model), None, tuple(pairs), (), training, 0, "unused")


def own_nll(model: Path, prompt: str, ids: Sequence[int]) -> float:
    """By transformers alone: the mean over the answer's tokens, in nats."""
    weights, begun = load(model)[0], prompt_ids(load_tokenizer(str(model)), prompt, None)
    with torch.inference_mode():
        logs = weights(torch.tensor([[*begun, *ids]])).logits[0].log_softmax(-1)
    return -sum(float(logs[len(begun) - 1 + i, token]) for i, token in enumerate(ids)) / len(ids)


def measured(generator: LocalGenerator, answers: Sequence[Any]) -> list[float]:
    return [row["base_nll"] for row in generator.measure(["base_nll"], answers)]


def trained(model: Path, samples: Sequence[Sequence[Generation]]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """What training sees of pairs that are made of samples, the first against the last."""
    rewards = [[-float(place) for place in range(len(row))] for row in samples]
    pairs = best_against_worst(samples, rewards, 0.0).pairs
    rows = tokenise(job(model, pairs), load_tokenizer(str(model)))
    return [(tuple(row["chosen_ids"]), tuple(row["rejected_ids"])) for row in rows]


def said(samples: Sequence[Sequence[Generation]]) -> list[tuple[Any, Any]]:
    return [(row[0].ids, row[-1].ids) for row in samples]


@pytest.fixture
def gemma_like(tiny_model: Path, tmp_path: Path) -> Path:
    """The tokenizer's end token is that of a text; the model ends its turns with another one."""
    return ending(tiny_model, tmp_path / "gemma", OTHER_TOKEN, [OTHER, END])


def test_answers_and_pairs_end_with_what_the_model_ends_its_turns_with(gemma_like: Path) -> None:
    generator = LocalGenerator(str(gemma_like), [], SETTINGS)
    text = Generation(ALL[0], "Say yes.", 3, truncated=False)
    tokens = completion_ids(load_tokenizer(str(gemma_like)), "Say yes.", END)
    assert tokens[-1] == END
    assert measured(generator, [text]) == pytest.approx([own_nll(gemma_like, ALL[0], tokens)], abs=1e-4)
    pair = PreferencePair(ALL[0], "Say yes.", "Say no.", rejected_finished=False)
    [row] = tokenise(job(gemma_like, [pair]), load_tokenizer(str(gemma_like)))
    assert row["chosen_ids"] == tokens
    assert END not in row["rejected_ids"]


@pytest.mark.parametrize("end", [END, OTHER])
def test_an_answer_keeps_the_end_that_the_model_chose(gemma_like: Path, end: int) -> None:
    """Not the usual one: both end an answer."""
    answer = Generation(ALL[0], "Say", 1, truncated=False, ids=(60, end))
    generator = LocalGenerator(str(gemma_like), [], SETTINGS)
    assert measured(generator, [answer]) == pytest.approx([own_nll(gemma_like, ALL[0], (60, end))], abs=1e-4)
    assert trained(gemma_like, [[answer, replace(answer, ids=(61, end))]]) == [((60, end), (61, end))]


def test_a_base_model_that_begins_with_a_space_is_scored_and_trained_with_it(tiny_gpt2: Path) -> None:
    """Its text is read without: "Paris" and " Paris" are other tokens, and one thing to a reward."""
    generator, tokenizer = LocalGenerator(str(tiny_gpt2), [], SETTINGS), load_tokenizer(str(tiny_gpt2))
    samples = generator.sample(ALL, Sampling(completions_per_prompt=16, top_k=0, temperature=2.0), seed=3)
    spaced = [
        row for rows in samples for row in rows if tokenizer.decode(row.ids)[:1] == " " and len(row.completion) > 1
    ]
    assert len(spaced) > 1
    for row in spaced:
        assert row.ids is not None
        assert row.completion == row.completion.strip() == tokenizer.decode(row.ids, skip_special_tokens=True).strip()
    expected = [own_nll(tiny_gpt2, row.prompt, row.ids or ()) for row in spaced]
    assert measured(generator, spaced) == pytest.approx(expected, abs=1e-4)
    assert measured(generator, [replace(row, ids=None) for row in spaced]) != pytest.approx(expected, abs=1e-2)
    assert trained(tiny_gpt2, samples) == said(samples)


def test_sampled_tokens_that_their_text_does_not_tokenise_to_are_kept(tiny_model: Path) -> None:
    """At a temperature, a model may spell a word that it knows: other tokens, the same text."""
    generator, tokenizer = LocalGenerator(str(tiny_model), [], SETTINGS), load_tokenizer(str(tiny_model))
    samples = generator.sample(ALL, SAMPLING, seed=3)
    flat = [row for rows in samples for row in rows]
    again = [tuple(completion_ids(tokenizer, row.completion, None if row.truncated else END)) for row in flat]
    other = [row for row, ids in zip(flat, again, strict=True) if row.ids != ids]
    assert other, "every sample tokenises back to itself"
    assert all(row.ids and row.tokens == len(row.ids) - (not row.truncated) for row in flat)
    expected = [own_nll(tiny_model, row.prompt, row.ids or ()) for row in other]
    assert measured(generator, other) == pytest.approx(expected, abs=1e-4)
    assert trained(tiny_model, samples) == said(samples)


def test_answers_without_ids_are_tokenised_as_earlier_versions_did(tiny_model: Path) -> None:
    """Those of samples and tables that were written before ids were kept."""
    generator, tokenizer = LocalGenerator(str(tiny_model), [], SETTINGS), load_tokenizer(str(tiny_model))
    samples = [[replace(row, ids=None) for row in rows] for rows in generator.sample(ALL, SAMPLING, seed=3)]
    by_text = [
        tuple(
            tuple(completion_ids(tokenizer, row.completion, None if row.truncated else END))
            for row in (rows[0], rows[-1])
        )
        for rows in samples
    ]
    assert trained(tiny_model, samples) == by_text


def test_a_pad_token_beyond_the_embedding_is_nowhere_in_the_way(tiny_model: Path, tmp_path: Path) -> None:
    """Where a batch is filled up: the two pairs are not of one length."""
    model = ending(tiny_model, tmp_path / "model", "</s>", END)
    edit(model / "tokenizer_config.json", pad_token="<fill>")
    tokenizer = load_tokenizer(str(model))
    assert tokenizer.pad_token_id >= load(tiny_model)[0].get_input_embeddings().num_embeddings
    pairs = (PreferencePair("Hi", "Yes.", "No."), PreferencePair("Why is the sky blue?", "Because.", "No, it is not."))
    training = Training(steps=1, pairs_per_step=2, lora=Lora(r=4))
    train_adapter(replace(job(model, pairs), training=training, output=str(tmp_path / "out")), lambda row: None)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    [answer] = LocalGenerator(str(model), [], SETTINGS).answer([((), "Hi")])
    assert answer == LocalGenerator(str(tiny_model), [], SETTINGS).answer([((), "Hi")])[0]


def test_a_model_whose_tokenizer_names_no_end_is_trained_and_answers(tiny_model: Path, tmp_path: Path) -> None:
    """Where its generation settings name one; where nothing does, it is refused before it is loaded."""
    model = ending(tiny_model, tmp_path / "model", None, END)
    pairs = [PreferencePair("Hi", "Yes.", "No."), PreferencePair("Why?", "Because.", "No, it is not.")]
    train_adapter(replace(job(model, pairs), output=str(tmp_path / "out")), lambda row: None)
    [answer] = LocalGenerator(str(model), [], SETTINGS).answer([((), "Hi")])
    assert answer == LocalGenerator(str(tiny_model), [], SETTINGS).answer([((), "Hi")])[0]
    endless = ending(tiny_model, tmp_path / "endless", None, None)
    with pytest.raises(RunError, match="endless names no token that ends an answer"):
        LocalGenerator(str(endless), [], SETTINGS)
    with pytest.raises(RunError, match="endless names no token that ends an answer"):
        train_adapter(job(endless, pairs), lambda row: None)
