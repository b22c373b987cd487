"""Which models our engine can run, as far as their config and transformers' classes tell."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

_LAYERS = {"full_attention", "sliding_attention"}
_ROBERTAS = ("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")
_SINKS = ("flint", "gpt_oss", "granite_swa", "granitemoe_swa", "mimo_v2_flash")
_FOUND: dict[str, str] = {
    **dict.fromkeys(_ROBERTAS, "counts positions from its padding token on"),
    **dict.fromkeys(_SINKS, "has sinks in its attention"),
    "diffllama": "calls its attention twice a layer",
    "doge": "computes masks of its own",
    "hrm_text": "calls its layers several times a token",
    "longcat_flash": "reads the weights of its linear layers itself",
    "mllama": "has layers of cross-attention",
}
"""By model_type, what the self-test of our engine refuses (see docs/architectures.md), to be said before there is a
model to test."""


def engine_problems(directory: Path) -> Iterator[str]:
    """Why our engine cannot run a model, a line each; its config.json is enough.

    What a config does not tell, the self-test of the loaded model does.
    """
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    architecture = AutoModelForCausalLM._model_mapping.get(type(config), None)
    if architecture is None:
        yield f"transformers has no causal LM of model_type {config.model_type!r}"
        return
    problems = list(architecture_problems(architecture, config))
    if known := _FOUND.get(config.model_type):
        problems.append(known)
    if quantised := getattr(config, "quantization_config", None):
        problems.append(f"has quantised weights ({_method(quantised)})")
    yield from (refusal(architecture, problem) for problem in problems)


def architecture_problems(architecture: Any, config: PreTrainedConfig) -> Iterator[str]:
    """What a class of transformers does, with this config, that our engine cannot."""
    text = config.get_text_config(decoder=True)
    if not architecture._supports_attention_backend or architecture._is_stateful:
        yield "does not use transformers' attention interface alone"
    if others := set(getattr(text, "layer_types", None) or ()) - _LAYERS:
        yield f"has layers of {', '.join(sorted(others))}"
    if not (getattr(text, "is_decoder", True) and getattr(text, "is_causal", True)):
        yield "lets tokens see those behind them (is_decoder: false)"


def refusal(architecture: Any, problem: str) -> str:
    """One line for a model that our engine cannot run: `problem` says what it does."""
    return f"our engine cannot run {architecture.__name__}: it {problem}; a server that can may answer (engine: openai)"


def positions(config: PreTrainedConfig) -> int | None:
    """How many tokens a row may have; None for no limit.

    With longrope not all that the model has: a row beyond the length of its first training changes the frequencies of
    all rows that are computed with it.
    """
    text = config.get_text_config(decoder=True)
    limits = [getattr(text, "max_position_embeddings", None)]
    limits += [rope.get("original_max_position_embeddings") for rope in _ropes(text) if rope["rope_type"] == "longrope"]
    return min((limit for limit in limits if limit is not None), default=None)


def _ropes(config: PreTrainedConfig) -> Iterator[Mapping[str, Any]]:
    """The parameters of rotary positions: one set of them, or one a kind of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    for rope in [parameters, *parameters.values()]:
        if isinstance(rope, Mapping) and "rope_type" in rope:
            yield rope


def _method(quantised: Any) -> str:
    settings = quantised if isinstance(quantised, Mapping) else vars(quantised)
    return str(settings.get("quant_method", "of some kind"))
