"""Whether a value is a function of the others: known ones, none, and too few candidates to be fooled by."""

import numpy as np

from mva_ray.maths.redundancy import predictability, reliability


def test_a_curve_is_found_and_independent_values_are_not() -> None:
    first = np.linspace(-1, 1, 24)
    curve = np.column_stack([first, np.tanh(2 * first)])
    assert (predictability(curve) > 0.999).all()
    assert (predictability(np.random.default_rng(0).normal(size=(24, 2))) < 0.3).all()


def test_noise_lowers_it_by_its_share_of_the_variance() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=200)
    noisy = np.column_stack([first, 2 * first + rng.normal(size=200)])
    assert abs(predictability(noisy)[1] - 0.8) < 0.06


def test_of_three_values_it_is_the_one_that_the_others_give() -> None:
    others = np.random.default_rng(2).normal(size=(30, 2))
    assert predictability(np.column_stack([others, others[:, 0] * others[:, 1]]))[2] > 0.9
    assert predictability(np.column_stack([others, np.ones(30)]))[:2].max() < 0.3


def test_eight_candidates_of_nothing_hardly_ever_look_like_a_function() -> None:
    draws = (np.random.default_rng(seed).normal(size=(8, 2)) for seed in range(1000))
    assert sum(predictability(draw).max() > 0.95 for draw in draws) <= 3


def test_units_do_not_matter_and_a_constant_is_no_number() -> None:
    table = np.random.default_rng(3).normal(size=(12, 2))
    np.testing.assert_allclose(predictability(table), predictability(table * [1e3, 1e-3] + 5), rtol=1e-6)
    assert np.isnan(predictability(np.column_stack([table, np.ones(12)]))[2])


def test_reliability_is_the_share_of_true_variance() -> None:
    """Candidates, prompts and luck with variances 1, 9 and 4: 40 prompts leave luck 4 / 40 of a mean."""
    rng = np.random.default_rng(4)
    table = rng.normal(size=(400, 1, 2)) + 3 * rng.normal(size=(1, 40, 2)) + 2 * rng.normal(size=(400, 40, 2))
    np.testing.assert_allclose(reliability(table), 1 / (1 + 4 / 40), atol=0.02)


def test_reliability_is_cronbachs_alpha() -> None:
    table = np.random.default_rng(5).normal(size=(12, 7))
    alpha = 7 / 6 * (1 - table.var(axis=0, ddof=1).sum() / table.sum(axis=1).var(ddof=1))
    np.testing.assert_allclose(reliability(table[:, :, None]), [alpha])


def test_of_luck_alone_it_is_about_none_and_of_a_constant_no_number() -> None:
    luck = np.random.default_rng(6).normal(size=(300, 40, 1))
    assert abs(reliability(luck)[0]) < 0.2
    assert np.isnan(reliability(np.ones((4, 3, 1)))[0])
