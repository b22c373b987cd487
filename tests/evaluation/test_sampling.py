"""Sampled rows: what is drawn depends on the request alone, and follows the model's distribution."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from mva_ray.evaluation.engine import Draw, Request, _drawn
from tests.support.architectures import VOCABULARY, Tiny, tiny

LOGITS = torch.tensor([0.0, 2.0, -1.0, 1.0, 0.5])
DRAWS = 20_000


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny("llama", tmp_path_factory.mktemp("llama"), 2)


def sampled(model: Tiny, seed: int = 5, temperature: float = 0.7, top_k: int = 0) -> list[Request]:
    """Three samples of each prompt."""
    return [
        replace(request, draw=Draw((seed, place, number), temperature, top_k))
        for place, request in enumerate(model.requests((9, 1, 30, 4)))
        for number in range(3)
    ]


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 0), (0.5, 0), (2.0, 3), (1.0, 2)])
def test_tokens_are_drawn_with_their_probabilities(temperature: float, top_k: int) -> None:
    """softmax(logits / temperature) among the k likeliest tokens; a chi-squared test of seeded draws."""
    rng = np.random.default_rng(11)
    counts = np.bincount(
        [_drawn(LOGITS, Draw((0,), temperature, top_k), number) for number in rng.random(DRAWS)], minlength=len(LOGITS)
    )
    kept = sorted(range(len(LOGITS)), key=lambda token: -LOGITS[token])[: top_k or None]
    weights = np.array([np.exp(float(LOGITS[token]) / temperature) for token in kept])
    assert counts.sum() == counts[kept].sum() == DRAWS
    assert chisquare(counts[kept], DRAWS * weights / weights.sum()).pvalue > 0.001


def test_the_edges_of_the_unit_interval() -> None:
    """The likeliest token begins at 0; a number next to 1 is the least likely one, never beyond it."""
    draw = Draw((0,), 1.0, 0)
    assert _drawn(LOGITS, draw, 0.0) == 1
    assert _drawn(LOGITS, draw, float(np.nextafter(1.0, 0.0))) == 2
    assert _drawn(LOGITS, Draw((0,), 1.0, 2), float(np.nextafter(1.0, 0.0))) == 3


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([-torch.inf, 1.0, -torch.inf, 0.0])
    assert {_drawn(logits, Draw((0,), 1.0, 0), u) for u in np.linspace(0, 1, 101, endpoint=False)} == {1, 3}


def test_more_candidates_than_tokens_are_all_tokens() -> None:
    """As in transformers: a vocabulary may be smaller than `top_k`."""
    for uniform in (0.0, 0.4, 0.9):
        assert _drawn(LOGITS, Draw((0,), 1.0, 50), uniform) == _drawn(LOGITS, Draw((0,), 1.0, 0), uniform)


@pytest.mark.parametrize(("top_p", "top_k"), [(0.5, 0), (0.9, 0), (0.9, 3), (1e-9, 0), (1 - 1e-12, 0)])
def test_the_nucleus_is_the_fewest_likeliest_tokens(top_p: float, top_k: int) -> None:
    """softmax among the fewest tokens whose probabilities sum to top_p, by a slow reference over a large vocabulary."""
    logits = torch.randn(700, generator=torch.Generator().manual_seed(3)) * 2
    order = sorted(range(len(logits)), key=lambda token: -logits[token])[: top_k or None]
    weights = np.exp(logits[order].double().numpy())
    weights /= weights.sum()
    kept = int((np.cumsum(weights) < top_p).sum()) + 1
    edges = np.cumsum(weights[:kept] / weights[:kept].sum())
    for uniform in (0.0, 0.1, 0.5, 0.77, 0.999, float(np.nextafter(1.0, 0.0))):
        found = _drawn(logits, Draw((0,), 1.0, top_k, top_p), uniform)
        assert found == order[min(int((edges <= uniform).sum()), kept - 1)]


@given(uniform=st.floats(0, 1, exclude_max=True), spread=st.floats(0.01, 30), seed=st.integers(0, 99))
def test_few_likeliest_tokens_are_enough_to_draw_as_among_all(uniform: float, spread: float, seed: int) -> None:
    """The draw looks at 256 of 2,000 first; where these do not reach, at all."""
    logits = torch.randn(2000, generator=torch.Generator().manual_seed(seed)) * spread
    values, tokens = logits.topk(len(logits))
    cumulative = values.double().softmax(-1).cumsum(-1)
    slow = int((cumulative <= uniform * cumulative[-1]).sum())
    near = cumulative[[max(0, slow - 1), min(slow, len(logits) - 1)]] - uniform
    if near.abs().min() > 1e-12:
        assert _drawn(logits, Draw((0,), 1.0, 0), uniform) == int(tokens[slow])


def test_samples_do_not_depend_on_companions_order_or_limits(llama: Tiny) -> None:
    requests = sampled(llama)
    one = llama.engine(rows=1)
    alone = [one.answer([request])[0].answer for request in requests]
    assert [row.answer for row in llama.engine(rows=5).answer(requests)] == alone
    assert [row.answer for row in llama.engine(rows=16).answer(requests[::-1])][::-1] == alone
    others = [*llama.requests((12, 3)), *requests, *sampled(llama, seed=6)]
    assert [row.answer for row in llama.engine(rows=16).answer(others)][2 : 2 + len(alone)] == alone


def test_other_seeds_are_other_samples(llama: Tiny) -> None:
    texts = {tuple(row.answer) for seed in (5, 6) for row in llama.engine().answer(sampled(llama, seed))}
    assert len(texts) == 2 * len(sampled(llama))


@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, 1), (1e-4, 0)])
def test_among_one_token_the_sample_is_the_greedy_answer(llama: Tiny, temperature: float, top_k: int) -> None:
    for row in llama.engine().answer(sampled(llama, temperature=temperature, top_k=top_k)):
        assert row.answer == llama.greedy(replace(row.request, draw=None))


def test_first_tokens_follow_the_merged_model(one_thread: None, tmp_path: Path) -> None:
    """1,500 answers of one token: by chi-squared, they come from the candidate's own softmax."""
    model = tiny("gpt2", tmp_path, 2)
    [prompt] = model.requests((6,))
    prompt = replace(prompt, coefficients=(0.8, -0.5))
    requests = [replace(prompt, draw=Draw((1, number), 1.5, 0)) for number in range(1500)]
    drawn = [row.answer[0] for row in model.engine(rows=250, max_new_tokens=1).answer(requests)]
    expected = (model.logits(prompt.tokens, prompt.coefficients)[-1].double() / 1.5).softmax(-1).numpy() * len(drawn)
    counts = np.bincount(drawn, minlength=VOCABULARY)
    often = expected >= 5
    assert often.sum() > 5
    observed, wanted = [*counts[often], counts[~often].sum()], [*expected[often], expected[~often].sum()]
    assert chisquare(observed, np.array(wanted) * sum(observed) / sum(wanted)).pvalue > 0.001
