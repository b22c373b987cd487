"""Products with a weight that is laid out once: torch's own, whatever the shapes, and rows that do not meet."""

import pytest
import torch
from torch.nn.functional import linear

from mva_ray.adapters.product import Product

PRECISIONS = {torch.float32: 1e-5, torch.bfloat16: 0.04}


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 96), (300, 32)])
@pytest.mark.parametrize("leading", [(1,), (3, 17), (2, 2, 48)])
def test_it_is_the_linear_product(dtype: torch.dtype, shape: tuple[int, int], leading: tuple[int, ...]) -> None:
    weight, bias = random(*shape, dtype=dtype), random(shape[0], dtype=dtype, seed=1)
    inputs = random(*leading, shape[1], dtype=dtype, seed=2)
    product = Product(weight)
    for added in (None, bias):
        found, expected = product(inputs, added), linear(inputs, weight, added)
        assert found.dtype == dtype
        assert found.shape == expected.shape
        scale = shape[1] ** 0.5
        assert (found - expected).abs().max() <= PRECISIONS[dtype] * scale


def test_a_transposed_weight_as_of_gpt2() -> None:
    weight = random(24, 40, dtype=torch.float32)
    inputs = random(3, 24, dtype=torch.float32, seed=1)
    assert (Product(weight.T)(inputs) - inputs @ weight).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_row_does_not_depend_on_the_others(dtype: torch.dtype) -> None:
    """In passes of a multiple of 16 rows, as the engine makes them: else an answer would depend on its neighbours."""
    product = Product(random(96, 64, dtype=dtype))
    inputs = random(128, 64, dtype=dtype, seed=1)
    whole = product(inputs)
    for count in (16, 32, 48, 80):
        assert torch.equal(product(inputs[:count]), whole[:count])
        assert torch.equal(product(inputs[-count:]), whole[-count:])
