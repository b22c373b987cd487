"""HSIC against a slow independent reference, by hand, and with the numbers that document what it cannot see."""

from itertools import permutations
from math import exp, sqrt
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mva_ray.maths.hsic import (
    FLOOR,
    centre,
    cka,
    hsic,
    hsic_from_kernels,
    median_distance,
    rbf_kernel,
    squared_distances,
    u_centre,
    unbiased_hsic,
)


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


def unbiased(x: Tensor, y: Tensor) -> Tensor:
    return unbiased_hsic(u_centre(x), u_centre(y))


def slow_unbiased_hsic(x: Tensor, y: Tensor) -> float:
    """The U-statistic by its definition: the mean of K_ij (L_ij + L_qr - 2 L_iq) over all different i, j, q, r."""
    k, m = x.tolist(), y.tolist()
    terms = [k[i][j] * (m[i][j] + m[q][r] - 2 * m[i][q]) for i, j, q, r in permutations(range(len(k)), 4)]
    mean: float = sum(terms) / len(terms)
    return mean


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 7), st.integers(0, 10**6))
def test_unbiased_equals_the_mean_over_all_quadruples(n: int, seed: int) -> None:
    x, y = (rows @ rows.T for rows in (normal(seed, n, 3), normal(seed + 1, n, 5)))
    assert unbiased(x, y).item() == pytest.approx(slow_unbiased_hsic(x, y), abs=1e-10)


def test_unbiased_equals_the_formula_of_song() -> None:
    """Equation 5: (tr(K~ L~) + 1'K~1 1'L~1 / ((n-1)(n-2)) - 2/(n-2) 1'K~L~1) / (n (n-3)), diagonals zero."""
    x, y = rbf_kernel(normal(1, 3, 9, 2)), rbf_kernel(normal(2, 3, 9, 4))
    n, hollow = 9, 1 - torch.eye(9, dtype=torch.float64)
    k, m = x * hollow, y * hollow
    one, two = (k * m).sum((1, 2)), k.sum((1, 2)) * m.sum((1, 2)) / ((n - 1) * (n - 2))
    three = 2 / (n - 2) * (k @ m).sum((1, 2))
    torch.testing.assert_close(unbiased(x, y), (one + two - three) / (n * (n - 3)))


def test_unbiased_is_zero_on_average_where_biased_is_not() -> None:
    """400 independent pairs of 8 rows: the mean of the unbiased estimates is within 4 of its standard errors of 0."""
    x, y = rbf_kernel(normal(3, 400, 8, 2)), rbf_kernel(normal(4, 400, 8, 2))
    estimates = unbiased(x, y)
    assert abs(estimates.mean().item()) < 4 * estimates.std().item() / sqrt(400)
    biased = hsic_from_kernels(x, centre(y))
    assert biased.mean().item() > 20 * biased.std().item() / sqrt(400)


def test_unbiased_needs_four_rows() -> None:
    with pytest.raises(ValueError, match="at least 4 rows, got 3"):
        u_centre(torch.ones(3, 3))


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 8), st.integers(0, 10**6), st.floats(0.1, 1e3))
def test_cka_is_one_for_equal_kernels_at_any_scale_and_never_more(n: int, seed: int, scale: float) -> None:
    x, y = (u_centre(rows @ rows.T) for rows in (normal(seed, n, 3), normal(seed + 1, n, 3)))
    own, fixed, cross = unbiased_hsic(x, x), unbiased_hsic(y, y), unbiased_hsic(x, y)
    assert cka(scale * own, scale**2 * own, own).item() == pytest.approx(1, abs=1e-9)
    assert cka(scale * cross, scale**2 * own, fixed).item() <= 1 + 1e-9


def test_cka_of_something_small_is_counted_against_a_part_of_the_fixed_side() -> None:
    """By hand: own 0 counts as FLOOR^2 * fixed, so the result is cross / (FLOOR * fixed)."""
    cross, fixed = torch.tensor([0.0, 3e-4]), torch.tensor([4.0, 4.0])
    torch.testing.assert_close(cka(cross, torch.zeros(2), fixed), torch.tensor([0.0, 3e-4 / (FLOOR * 4)]))


def test_cka_with_a_constant_fixed_side_is_zero_and_has_a_gradient() -> None:
    own = torch.tensor([0.0, 2.0], requires_grad=True)
    result = cka(0 * own, own, torch.zeros(2))
    assert result.tolist() == [0, 0]
    torch.autograd.backward(result.sum())
    assert own.grad is not None
    assert own.grad.isfinite().all()


def test_the_median_is_that_of_different_rows() -> None:
    """Rows 0, 1, 3 on a line: squared distances 1, 4, 9. Zeros of the diagonal would pull it down."""
    rows = torch.tensor([[0.0], [1.0], [3.0]], requires_grad=True)
    median = median_distance(squared_distances(rows @ rows.T))
    assert median.tolist() == [[4.0]]
    assert not median.requires_grad
