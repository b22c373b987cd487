"""Base models and classifiers that are none, are not whole, or do not fit what is asked of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.extreme.case import Case, Settings, own_model


def model(change: Callable[[Path], object], key: str = "base_model", **more: Any) -> Case:
    """Another base model, and more settings."""

    def apply(directory: Path, settings: Settings) -> None:
        change(own_model(directory, settings))
        for section, written in more.items():
            settings[section] = settings.get(section, {}) | written

    return Case(key, apply)


def settings_of(name: str, **changes: Any) -> Callable[[Path], object]:
    """Other settings in one of a model's files; None takes one out."""

    def change(directory: Path) -> None:
        content = json.loads((directory / name).read_text()) | changes
        kept = {key: each for key, each in content.items() if each is not None}
        (directory / name).write_text(json.dumps(kept))

    return change


def config(**changes: Any) -> Callable[[Path], object]:
    return settings_of("config.json", **changes)


def tokenizer(**changes: Any) -> Callable[[Path], object]:
    return settings_of("tokenizer_config.json", **changes)


def without(*names: str) -> Callable[[Path], object]:
    def change(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return change


def content(name: str, text: str | bytes) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes(text.encode() if isinstance(text, str) else text)


def cut_short(directory: Path) -> None:
    weights = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(weights[: len(weights) // 2])


def pickled(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def endless(directory: Path) -> None:
    for change in (tokenizer(eos_token=None), config(eos_token_id=None), without("generation_config.json")):
        change(directory)


def index_of_nothing(directory: Path) -> None:
    pickled(directory)
    (directory / "model.safetensors.index.json").write_text("[]")


def unsharded(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def classifier(reward: dict[str, Any], **changes: Any) -> Case:
    """A reward model of two labels, whose config.json and settings are these."""

    def apply(directory: Path, settings: Settings) -> None:
        judge = own_model(directory, settings)
        config(architectures=["LlamaForSequenceClassification"], id2label={"0": "bad", "1": "good"}, **changes)(judge)
        settings["base_model"] = "org/absent"
        settings["values"][0]["reward"] = {"model": "model"} | reward

    return Case("values[0].reward", apply)


NO_SYSTEM = (
    "{{ raise_exception('System role not supported') if messages[0].role == 'system' }}{{ messages[0].content }}"
)
SYSTEM = {"system_prompt": "Be brief."}

MODELS: dict[str, Case] = {
    "bitsandbytes": model(config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})),
    "gptq": model(config(quantization_config={"quant_method": "gptq", "bits": 4})),
    "fp8": model(config(quantization_config={"quant_method": "fp8"})),
    "pickled weights": model(pickled),
    "a shard that is missing": model(unsharded),
    "an index of nothing": model(index_of_nothing),
    "weights cut short": model(cut_short),
    "weights that are none": model(content("model.safetensors", b"\xff" * 1000)),
    "weights of zeros": model(content("model.safetensors", b"\0" * 1000)),
    "config.json that is none": model(content("config.json", "{")),
    "config.json that is a list": model(content("config.json", "[]")),
    "config.json of zeros": model(content("config.json", b"\0" * 10)),
    "T5": model(config(model_type="t5", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True)),
    "BERT": model(config(model_type="bert", architectures=["BertForMaskedLM"])),
    "a classifier": model(config(architectures=["LlamaForSequenceClassification"])),
    "no tokenizer": model(without("tokenizer.json")),
    "a tokenizer that is none": model(content("tokenizer.json", "{}")),
    "a tokenizer of zeros": model(content("tokenizer.json", b"\0" * 10)),
    "tokenizer settings that are none": model(content("tokenizer_config.json", "[")),
    "no end token": model(endless),
    "an end token that the model has no embedding for": model(config(vocab_size=1)),
    "a padding row beyond the embeddings": model(config(pad_token_id=10_000)),
    "no chat template but one that is none": model(content("chat_template.jinja", "{% for %}")),
    "a template that refuses everything": model(content("chat_template.jinja", "{{ raise_exception('no') }}")),
    "a template that divides by zero": model(content("chat_template.jinja", "{{ 1 // 0 }}")),
    "a template that refuses system": model(
        content("chat_template.jinja", NO_SYSTEM), "generation.system_prompt", generation=SYSTEM
    ),
    "positions for nothing": model(config(max_position_embeddings=8), "generation.max_new_tokens"),
    "a window narrower than the pairs": model(
        config(model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=100), "training.max_length"
    ),
    "modules of another architecture": model(
        lambda path: None,
        "training.lora.target_modules[1]",
        training={"lora": {"target_modules": ["q_proj", "c_attn"]}},
    ),
    "a misspelt module": model(
        lambda path: None,
        "training.lora.target_modules[1]",
        training={"lora": {"target_modules": ["q_proj", "v_porj"]}},
    ),
    "more blocks than layers": model(
        lambda path: None, "search.blocks", search={"coefficients": "per_value_and_block", "blocks": 3}
    ),
    "a label that is not there": classifier({"label": 2}),
    "a label that is not said": classifier({}),
    "a classifier that is none": Case(
        "values[0].reward",
        lambda path, settings: settings["values"][0].update(reward={"model": settings["base_model"]}),
    ),
}
