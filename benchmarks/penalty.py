"""The penalty's share of a DPO step at the shapes of Llama-2-7B: q, k, v and o of 32 layers, LoRA of rank 64.

    python benchmarks/penalty.py

Each form runs forward and backward over all modules, against one earlier adapter (the last of 2 values) and against
four (the last of 5). The step it is compared with is measured in the same run on the same machine, in parts: one real
decoder layer (random weights, LoRA on q, k, v, o) forward and backward on 4 pairs of 256 tokens, that is 8 sequences,
times 32, plus the head with the log-probabilities. Reference log-probabilities, optimiser and gradient checkpointing
are left out, so a real step takes longer and the share is an upper bound. On a GPU the layer multiplies in bfloat16;
elsewhere in float32. The penalty is float32 everywhere. Times are the fastest of the repeats.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from mva_ray.adapters.lora import LoraFactors
from mva_ray.config.training import PenaltySettings
from mva_ray.training.penalty import make_penalty

LIMIT = 0.05
SEQUENCES, TOKENS, VOCABULARY = 8, 256, 32_000
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj"]
FORMS: dict[str, Any] = {
    "hsic (default: linear, delta)": "hsic",
    "hsic, not normalised": {"normalised": False, "weight": 1.0},
    "hsic, rbf, delta": {"kernel": "rbf"},
    "hsic, linear, lora_a": {"on": "lora_a"},
    "hsic, rbf, lora_a": {"on": "lora_a", "kernel": "rbf"},
    "paper": "paper",
    "orthogonal": "orthogonal",
}


class Size(NamedTuple):
    width: int
    layers: int
    rank: int


class Share(NamedTuple):
    form: str
    values: int
    seconds: float
    share: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=4096, help="of the model; a multiple of 128")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--rank", type=int, default=64)
    arguments = parser.parse_args()
    size = Size(arguments.width, arguments.layers, arguments.rank)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    layer, head = seconds(layer_step(size, device), device), seconds(head_step(size, device), device)
    step = size.layers * layer + head
    print(
        f"{device_name(device)}: a step takes {step:.3g} s = {size.layers} layers of {layer:.3g} s + head {head:.3g} s"
    )
    shares = []
    for share in measure(size, step, device):
        print(f"{share.form:32} {share.values} values {share.seconds:9.4f} s {share.share:8.3%}", flush=True)
        shares.append(share._asdict())
    result = {"device": device_name(device), **size._asdict(), "layer_s": layer, "head_s": head, "step_s": step}
    print(json.dumps({**result, "limit": LIMIT, "shares": shares}))


def measure(size: Size, step: float, device: torch.device) -> Iterator[Share]:
    """Each form's seconds and its share of a step that takes `step` seconds without it."""
    current, *earlier = (adapter(size, device) for _ in range(5))
    for factor in (*current.a.values(), *current.b.values()):
        factor.requires_grad_()
    for values in (2, 5):
        for form, settings in FORMS.items():
            penalty = make_penalty(PenaltySettings.model_validate(settings), earlier[: values - 1], seed=0)
            assert penalty is not None
            taken = seconds(partial(penalty, current, 1), device)
            yield Share(form, values, taken, taken / (step + taken))


def adapter(size: Size, device: torch.device) -> LoraFactors:
    """Random factors for every projection, as after some training: B is not 0."""
    modules = [f"layers.{layer}.self_attn.{name}" for layer in range(size.layers) for name in PROJECTIONS]
    a = {module: torch.randn(size.rank, size.width, device=device) / size.width**0.5 for module in modules}
    b = {module: torch.randn(size.width, size.rank, device=device) * 1e-3 for module in modules}
    return LoraFactors(a, b, scaling=2.0)


def layer_step(size: Size, device: torch.device) -> Callable[[], Tensor]:
    """The loss of one decoder layer whose input needs a gradient, as below other layers with LoRA."""
    config = LlamaConfig(
        hidden_size=size.width,
        intermediate_size=size.width * 43 // 16,
        num_attention_heads=size.width // 128,
        attn_implementation="sdpa",
    )
    layer = LlamaDecoderLayer(config, layer_idx=0).requires_grad_(False)
    lora = LoraConfig(r=size.rank, lora_alpha=2 * size.rank, target_modules=PROJECTIONS)
    layer = inject_adapter_in_model(lora, layer).to(device)
    hidden = torch.randn(SEQUENCES, TOKENS, size.width, device=device, requires_grad=True)
    positions = LlamaRotaryEmbedding(config).to(device)(hidden, torch.arange(TOKENS, device=device)[None])
    return lambda: layer(hidden, position_embeddings=positions)[0].float().square().mean()


def head_step(size: Size, device: torch.device) -> Callable[[], Tensor]:
    """Log-probabilities of the completions: half of the tokens."""
    head = nn.Linear(size.width, VOCABULARY, bias=False, device=device).requires_grad_(False)
    hidden = torch.randn(SEQUENCES * TOKENS // 2, size.width, device=device, requires_grad=True)
    tokens = torch.randint(VOCABULARY, (len(hidden),), device=device)
    return lambda: nn.functional.cross_entropy(head(hidden).float(), tokens)


def seconds(loss: Callable[[], Tensor], device: torch.device, at_least: float = 5.0) -> float:
    """Of one forward and backward: the fastest of three and as many as take `at_least` seconds, after a first."""
    taken: list[float] = []
    while len(taken) < 4 or sum(taken[1:]) < at_least:
        synchronise(device)
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            value = loss()
        value.backward()
        synchronise(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"


if __name__ == "__main__":
    main()
