"""The decorrelation penalty: the sum of HSIC over modules and earlier adapters, and what it refuses."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor

from mva_ray.adapters.lora import load_factors
from mva_ray.maths.hsic import hsic
from mva_ray.training.penalty import HsicPenalty, trainable_lora_a
from tests.tiny import LLAMA_MODULES, load, random_adapter

SHAPES = {"a.q": (4, 6), "a.k": (4, 6), "b.down": (4, 9), "b.q": (4, 6), "c.up": (4, 3)}


def factors(seed: int, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.5 * torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


def slow_penalty(current: Mapping[str, Tensor], earlier: list[dict[str, Tensor]], sigma: float = 1.0) -> float:
    return sum(hsic(current[name], other[name], sigma).item() for other in earlier for name in current)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000), st.sampled_from([0.5, 1.0, 3.0]))
def test_equals_the_sum_over_modules_and_adapters(n_earlier: int, rank: int, seed: int, sigma: float) -> None:
    """Modules of different shapes go in different batches; none may be lost or counted twice."""
    shapes = {name: (rank, width) for name, (_, width) in SHAPES.items()}
    earlier = [factors(seed + i, shapes) for i in range(n_earlier)]
    current = factors(seed + 99, shapes)
    penalty = HsicPenalty(earlier, sigma)(current).item()
    assert penalty == pytest.approx(slow_penalty(current, earlier, sigma), abs=1e-6)


def test_the_order_of_modules_does_not_matter() -> None:
    earlier, current = factors(1), factors(2)
    backwards = dict(reversed(current.items()))
    assert HsicPenalty([earlier])(backwards).item() == HsicPenalty([earlier])(current).item()


def test_the_first_adapter_has_no_penalty() -> None:
    penalty = HsicPenalty([])(factors(1))
    assert penalty.shape == ()
    assert penalty.item() == 0


def test_the_gradient_goes_to_the_trained_factors_alone() -> None:
    earlier = {name: tensor.requires_grad_() for name, tensor in factors(1).items()}
    frozen = {name: tensor.detach() for name, tensor in earlier.items()}
    current = {name: tensor.requires_grad_() for name, tensor in factors(2).items()}
    torch.autograd.backward(HsicPenalty([frozen])(current))
    assert all(tensor.grad is None for tensor in earlier.values())
    for name, tensor in current.items():
        expected = tensor.detach().clone().requires_grad_()
        torch.autograd.backward(hsic(expected, frozen[name]))
        assert tensor.grad is not None
        assert expected.grad is not None
        assert tensor.grad.abs().max() > 0
        torch.testing.assert_close(tensor.grad, expected.grad, atol=1e-7, rtol=1e-4)


def test_half_precision_factors_are_compared_in_float32() -> None:
    """In bfloat16 the kernel would have two digits."""
    earlier, current = factors(1), factors(2)
    halved = {name: tensor.bfloat16() for name, tensor in current.items()}
    rounded = {name: tensor.float() for name, tensor in halved.items()}
    penalty = HsicPenalty([earlier])(halved)
    assert penalty.dtype == torch.float32
    assert penalty.item() == pytest.approx(slow_penalty(rounded, [earlier]), abs=1e-6)


@pytest.mark.parametrize("change", ["missing", "further", "other"])
def test_other_modules_are_refused(change: str) -> None:
    current = factors(2)
    if change in ("missing", "other"):
        del current["b.down"]
    if change in ("further", "other"):
        current["d.q"] = torch.ones(4, 6)
    with pytest.raises(ValueError, match="an earlier adapter was trained on other modules than this one"):
        HsicPenalty([factors(1)])(current)


def test_every_earlier_adapter_is_checked_not_only_the_first() -> None:
    second = factors(2)
    del second["b.q"]
    with pytest.raises(ValueError, match="an earlier adapter was trained on other modules than this one"):
        HsicPenalty([factors(1), second])(factors(3))


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_another_rank_is_refused(rank: int) -> None:
    """Rank 1 would broadcast to a penalty of 0 without a word."""
    shapes = {name: (rank, width) for name, (_, width) in SHAPES.items()}
    for earlier, current in (([factors(1)], factors(2, shapes)), ([factors(1), factors(3, shapes)], factors(2))):
        with pytest.raises(ValueError, match="another rank"):
            HsicPenalty(earlier)(current)


def test_trainable_factors_have_the_names_of_the_saved_ones(tiny_model: Path, tmp_path: Path) -> None:
    """Else the trained adapter could not be matched with the earlier ones read from disk."""
    saved = load_factors(random_adapter(tmp_path, tiny_model, seed=1, r=4, alpha=8))
    peft_model = get_peft_model(load(tiny_model)[0], LoraConfig(r=4, target_modules=list(LLAMA_MODULES)))
    current = trainable_lora_a(peft_model)
    assert {name: tensor.shape for name, tensor in current.items()} == {
        name: tensor.shape for name, tensor in saved.a.items()
    }
    assert all(tensor.requires_grad for tensor in current.values())
    assert HsicPenalty([saved.a])(current).item() > 0


def test_frozen_adapters_of_the_model_are_no_trainable_factors(tiny_model: Path) -> None:
    """TRL may keep a frozen copy as its reference."""
    config = LoraConfig(r=4, target_modules=["q_proj"])
    peft_model = get_peft_model(load(tiny_model)[0], config)
    peft_model.add_adapter("ref", config)
    peft_model.set_adapter("default")
    factors_by_name = trainable_lora_a(peft_model)
    assert set(factors_by_name) == {f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)}
