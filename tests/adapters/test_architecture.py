"""What config.json alone tells: which models our engine cannot run, and how many positions a row may have."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, PreTrainedConfig

from mva_ray.adapters.architecture import engine_problems, positions
from tests.support.architectures import CONFIGS

INTERFACE = "does not use transformers' attention interface alone"
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0], "original_max_position_embeddings": 7}


def write(directory: Path, **config: Any) -> Path:
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"model_type": "stablelm"}, f"StableLmForCausalLM: it {INTERFACE}"),
        ({"model_type": "gptj"}, f"GPTJForCausalLM: it {INTERFACE}"),
        ({"model_type": "falcon"}, f"FalconForCausalLM: it {INTERFACE}"),
        ({"model_type": "bloom"}, f"BloomForCausalLM: it {INTERFACE}"),
        ({"model_type": "diffllama"}, "DiffLlamaForCausalLM: it calls its attention twice a layer"),
        ({"model_type": "gpt_oss"}, "GptOssForCausalLM: it has sinks in its attention"),
        ({"model_type": "roberta"}, "RobertaForCausalLM: it lets tokens see those behind them (is_decoder: false)"),
        (
            {"model_type": "roberta", "is_decoder": True},
            "RobertaForCausalLM: it counts positions from its padding token on",
        ),
        ({"model_type": "llama4_text"}, "Llama4ForCausalLM: it has layers of chunked_attention"),
        (
            {"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}},
            "LlamaForCausalLM: it has quantised weights (gptq)",
        ),
    ],
)
def test_a_model_that_cannot_be_run_is_refused_by_name(tmp_path: Path, config: dict[str, Any], problem: str) -> None:
    lines = list(engine_problems(write(tmp_path, **config)))
    assert lines[0] == f"our engine cannot run {problem}; a server that can may answer (engine: openai)"
    assert "\n" not in "".join(lines)


def test_a_model_that_generates_no_text_is_none(tmp_path: Path) -> None:
    assert list(engine_problems(write(tmp_path, model_type="t5"))) == [
        "transformers has no causal LM of model_type 't5'"
    ]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_that_the_engine_runs_has_no_problems(tmp_path: Path, name: str) -> None:
    CONFIGS[name]().save_pretrained(tmp_path)
    assert list(engine_problems(tmp_path)) == []


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "llama", "max_position_embeddings": 99}, 99),
        ({"model_type": "gpt2", "n_positions": 98}, 98),
        ({"model_type": "fuyu", "text_config": {"model_type": "persimmon", "max_position_embeddings": 97}}, 97),
        ({"model_type": "dbrx", "max_seq_len": 96}, 96),
        ({"model_type": "gemma3", "text_config": {"max_position_embeddings": 95}}, 95),
        ({"model_type": "bloom"}, None),
        (
            {"model_type": "llama", "max_position_embeddings": 94, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
            94,
        ),
        ({"model_type": "llama", "max_position_embeddings": 93, "rope_parameters": LONGROPE | {"rope_theta": 1e4}}, 7),
    ],
)
def test_a_row_has_the_positions_that_the_config_gives_by_any_name(
    tmp_path: Path, config: dict[str, Any], expected: int | None
) -> None:
    """With longrope those before the frequencies change for all rows."""
    assert positions(AutoConfig.from_pretrained(write(tmp_path, **config))) == expected


def test_kinds_of_layers_may_have_positions_of_their_own() -> None:
    rope = {"full_attention": LONGROPE, "sliding_attention": {"rope_type": "default"}, "other": None}
    config = PreTrainedConfig()
    config.max_position_embeddings, config.rope_parameters = 40, rope
    assert positions(config) == 7
