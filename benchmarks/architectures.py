"""Every causal LM of the installed transformers, tiny: is our engine exact, or does it refuse? It may not be wrong.

    python benchmarks/architectures.py [--only llama gemma2] [--write]

Each is built with random weights and adapted in every linear layer, the output layer too. Greedy answers and
log-probabilities of the base model and of two candidates, side by side in the engine, are compared with those of a copy
whose weights were really merged, by its own attention over one whole sequence at a time. `--write` renews
docs/architectures.md. Exit code 1 where one is wrong.
"""

import argparse
import copy
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PhimoeConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)
from transformers.pytorch_utils import Conv1D

from mva_ray.adapters.architecture import architecture_problems, engine_problems, positions
from mva_ray.adapters.base_model import linear_shapes
from mva_ray.adapters.lora import LoraFactors
from mva_ray.errors import RunError, last_line
from mva_ray.evaluation.engine import Engine, Request, Row
from mva_ray.evaluation.row_limit import RowLimit
from mva_ray.evaluation.self_test import checked_engine

DOCUMENT = Path(__file__).parent.parent / "docs" / "architectures.md"
VOCABULARY, POSITIONS, NEW_TOKENS, LAYERS = 96, 64, 6, 4
CANDIDATES: tuple[tuple[float, ...], ...] = ((0.0, 0.0), (1.0, -0.5), (-0.3, 0.8))
ATOL, MOST_PARAMETERS = 1e-3, 20_000_000
SPREAD = 2.0
"""Of the logits of a token, so that differences show and likely tokens do not tie."""

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "sliding_window": 8,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "is_decoder": True,
    "logit_scale": 0.5,
}
"""Given to every config that knows the name, itself or by its attribute map."""

_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
_GEMMA = {"vocab_size_per_layer_input": VOCABULARY, "num_kv_shared_layers": 2}
_CONVOLUTIONS = {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)}
OWN_SIZES: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE}},
    "dbrx": {
        **{"d_model": 32, "n_heads": 4, "n_layers": LAYERS, "ffn_config": {"ffn_hidden_size": 16}},
        **{"attn_config": {"kv_n_heads": 2, "clip_qkv": 8, **_ROPE}},
    },
    "dots1": {"n_shared_experts": 1},
    "dots3_note_audio_encoder": {"adapter_input_size": 32, "adapter_out_dim": 32},
    "dots3_note_vision_encoder": {
        **{"adapter_in_dim": 32, "adapter_out_dim": 32},
        **{"mlp_layer_types": ["dense"] * LAYERS, "per_layer_config": {}},
    },
    "gemma3n_text": {**_GEMMA, "laurel_rank": 4},
    "gemma4_text": {**_GEMMA, "global_head_dim": 16, "hidden_size_per_layer_input": 8},
    "gemma4_unified_text": {**_GEMMA, "global_head_dim": 16},
    "lfm2": _CONVOLUTIONS,
    "lfm2_moe": _CONVOLUTIONS,
    "phimoe": {"sliding_window": None},
    "xmod": {"default_language": "en_XX"},
}
"""What else these need to become small, or to be what their real configs are."""

_LONGROPE = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.5], "long_factor": [1.0, 3.0, 5.0, 9.0]}
_ORIGINAL = {"original_max_position_embeddings": 24}
VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama, tied": (LlamaConfig, {"tie_word_embeddings": True}),
    "gpt2, untied": (GPT2Config, {"tie_word_embeddings": False}),
    "mistral, no window": (MistralConfig, {"sliding_window": None}),
    "phimoe, window": (PhimoeConfig, {"sliding_window": 8}),
    "qwen2, window": (Qwen2Config, {"use_sliding_window": True, "max_window_layers": 2}),
    "llama, linear": (LlamaConfig, {"rope_parameters": {**_ROPE, "rope_type": "linear", "factor": 2.0}}),
    "llama, dynamic": (LlamaConfig, {"rope_parameters": {**_ROPE, "rope_type": "dynamic", "factor": 2.0}}),
    "llama, yarn": (LlamaConfig, {"rope_parameters": {**_ROPE, "rope_type": "yarn", "factor": 4.0, **_ORIGINAL}}),
    "llama, llama3": (
        LlamaConfig,
        {
            "rope_parameters": {
                **{**_ROPE, "rope_type": "llama3", "factor": 8.0, **_ORIGINAL},
                **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
            }
        },
    ),
    "llama, longrope": (LlamaConfig, {"rope_parameters": {**_ROPE, **_LONGROPE, **_ORIGINAL, "factor": 2.0}}),
    "phi3, longrope": (Phi3Config, {"rope_parameters": {**_ROPE, **_LONGROPE, **_ORIGINAL}, **_ORIGINAL}),
}
"""Ties, windows and kinds of rotary positions that a config can ask for."""


@dataclass(frozen=True)
class Verdict:
    """What was found of an architecture; `difference` is that of log-probabilities, at most, where it was computed."""

    name: str
    built: bool
    outcome: str
    why: str = ""
    difference: float | None = None

    def cells(self) -> list[str]:
        difference = "" if self.difference is None else f"{self.difference:.1e}"
        return [self.name, "yes" if self.built else "no", self.outcome, self.why, difference]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="model types")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    verdicts = []
    for name, architecture, make in cases():
        if not arguments.only or name.partition(",")[0] in arguments.only:
            verdicts.append(judge(name, architecture, make))
            print("{:26} {:4} {:18} {} {}".format(*verdicts[-1].cells()), flush=True)
    if arguments.write:
        DOCUMENT.write_text(document(verdicts), encoding="utf-8")
    wrong = [verdict.name for verdict in verdicts if verdict.outcome == "WRONG"]
    sys.exit(f"wrong: {', '.join(wrong)}" if wrong else 0)


def cases() -> Iterator[tuple[str, Any, Callable[[], PreTrainedConfig]]]:
    """Name, class, and what makes the config."""
    mapping = AutoModelForCausalLM._model_mapping
    for config, architecture in dict(mapping.items()).items():
        yield config.model_type, architecture, partial(tiny_config, config)
    for name, (config, changes) in VARIANTS.items():
        yield name, mapping[config], partial(tiny_config, config, **changes)


def tiny_config(config_class: Any, **changes: Any) -> PreTrainedConfig:
    """Kinds of layers take turns, so that each is there."""
    default = config_class()
    known = default.to_dict()
    sizes = SIZES | OWN_SIZES.get(config_class.model_type, {})
    if "kv_lora_rank" in known:
        sizes |= {"num_key_value_heads": sizes["num_attention_heads"], "head_dim": sizes["qk_rope_head_dim"]}
    if kinds := list(dict.fromkeys(known.get("layer_types") or ())):
        sizes = {"layer_types": [kinds[i % len(kinds)] for i in range(LAYERS)]} | sizes
    parts = {name: getattr(default, name) for name in config_class.sub_configs}
    given: dict[str, Any] = {name: tiny_config(type(part)).to_dict() for name, part in parts.items() if part}
    given |= {name: value for name, value in sizes.items() if name in known or name in config_class.attribute_map}
    return config_class(**given | changes)


@torch.inference_mode()
def build(config: PreTrainedConfig) -> PreTrainedModel:
    """With random numbers in all weights, so that nothing that counts is left out: zeros and ones hide much."""
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    if size > MOST_PARAMETERS:
        raise ValueError(f"{size / 1e6:.0f} million parameters are left")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape)
        parameter.data = 0.2 * noise if parameter.ndim > 1 else parameter.data.nan_to_num() + 0.1 * noise
    tokens = torch.arange(2, VOCABULARY)[None, : POSITIONS // 2]
    for _ in range(3):
        spread = model(tokens, use_cache=False).logits.std(-1).mean()
        model.get_output_embeddings().weight.data *= SPREAD / spread
    if not SPREAD / 3 < spread < SPREAD * 3:
        raise ValueError(f"its logits have a spread of {spread:.2g}")
    return model


def judge(name: str, architecture: Any, make: Callable[[], PreTrainedConfig]) -> Verdict:
    try:
        config = make()
        if problems := list(architecture_problems(architecture, config)):
            return Verdict(name, False, "refused", ", ".join(problems))
        model = build(config)
    except Exception as error:
        if not architecture._supports_attention_backend or architecture._is_stateful:
            return Verdict(name, False, "refused", "does not use transformers' attention interface alone")
        return Verdict(name, False, "not built", f"{type(error).__name__}: {last_line(error)}")
    adapters = [factors(model, seed) for seed in (1, 2)]
    try:
        engine = start(copy.deepcopy(model), adapters)
    except RunError as error:
        return Verdict(name, True, "refused" if said_before(config) else "refused at start", reason(str(error)))
    return compare(name, model, adapters, engine)


def start(model: PreTrainedModel, adapters: Sequence[LoraFactors]) -> Engine:
    limit, longest = RowLimit(8), positions(model.config)
    options = {"end_tokens": [], "max_new_tokens": NEW_TOKENS, "limit": limit, "longest": longest, "token_budget": 48}
    return checked_engine("tiny", model, adapters, None, **options)


def said_before(config: PreTrainedConfig) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        config.save_pretrained(directory)
        return bool(list(engine_problems(Path(directory))))


def reason(refused: str) -> str:
    return refused.partition(": it ")[2].rpartition("; a server")[0]


def factors(model: PreTrainedModel, seed: int, rank: int = 2) -> LoraFactors:
    draw = torch.Generator().manual_seed(seed)
    shapes = linear_shapes(model)
    return LoraFactors(
        {name: 0.3 * torch.randn(rank, takes, generator=draw) for name, (takes, _) in shapes.items()},
        {name: 0.1 * torch.randn(gives, rank, generator=draw) for name, (_, gives) in shapes.items()},
        scaling=1.5,
    )


def merged(model: PreTrainedModel, adapters: Sequence[LoraFactors], coefficients: Sequence[float]) -> PreTrainedModel:
    """A copy with the deltas in its weights; an output layer gets one of its own, apart from the embeddings."""
    own = copy.deepcopy(model)
    for adapter, weight in zip(adapters, coefficients, strict=True):
        for name, a in adapter.a.items():
            module: Any = own.get_submodule(name)
            delta = weight * adapter.scaling * adapter.b[name] @ a
            module.weight = nn.Parameter(module.weight.data + (delta.T if isinstance(module, Conv1D) else delta))
    return own


def compare(name: str, model: PreTrainedModel, adapters: Sequence[LoraFactors], engine: Engine) -> Verdict:
    """Rows of all lengths up to the longest that fits, and one beyond that, which must fail alone."""
    longest = (positions(model.config) or POSITIONS) - NEW_TOKENS
    draw = torch.Generator().manual_seed(7)
    prompts = [tuple(torch.randint(2, VOCABULARY, (n,), generator=draw).tolist()) for n in (longest, 1, 9, 17)]
    requests = [Request(prompt, w) for w in CANDIDATES for prompt in prompts]
    models: dict[tuple[float, ...], Any] = {w: merged(model, adapters, w) for w in CANDIDATES}
    answers = [greedy(models[request.coefficients], request.tokens) for request in requests]
    *rows, beyond = engine.answer([*requests, replace(requests[0], tokens=(2, *prompts[0]))])
    scored = [
        replace(request, tokens=request.tokens + answer, scored=len(answer))
        for request, answer in zip(requests, answers, strict=True)
    ]
    known = engine.answer(scored)
    difference = max(distance(models[row.request.coefficients], row) for row in known)
    effect = max(distance(models[CANDIDATES[0]], row) for row in known)
    problems = ["other tokens"] * ([tuple(row.answer) for row in rows] != answers)
    problems += ["no limit of positions"] * (not beyond.failure)
    if problems or difference >= ATOL:
        return Verdict(name, True, "WRONG", ", ".join(problems), difference)
    if effect < 100 * ATOL:  # merged or blended, nothing can be seen of them: the base model alone was compared
        return Verdict(name, True, "base alone", "at this size adapters change nothing that could be seen", difference)
    return Verdict(name, True, "exact", "", difference)


@torch.inference_mode()
def greedy(model: PreTrainedModel, tokens: tuple[int, ...]) -> tuple[int, ...]:
    known = tokens
    for _ in range(NEW_TOKENS):
        known += (int(model(torch.tensor([known]), use_cache=False).logits[0, -1].argmax()),)
    return known[len(tokens) :]


@torch.inference_mode()
def distance(model: PreTrainedModel, row: Row) -> float:
    if row.failure:
        return float("inf")
    tokens, scored = row.request.tokens, row.request.scored
    logs = model(torch.tensor([tokens]), use_cache=False).logits[0].log_softmax(-1)[-scored - 1 : -1]
    own = logs.gather(1, torch.tensor(tokens[-scored:])[:, None])[:, 0]
    return float((own - torch.tensor(row.log_probabilities)).abs().max())


def document(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.outcome for verdict in verdicts)
    rows = ["| " + " | ".join(verdict.cells()).replace("\n", " ") + " |" for verdict in verdicts]
    return "\n".join(
        [
            "# Architectures that our engine runs",
            "",
            f"Written by `benchmarks/architectures.py --write`, transformers {transformers.__version__}. {__doc__}",
            ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common()) + ".",
            "",
            "| Architecture | Built | Outcome | Why | Log-probabilities differ by |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
