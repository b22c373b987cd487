"""Tiny models made on the spot: a Llama that chats, a GPT-2, classifiers, and LoRA adapters. Nothing is downloaded.

Weights are random but seeded. Those of the output layer are large, so that no two tokens have nearly the same logit
and greedy text is the same however a computation rounds; the others are small, so that rounding does not grow.
"""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.pytorch_utils import Conv1D

SENTENCES = (
    "How do I bake bread at home without an oven?",
    "You can bake bread in a covered pan on the stove.",
    "My friend is angry with me. What should I say?",
    "Say that you are sorry, listen, and give it some time.",
    "Why is the sky blue? Because air scatters blue light more than red light.",
    "user assistant system",
)
PROMPTS = ("Why is the sky blue?", "Bread?", "My friend is angry with me. What should I say to my friend?", "Hi")
CHAT_TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }} {{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant {% endif %}"
)
LLAMA_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")


def make_llama(directory: Path, seed: int = 0) -> Path:
    """A chat model of 2 layers in float32, with a byte-level tokenizer and a chat template."""
    tokenizer = _save_tokenizer(directory, CHAT_TEMPLATE)
    return _save(LlamaForCausalLM, LlamaConfig(**_llama_sizes(tokenizer)), directory, seed)


def make_gpt2(directory: Path, seed: int = 1) -> Path:
    """A GPT-2 of 2 layers, whose linear layers are Conv1D, with a tokenizer that has no chat template."""
    tokenizer = _save_tokenizer(directory, None)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=256,
        initializer_range=0.2,
        **_special_tokens(tokenizer),
    )
    return _save(GPT2LMHeadModel, config, directory, seed)


def make_classifier(directory: Path, num_labels: int, seed: int = 2) -> Path:
    """A sequence classifier of 2 layers with that many logits."""
    tokenizer = _save_tokenizer(directory, None)
    config = LlamaConfig(num_labels=num_labels, **_llama_sizes(tokenizer))
    return _save(LlamaForSequenceClassification, config, directory, seed)


def random_adapter(
    path: Path,
    model_dir: Path,
    seed: int,
    r: int,
    alpha: float,
    target_modules: Sequence[str] = LLAMA_MODULES,
    use_rslora: bool = False,
    **options: Any,
) -> Path:
    """A LoRA directory as PEFT writes it, with random A and B, neither of them zero.

    Args:
        path: where to write it.
        model_dir: the base model, by `make_llama` or `make_gpt2`.
        seed: of the weights.
        options: of `LoraConfig`.
    """
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,  # type: ignore[arg-type, unused-ignore]
        target_modules=list(target_modules),
        use_rslora=use_rslora,
        task_type=TaskType.CAUSAL_LM,
        **options,
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32), config)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            spread = 0.3 if "lora_A" in name else 0.1
            parameter.data = spread * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(path, save_embedding_layers=False)
    return path


def load(directory: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model in evaluation mode and its tokenizer, padding on the left, by transformers alone."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return model.eval(), PreTrainedTokenizerFast.from_pretrained(directory, padding_side="left")


def merged(model: PreTrainedModel, adapters: Sequence[Path], weights: Sequence[float]) -> Any:
    """A copy of the model with sum_i w_i * scaling_i * B_i A_i added to its weights, read from PEFT's files.

    An output layer that is adapted parts from the embeddings.
    """
    copied = copy.deepcopy(model)
    for path, coefficient in zip(adapters, weights, strict=True):
        config = json.loads((path / "adapter_config.json").read_text())
        scaling = config["lora_alpha"] / (config["r"] ** 0.5 if config["use_rslora"] else config["r"])
        tensors = load_file(path / "adapter_model.safetensors")
        for key in [key for key in tensors if "lora_A" in key]:
            module: Any = copied.get_submodule(key.removeprefix("base_model.model.").removesuffix(".lora_A.weight"))
            weight = module.weight.data
            b, a = (tensors[name].to(weight) for name in (key.replace("lora_A", "lora_B"), key))
            delta = (b @ a).T if isinstance(module, Conv1D) else b @ a
            module.weight = torch.nn.Parameter(weight + coefficient * scaling * delta)
    return copied


def _llama_sizes(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
        **_special_tokens(tokenizer),
    }


def _special_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: getattr(tokenizer, name) for name in names}


def _save_tokenizer(directory: Path, chat_template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=chat_template
    )
    fast.save_pretrained(directory)
    return fast


def _save(architecture: Any, config: Any, directory: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = architecture(config)
    if not config.tie_word_embeddings and (output := model.get_output_embeddings()) is not None:
        output.weight.data *= 3
    model.save_pretrained(directory)
    return directory
