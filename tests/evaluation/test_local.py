"""The generator: from prompts to requests, from tokens to text, and the likelihood of texts."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, DiffLlamaConfig, GenerationConfig

from mva_ray.adapters.hashes import adapter_hash
from mva_ray.config.generation import GenerationSettings, Sampling
from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.local import MEASURES, LocalGenerator
from mva_ray.records import ENGINE_METRICS, AdapterRef, Generation
from tests.support.tiny import PROMPTS, SENTENCES, load, merged, random_adapter

NEW_TOKENS = 10
ALL = (*PROMPTS, *SENTENCES[:3])
CANDIDATES = ((0.0, 0.0), (1.0, 0.0), (-0.8, 1.7), (1.0, 1.0))
BASE = CANDIDATES[0]
REQUESTS = [(weights, prompt) for weights in CANDIDATES for prompt in ALL]
Make = Callable[..., LocalGenerator]


pytestmark = pytest.mark.usefixtures("float32_products")


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

    def generator(
        model: Path = tiny_model, refs: Sequence[AdapterRef] = adapters, seed: int = 0, **settings: Any
    ) -> LocalGenerator:
        return LocalGenerator(str(model), refs, GenerationSettings(**({"max_new_tokens": NEW_TOKENS} | settings)), seed)

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


def base_answer(generator: LocalGenerator, prompt: str) -> Answer:
    [answer] = generator.answer([(BASE, prompt)])
    return answer


def test_every_answer_is_the_greedy_text_of_the_merged_model(
    make: Make, tiny_model: Path, adapters: list[AdapterRef]
) -> None:
    """Prompts of mixed lengths and mixed candidates come back in the order given."""
    answers = make(batch_size=12).answer(REQUESTS)
    model, tokenizer = load(tiny_model)
    alone = {weights: merged(model, [Path(ref.path) for ref in adapters], weights) for weights in CANDIDATES}
    for (weights, prompt), answer in zip(REQUESTS, answers, strict=True):
        tokens = greedy(alone[weights], tokenizer, chat(prompt))
        ended = tokenizer.eos_token_id in tokens
        kept = tokens[: tokens.index(tokenizer.eos_token_id)] if ended else tokens
        expected = tokenizer.decode(kept, skip_special_tokens=True).strip()
        said = tuple(kept) + (tokenizer.eos_token_id,) * ended
        assert answer == Generation(prompt, expected, len(kept), truncated=not ended, ids=said)
    assert len({answer.completion for answer in answers if isinstance(answer, Generation)}) > len(ALL) * 3


@pytest.mark.parametrize("batch_size", [1, 5, None])
def test_the_batch_size_changes_no_answer(make: Make, batch_size: int | None) -> None:
    """Where none is given, the engine finds one."""
    assert make(batch_size=batch_size).answer(REQUESTS) == make(batch_size=64).answer(REQUESTS)


def test_an_answer_does_not_depend_on_the_companions(make: Make) -> None:
    """Candidates are mixed as they come: the table must not depend on who was answered with whom."""
    generator = make()
    first = generator.answer(REQUESTS)
    assert generator.answer(REQUESTS[::-1])[::-1] == first
    assert [generator.answer([request])[0] for request in REQUESTS[::5]] == first[::5]
    assert generator.answer([*REQUESTS[7:], *REQUESTS[7:14]]) == [*first[7:], *first[7:14]]


def test_a_generator_answers_the_same_again(make: Make) -> None:
    """Whatever was asked in between, samples included: an actor lives for the whole search."""
    generator = make()
    first = generator.answer(REQUESTS)
    generator.sample(PROMPTS, Sampling(), seed=1)
    base_answer(generator, ALL[0])
    assert generator.answer(REQUESTS) == first


def test_prompts_may_repeat(make: Make) -> None:
    one, two, other = make().answer([(CANDIDATES[1], prompt) for prompt in (ALL[0], ALL[0], ALL[1])])
    assert one == two != other


def test_an_answer_that_ends_at_once_is_empty(make: Make, ending_with: Callable[[int], Path], tiny_model: Path) -> None:
    model, tokenizer = load(tiny_model)
    first = greedy(model, tokenizer, chat(ALL[0]))[0]
    generator = make(ending_with(first))
    assert base_answer(generator, ALL[0]) == Generation(ALL[0], "", 0, truncated=False, ids=(first,))
    assert generator.answer(REQUESTS)[0] == base_answer(generator, ALL[0])


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
        answer = base_answer(make(directory, max_new_tokens=limit), ALL[0])
        assert answer == Generation(ALL[0], text, length, truncated, tuple(tokens[: min(limit, length + 1)]))


def test_rows_that_end_early_do_not_disturb_the_others(
    make: Make, ending_with: Callable[[int], Path], tiny_model: Path
) -> None:
    """Their places are taken by rows that wait."""
    model, tokenizer = load(tiny_model)
    generator = make(ending_with(greedy(model, tokenizer, chat(ALL[0]))[2]), batch_size=3)
    together = generator.answer(REQUESTS)
    assert together == [generator.answer([request])[0] for request in REQUESTS]
    assert len({answer.tokens for answer in together if isinstance(answer, Generation)}) > 1


def test_the_system_prompt_reaches_the_model(make: Make, tiny_model: Path) -> None:
    model, tokenizer = load(tiny_model)
    tokens = greedy(model, tokenizer, f"<s>system Be kind.</s>{chat(ALL[0])}")
    answer = base_answer(make(system_prompt="Be kind."), ALL[0])
    assert isinstance(answer, Generation)
    assert answer.completion == tokenizer.decode(tokens, skip_special_tokens=True).strip()
    assert answer != base_answer(make(), ALL[0])


def test_a_model_without_chat_template_continues_the_prompt(tiny_gpt2: Path) -> None:
    model, tokenizer = load(tiny_gpt2)
    generator = LocalGenerator(str(tiny_gpt2), [], GenerationSettings(max_new_tokens=NEW_TOKENS))
    answers = generator.answer([((), prompt) for prompt in ALL])
    for prompt, answer in zip(ALL, answers, strict=True):
        tokens = greedy(model, tokenizer, prompt)
        assert isinstance(answer, Generation)
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
    answers = generator.answer([(BASE, prompt) for prompt in ALL])
    for sampling in (Sampling(top_k=1), Sampling(temperature=0.001, top_k=0)):
        for answer, samples in zip(answers, generator.sample(ALL, sampling, seed=3), strict=True):
            assert samples == [answer] * sampling.completions_per_prompt
    wide, narrow = (generator.sample(ALL, Sampling(top_k=top_k), seed=3) for top_k in (0, 2))
    assert wide != narrow


def test_samples_depend_on_prompt_and_seed_alone(make: Make) -> None:
    """A killed run draws those that are missing, in batches of its own."""
    sampling = Sampling(completions_per_prompt=3)
    samples = make(batch_size=64).sample(ALL, sampling, seed=7)
    assert make(batch_size=2).sample(ALL[::-1], sampling, seed=7)[::-1] == samples
    assert make().sample(ALL[3:4], sampling, seed=7) == samples[3:4]
    assert [row[:2] for row in samples] == make().sample(ALL, Sampling(completions_per_prompt=2), seed=7)


def test_sampled_answers_depend_on_prompt_candidate_and_seed_alone(make: Make) -> None:
    """With a temperature, evaluations are as reproducible as greedy ones."""
    hot = {"temperature": 1.3, "top_k": 20}
    answers = make(**hot, batch_size=5).answer(REQUESTS)
    assert make(**hot).answer(REQUESTS[::-1])[::-1] == answers
    assert [make(**hot).answer([request])[0] for request in REQUESTS[::9]] == answers[::9]
    assert answers != make().answer(REQUESTS)
    assert answers != make(seed=1, **hot).answer(REQUESTS)


def test_too_long_a_prompt_is_a_typed_failure_of_its_request(make: Make) -> None:
    long = "Why? " * 400
    generator = make()
    short, beyond, other = generator.answer([(BASE, ALL[0]), (BASE, long), (CANDIDATES[1], ALL[0])])
    assert isinstance(beyond, CandidateFailure)
    assert beyond.kind == "generation_raised"
    assert beyond.message.endswith("the model has 256 positions")
    assert [short, other] == generator.answer([(BASE, ALL[0]), (CANDIDATES[1], ALL[0])])
    with pytest.raises(RunError, match="no samples: prompt and answer may take"):
        generator.sample([ALL[0], long], Sampling(), seed=1)


def base_nll(generator: LocalGenerator, generations: Sequence[Generation]) -> list[float]:
    return [measured["base_nll"] for measured in generator.measure(["base_nll"], generations)]


def test_every_engine_metric_is_measured() -> None:
    assert list(MEASURES) == list(ENGINE_METRICS)


@pytest.mark.parametrize("truncated", [True, False])
@pytest.mark.parametrize("completion", ["Say that you are sorry.", "air", ""])
def test_base_nll_is_that_of_a_plain_forward_pass(
    make: Make, tiny_model: Path, completion: str, truncated: bool
) -> None:
    """Mean over the completion's tokens, the end token among them where the model ended it; never of the prompt."""
    model, tokenizer = load(tiny_model)
    prompt = tokenizer(chat(ALL[0]), add_special_tokens=False)["input_ids"]
    answer = tokenizer(completion, add_special_tokens=False)["input_ids"]
    answer += [] if truncated and answer else [tokenizer.eos_token_id]
    with torch.inference_mode():
        logs = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    expected = -sum(float(logs[len(prompt) - 1 + i, token]) for i, token in enumerate(answer)) / len(answer)
    others = [Generation(other, "Because.", 2, False) for other in ALL[1:4]]
    [nll, *_] = base_nll(make(batch_size=3), [Generation(ALL[0], completion, len(answer), truncated), *others])
    assert nll == pytest.approx(expected, abs=1e-4)


def test_base_nll_of_what_candidates_say_is_not_below_that_of_the_base_model(make: Make) -> None:
    """On average: greedy text of the base model is what it finds likely."""
    generator = make()
    means = []
    for weights in (BASE, CANDIDATES[2]):
        answers = generator.answer([(weights, prompt) for prompt in ALL])
        means.append(sum(base_nll(generator, [answer for answer in answers if isinstance(answer, Generation)])))
    assert means[0] < means[1]


def test_base_nll_of_a_text_that_is_too_long_is_a_typed_failure(make: Make) -> None:
    with pytest.raises(CandidateFailure, match="generation_raised: base_nll: prompt and answer may take"):
        base_nll(make(), [Generation(ALL[0], "Why? " * 400, 999, True)])


def test_work_that_is_begun_is_done_by_steps_whoever_asked(make: Make) -> None:
    """Calls of several callers share forward passes; each reads its own."""
    generator = make()
    answers = generator.begin_answers(REQUESTS[:6])
    samples = generator.begin_samples(PROMPTS, Sampling(completions_per_prompt=2), 3)
    assert not answers.is_done()
    generator.step()
    nll = generator.begin_measure(["base_nll"], [Generation(ALL[0], "air", 1, True)])
    while generator.busy:
        generator.step()
    assert answers.is_done()
    alone = make()
    assert answers.result() == alone.answer(REQUESTS[:6])
    assert samples.result() == alone.sample(PROMPTS, Sampling(completions_per_prompt=2), 3)
    assert nll.result() == alone.measure(["base_nll"], [Generation(ALL[0], "air", 1, True)])


def test_a_model_that_the_engine_cannot_run_is_refused_in_one_line(tiny_model: Path, tmp_path: Path) -> None:
    """Before anything is answered: DiffLlama has the weights of a Llama, and attention of its own."""
    directory = tmp_path / "diff"
    shutil.copytree(tiny_model, directory)
    sizes = {
        key: getattr(load(tiny_model)[0].config, key) for key in ("vocab_size", "hidden_size", "intermediate_size")
    }
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    AutoModelForCausalLM.from_config(DiffLlamaConfig(**sizes, **heads)).save_pretrained(directory)
    with pytest.raises(RunError) as error:
        LocalGenerator(str(directory), [], GenerationSettings())
    assert str(error.value) == (
        f"base_model: {directory}: our engine cannot run DiffLlamaForCausalLM: it calls its attention 2 times in layer "
        "0, not once in each layer; a server that can may answer (engine: openai)"
    )


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json"])
def test_a_model_that_cannot_be_loaded_is_named_in_one_line(tiny_model: Path, tmp_path: Path, missing: str) -> None:
    directory = tmp_path / "model"
    shutil.copytree(tiny_model, directory)
    (directory / missing).unlink()
    with pytest.raises(RunError) as error:
        LocalGenerator(str(directory), [], GenerationSettings())
    assert str(error.value).startswith(f"base_model: {directory} cannot be loaded: ")
    assert "\n" not in str(error.value)
