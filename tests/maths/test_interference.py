"""Cosine and CKA through the factors against the deltas themselves."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mva_ray.maths.interference import Factors, delta_cka, delta_cosine

Measure = Callable[[Factors, Factors], Tensor]


def factors(seed: int, out: int = 24, inner: int = 20, rank: int = 4) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, inner, generator=generator), torch.randn(out, rank, generator=generator)


def delta(pair: Factors) -> Tensor:
    a, b = pair
    return (b @ a).double()


def slow_hsic(x: Tensor, y: Tensor) -> float:
    """Song et al. (2012), equation 5, as it stands, with the n x n matrices."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    k.fill_diagonal_(0)
    m.fill_diagonal_(0)
    ones = torch.ones(n, dtype=torch.double)
    total = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return float((torch.trace(k @ m) + total - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3)))


def test_cosine_equals_that_of_the_deltas() -> None:
    first, second = factors(1), factors(2, rank=3)
    direct = torch.nn.functional.cosine_similarity(delta(first).flatten(), delta(second).flatten(), dim=0)
    assert delta_cosine(first, second).item() == pytest.approx(direct.item(), abs=1e-6)


def test_cka_equals_that_of_the_deltas() -> None:
    first, second = factors(1), factors(2, rank=3)
    x, y = delta(first), delta(second)
    direct = slow_hsic(x, y) / (slow_hsic(x, x) * slow_hsic(y, y)) ** 0.5
    assert delta_cka(first, second).item() == pytest.approx(direct, abs=1e-6)


def test_by_hand() -> None:
    """Deltas [[1, 0], [0, 0]] and [[1, 1], [0, 0]]: inner product 1, lengths 1 and sqrt 2."""
    column = torch.tensor([[1.0], [0.0]])
    assert delta_cosine((torch.tensor([[1.0, 0.0]]), column), (torch.tensor([[1.0, 1.0]]), column)).item() == (
        pytest.approx(0.5**0.5)
    )


@pytest.mark.parametrize("measure", [delta_cosine, delta_cka])
def test_equal_deltas_give_one_in_any_basis_and_scale(measure: Measure) -> None:
    a, b = factors(3)
    turn = torch.randn(4, 4, generator=torch.Generator().manual_seed(4), dtype=torch.double)
    other = (turn @ a.double() * 1e-4, b.double() @ torch.linalg.inv(turn))
    assert measure((a, b), other).item() == pytest.approx(1, abs=1e-6)


def test_opposite_deltas() -> None:
    a, b = factors(3)
    assert delta_cosine((a, b), (a, -b)).item() == pytest.approx(-1)
    assert delta_cka((a, b), (a, -b)).item() == pytest.approx(1)


def test_independent_deltas_give_zero_on_average() -> None:
    """The biased estimator gives 0.13 at this size."""
    random = torch.Generator().manual_seed(0)
    first, second = (
        (torch.randn(300, 4, 20, generator=random), torch.randn(300, 24, 4, generator=random)) for _ in range(2)
    )
    assert abs(delta_cka(first, second).mean().item()) < 0.02


@pytest.mark.parametrize("measure", [delta_cosine, delta_cka])
def test_a_delta_of_zeros_shares_nothing(measure: Measure) -> None:
    a, b = factors(1)
    assert measure((a, torch.zeros_like(b)), (a, b)).item() == 0


def test_modules_of_one_shape_at_once() -> None:
    pairs = [(factors(seed), factors(seed + 10)) for seed in range(3)]
    first, second = (
        (torch.stack([pair[side][0] for pair in pairs]), torch.stack([pair[side][1] for pair in pairs]))
        for side in (0, 1)
    )
    for measure in (delta_cosine, delta_cka):
        assert measure(first, second).tolist() == pytest.approx([measure(*pair).item() for pair in pairs])


def test_cka_wants_paired_neurons() -> None:
    with pytest.raises(ValueError, match="output neurons"):
        delta_cka(factors(1, out=8), factors(2, out=9))
