"""Adapters in parts by block of layers: against models whose weights were really merged, block by block."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from mva_ray.adapters.blend import BlendedModel
from mva_ray.adapters.blocks import load_adapters
from mva_ray.adapters.export import concatenate
from mva_ray.adapters.hashes import delta_hash
from mva_ray.adapters.parts import block_of, split_by_block
from mva_ray.records import AdapterRef
from tests.support.tiny import random_adapter

LAYERS, TOKENS = 5, 7
SIZES = {"vocab_size": 50, "initializer_range": 0.2}
LLAMA = LlamaConfig(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=LAYERS,
    num_attention_heads=2,
    num_key_value_heads=1,
    **SIZES,
)
GPT2 = GPT2Config(n_embd=16, n_layer=LAYERS, n_head=2, n_positions=16, **SIZES)
BLOCKS_OF_LAYERS = {2: (0, 0, 0, 1, 1), 3: (0, 0, 1, 1, 2), 5: (0, 1, 2, 3, 4)}
WEIGHTS = {
    2: ((0.5, -1.2), (0.0, 2.0)),
    3: ((1.3, -0.4, 0.7), (-0.9, 0.0, 1.5)),
    5: ((1, 2, 3, -4, 5), (0, 1, 0, -1, 2)),
}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[AdapterRef]]:
    """A model of five layers and two adapters, one of all attention layers, one of the MLP."""
    root = tmp_path_factory.mktemp(request.param)
    llama = request.param == "llama"
    torch.manual_seed(0)
    (LlamaForCausalLM(LLAMA) if llama else GPT2LMHeadModel(GPT2)).save_pretrained(root / "model")
    modules = (("q_proj", "o_proj"), ("o_proj", "down_proj")) if llama else (("c_attn",), ("c_attn", "c_fc"))
    options = {} if llama else {"fan_in_fan_out": True}
    paths = [
        random_adapter(root / "brief", root / "model", 1, 3, 6, modules[0], **options),
        random_adapter(root / "thorough", root / "model", 2, 2, 3, modules[1], use_rslora=True, **options),
    ]
    return root / "model", [AdapterRef(path.name, str(path), delta_hash(path)) for path in paths]


def load(directory: Path) -> Any:
    return (
        (LlamaForCausalLM if "llama" in str(directory) else GPT2LMHeadModel).from_pretrained(directory).eval().double()
    )


def merged(directory: Path, adapters: Sequence[AdapterRef], weights: Sequence[Sequence[float]]) -> Any:
    """Every delta is scaled by the coefficient that its own layer has: [adapters][layers]."""
    model = copy.deepcopy(load(directory))
    for ref, of_layers in zip(adapters, weights, strict=True):
        settings = json.loads((Path(ref.path) / "adapter_config.json").read_text())
        scaling = settings["lora_alpha"] / (settings["r"] ** 0.5 if settings["use_rslora"] else settings["r"])
        tensors = load_file(Path(ref.path) / "adapter_model.safetensors")
        for key in [key for key in tensors if "lora_A" in key]:
            name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            layer = next(number for number in range(LAYERS) if f".{number}." in name)
            module = model.get_submodule(name)
            delta = tensors[key.replace("lora_A", "lora_B")].double() @ tensors[key].double()
            module.weight.data += of_layers[layer] * scaling * (delta.T if isinstance(module, Conv1D) else delta)
    return model


def logits(model: Any) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(input_ids=torch.arange(TOKENS)[None]).logits
    return found


def blended(directory: Path, refs: Sequence[AdapterRef], coefficients: Sequence[float]) -> Tensor:
    blend = BlendedModel(load(directory), load_adapters(str(directory), refs))
    with blend.coefficients(torch.tensor([coefficients], dtype=torch.float64)) as model:
        return logits(model)


@pytest.mark.parametrize("blocks", [2, 3, 5])
def test_a_candidate_has_the_logits_of_the_model_merged_block_by_block(
    made: tuple[Path, list[AdapterRef]], blocks: int
) -> None:
    directory, adapters = made
    weights = WEIGHTS[blocks]
    by_layer = [[of_blocks[block] for block in BLOCKS_OF_LAYERS[blocks]] for of_blocks in weights]
    flat = [number for of_blocks in weights for number in of_blocks]
    found = blended(directory, split_by_block(adapters, blocks), flat)
    assert torch.allclose(found, logits(merged(directory, adapters, by_layer)), atol=1e-10)
    assert not torch.allclose(found, logits(load(directory)), atol=1e-3)


@pytest.mark.parametrize("blocks", [2, 3])
def test_equal_coefficients_in_all_blocks_are_the_candidate_without_blocks(
    made: tuple[Path, list[AdapterRef]], blocks: int
) -> None:
    """To the last bit: a module sees the same numbers."""
    directory, adapters = made
    flat = [number for number in (1.2, -0.3) for _ in range(blocks)]
    found = blended(directory, split_by_block(adapters, blocks), flat)
    assert torch.equal(found, blended(directory, adapters, (1.2, -0.3)))


def test_an_export_of_parts_has_the_rank_of_the_whole_and_the_deltas_of_the_parts(
    made: tuple[Path, list[AdapterRef]],
) -> None:
    """A server bounds the rank: parts share no module, so they do not add to it."""
    directory, adapters = made
    coefficients = (0.5, -1.0, 2.0, 1.5, 1.0, -0.5)
    parts = load_adapters(str(directory), split_by_block(adapters, 3))
    export = concatenate(parts, coefficients)
    assert {len(a) for a in export.a.values()} == {3 + 2}
    for name, a in export.a.items():
        deltas = [
            w * part.scaling * part.b[name] @ part.a[name]
            for part, w in zip(parts, coefficients, strict=True)
            if name in part.a
        ]
        assert torch.allclose(export.b[name] @ a, torch.stack(deltas).sum(0), atol=1e-5)


def test_the_parts_are_named_and_hashed_apart() -> None:
    """Rows, candidate ids and the warm start keep them apart by name and hash."""
    adapters = [AdapterRef("brief", "/b", "sha-b"), AdapterRef("warm", "/w", "sha-w")]
    parts = [part for blocks in (2, 3) for part in split_by_block(adapters, blocks)]
    assert [part.value for part in parts[:4]] == ["brief_block1", "brief_block2", "warm_block1", "warm_block2"]
    assert [(part.path, part.block) for part in parts[2:5]] == [("/w", (0, 2)), ("/w", (1, 2)), ("/b", (0, 3))]
    assert len({part.sha256 for part in [*parts, *adapters]}) == 12
    assert split_by_block(adapters, 1) == adapters


@given(st.integers(1, 200), st.data())
def test_blocks_are_neighbours_of_nearly_equal_size(layers: int, data: st.DataObject) -> None:
    blocks = data.draw(st.integers(1, layers))
    found = [block_of(f"model.layers.{layer}.self_attn.q_proj", layers, blocks) for layer in range(layers)]
    sizes = [found.count(block) for block in range(blocks)]
    assert found == sorted(found)
    assert sum(sizes) == layers
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("transformer.h.0.attn.c_attn", 0),
        ("transformer.h.11.mlp.c_fc", 2),
        ("model.layers.4.mlp.experts.11.w1", 1),
        ("model.layers.3.block2.fc1", 0),
        ("lm_head", 2),
        ("model.embed_tokens", 2),
    ],
)
def test_the_layer_is_the_first_number_in_the_name(module: str, block: int) -> None:
    """Of twelve layers in three blocks; what is in no layer goes with the last."""
    assert block_of(module, 12, 3) == block
