"""The self-test of a loaded model: what is right passes, and every planted fault is refused in one line."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DiffLlamaConfig, PhimoeConfig, PreTrainedModel

from mva_ray.adapters.lora import LoraFactors, load_factors
from mva_ray.errors import RunError
from mva_ray.evaluation.engine import Engine
from mva_ray.evaluation.row_limit import RowLimit
from mva_ray.evaluation.self_test import checked_engine
from tests.support import architectures
from tests.support.architectures import END, NEW_TOKENS, POSITIONS, Tiny, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}


@pytest.fixture(scope="module")
def llama(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny("llama", tmp_path_factory.mktemp("llama"), 2)


@pytest.fixture
def model(llama: Tiny, tmp_path: Path) -> PreTrainedModel:
    """A model to plant faults in."""
    llama.model.save_pretrained(tmp_path)
    return architectures.load(tmp_path)


def start(model: PreTrainedModel, adapters: Sequence[LoraFactors] = (), products: torch.dtype | None = None) -> Engine:
    options = {"end_tokens": END, "max_new_tokens": NEW_TOKENS, "limit": RowLimit(8), "longest": POSITIONS}
    return checked_engine("org/model", model, adapters, products, **options)


def refusal(model: PreTrainedModel, adapters: Sequence[LoraFactors] = ()) -> str:
    """What is said of it after the name, in one line."""
    with pytest.raises(RunError) as error:
        start(model, adapters)
    start_of_line = f"base_model: org/model: our engine cannot run {type(model).__name__}: it "
    assert str(error.value).startswith(start_of_line)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(start_of_line).removesuffix("; a server that can may answer (engine: openai)")


@pytest.mark.parametrize("name", architectures.CONFIGS)
def test_a_right_model_passes_and_answers(tmp_path: Path, name: str) -> None:
    """What the test did to it (windows, hooks, the cache) is gone: prompts are longer than its windows."""
    right = tiny(name, tmp_path, 2, "lm_head")
    engine = start(architectures.load(tmp_path / "model"), [load_factors(path) for path in right.paths])
    requests = right.requests((1, 5, 15))
    assert [row.answer for row in engine.answer(requests)] == [right.greedy(request) for request in requests]


def test_without_adapters_too(model: PreTrainedModel, llama: Tiny) -> None:
    """Samples are drawn before there are any."""
    start(model)


def test_products_in_bfloat16_pass(model: PreTrainedModel, llama: Tiny) -> None:
    start(model, [load_factors(path) for path in llama.paths], torch.bfloat16)


def test_a_model_that_is_in_bfloat16_passes(model: PreTrainedModel, llama: Tiny) -> None:
    start(model.bfloat16(), [load_factors(path) for path in llama.paths])


def test_attention_that_is_called_twice_a_layer(model: Any) -> None:
    attention = model.model.layers[1].self_attn
    once = attention.forward
    attention.forward = lambda *arguments, **options: (once(*arguments, **options), once(*arguments, **options))[1]
    assert refusal(model) == "calls its attention 2 times in layer 1, not once in each layer"


def test_a_layer_without_our_attention(model: Any) -> None:
    model.model.layers[0].forward = lambda hidden, *_, **__: hidden
    assert refusal(model) == "calls its attention 0 times in layer 0, not once in each layer"


def test_diff_llama() -> None:
    """It goes through the attention interface, twice a layer."""
    diff = AutoModelForCausalLM.from_config(DiffLlamaConfig(**SIZES)).eval()
    assert refusal(diff) == "calls its attention 2 times in layer 0, not once in each layer"


def test_positions_by_those_of_other_rows(model: Any) -> None:
    """As longrope beyond its first length, by another name than that which the limit of positions knows."""
    rope = model.model.rotary_emb
    forward, own = rope.forward, rope.inv_freq.clone()

    def by_the_longest(hidden: Tensor, position_ids: Tensor) -> Any:
        rope.inv_freq = own / (1 + (position_ids.max() > 20))
        return forward(hidden, position_ids)

    rope.forward = by_the_longest
    assert refusal(model) == "counts positions not from 0, or by those of other rows"


def count_through_the_flat_sequence(model: Any) -> None:
    """Positions are not those that are asked for."""
    rope = model.model.rotary_emb
    forward = rope.forward
    rope.forward = lambda hidden, position_ids: forward(hidden, torch.arange(hidden.shape[1])[None])


def test_positions_that_go_on_over_the_borders_of_rows(model: Any) -> None:
    count_through_the_flat_sequence(model)
    assert refusal(model).startswith("gives other logits there than by itself (base model: by ")


def test_a_token_that_sees_its_neighbour_in_the_flat_sequence(model: Any) -> None:
    """As convolutions do: the neighbour may be another row's."""
    norm = model.model.layers[1].input_layernorm
    forward = norm.forward
    norm.forward = lambda hidden: forward(hidden + hidden.roll(1, dims=1))
    assert refusal(model).startswith("gives other logits there than by itself (base model: by ")


def test_a_window_that_attention_is_not_told() -> None:
    """PhiMoE has it in its mask alone. One that no row can reach is none."""
    sizes = SIZES | {"num_local_experts": 2, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1}
    windowed, whole = (
        AutoModelForCausalLM.from_config(PhimoeConfig(**sizes, sliding_window=window)).eval() for window in (8, 64)
    )
    assert refusal(windowed).startswith("gives other logits there than by itself (base model: by ")
    start(whole)


def test_logits_of_all_tokens_in_place_of_the_chosen_ones(model: Any) -> None:
    """Also where there happen to be as many of them."""
    forward = model.forward
    model.forward = lambda *arguments, logits_to_keep=0, **options: forward(*arguments, **options)
    assert refusal(model).startswith("gives other logits there than by itself (base model: by ")


def test_a_blend_that_is_not_what_the_adapters_are(
    model: PreTrainedModel, llama: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base model is right here: it is the candidate that is not."""
    monkeypatch.setattr("mva_ray.adapters.blend.BlendedModel.scales", lambda *_: None)
    factors = [load_factors(path) for path in llama.paths]
    assert refusal(model, factors).startswith("gives other logits there than by itself (blended model: by ")


def test_numbers_that_are_not_finite(model: Any) -> None:
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = torch.nan
    assert refusal(model) == "gives logits that are not finite"


def test_logits_that_are_ruled_out_hide_no_others(model: Any) -> None:
    """As those of a padded vocabulary: they have no part in the spread."""
    model.lm_head.register_forward_hook(lambda *call: call[-1].index_fill(-1, torch.tensor([90, 95]), -1e30))
    start(copy.deepcopy(model))
    count_through_the_flat_sequence(model)
    assert refusal(model).startswith("gives other logits there than by itself (base model: by ")


def test_what_the_models_own_code_raises(model: Any) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a kernel is missing\nrun this, then that")

    model.model.layers[0].mlp.forward = broken
    assert refusal(model) == "raises RuntimeError: run this, then that"
