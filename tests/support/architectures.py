"""Tiny models of many architectures, each with what makes its attention different: windows, caps, biases, Conv1D."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from mva_ray.adapters.blend import BlendedModel
from mva_ray.adapters.lora import load_factors
from mva_ray.evaluation.engine import Engine, Request
from mva_ray.evaluation.row_limit import RowLimit
from tests.support.tiny import LLAMA_MODULES, merged, random_adapter

VOCABULARY = 96
POSITIONS = 128
WINDOW = 8
"""Shorter than most sequences of the tests."""
END = frozenset({3, 17, 29, 41, 53, 65})
"""So that some answers end early."""
NEW_TOKENS = 16
CANDIDATES = (
    (0.0, 0.0, 0.0, 0.0, 0.0),
    (1.0, 0.0, 0.0, 0.0, 0.0),
    (-0.7, 1.6, -0.2, 0.5, 0.4),
    (1.0, 1.0, 1.0, 1.0, 1.0),
    (0.25, 0.75, 0.0, -1.0, 1.5),
)

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
_LONGROPE = {
    **{"rope_type": "longrope", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 32},
    **{"short_factor": [1.0, 1.1, 1.2, 1.5], "long_factor": [1.0, 3.0, 5.0, 9.0]},
}
_ALTERNATING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS}
CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**_SIZES),
    "llama, tied": lambda: LlamaConfig(**_SIZES | {"tie_word_embeddings": True}),
    "llama, longrope": lambda: LlamaConfig(**_SIZES, rope_parameters=_LONGROPE),
    "qwen2": lambda: Qwen2Config(**_SIZES),
    "qwen3": lambda: Qwen3Config(**_SIZES),
    "mistral": lambda: MistralConfig(**_SIZES, sliding_window=WINDOW),
    "gemma2": lambda: Gemma2Config(
        **_SIZES, **_ALTERNATING, attn_logit_softcapping=2.0, final_logit_softcapping=20.0, query_pre_attn_scalar=3
    ),
    "gemma3": lambda: Gemma3TextConfig(**_SIZES, **_ALTERNATING, query_pre_attn_scalar=3),
    "phi3": lambda: Phi3Config(**_SIZES, sliding_window=WINDOW),
    "olmo2": lambda: Olmo2Config(**_SIZES),
    "gpt2": lambda: GPT2Config(
        **_GPT2, **{name: _SIZES[name] for name in ("vocab_size", "initializer_range", "bos_token_id", "eos_token_id")}
    ),
}
_MODULES = {
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
    "gpt2": ("c_attn", "c_fc", "c_proj"),
}
_RANKS: tuple[dict[str, Any], ...] = (
    {"r": 4, "alpha": 8},
    {"r": 2, "alpha": 7, "use_rslora": True},
    {"r": 3, "alpha": 3},
    {"r": 1, "alpha": 2, "use_rslora": True},
    {"r": 5, "alpha": 4},
)


def make(name: str, directory: Path, seed: int = 0) -> Path:
    """A model of `CONFIGS` with seeded random weights (see tests/tiny.py for their scale), without a tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIGS[name]())
    if not model.config.tie_word_embeddings:
        model.get_output_embeddings().weight.data *= 3
    model.save_pretrained(directory)
    return directory


def load(directory: Path) -> PreTrainedModel:
    """The model in float32 with plain attention: transformers' fused kernel leaves out Gemma's cap."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    loaded: PreTrainedModel = model.eval()
    return loaded


def adapters(name: str, model: Path, root: Path, *more_modules: str) -> Sequence[Path]:
    """Five adapters that differ in rank, scaling and modules; every other one lacks the last module."""
    modules = (*_MODULES.get(name, (*LLAMA_MODULES, "down_proj")), *more_modules)
    options = {"fan_in_fan_out": True} if name == "gpt2" else {}
    return [
        random_adapter(root / str(i), model, i, target_modules=modules[: len(modules) - i % 2], **rank, **options)
        for i, rank in enumerate(_RANKS)
    ]


@dataclass
class Tiny:
    """A model with adapters, and what its really merged copies do, one request at a time."""

    model: PreTrainedModel
    paths: Sequence[Path]

    def engine(self, rows: int = 16, token_budget: int = 1024, **options: Any) -> Engine:
        """An engine of its own copy of the model; `products` is an option of the blend."""
        factors = [load_factors(path) for path in self.paths]
        blend = BlendedModel(copy.deepcopy(self.model), factors, options.pop("products", None))
        settings: dict[str, Any] = {"end_tokens": END, "max_new_tokens": NEW_TOKENS, "longest": POSITIONS} | options
        return Engine(blend, limit=RowLimit(rows), token_budget=token_budget, **settings)

    def requests(self, lengths: Sequence[int], common: int = 0, seed: int = 0) -> list[Request]:
        """Prompts of these lengths that begin with the same tokens, with the candidates in turn."""
        rng = np.random.default_rng(seed)
        beginning, n = rng.integers(2, VOCABULARY, common), len(self.paths)
        prompts = [[*beginning, *rng.integers(2, VOCABULARY, length)][:length] for length in lengths]
        return [
            Request(tuple(map(int, prompt)), CANDIDATES[i % len(CANDIDATES)][:n]) for i, prompt in enumerate(prompts)
        ]

    def greedy(self, request: Request) -> list[int]:
        """What transformers' `generate` answers with the merged model."""
        ids = torch.tensor([request.tokens])
        with torch.inference_mode():
            output = merged(self.model, self.paths, request.coefficients).generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=sorted(END),
                pad_token_id=0,
            )
        answer: list[int] = output[0, len(request.tokens) :].tolist()
        return answer

    def logits(self, tokens: Sequence[int], coefficients: Sequence[float]) -> torch.Tensor:
        """[tokens, vocabulary] of one plain forward pass of the merged model."""
        with torch.inference_mode():
            logits: torch.Tensor = merged(self.model, self.paths, coefficients)(torch.tensor([tokens])).logits[0]
        return logits

    def log_probabilities(self, request: Request) -> list[float]:
        """Of the scored tokens, by a plain forward pass."""
        tokens, logs = request.tokens, self.logits(request.tokens, request.coefficients).log_softmax(-1)
        return [float(logs[at - 1, tokens[at]]) for at in range(len(tokens) - request.scored, len(tokens))]


def tiny(name: str, directory: Path, n: int = 5, *more_modules: str) -> Tiny:
    """A model of `CONFIGS` with n adapters."""
    model = make(name, directory / "model")
    return Tiny(load(model), adapters(name, model, directory, *more_modules)[:n])
