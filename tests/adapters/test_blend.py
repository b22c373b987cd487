"""The blended model against models whose weights were really merged: logits, greedy text, scores with a KV cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from mva_ray.adapters.blend import BlendedModel
from mva_ray.adapters.lora import LoraFactors, load_factors
from tests.support import architectures
from tests.support.tiny import LLAMA_MODULES, PROMPTS, load, merged, random_adapter

ATOL = 1e-4
NEW_TOKENS = 12
ADAPTERS: tuple[dict[str, Any], ...] = (
    {"r": 4, "alpha": 8},
    {"r": 2, "alpha": 7, "use_rslora": True},
    {"r": 8, "alpha": 8, "target_modules": ("q_proj", "v_proj")},
    {"r": 3, "alpha": 5, "target_modules": ("o_proj", "gate_proj", "down_proj")},
    {"r": 1, "alpha": 2, "use_rslora": True},
)
ROWS = (
    (0.0, 0.0, 0.0, 0.0, 0.0),
    (1.0, 0.0, 0.0, 0.0, 0.0),
    (1.0, 1.0, 1.0, 1.0, 1.0),
    (-0.7, 1.6, -0.2, 2.5, 0.4),
    (0.25, 0.75, 0.0, -1.0, 3.0),
)
TEXTS = (*PROMPTS, "A blue bread, at home, in the sky")


@pytest.fixture(scope="module")
def paths(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five adapters that differ in rank, scaling and modules."""
    root = tmp_path_factory.mktemp("adapters")
    return [random_adapter(root / str(i), tiny_model, seed=i, **options) for i, options in enumerate(ADAPTERS)]


def blend(model_dir: Path, adapters: Sequence[Path], products: torch.dtype | None = None) -> BlendedModel:
    model, _ = load(model_dir)
    return BlendedModel(model, [load_factors(path) for path in adapters], products)


def encode(model_dir: Path, texts: Sequence[str]) -> dict[str, Tensor]:
    """Left padded, with the positions that `generate` derives from the mask."""
    _, tokenizer = load(model_dir)
    encoded = tokenizer(list(texts), return_tensors="pt", padding=True)
    mask = encoded["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    return {"input_ids": encoded["input_ids"], "attention_mask": mask, "position_ids": positions}


def generate(model: Any, encoded: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Greedy tokens [batch, new] and the scores of each step [batch, new, vocabulary], with a KV cache."""
    output = model.generate(
        input_ids=encoded["input_ids"],
        attention_mask=encoded["attention_mask"],
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        use_cache=True,
        output_scores=True,
        return_dict_in_generate=True,
    )
    return output.sequences[:, encoded["input_ids"].shape[1] :], torch.stack(output.scores, dim=1)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_every_row_of_a_padded_batch_has_the_logits_of_its_merged_model(
    tiny_model: Path, paths: list[Path], n: int
) -> None:
    blended = blend(tiny_model, paths[:n])
    base, _ = load(tiny_model)
    rows = torch.tensor(ROWS)[:, :n]
    batch = encode(tiny_model, TEXTS)
    assert (batch["attention_mask"][:, 0] == 0).any(), "the batch must be padded"
    with torch.inference_mode(), blended.coefficients(rows) as model:
        logits = model(**batch).logits
    for row, text in enumerate(TEXTS):
        alone = encode(tiny_model, [text])
        with torch.inference_mode():
            expected = merged(base, paths[:n], rows[row].tolist())(**alone).logits[0]
        assert (logits[row, -len(expected) :] - expected).abs().max() < ATOL


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_generation_with_a_cache_follows_each_rows_merged_model(tiny_model: Path, paths: list[Path], n: int) -> None:
    blended = blend(tiny_model, paths[:n])
    base, _ = load(tiny_model)
    rows = torch.tensor(ROWS)[:, :n]
    with torch.inference_mode(), blended.coefficients(rows) as model:
        tokens, scores = generate(model, encode(tiny_model, TEXTS))
    for row, text in enumerate(TEXTS):
        wanted_tokens, wanted_scores = generate(merged(base, paths[:n], rows[row].tolist()), encode(tiny_model, [text]))
        steps = wanted_tokens.shape[1]
        assert tokens[row, :steps].tolist() == wanted_tokens[0].tolist()
        assert (scores[row, :steps] - wanted_scores[0]).abs().max() < ATOL


def test_coefficients_change_what_is_generated(tiny_model: Path, paths: list[Path]) -> None:
    """Guards the tests above: adapters too small to change anything would pass them."""
    same_prompt = encode(tiny_model, [TEXTS[0]] * len(ROWS))
    with torch.inference_mode(), blend(tiny_model, paths).coefficients(torch.tensor(ROWS)) as model:
        tokens, _ = generate(model, same_prompt)
    assert len({tuple(row) for row in tokens.tolist()}) == len(ROWS)


def test_one_adapter_at_one_equals_peft(tiny_model: Path, paths: list[Path]) -> None:
    """What an adapter means is what PEFT makes of it, rsLoRA too."""
    batch = encode(tiny_model, TEXTS)
    for index, path in enumerate(paths):
        base, _ = load(tiny_model)
        rows = torch.eye(len(paths))[[index] * len(TEXTS)]
        with torch.inference_mode(), blend(tiny_model, paths).coefficients(rows) as model:
            logits = model(**batch).logits
            expected = PeftModel.from_pretrained(base, path)(**batch).logits
        mask = batch["attention_mask"].bool()
        assert (logits - expected)[mask].abs().max() < ATOL


def test_zero_rows_are_exactly_the_base_model(tiny_model: Path, paths: list[Path]) -> None:
    base, _ = load(tiny_model)
    blended = blend(tiny_model, paths)
    batch = encode(tiny_model, TEXTS)
    rows = torch.tensor(ROWS)
    with torch.inference_mode():
        expected = base(**batch).logits
        with blended.coefficients(rows) as model:
            assert same(model(**batch).logits[0], expected[0])
        with blended.coefficients(torch.zeros(len(TEXTS), len(paths))) as model:
            assert same(model(**batch).logits, expected)


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Products may sum in another order than the model's own."""
    return bool((found - expected).abs().max() < 1e-5)


def test_outside_the_context_the_model_is_the_base_model_also_after_an_error(
    tiny_model: Path, paths: list[Path]
) -> None:
    base, _ = load(tiny_model)
    blended = blend(tiny_model, paths)
    batch = encode(tiny_model, TEXTS)
    with torch.inference_mode():
        expected = base(**batch).logits
        assert same(blended.model(**batch).logits, expected)
        with blended.coefficients(torch.tensor(ROWS)) as model:
            assert not same(model(**batch).logits, expected)
        assert same(blended.model(**batch).logits, expected)
        with pytest.raises(RuntimeError, match="stop"), blended.coefficients(torch.tensor(ROWS)):
            raise RuntimeError("stop")
        assert same(blended.model(**batch).logits, expected)
    for name, weight in base.named_parameters():
        kept = blended.model.get_parameter(name)
        given_up = name.removesuffix(".weight").endswith("_proj") and not kept.numel()
        assert given_up or torch.equal(weight, kept), f"{name} was changed"


def test_no_adapters_at_all_is_the_base_model(tiny_model: Path) -> None:
    """Samples for preference pairs are drawn before any adapter exists."""
    base, _ = load(tiny_model)
    batch = encode(tiny_model, TEXTS)
    with torch.inference_mode(), blend(tiny_model, []).coefficients(torch.zeros(len(TEXTS), 0)) as model:
        assert same(model(**batch).logits, base(**batch).logits)


def test_gpt2_whose_weights_are_transposed(tiny_gpt2: Path, tmp_path: Path) -> None:
    """Conv1D stores [in, out]: the delta that is merged is (B A)^T, the blend is the same."""
    paths = [
        random_adapter(tmp_path / "a", tiny_gpt2, 1, 4, 8, ["c_attn", "c_fc"], fan_in_fan_out=True),
        random_adapter(tmp_path / "b", tiny_gpt2, 2, 2, 3, ["c_attn", "c_proj"], True, fan_in_fan_out=True),
    ]
    base, _ = load(tiny_gpt2)
    rows = torch.tensor(ROWS)[:, :2]
    with torch.inference_mode(), blend(tiny_gpt2, paths).coefficients(rows) as model:
        logits = model(**encode(tiny_gpt2, TEXTS)).logits
        tokens, _ = generate(model, encode(tiny_gpt2, TEXTS))
    for row, text in enumerate(TEXTS):
        expected_model = merged(base, paths, rows[row].tolist())
        with torch.inference_mode():
            expected = expected_model(**encode(tiny_gpt2, [text])).logits[0]
        assert (logits[row, -len(expected) :] - expected).abs().max() < ATOL
        wanted, _ = generate(expected_model, encode(tiny_gpt2, [text]))
        assert tokens[row, : wanted.shape[1]].tolist() == wanted[0].tolist()


@pytest.mark.parametrize("name", ["llama", "llama, tied", "gpt2"])
def test_an_adapted_output_layer_is_what_peft_makes_of_it(one_thread: None, tmp_path: Path, name: str) -> None:
    """The embeddings stay as they are, also where the output layer has the same weight."""
    directory = architectures.make(name, tmp_path / "model")
    options = {"fan_in_fan_out": True} if name == "gpt2" else {}
    modules = ("lm_head", "c_attn" if name == "gpt2" else "q_proj")
    path = random_adapter(tmp_path / "adapter", directory, 1, 4, 8, modules, **options)
    tokens = torch.arange(2, 20)[None]
    blended = BlendedModel(architectures.load(directory), [load_factors(path)])
    base = architectures.load(directory)
    with torch.inference_mode(), blended.coefficients(torch.ones(1, 1)) as model:
        found = model(tokens).logits
        plain, expected = base(tokens).logits, PeftModel.from_pretrained(base, path)(tokens).logits
    assert (found - expected).abs().max() < ATOL
    assert (found - plain).abs().max() > 100 * ATOL


def test_an_output_layer_that_sees_some_tokens_has_their_coefficients(one_thread: None, tmp_path: Path) -> None:
    """Logits of tokens 5 and 2, in that order."""
    directory = architectures.make("llama", tmp_path / "model")
    path = random_adapter(tmp_path / "adapter", directory, 1, 4, 8, ("lm_head",))
    blended = BlendedModel(architectures.load(directory), [load_factors(path)])
    tokens, rows, kept = torch.arange(2, 10)[None], torch.linspace(-1, 1, 8)[None, :, None], torch.tensor([5, 2])
    with torch.inference_mode():
        with blended.coefficients(rows) as model:
            expected = model(tokens).logits[:, kept]
        with blended.coefficients(rows, kept) as model:
            assert same(model(tokens, logits_to_keep=kept).logits, expected)


def test_a_layer_that_sees_some_tokens_only_is_refused(tiny_model: Path, paths: list[Path]) -> None:
    """As experts of a mixture: which row's coefficients are theirs?"""
    blended = blend(tiny_model, paths)
    linear: Any = blended.model.get_submodule("model.layers.1.self_attn.q_proj")
    with (
        blended.coefficients(torch.ones(1, 5, len(paths))),
        pytest.raises(ValueError, match=r"self_attn\.q_proj cannot be blended: it sees 3 of 5 tokens"),
    ):
        linear(torch.ones(3, 32))


def test_a_layer_that_is_more_than_linear_is_left_alone_and_cannot_be_adapted(
    tiny_model: Path, paths: list[Path]
) -> None:
    """A subclass of nn.Linear may do anything."""

    class Doubled(torch.nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    model, _ = load(tiny_model)
    model.model.layers[0].self_attn.q_proj.__class__ = Doubled
    with pytest.raises(ValueError, match=r"q_proj is a Doubled: only plain linear layers can be blended"):
        BlendedModel(model, [load_factors(paths[0])])
    batch = encode(tiny_model, TEXTS)
    with torch.inference_mode():
        expected = model(**batch).logits
        assert same(BlendedModel(model, []).model(**batch).logits, expected)


def test_the_blend_is_exact_up_to_rounding(tiny_gpt2: Path, tmp_path: Path) -> None:
    """In float64 the difference all but vanishes: no term is approximated, left out, or computed in less precision."""
    paths = [
        random_adapter(
            tmp_path / str(i), tiny_gpt2, i, r=i + 1, alpha=5, target_modules=["c_attn"], fan_in_fan_out=True
        )
        for i in range(5)
    ]
    base = load(tiny_gpt2)[0].double()
    blended = BlendedModel(load(tiny_gpt2)[0].double(), [load_factors(path) for path in paths])
    batch = encode(tiny_gpt2, [TEXTS[0]] * len(ROWS))
    with torch.inference_mode(), blended.coefficients(torch.tensor(ROWS, dtype=torch.float64)) as model:
        logits = model(**batch).logits
        for row, weights in enumerate(ROWS):
            expected = merged(base, paths, weights)(**batch).logits[row]
            assert (logits[row] - expected).abs().max() < 1e-10


def test_each_token_may_have_coefficients_of_its_own(tiny_model: Path, paths: list[Path]) -> None:
    """One flat sequence, as the engine runs it: each of its tokens has the coefficients of its row."""
    blended, rows = blend(tiny_model, paths), torch.tensor(ROWS)
    batch = encode(tiny_model, TEXTS)
    length = batch["input_ids"].shape[1]
    with torch.inference_mode():
        with blended.coefficients(rows) as model:
            expected = model(**batch).logits
        with blended.coefficients(rows[:, None].expand(-1, length, -1)) as model:
            assert same(model(**batch).logits, expected)
        linear: Any = blended.model.get_submodule("model.layers.1.self_attn.q_proj")
        inputs = torch.randn(len(ROWS), 3, 32, generator=torch.Generator().manual_seed(0))
        with blended.coefficients(rows):
            row_wise = linear(inputs)
        with blended.coefficients(rows.repeat_interleave(3, dim=0)[None]):
            flat = linear(inputs.reshape(1, -1, 32))
        assert (flat.view_as(row_wise) - row_wise).abs().max() < 1e-5
        assert not torch.allclose(row_wise[1], linear(inputs)[1])


def test_tokens_of_one_row_may_differ(tiny_model: Path, paths: list[Path]) -> None:
    """By hand for one linear layer: y_t = W x_t + sum_i w_ti scaling_i B_i A_i x_t."""
    name = "model.layers.0.self_attn.v_proj"
    blended, factors = blend(tiny_model, paths), [load_factors(path) for path in paths]
    linear: Any = blended.model.get_submodule(name)
    inputs = torch.randn(1, len(ROWS), 32, generator=torch.Generator().manual_seed(1))
    base: Any = load(tiny_model)[0].get_submodule(name)
    with torch.inference_mode(), blended.coefficients(torch.tensor([ROWS])):
        found = linear(inputs)[0]
    for token, weights in enumerate(ROWS):
        expected = base.weight @ inputs[0, token]
        for weight, adapter in zip(weights, factors, strict=True):
            if name in adapter.a:
                expected = expected + weight * adapter.scaling * adapter.b[name] @ (adapter.a[name] @ inputs[0, token])
        assert (found[token] - expected).abs().max() < 1e-4


def test_products_in_bfloat16_stay_close(tiny_model: Path, paths: list[Path]) -> None:
    """Inputs and weights are rounded to 8 bits, 2^-9 = 0.002 relative each, and so is each layer's output.

    Over two layers of seven products that adds up to a few hundredths of the logits' spread at most: 5 % are allowed,
    while leaving out an adapter moves them by more than half of it.
    """
    rows, batch = torch.tensor(ROWS), encode(tiny_model, TEXTS)
    mask = batch["attention_mask"].bool()
    with torch.inference_mode():
        with blend(tiny_model, paths).coefficients(rows) as model:
            exact = model(**batch).logits
        with blend(tiny_model, paths, torch.bfloat16).coefficients(rows) as model:
            logits = model(**batch).logits
        with blend(tiny_model, paths).coefficients(rows * torch.tensor([1, 1, 1, 1, 0])) as model:
            without = model(**batch).logits
    spread = exact[mask].std()
    assert logits.dtype == torch.float32
    assert (logits - exact)[mask].square().mean().sqrt() < 0.05 * spread
    assert (without - exact)[2:][mask[2:]].square().mean().sqrt() > 0.5 * spread


def test_products_in_bfloat16_leave_the_logits_unrounded(tiny_model: Path, paths: list[Path]) -> None:
    """Of 300 logits in bfloat16 many would tie, and the likeliest token would be the first of several."""
    with (
        torch.inference_mode(),
        blend(tiny_model, paths, torch.bfloat16).coefficients(torch.tensor(ROWS)) as model,
    ):
        logits = model(**encode(tiny_model, TEXTS)).logits[:, -1]
    assert all(len(row.unique()) == len(row) for row in logits)
    assert all(len(row.bfloat16().unique()) < 0.95 * len(row) for row in logits), "it says something"
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("shape", [(2, 1), (2, 3), (2,), (2, 2, 1)])
def test_a_wrong_number_of_coefficients_is_refused(tiny_model: Path, paths: list[Path], shape: tuple[int, ...]) -> None:
    blended = blend(tiny_model, paths[:2])
    with pytest.raises(ValueError, match=r"must be \[batch, 2\], got"), blended.coefficients(torch.ones(shape)):
        pass


def test_an_adapter_of_another_model_is_refused(tiny_gpt2: Path, paths: list[Path]) -> None:
    modules = 2 * len(LLAMA_MODULES)
    with pytest.raises(ValueError, match=rf"no module 'model\.layers\..*' and {modules - 1} more: adapters of another"):
        blend(tiny_gpt2, paths[:1])


def test_one_unknown_module_is_named(tiny_model: Path) -> None:
    odd = LoraFactors({"lm_tail": torch.ones(1, 32)}, {"lm_tail": torch.ones(32, 1)}, 1.0)
    with pytest.raises(ValueError, match="no module 'lm_tail': adapters of another base model"):
        BlendedModel(load(tiny_model)[0], [odd])
