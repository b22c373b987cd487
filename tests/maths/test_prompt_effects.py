"""Means of candidates that answered some prompts: unbiased, with errors that hold, and better than plain means."""

import numpy as np
import pytest

from mva_ray.maths.prompt_effects import paired_means

CANDIDATES, PROMPTS = 24, 40


def sampled(rng: np.random.Generator, asked: int, own: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Rewards [candidates, prompts] of level, prompt effect and rest; and the same with NaN for what is not asked."""
    effects, levels = rng.normal(size=PROMPTS), np.linspace(-1, 1, CANDIDATES)[:, None]
    whole = levels + effects + own * rng.normal(size=(CANDIDATES, PROMPTS))
    left = rng.permuted(np.tile(np.arange(PROMPTS) >= asked, (CANDIDATES, 1)), axis=1)
    return whole, np.where(left, np.nan, whole)


def test_with_all_prompts_they_are_the_plain_means() -> None:
    """And errors are those of the rest alone, since prompts are hard for all: sd 0.5 over 40 of them."""
    whole, _ = sampled(np.random.default_rng(0), PROMPTS)
    means, errors = paired_means(whole)
    assert means == pytest.approx(whole.mean(axis=1))
    assert errors == pytest.approx([0.5 / np.sqrt(PROMPTS)] * CANDIDATES, rel=0.1)


def test_by_hand_without_prompts_in_common() -> None:
    """Two candidates, two prompts each: nothing is paired, and the variances 1/2 and 9/2 are pooled to 5/2."""
    means, errors = paired_means([[1.0, 2.0, np.nan, np.nan], [np.nan, np.nan, 3.0, 6.0]])
    assert means == pytest.approx([1.5, 4.5])
    assert errors == pytest.approx([np.sqrt(2.5 / 2)] * 2)


def test_they_are_unbiased_and_their_errors_hold_where_few_prompts_are_answered() -> None:
    """Over many draws of 10 of 40: the mean error is 0, and 95 % lie within 1.96 standard errors."""
    rng, off = np.random.default_rng(1), []
    for _ in range(100):
        whole, some = sampled(rng, 10)
        means, errors = paired_means(some)
        wrong = means - whole.mean(axis=1)
        off.append(np.stack([wrong, (wrong - wrong.mean()) / errors]))
    wrong, scaled = np.moveaxis(np.array(off), 1, 0)
    assert np.abs(wrong.mean(axis=0)).max() < 0.08
    assert np.mean(np.abs(scaled) < 1.96) == pytest.approx(0.95, abs=0.03)


def test_pairing_takes_out_what_is_hard_for_all() -> None:
    """Prompt effects have four times the variance of the rest."""
    whole, some = sampled(np.random.default_rng(2), 10)
    truth = whole.mean(axis=1)
    paired, plain = paired_means(some)[0] - truth, np.nanmean(some, axis=1) - truth
    assert paired.std() < 0.6 * plain.std()


def test_a_single_answer_each_has_no_error() -> None:
    means, errors = paired_means([[1.0, np.nan], [np.nan, 2.0]])
    assert (means.tolist(), errors.tolist()) == ([1.0, 2.0], [0.0, 0.0])
