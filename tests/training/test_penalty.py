"""The penalty over a whole adapter: what is batched, shared, drawn and refused. The forms are tested in maths."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor

from mva_ray.adapters.lora import LoraFactors, load_factors
from mva_ray.config.training import PenaltySettings
from mva_ray.errors import RunError
from mva_ray.maths.hsic import hsic
from mva_ray.maths.interference import delta_cka
from mva_ray.training.penalty import make_penalty, penalty_weight, trainable_factors
from tests.support.tiny import LLAMA_MODULES, load, random_adapter

SHAPES = {"a.q": (6, 6), "a.k": (4, 6), "b.down": (6, 9), "b.q": (6, 6), "c.up": (9, 6)}
KINDS: list[Any] = [
    "hsic",
    "paper",
    "orthogonal",
    {"kernel": "rbf", "rows": 5},
    {"kernel": "rbf", "sigma": 0.7, "normalised": False, "weight": 1.0},
    {"on": "lora_a"},
]
OF_ANY_RANK = ["hsic", "orthogonal", {"kernel": "rbf"}]
OF_ONE_RANK = ["paper", {"on": "lora_a"}, {"on": "lora_a", "kernel": "rbf"}]


def adapter(seed: int, rank: int = 4, shapes: Mapping[str, tuple[int, int]] = SHAPES) -> LoraFactors:
    generator = torch.Generator().manual_seed(seed)
    a = {name: 0.5 * torch.randn(rank, width, generator=generator) for name, (_, width) in shapes.items()}
    b = {name: 0.5 * torch.randn(out, rank, generator=generator) for name, (out, _) in shapes.items()}
    return LoraFactors(a, b, 2.0)


def changed(factors: LoraFactors, change: Callable[[Tensor], Tensor]) -> LoraFactors:
    a, b = ({name: change(factor) for name, factor in part.items()} for part in (factors.a, factors.b))
    return LoraFactors(a, b, factors.scaling)


def without(factors: LoraFactors, *modules: str) -> LoraFactors:
    a, b = ({name: t for name, t in d.items() if name not in modules} for d in (factors.a, factors.b))
    return LoraFactors(a, b, factors.scaling)


def in_training(factors: LoraFactors) -> LoraFactors:
    return changed(factors, lambda factor: factor.clone().requires_grad_())


def penalise(kind: Any, current: LoraFactors, *earlier: LoraFactors, step: int = 0, seed: int = 0) -> Tensor:
    penalty = make_penalty(PenaltySettings.model_validate(kind), earlier, seed)
    assert penalty is not None
    return penalty(current, step)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(4, 6), st.integers(0, 1000))
def test_papers_equals_its_sum_over_modules_and_adapters(n_earlier: int, rank: int, seed: int) -> None:
    """Modules of different shapes go in different batches; none may be lost or counted twice."""
    earlier, current = [adapter(seed + i, rank) for i in range(n_earlier)], adapter(seed + 99, rank)
    expected = sum(hsic(current.a[name], other.a[name]).item() for other in earlier for name in current.a)
    assert penalise("paper", current, *earlier).item() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(1, 6), st.integers(0, 1000))
def test_default_equals_the_sum_of_positive_ckas_for_any_ranks(ranks: list[int], rank: int, seed: int) -> None:
    """Against the measure of the report, other code in double precision; more than 40 rows keep off the floor."""
    shapes = {name: (out + 40, width) for name, (out, width) in SHAPES.items()}
    earlier = [adapter(seed + i, other, shapes) for i, other in enumerate(ranks)]
    current = adapter(seed + 99, rank, shapes)
    alignments = [
        delta_cka((current.a[name], current.b[name]), (other.a[name], other.b[name])).item()
        for other in earlier
        for name in current.a
    ]
    expected = sum(max(0.0, alignment) for alignment in alignments)
    assert penalise("hsic", current, *earlier).item() == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_modules_does_not_matter(kind: Any) -> None:
    current = adapter(2)
    backwards = LoraFactors(dict(reversed(current.a.items())), dict(reversed(current.b.items())), current.scaling)
    value = penalise(kind, current, adapter(1)).item()
    assert penalise(kind, backwards, adapter(1)).item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_earlier_adapters_that_share_some_modules_count_on_these(kind: Any) -> None:
    """Of the three, each has other modules: the sum over them is that of each alone."""
    current = adapter(9)
    earlier = [without(adapter(1), "b.q", "c.up"), without(adapter(2), "a.q"), adapter(3)]
    further = LoraFactors(earlier[0].a | {"z.q": torch.ones(4, 6)}, earlier[0].b | {"z.q": torch.ones(6, 4)}, 2.0)
    alone = sum(penalise(kind, current, one).item() for one in earlier)
    assert penalise(kind, current, further, *earlier[1:]).item() == pytest.approx(alone, rel=1e-4)
    assert penalise(kind, current, earlier[0]).item() == pytest.approx(
        penalise(kind, without(current, "b.q", "c.up"), earlier[0]).item(), rel=1e-4
    )


def test_without_earlier_adapters_or_kind_there_is_none() -> None:
    assert make_penalty(PenaltySettings(), [], 0) is None
    assert make_penalty(PenaltySettings.model_validate("none"), [adapter(1)], 0) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_goes_to_the_trained_factors_alone(kind: Any) -> None:
    earlier, current = in_training(adapter(1)), in_training(adapter(2))
    torch.autograd.backward(penalise(kind, current, earlier))
    assert all(tensor.grad is None for tensor in (*earlier.a.values(), *earlier.b.values()))
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in current.a.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_penalty_may_be_called_again_and_again(kind: Any) -> None:
    """What is kept of the frozen adapters belongs to no graph that a backward pass frees."""
    penalty, current = make_penalty(PenaltySettings.model_validate(kind), [in_training(adapter(1))], 0), adapter(2)
    assert penalty is not None
    values = []
    for _ in range(2):
        values.append(penalty(in_training(current), 0))
        torch.autograd.backward(values[-1])
    assert values[0].item() == values[1].item()


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_factors_are_compared_in_float32_also_under_autocast(kind: Any) -> None:
    """In bfloat16 a kernel would have two digits."""
    current = adapter(2)
    halved = changed(current, lambda factor: factor.bfloat16())
    rounded = changed(halved, lambda factor: factor.float())
    with torch.autocast("cpu", torch.bfloat16):
        value = penalise(kind, halved, adapter(1))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(penalise(kind, rounded, adapter(1)).item(), rel=1e-6)


def test_rows_depend_on_seed_and_step_alone() -> None:
    kind, current, earlier = {"kernel": "rbf", "rows": 4}, adapter(2), adapter(1)
    assert penalise(kind, current, earlier, step=3).item() == penalise(kind, current, earlier, step=3).item()
    assert penalise(kind, current, earlier, step=3).item() != penalise(kind, current, earlier, step=4).item()
    assert penalise(kind, current, earlier, step=3).item() != penalise(kind, current, earlier, step=3, seed=1).item()


@pytest.mark.parametrize("kind", OF_ANY_RANK)
def test_adapters_of_another_rank_are_penalised(kind: Any) -> None:
    assert penalise(kind, adapter(2), adapter(1, rank=2), adapter(3, rank=6)).isfinite()


@pytest.mark.parametrize("rank", [1, 3, 8])
@pytest.mark.parametrize("kind", OF_ONE_RANK)
def test_another_rank_is_refused_where_rows_of_lora_a_are_paired(kind: Any, rank: int) -> None:
    """Rank 1 would broadcast to a penalty of 0 without a word."""
    message = rf"an earlier adapter has another rank \({rank}\) than this one \(4\).*training.lora.r"
    with pytest.raises(RunError, match=message):
        penalise(kind, adapter(2), adapter(1), adapter(3, rank=rank))


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_without_a_common_module_are_refused(kind: Any) -> None:
    other = adapter(1, shapes={"x.up": (6, 6)})
    with pytest.raises(RunError, match=r"no module of this one.*x\.up and others, this one a\.q and others.*: none"):
        penalise(kind, adapter(2), adapter(1), other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_of_another_size_is_refused(kind: Any) -> None:
    other = adapter(1, shapes=SHAPES | {"a.k": (6, 6)})
    with pytest.raises(RunError, match=r"a\.k is \(6, 6\) in an earlier adapter and \(4, 6\) here"):
        penalise(kind, adapter(2), other)


def test_the_weight_rises_over_its_ramp() -> None:
    ramped = PenaltySettings(weight=2.0, ramp_steps=4)
    assert [penalty_weight(ramped, step) for step in (0, 1, 4, 5)] == [0, 0.5, 2, 2]
    assert penalty_weight(PenaltySettings(weight=2.0), 0) == 2


def test_trainable_factors_have_the_names_and_the_scaling_of_the_saved_ones(tiny_model: Path, tmp_path: Path) -> None:
    """Else the trained adapter could not be matched with the earlier ones read from disk."""
    saved = load_factors(random_adapter(tmp_path, tiny_model, seed=1, r=4, alpha=8))
    peft_model = get_peft_model(load(tiny_model)[0], LoraConfig(r=4, lora_alpha=8, target_modules=list(LLAMA_MODULES)))
    current = trainable_factors(peft_model)
    for trained, frozen in ((current.a, saved.a), (current.b, saved.b)):
        assert {name: tensor.shape for name, tensor in trained.items()} == {
            name: tensor.shape for name, tensor in frozen.items()
        }
        assert all(tensor.requires_grad for tensor in trained.values())
    assert current.scaling == saved.scaling == 2
    assert penalise("paper", current, saved).item() > 0


def test_frozen_adapters_of_the_model_are_no_trainable_factors(tiny_model: Path) -> None:
    """TRL may keep a frozen copy as its reference."""
    config = LoraConfig(r=4, target_modules=["q_proj"])
    peft_model = get_peft_model(load(tiny_model)[0], config)
    peft_model.add_adapter("ref", LoraConfig(r=4, target_modules=["k_proj"]))
    peft_model.set_adapter("default")
    assert set(trainable_factors(peft_model).a) == {f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)}
