"""Sizes by the headers of the weights are those of the model's own code, or are left to it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from mva_ray.adapters import model_size as module
from mva_ray.adapters.model_size import PLAIN, model_size, weight_shapes

SMALL = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}


def make(directory: Path, model_type: str, **settings: Any) -> Path:
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[model_type](**SMALL | settings), dtype=torch.bfloat16)
    model.save_pretrained(directory, max_shard_size="20KB")
    return directory


@pytest.fixture
def no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's code must not be needed."""
    monkeypatch.setattr(module, "_by_skeleton", lambda directory: pytest.fail("the model was built"))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", PLAIN)
def test_plain_decoders_need_no_code(
    tmp_path: Path, model_type: str, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several files, with all heads, windows and widths that the configs have by default."""
    directory = make(tmp_path, model_type, tie_word_embeddings=tied)
    expected = module._by_skeleton(directory)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    monkeypatch.setattr(module, "_by_skeleton", lambda directory: pytest.fail("the model was built"))
    assert model_size(directory) == expected


def test_windows_that_are_switched_off_are_none(tmp_path: Path) -> None:
    size = model_size(make(tmp_path / "off", "qwen2", sliding_window=64, use_sliding_window=False))
    assert size.window is None
    assert model_size(make(tmp_path / "on", "mistral", sliding_window=64)).window == 64


@pytest.mark.parametrize("left_out", ["num_key_value_heads", "sliding_window", "architectures"])
def test_what_config_json_leaves_to_the_code_is_left_to_it(tmp_path: Path, left_out: str) -> None:
    """A Mistral without them has 8 heads for keys and a window of 4096 tokens."""
    directory = make(tmp_path, "mistral", num_attention_heads=8, num_key_value_heads=8, head_dim=4)
    config = json.loads((directory / "config.json").read_text())
    del config[left_out]
    (directory / "config.json").write_text(json.dumps(config))
    expected = module._by_skeleton(directory)
    assert model_size(directory) == expected
    assert expected.window == 4096
    assert not module.is_plain(config)


def test_others_are_built(tiny_gpt2: Path) -> None:
    """The names and shapes of GPT-2's matrices do not tell which way they map."""
    size = model_size(tiny_gpt2)
    assert size.linear["transformer.h.0.attn.c_attn"] == (32, 96)
    assert (size.positions, size.window) == (256, None)


def test_a_copy_of_tied_embeddings_does_not_count(tmp_path: Path, no_code: None) -> None:
    directory = make(tmp_path, "llama", tie_word_embeddings=False)
    untied = model_size(directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    model_size.cache_clear()
    assert "lm_head.weight" in weight_shapes(directory)
    assert untied.parameters - model_size(directory).parameters == 300 * 32


def test_without_weights_there_are_no_shapes(tmp_path: Path) -> None:
    assert weight_shapes(tmp_path) == {}
