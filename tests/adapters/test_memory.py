"""Estimates against what is really there: parameters counted, tensors that autograd keeps, a cache that is filled."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from mva_ray.adapters.memory import (
    BFLOAT16,
    FLOAT32,
    activation_bytes,
    adapter_parameters,
    classifier_parameters,
    generation_bytes,
    must_checkpoint,
    readable,
    training_bytes,
)
from mva_ray.adapters.model_size import ModelSize, model_size
from mva_ray.config.training import Lora
from tests.support.tiny import load

BATCH, LENGTH = 4, 48
SMOLLM2_LINEAR = {
    f"model.layers.{layer}.self_attn.{name}": (576, width)
    for layer in range(30)
    for name, width in {"q_proj": 576, "k_proj": 192, "v_proj": 192, "o_proj": 576}.items()
}
MLP = ["gate_proj", "up_proj", "down_proj"]


@pytest.fixture
def narrow(tmp_path: Path, one_thread: None) -> Path:
    """A model directory with nothing but config.json."""
    LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    ).save_pretrained(tmp_path)
    return tmp_path


def adapted(directory: Path, lora: Lora, dtype: torch.dtype) -> Any:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(directory)).to(dtype)
    settings = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.target_modules
    )
    return get_peft_model(model, settings).train()


def kept_bytes(model: Any, autocast: bool = False) -> int:
    """Bytes of all tensors that autograd keeps of a forward pass up to the logits, parameters aside."""
    of_model = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in of_model:
            kept[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(0, 300, (BATCH, LENGTH))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        model.model.model(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("fixture", ["tiny_model", "tiny_gpt2"])
def test_parameters_are_those_of_the_model(fixture: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(fixture)
    counted = sum(parameter.numel() for parameter in load(directory)[0].parameters())
    assert model_size(directory).parameters == counted


def test_parameters_of_a_reward_model_are_those_of_the_classifier(tiny_classifier: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_classifier)
    assert classifier_parameters(tiny_classifier) == sum(parameter.numel() for parameter in model.parameters())


def test_shared_embeddings_count_once(narrow: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    tied = tmp_path_factory.mktemp("tied")
    config = json.loads((narrow / "config.json").read_text())
    (tied / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    assert model_size(narrow).parameters - model_size(tied).parameters == 300 * 64


@pytest.mark.parametrize("targets", [["q_proj", "k_proj", "v_proj", "o_proj"], MLP, ["q_proj"], ["nothing"]])
def test_adapter_parameters_are_those_that_peft_trains(narrow: Path, targets: list[str]) -> None:
    lora = Lora(r=5, target_modules=targets)
    estimated = adapter_parameters(model_size(narrow), lora)
    if targets == ["nothing"]:
        assert estimated == 0
    else:
        model = adapted(narrow, lora, torch.float32)
        assert estimated == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("dropout", [0.0, 0.05])
@pytest.mark.parametrize("targets", [["q_proj", "k_proj", "v_proj", "o_proj"], ["q_proj", "v_proj", *MLP]])
@pytest.mark.parametrize("autocast", [False, True])
def test_activations_are_what_autograd_keeps(narrow: Path, dropout: float, targets: list[str], autocast: bool) -> None:
    """At most a quarter above, hardly below: who plans a machine by it should not run out of memory."""
    lora = Lora(r=4, dropout=dropout, target_modules=targets)
    measured = kept_bytes(adapted(narrow, lora, torch.bfloat16 if autocast else torch.float32), autocast)
    number = BFLOAT16 if autocast else FLOAT32
    estimated = activation_bytes(model_size(narrow), lora, BATCH * LENGTH, number, checkpointing=False)
    assert 0.9 * measured < estimated < 1.25 * measured


def test_checkpointing_keeps_the_inputs_of_layers(narrow: Path) -> None:
    """What the forward pass keeps; in the backward pass one layer's activations come on top."""
    lora = Lora(r=4)
    model = adapted(narrow, lora, torch.float32)
    whole = kept_bytes(model)
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    measured = kept_bytes(model)
    size = model_size(narrow)
    everything = activation_bytes(size, lora, BATCH * LENGTH, FLOAT32, checkpointing=False)
    estimated = activation_bytes(size, lora, BATCH * LENGTH, FLOAT32, checkpointing=True)
    assert measured < whole / 5
    assert 0.7 * measured < estimated - everything // size.layers < 1.1 * measured


@pytest.mark.parametrize(
    ("free", "gpus", "expected"),
    [(80, 1, False), (80, 0.5, False), (80, 0.4, True), (30, 1, True), (33, 1, True), (34, 1, False)],
)
def test_activations_are_computed_again_where_memory_is_short(free: int, gpus: float, expected: bool) -> None:
    """30 bytes that are needed, on a GPU of 80: nine tenths of what is free, or of the share, have to hold them."""
    assert must_checkpoint({"base model": 10, "activations": 20}, free, 80, gpus) is expected


def test_smollm2_on_an_h100() -> None:
    """What training took there: 1.19 GB with checkpointing and 3.67 without, on 8 pairs of 445 tokens at most.

    torch.cuda.max_memory_allocated, torch 2.11; the count is above, by the logits of prompts, and not by much.
    """
    size = ModelSize(134_515_008, 30, 576, 576, 192, 1536, 49152, None, None, SMOLLM2_LINEAR)
    measured = {True: 1.19e9, False: 3.67e9}
    counted = {
        checkpointing: sum(training_bytes(size, Lora(), 8 * 445, BFLOAT16, checkpointing, 0).values())
        for checkpointing in measured
    }
    assert measured[True] < counted[True] < measured[True] + 8 * 445 * 49152 * 10
    assert measured[False] < counted[False] < 1.3 * measured[False]
    assert counted[False] - counted[True] == pytest.approx(measured[False] - measured[True], rel=0.1)


def test_the_cache_is_the_one_that_generation_fills(tiny_model: Path) -> None:
    model, _ = load(tiny_model)
    output = model(input_ids=torch.ones(3, 11, dtype=torch.long), use_cache=True)
    layers = output.past_key_values.layers
    measured = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    parts = generation_bytes(model_size(tiny_model), Lora(), 3, 7, 4, FLOAT32, adapters=2)
    assert parts["key-value cache"] == measured
    assert parts["base model"] == sum(parameter.nbytes for parameter in model.parameters())


def test_llama_2_7b_by_hand(tmp_path: Path) -> None:
    """The paper's setting: 6.74 billion parameters; r = 64 on q, k, v and o of 4096 x 4096 in 32 layers is 67 million.

    Adam with float32 gradients and weights takes 16 bytes of each: 1.07 GB.
    """
    LlamaConfig(vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32).save_pretrained(
        tmp_path
    )
    size = model_size(tmp_path)
    lora = Lora(r=64, alpha=128, dropout=0.05)
    assert size.parameters == 6_738_415_616
    assert adapter_parameters(size, lora) == 32 * 4 * 64 * (4096 + 4096)
    parts = training_bytes(size, lora, tokens=1000, number=BFLOAT16, checkpointing=True, earlier=1)
    assert parts["base model"] == 2 * size.parameters
    assert parts["adapter, its gradient, Adam"] == 16 * 67_108_864
    assert parts["adapters before it"] == 4 * 67_108_864
    assert parts["logits"] == 1000 * 32000 * (2 + 4 + 4)
    cache = generation_bytes(size, lora, 10, 60, 40, BFLOAT16, adapters=2)["key-value cache"]
    assert cache == 2 * 32 * 4096 * 10 * 100 * 2


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1536, "1.54 kB"), (135e6, "135 MB"), (13.4769e9, "13.5 GB")],
)
def test_readable(amount: float, text: str) -> None:
    assert readable(amount) == text
