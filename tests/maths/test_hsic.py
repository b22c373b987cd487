"""HSIC against a slow independent reference, by hand, and with the numbers that document what it cannot see."""

from math import exp, sqrt
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mva_ray.maths.hsic import centre, hsic, rbf_kernel


def slow_kernel(rows: list[list[float]], sigma: float) -> list[list[float]]:
    def distance(x: list[float], y: list[float]) -> float:
        return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))

    return [[exp(-distance(x, y) / (2 * sigma**2)) for y in rows] for x in rows]


def slow_hsic(x: Tensor, y: Tensor, sigma: float = 1.0) -> float:
    """The biased estimator as three sums over kernel entries (Gretton et al. 2005, before the trace form)."""
    k, m = slow_kernel(x.double().tolist(), sigma), slow_kernel(y.double().tolist(), sigma)
    n = len(k)
    every = range(n)
    paired = sum(k[i][j] * m[i][j] for i in every for j in every) / n**2
    apart = sum(map(sum, k)) * sum(map(sum, m)) / n**4
    mixed = sum(k[i][j] * m[i][q] for i in every for j in every for q in every) / n**3
    return paired + apart - 2 * mixed


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@st.composite
def row_pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two tables with the same number of rows, from far below to far above the kernel's bandwidth."""
    n, d, e, seed = (draw(st.integers(low, high)) for low, high in ((1, 7), (1, 5), (1, 5), (0, 10**6)))
    scale = draw(st.sampled_from([0.01, 0.5, 1.0, 5.0]))
    return scale * normal(seed, n, d), scale * normal(seed + 1, n, e)


@settings(max_examples=60, deadline=None)
@given(row_pairs(), st.sampled_from([0.5, 1.0, 2.0]))
def test_equals_the_slow_reference(pair: tuple[Tensor, Tensor], sigma: float) -> None:
    assert hsic(*pair, sigma).item() == pytest.approx(slow_hsic(*pair, sigma), abs=1e-12)


@pytest.mark.parametrize(("n", "d"), [(16, 576), (64, 192), (4, 32)])
def test_float32_is_within_1e6_of_the_reference_at_the_sizes_of_adapters(n: int, d: int) -> None:
    x, y = (torch.rand(n, d, generator=torch.Generator().manual_seed(seed)) * 0.1 for seed in (1, 2))
    assert hsic(x, y).item() == pytest.approx(slow_hsic(x, y), abs=1e-6)


def test_two_rows_by_hand() -> None:
    """With two rows H K H is (1 - k) / 2 * [[1, -1], [-1, 1]], so HSIC is (1 - k)(1 - l) / 4."""
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    y = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    k, m = exp(-25 / 2), exp(-1 / 2)
    assert hsic(x, y).item() == pytest.approx((1 - k) * (1 - m) / 4, abs=1e-15)
    assert hsic(x, y, sigma=5.0).item() == pytest.approx((1 - exp(-0.5)) * (1 - exp(-0.02)) / 4, abs=1e-15)


def test_batches_are_computed_each_on_its_own() -> None:
    x, y = normal(1, 3, 2, 5, 4), normal(2, 3, 2, 5, 6)
    batched = hsic(x, y)
    assert batched.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            assert batched[i, j].item() == pytest.approx(slow_hsic(x[i, j], y[i, j]), abs=1e-12)


def test_gradient_passes_gradcheck() -> None:
    x, y = normal(3, 2, 5, 3).requires_grad_(), normal(4, 2, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(hsic, (x, y))


def test_gradient_passes_gradcheck_where_rows_coincide() -> None:
    """Rows of a fresh adapter may be equal; a distance by square root would have no gradient there."""
    x = normal(5, 4, 3)
    x[1] = x[0]
    assert torch.autograd.gradcheck(hsic, (x.requires_grad_(), normal(6, 4, 2)))


@settings(max_examples=40, deadline=None)
@given(row_pairs())
def test_symmetric_and_not_negative(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair
    assert hsic(x, y).item() == pytest.approx(hsic(y, x).item(), abs=1e-14)
    assert hsic(x, y).item() >= -1e-14


@settings(max_examples=40, deadline=None)
@given(row_pairs(), st.randoms(use_true_random=False))
def test_the_same_permutation_of_both_changes_nothing(pair: tuple[Tensor, Tensor], random: Random) -> None:
    x, y = pair
    order = list(range(len(x)))
    random.shuffle(order)
    assert hsic(x[order], y[order]).item() == pytest.approx(hsic(x, y).item(), abs=1e-14)


def test_a_constant_side_is_independent_of_everything() -> None:
    constant = torch.full((6, 4), 3.0, dtype=torch.float64)
    assert hsic(constant, normal(7, 6, 2)).item() == pytest.approx(0, abs=1e-15)
    assert hsic(normal(7, 6, 2), constant).item() == pytest.approx(0, abs=1e-15)


def test_the_kernel_is_symmetric_with_ones_on_its_diagonal_and_centres_to_zero_sums() -> None:
    kernel = rbf_kernel(normal(8, 3, 6, 4))
    assert torch.equal(kernel, kernel.transpose(-1, -2))
    torch.testing.assert_close(kernel.diagonal(dim1=-2, dim2=-1), torch.ones(3, 6, dtype=torch.float64))
    centred = centre(kernel)
    torch.testing.assert_close(centred.sum(-1), torch.zeros(3, 6, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(centred.sum(-2), torch.zeros(3, 6, dtype=torch.float64), atol=1e-14, rtol=0)


def test_different_numbers_of_rows_raise() -> None:
    with pytest.raises(ValueError, match="x has 5, y has 4"):
        hsic(normal(1, 5, 3), normal(2, 4, 3))


def test_known_weakness_at_the_shapes_of_lora_it_barely_sees_dependence() -> None:
    """16 rows in 576 dimensions as LoRA initialises A: all rows are equally far apart, so independent matrices score
    like identical ones, and the way down is to shrink A rather than to make it independent.
    """

    def fresh(seed: int) -> Tensor:
        matrix = torch.empty(16, 576, dtype=torch.float64)
        torch.nn.init.kaiming_uniform_(matrix, a=sqrt(5), generator=torch.Generator().manual_seed(seed))
        return matrix

    pairs = [(fresh(seed), fresh(seed + 100)) for seed in range(10)]
    independent = sum(hsic(x, y).item() for x, y in pairs) / len(pairs)
    identical = sum(hsic(x, x).item() for x, _ in pairs) / len(pairs)
    halved = sum(hsic(x / 2, y).item() for x, y in pairs) / len(pairs)
    assert independent == pytest.approx(0.0047, abs=1e-4)
    assert identical == pytest.approx(0.0047, abs=1e-4)
    assert identical / independent < 1.02
    assert halved == pytest.approx(0.0013, abs=2e-4)
