"""A candidate written as one LoRA adapter: PEFT makes the merged model of it, whatever the adapters are like."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from mva_ray.adapters.export import concatenate, export_candidate
from mva_ray.adapters.hashes import WEIGHTS_FILE
from mva_ray.adapters.lora import LoraFactors, load_factors, read_settings
from tests.support.tiny import PROMPTS, load, merged, random_adapter

ATOL = 1e-4
ADAPTERS: tuple[dict[str, Any], ...] = (
    {"r": 4, "alpha": 8},
    {"r": 2, "alpha": 7, "use_rslora": True},
    {"r": 8, "alpha": 8, "target_modules": ("q_proj", "v_proj")},
    {"r": 3, "alpha": 5, "target_modules": ("o_proj", "gate_proj", "down_proj")},
    {"r": 1, "alpha": 2, "use_rslora": True, "layers_to_transform": [1]},
)
CANDIDATES = (
    (1.0, 0.0, 0.0),
    (-0.7, 1.6, -0.2),
    (0.0, 0.0, 2.5),
    (1.0, 1.0, 1.0, 1.0, 1.0),
    (-0.7, 1.6, -0.2, 2.5, 0.4),
    (0.25, 0.0, 0.0, -1.0, 3.0),
    (0.0, 0.0, 0.0, 0.0, 1.5),
)


@pytest.fixture(scope="module")
def paths(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five adapters that differ in rank, scaling and modules."""
    root = tmp_path_factory.mktemp("adapters")
    return [random_adapter(root / str(i), tiny_model, seed=i, **options) for i, options in enumerate(ADAPTERS)]


def export(adapters: Sequence[Path], coefficients: Sequence[float], directory: Path) -> Path:
    export_candidate([load_factors(path) for path in adapters], coefficients, directory, "org/model")
    return directory


def logits(model: Any, model_dir: Path) -> Tensor:
    _, tokenizer = load(model_dir)
    encoded = tokenizer(list(PROMPTS), return_tensors="pt", padding=True)
    with torch.inference_mode():
        found: Tensor = model(**encoded).logits
    return found[encoded["attention_mask"].bool()]


def with_peft(model_dir: Path, adapter: Path) -> Any:
    """The model as a stranger makes it of the directory; a tensor that fits nothing is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(missing|unexpected).*adapter keys.*")
        return PeftModel.from_pretrained(load(model_dir)[0], adapter).eval()


@pytest.mark.parametrize("coefficients", CANDIDATES)
def test_peft_makes_the_merged_model_of_it(
    tiny_model: Path, paths: list[Path], tmp_path: Path, coefficients: tuple[float, ...]
) -> None:
    chosen = paths[: len(coefficients)]
    found = logits(with_peft(tiny_model, export(chosen, coefficients, tmp_path / "export")), tiny_model)
    expected = logits(merged(load(tiny_model)[0], chosen, coefficients), tiny_model)
    assert (found - expected).abs().max() < ATOL
    assert (found - logits(load(tiny_model)[0], tiny_model)).abs().max() > 100 * ATOL, "an adapter that does nothing"


def test_gpt2_whose_weights_are_transposed(tiny_gpt2: Path, tmp_path: Path) -> None:
    adapters = [
        random_adapter(tmp_path / "a", tiny_gpt2, 1, 4, 8, ["c_attn", "c_fc"], fan_in_fan_out=True),
        random_adapter(tmp_path / "b", tiny_gpt2, 2, 2, 3, ["c_attn", "c_proj"], True, fan_in_fan_out=True),
        random_adapter(tmp_path / "c", tiny_gpt2, 3, 3, 3, ["c_attn"], fan_in_fan_out=True),
    ]
    weights = (-0.7, 1.6, 0.4)
    model = with_peft(tiny_gpt2, export(adapters, weights, tmp_path / "export"))
    expected = logits(merged(load(tiny_gpt2)[0], adapters, weights), tiny_gpt2)
    assert (logits(model, tiny_gpt2) - expected).abs().max() < ATOL
    assert (logits(model.merge_and_unload(), tiny_gpt2) - expected).abs().max() < ATOL


def test_every_module_has_the_rank_in_the_settings_and_scaling_one(
    tiny_model: Path, paths: list[Path], tmp_path: Path
) -> None:
    """vLLM reads neither rank_pattern nor alpha_pattern."""
    directory = export(paths, (0.5, 1.0, 0.0, 2.0, -1.0), tmp_path / "export")
    settings = read_settings(directory)
    assert settings["r"] == settings["lora_alpha"] == 4 + 2 + 3 + 1
    assert not settings["use_rslora"]
    assert not settings["rank_pattern"]
    assert settings["base_model_name_or_path"] == "org/model"
    for name, tensor in load_file(directory / WEIGHTS_FILE).items():
        assert tensor.shape[0 if "lora_A" in name else 1] == 10


def test_what_is_written_can_be_brought_to_another_run(paths: list[Path], tmp_path: Path) -> None:
    """Our own reader takes it as an adapter, and exporting that at 1 gives the same factors."""
    first = export(paths[:3], (-0.7, 1.6, -0.2), tmp_path / "first")
    second = export([first], (1.0,), tmp_path / "second")
    one, two = (load_file(directory / WEIGHTS_FILE) for directory in (first, second))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@given(st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=5).filter(any), st.integers(0, 2**16))
def test_the_delta_is_the_sum_of_the_deltas(coefficients: list[float], seed: int) -> None:
    """For random shapes: some adapters lack the second module."""
    draw = torch.Generator().manual_seed(seed)
    adapters = []
    for index in range(len(coefficients)):
        names = ("m", "n") if index % 2 == 0 else ("m",)
        rank = 1 + (seed + index) % 4
        a = {name: torch.randn(rank, 5, generator=draw) for name in names}
        b = {name: torch.randn(3, rank, generator=draw) for name in names}
        adapters.append(LoraFactors(a, b, scaling=0.5 * (index + 1)))
    found = concatenate(adapters, coefficients)
    for name in found.a:
        parts = [
            weight * adapter.scaling * adapter.b[name].double() @ adapter.a[name].double()
            for adapter, weight in zip(adapters, coefficients, strict=True)
            if name in adapter.a
        ]
        delta = found.scaling * found.b[name].double() @ found.a[name].double()
        assert torch.allclose(delta, torch.stack(parts).sum(0), atol=1e-5)
    expected = {name for adapter, weight in zip(adapters, coefficients, strict=True) if weight for name in adapter.a}
    assert found.a.keys() == found.b.keys() == expected


def test_half_precision_is_blended_in_float32(paths: list[Path]) -> None:
    """0.3 * 1.5 in bfloat16 would round what the trained adapter has not."""
    factors = load_factors(paths[0])
    a, b = ({name: factor.bfloat16() for name, factor in half.items()} for half in (factors.a, factors.b))
    half = LoraFactors(a, b, 1.5)
    found = concatenate([half], [0.3])
    for name in half.a:
        assert torch.equal(found.a[name], half.a[name].float())
        assert torch.equal(found.b[name], 0.3 * 1.5 * half.b[name].float())


def test_the_base_model_is_no_adapter(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all coefficients are 0: that is the base model"):
        export(paths[:2], (0.0, 0.0), tmp_path / "export")
    assert not list(tmp_path.iterdir())


def test_a_coefficient_too_many_is_an_error(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        export(paths[:2], (1.0, 1.0, 1.0), tmp_path / "export")


def test_nobody_meets_half_an_export(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves no directory of that name, and the next attempt starts anew."""

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mva_ray.adapters.export.save_file", full)
        with pytest.raises(OSError, match="No space left"):
            export(paths[:1], (1.0,), tmp_path / "export")
    assert not (tmp_path / "export").exists()
    assert json.loads((export(paths[:1], (1.0,), tmp_path / "export") / "adapter_config.json").read_text())["r"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
