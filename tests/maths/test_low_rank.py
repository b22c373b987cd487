"""Closed forms in the factors of a delta against the same on the dense matrix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mva_ray.maths.hsic import u_centre, unbiased_hsic
from mva_ray.maths.low_rank import Deltas, linear_kernel, unbiased_linear_hsic


def deltas(seed: int, modules: int, out: int, width: int, rank: int, scaling: float = 1.0) -> Deltas:
    generator = torch.Generator().manual_seed(seed)
    a, b = (
        torch.randn(modules, *size, generator=generator, dtype=torch.float64) for size in ((rank, width), (out, rank))
    )
    return Deltas(a, b, scaling)


def dense(factors: Deltas) -> Tensor:
    return factors.scaling * factors.b @ factors.a


@settings(max_examples=50, deadline=None)
@given(st.integers(4, 12), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_hsic_equals_that_of_the_dense_matrices(out: int, width: int, rank: int, other: int, seed: int) -> None:
    """Ranks may differ, and be above the width."""
    x, y = deltas(seed, 2, out, width, rank, 2.0), deltas(seed + 1, 2, out, width, other, 0.5)
    kernels = [u_centre(dense(factors) @ dense(factors).transpose(-1, -2)) for factors in (x, y)]
    expected = unbiased_hsic(kernels[0], kernels[1])
    scale = (unbiased_hsic(kernels[0], kernels[0]) * unbiased_hsic(kernels[1], kernels[1])).sqrt()
    difference = unbiased_linear_hsic(linear_kernel(x), linear_kernel(y)) - expected
    assert (difference.abs() <= 1e-9 * (1 + scale)).all()


@pytest.mark.parametrize("out", [576, 192])
def test_float32_is_enough_at_the_sizes_of_adapters(out: int) -> None:
    """Products have a relative error of 2^-24, and the sums of n * r of them lose three digits at the worst."""
    x, y = deltas(1, 2, out, 576, 16, 2.0), deltas(2, 2, out, 576, 16, 2.0)
    kernels = [linear_kernel(Deltas(part.a.float(), part.b.float(), part.scaling)) for part in (x, y)]
    scale = unbiased_linear_hsic(linear_kernel(x), linear_kernel(x))
    exact = unbiased_linear_hsic(linear_kernel(x), linear_kernel(y)) / scale
    torch.testing.assert_close(unbiased_linear_hsic(*kernels).double() / scale, exact, atol=1e-5, rtol=0)


def test_products_of_chosen_rows_are_those_of_the_dense_matrix() -> None:
    x, rows = deltas(3, 2, 9, 5, 3, 2.0), torch.tensor([7, 0, 4])
    chosen = dense(x)[:, rows]
    torch.testing.assert_close(x.row_products(rows), chosen @ chosen.transpose(-1, -2))


def test_the_unit_divides_the_kernel() -> None:
    x = deltas(4, 2, 9, 5, 3)
    one, scaled = linear_kernel(x), linear_kernel(x, torch.tensor([4.0, 0.5]))
    torch.testing.assert_close(scaled.squares[0], one.squares[0] / 4)
    torch.testing.assert_close(scaled.mixing[1], one.mixing[1] * 2)
    torch.testing.assert_close(one.squares, (dense(x) - dense(x).mean(-2, keepdim=True)).square().sum(-1))
