"""The generation engine: many candidates in one batch answer as each would alone."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from mva_ray.adapters.hashes import adapter_hash
from mva_ray.config import Generation as GenerationSettings
from mva_ray.config import Sampling
from mva_ray.evaluation.generate import Generator
from mva_ray.records import AdapterRef, Generation
from tests.tiny import PROMPTS, SENTENCES, load, merged, random_adapter

NEW_TOKENS = 10
ALL = (*PROMPTS, *SENTENCES[:3])
CANDIDATES = ((0.0, 0.0), (1.0, 0.0), (-0.8, 1.7), (1.0, 1.0))
Make = Callable[..., Generator]


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef]:
    root = tmp_path_factory.mktemp("adapters")
    paths = [
        random_adapter(root / "a", tiny_model, seed=1, r=4, alpha=8),
        random_adapter(root / "b", tiny_model, seed=2, r=2, alpha=3, use_rslora=True),
    ]
    return [AdapterRef(path.name, str(path), adapter_hash(path)) for path in paths]


@pytest.fixture
def make(tiny_model: Path, adapters: list[AdapterRef]) -> Make:
    """A generator with both adapters; further arguments are settings."""

    def generator(model: Path = tiny_model, refs: Sequence[AdapterRef] = adapters, **settings: Any) -> Generator:
        return Generator(str(model), refs, GenerationSettings(**({"max_new_tokens": NEW_TOKENS} | settings)))

    return generator


@pytest.fixture
def ending_with(tiny_model: Path, tmp_path: Path) -> Callable[[int], Path]:
    """A copy of the tiny model whose generation config names a further end token, as chat models do."""

    def copy(token: int) -> Path:
        directory = tmp_path / str(token)
        shutil.copytree(tiny_model, directory)
        end = GenerationConfig.from_pretrained(directory).eos_token_id
        GenerationConfig(eos_token_id=[end, token]).save_pretrained(directory)
        return directory

    return copy


def greedy(model: Any, tokenizer: Any, text: str, new_tokens: int = NEW_TOKENS) -> list[int]:
    encoded = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(**encoded, max_new_tokens=new_tokens, do_sample=False)
    tokens: list[int] = output[0, encoded["input_ids"].shape[1] :].tolist()
    return tokens


def chat(prompt: str) -> str:
    return f"<s>user {prompt}</s><s>assistant "


def test_every_answer_is_the_greedy_text_of_the_merged_model(
    make: Make, tiny_model: Path, adapters: list[AdapterRef]
) -> None:
    """Prompts of mixed lengths in small batches come back in the order given, candidate by candidate."""
    answers = make(batch_size=12).answer(ALL, CANDIDATES)
    model, tokenizer = load(tiny_model)
    assert len(answers) == len(CANDIDATES)
    for weights, row in zip(CANDIDATES, answers, strict=True):
        alone = merged(model, [Path(ref.path) for ref in adapters], weights)
        assert [answer.prompt for answer in row] == list(ALL)
        for prompt, answer in zip(ALL, row, strict=True):
            tokens = greedy(alone, tokenizer, chat(prompt))
            ended = tokenizer.eos_token_id in tokens
            kept = tokens[: tokens.index(tokenizer.eos_token_id)] if ended else tokens
            expected = tokenizer.decode(kept, skip_special_tokens=True).strip()
            assert answer == Generation(prompt, expected, len(kept), truncated=not ended)
    assert len({tuple(answer.completion for answer in row) for row in answers}) == len(CANDIDATES)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 64])
def test_the_batch_size_changes_no_answer(make: Make, batch_size: int) -> None:
    """Smaller than the number of candidates too: then one prompt goes at a time."""
    assert make(batch_size=batch_size).answer(ALL, CANDIDATES) == make().answer(ALL, CANDIDATES)


def test_an_answer_does_not_depend_on_the_companions(make: Make) -> None:
    """Trials are batched as they come: the table must not depend on who shared a batch with whom."""
    generator = make()
    one, other, third = CANDIDATES[1:]
    first = generator.answer(ALL, [one, other])
    assert generator.answer(ALL, [one, third])[0] == first[0]
    assert generator.answer(ALL, [third, one])[1] == first[0]
    assert generator.answer(ALL, [one, one]) == [first[0], first[0]]
    assert generator.answer(ALL, [one, (0.0, 0.0)])[0] == first[0]


def test_a_generator_answers_the_same_again(make: Make) -> None:
    """Whatever was asked in between, samples included: an actor lives for the whole search."""
    generator = make()
    first = generator.answer(ALL, CANDIDATES)
    generator.sample(PROMPTS, Sampling(), seed=1)
    generator.answer(PROMPTS[:1], CANDIDATES[:1])
    assert generator.answer(ALL, CANDIDATES) == first


def test_prompts_may_repeat(make: Make) -> None:
    one, two, other = make().answer([ALL[0], ALL[0], ALL[1]], CANDIDATES[:1])[0]
    assert one == two != other


def test_an_answer_that_ends_at_once_is_empty(make: Make, ending_with: Callable[[int], Path], tiny_model: Path) -> None:
    model, tokenizer = load(tiny_model)
    first = greedy(model, tokenizer, chat(ALL[0]))[0]
    generator = make(ending_with(first))
    assert generator.answer(ALL[:1], CANDIDATES[:1]) == [[Generation(ALL[0], "", 0, truncated=False)]]
    assert generator.answer(ALL, CANDIDATES[:1])[0][0].tokens == 0


def test_truncated_says_whether_the_limit_or_the_model_ended_the_answer(
    make: Make, ending_with: Callable[[int], Path], tiny_model: Path
) -> None:
    """An answer whose end token is the very last one allowed is whole; one token less and it is cut off."""
    model, tokenizer = load(tiny_model)
    tokens = greedy(model, tokenizer, chat(ALL[0]))
    end = tokens[4]
    length = tokens.index(end)
    directory = ending_with(end)
    text = tokenizer.decode(tokens[:length], skip_special_tokens=True).strip()
    assert length > 0
    for limit, truncated in ((NEW_TOKENS, False), (length + 1, False), (length, True)):
        [[answer]] = make(directory, max_new_tokens=limit).answer(ALL[:1], CANDIDATES[:1])
        assert answer == Generation(ALL[0], text, length, truncated)


def test_rows_that_end_early_do_not_disturb_the_others(
    make: Make, ending_with: Callable[[int], Path], tiny_model: Path
) -> None:
    """A row that is done is padded until the last one is; padding is no part of its answer."""
    model, tokenizer = load(tiny_model)
    directory = ending_with(greedy(model, tokenizer, chat(ALL[0]))[2])
    together = make(directory).answer(ALL, CANDIDATES)
    alone = [[make(directory).answer([prompt], [weights])[0][0] for prompt in ALL] for weights in CANDIDATES]
    assert together == alone
    assert len({answer.tokens for row in together for answer in row}) > 1


def test_the_system_prompt_reaches_the_model(make: Make, tiny_model: Path) -> None:
    model, tokenizer = load(tiny_model)
    tokens = greedy(model, tokenizer, f"<s>system Be kind.</s>{chat(ALL[0])}")
    [[answer]] = make(system_prompt="Be kind.").answer(ALL[:1], CANDIDATES[:1])
    assert answer.completion == tokenizer.decode(tokens, skip_special_tokens=True).strip()
    assert answer != make().answer(ALL[:1], CANDIDATES[:1])[0][0]


def test_a_model_without_chat_template_continues_the_prompt(tiny_gpt2: Path) -> None:
    model, tokenizer = load(tiny_gpt2)
    generator = Generator(str(tiny_gpt2), [], GenerationSettings(max_new_tokens=NEW_TOKENS))
    [answers] = generator.answer(ALL, [()])
    for prompt, answer in zip(ALL, answers, strict=True):
        tokens = greedy(model, tokenizer, prompt)
        assert answer.completion == tokenizer.decode(tokens, skip_special_tokens=True).strip()


def test_samples_are_reproducible_and_differ_from_one_another(make: Make) -> None:
    sampling = Sampling(completions_per_prompt=3)
    generator = make()
    samples = generator.sample(ALL, sampling, seed=7)
    assert [[sample.prompt for sample in row] for row in samples] == [[prompt] * 3 for prompt in ALL]
    assert all(len({sample.completion for sample in row}) == 3 for row in samples)
    torch.manual_seed(99)
    assert generator.sample(ALL, sampling, seed=7) == samples
    assert make().sample(ALL, sampling, seed=7) == samples
    assert generator.sample(ALL, sampling, seed=8) != samples


def test_samples_come_from_the_base_model(make: Make) -> None:
    """Adapters do not exist yet when pairs are made, and do not matter where they do."""
    sampling = Sampling(completions_per_prompt=2)
    assert make().sample(ALL, sampling, seed=7) == make(refs=[]).sample(ALL, sampling, seed=7)


def test_the_sampling_settings_reach_the_model(make: Make) -> None:
    """Among one token, or next to no temperature, there is nothing to choose: samples are the greedy answer."""
    generator = make()
    [answers] = generator.answer(ALL, [(0.0, 0.0)])
    for sampling in (Sampling(top_k=1), Sampling(temperature=0.001, top_k=0)):
        for answer, samples in zip(answers, generator.sample(ALL, sampling, seed=3), strict=True):
            assert samples == [answer] * sampling.completions_per_prompt
    wide, narrow = (generator.sample(ALL, Sampling(top_k=top_k), seed=3) for top_k in (0, 2))
    assert wide != narrow
