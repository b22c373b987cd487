"""Seconds a candidate, and how near decoding comes to the machine's bare matrix products.

python benchmarks/candidates.py --output docs/results/candidates.json

Every candidate is base + sum_i w_i theta_i of two adapters and answers the same prompts with the same number of new
tokens (end tokens are ignored, so that all do the same work). One run, one machine, the same threads:

- a: the authors' procedure: for each value load the base, merge, answer one prompt at a time
- b: merge to disk, load, answer all prompts in one batch (what mergenetic and mergekit-evolve do)
- c: merge in memory, answer all prompts in one batch
- ours: many candidates at once in the engine

a, b and c are transformers' generate in float32, the model's own precision. Where the machine multiplies bfloat16
natively the engine's linear layers use it; it is measured in float32 too, and c in bfloat16 as well.

`--shape llama-2-7b` takes random weights of that shape in place of a model: throughput does not depend on the weights.
"""

import argparse
import copy
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, LlamaConfig

from mva_ray.adapters.base_model import linear_shapes, load_base_model, load_tokenizer, native_products
from mva_ray.adapters.blend import BlendedModel
from mva_ray.adapters.lora import LoraFactors
from mva_ray.adapters.prompting import prompt_ids
from mva_ray.data.files import read_prompts
from mva_ray.evaluation.engine import Engine, Request, Row
from mva_ray.evaluation.row_limit import RowLimit

PROMPTS = Path(__file__).parents[1] / "tune_configs" / "prompts" / "search.jsonl"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
LLAMA_2_7B = LlamaConfig(
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    max_position_embeddings=4096,
    tie_word_embeddings=False,
)


@dataclass(frozen=True)
class Work:
    """What each candidate has to do; `load` brings the base model anew."""

    load: Callable[[], Any]
    adapters: Sequence[LoraFactors]
    prompts: Sequence[tuple[int, ...]]
    new_tokens: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--shape", choices=["llama-2-7b"])
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--repeat", type=int, default=2, help="of each measurement; medians are reported")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    work = make_work(arguments)
    seconds: dict[str, float] = {}
    shares = []
    for name, number in measure_candidates(work, max(arguments.rows), arguments.repeat):
        seconds[name] = number
        print(f"{name:24} {number:8.3f} s a candidate", flush=True)
    ours = min(number for name, number in seconds.items() if name.startswith("ours"))
    for name, number in seconds.items():
        print(f"{name:24} {number / ours:8.1f} times as long as the fastest of ours", flush=True)
    for row in measure_shares(arguments, work):
        shares.append(row)
        rates = f"{row['tokens_a_second']:6.0f} of {row['products']:6.0f} tokens a second"
        print(f"{row['what']:40} {row['rows']:4} rows: {rates}, {row['share']:4.0%} of the bare products", flush=True)
    results = {"threads": torch.get_num_threads(), "seconds_a_candidate": seconds, "share_of_products": shares}
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")


def make_work(arguments: argparse.Namespace) -> Work:
    if arguments.shape:
        on_gpu = torch.cuda.is_available()

        def load() -> Any:
            with torch.device("cuda" if on_gpu else "cpu"):
                model = AutoModelForCausalLM.from_config(copy.deepcopy(LLAMA_2_7B), dtype=torch.bfloat16)
            return model.eval()

        generator = torch.Generator().manual_seed(0)
        prompts = [
            tuple(torch.randint(5, LLAMA_2_7B.vocab_size, (64,), generator=generator).tolist())
            for _ in range(arguments.prompts)
        ]
    else:

        def load() -> Any:
            return load_base_model(arguments.model, gpus=float(torch.cuda.is_available()))

        tokenizer = load_tokenizer(arguments.model)
        texts = read_prompts(PROMPTS)[: arguments.prompts]
        prompts = [tuple(prompt_ids(tokenizer, text, "Answer in one short sentence.")) for text in texts]
    return Work(load, [random_adapter(load(), arguments.rank, seed) for seed in (1, 2)], prompts, arguments.new_tokens)


def random_adapter(model: nn.Module, rank: int, seed: int) -> LoraFactors:
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: shape for name, shape in linear_shapes(model).items() if name.endswith(TARGETS)}
    a = {name: torch.randn(rank, size, generator=generator) / size**0.5 for name, (size, _) in shapes.items()}
    b = {name: 0.02 * torch.randn(size, rank, generator=generator) for name, (_, size) in shapes.items()}
    return LoraFactors(a, b, 2.0)


def measure_candidates(work: Work, rows: int, repeat: int) -> Iterator[tuple[str, float]]:
    weights = (0.7, 0.4)
    with tempfile.TemporaryDirectory() as directory:
        yield "a", median_seconds(lambda: authors(work, weights), 1)
        yield "b", median_seconds(lambda: by_disk(work, weights, Path(directory)), repeat)
    base = work.load()
    yield "c", median_seconds(lambda: in_memory(base, work, weights), repeat)
    native = native_products(base.device)
    if native:
        half = work.load().to(native)
        yield f"c in {native}", median_seconds(lambda: in_memory(half, work, weights), repeat)
    candidates = 2 * rows // len(work.prompts)
    for products in dict.fromkeys([native, None]):
        engine = make_engine(work, rows, products)
        requests = [
            Request(prompt, (0.1 * (number % 16), 0.1 * (number // 16)))
            for number in range(1, candidates + 1)
            for prompt in work.prompts
        ]
        answer(engine, requests[:rows])
        name = f"ours in {products}" if products else "ours"
        yield name, median_seconds(partial(answer, engine, requests), repeat) / candidates


def median_seconds(call: Callable[[], object], repeat: int) -> float:
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def authors(work: Work, weights: Sequence[float]) -> None:
    for _ in work.adapters:
        model = merge(work.load(), work.adapters, weights)
        for prompt in work.prompts:
            generate(model, [prompt], work.new_tokens)


def by_disk(work: Work, weights: Sequence[float], directory: Path) -> None:
    merged = merge(work.load(), work.adapters, weights)
    dtype, device = merged.dtype, merged.device
    merged.save_pretrained(directory)
    del merged
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).to(device).eval()
    generate(model, work.prompts, work.new_tokens)


def in_memory(base: Any, work: Work, weights: Sequence[float]) -> None:
    generate(merge(copy.deepcopy(base), work.adapters, weights), work.prompts, work.new_tokens)


@torch.inference_mode()
def merge(model: Any, adapters: Sequence[LoraFactors], weights: Sequence[float]) -> Any:
    for adapter, weight in zip(adapters, weights, strict=True):
        for name in adapter.a:
            delta = weight * adapter.scaling * adapter.b[name] @ adapter.a[name]
            parameter = model.get_submodule(name).weight
            parameter.data += delta.to(parameter)
    return model


@torch.inference_mode()
def generate(model: Any, prompts: Sequence[Sequence[int]], new_tokens: int) -> Tensor:
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    output: Tensor = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        do_sample=False,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        pad_token_id=0,
    )
    return output


def make_engine(work: Work, rows: int, products: torch.dtype | None) -> Engine:
    blend = BlendedModel(work.load(), work.adapters, products)
    return Engine(blend, end_tokens=(), max_new_tokens=work.new_tokens, limit=RowLimit(rows))


def answer(engine: Engine, requests: Sequence[Request]) -> None:
    check(engine.answer(requests))


def check(rows: Sequence[Row]) -> None:
    """A row that failed would be fast."""
    if failed := [row.failure for row in rows if row.failure]:
        raise SystemExit(f"{len(failed)} rows failed: {failed[0]}")


def measure_shares(arguments: argparse.Namespace, work: Work) -> Iterator[dict[str, Any]]:
    """Decoding in tokens a second, as a share of what the products of its linear layers alone would allow."""
    base, repeat = work.load(), arguments.repeat
    native, cores = native_products(base.device), torch.get_num_threads()
    for count in arguments.rows:
        bare = count / sum(product_seconds(base, count, None))
        yield {"what": "generate", "rows": count, **share(stock_rate(base, work, count, repeat), bare)}
    for products in dict.fromkeys([native, None]):
        name = f"ours in {products}" if products else "ours"
        for count in arguments.rows:
            bare = count / sum(product_seconds(base, count, products))
            yield {"what": name, "rows": count, **share(engine_rate(work, count, products, repeat), bare)}
            if base.device.type == "cpu" and count % cores == 0:
                rate = rate_of_an_engine_a_core(arguments, count // cores, products, cores)
                yield {"what": f"{name}, an engine a core", "rows": count, **share(rate, bare)}


def share(tokens_a_second: float, bare: float) -> dict[str, float]:
    return {"tokens_a_second": tokens_a_second, "products": bare, "share": tokens_a_second / bare}


def product_seconds(model: Any, rows: int, products: torch.dtype | None) -> Iterator[float]:
    """The best time of every linear layer's product with so many rows, each with its own weights, as in a model."""
    outer = model.get_output_embeddings()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            dtype = products if products is not None and module is not outer else module.weight.dtype
            if products is not None and module is outer:
                torch.set_float32_matmul_precision("medium")
            weight = module.weight.detach().to(dtype)
            inputs = torch.randn(rows, module.in_features, device=weight.device).to(dtype)
            with torch.inference_mode():
                yield min(median_seconds(partial(linear, inputs, weight), 1) for _ in range(9))
            torch.set_float32_matmul_precision("highest")


def stock_rate(base: Any, work: Work, rows: int, repeat: int) -> float:
    """Tokens a second of generate after the first token."""
    prompts = (list(work.prompts) * rows)[:rows]
    whole = median_seconds(lambda: generate(base, prompts, work.new_tokens), repeat)
    first = median_seconds(lambda: generate(base, prompts, 1), repeat)
    return rows * (work.new_tokens - 1) / (whole - first)


def rate_of_an_engine_a_core(
    arguments: argparse.Namespace, rows: int, products: torch.dtype | None, cores: int
) -> float:
    """Tokens a second of all cores, each with a process and an engine of its own, as in the quickstart."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(cores, timeout=600), context.Queue()
    given = (arguments, rows, products, barrier, rates)
    processes = [context.Process(target=put_rate_of_one_core, args=given) for _ in range(cores)]
    for process in processes:
        process.start()
    rate = sum(rates.get(timeout=600) for _ in processes)
    for process in processes:
        process.join()
    return float(rate)


def put_rate_of_one_core(
    arguments: argparse.Namespace, rows: int, products: torch.dtype | None, barrier: Barrier, rates: Any
) -> None:
    torch.set_num_threads(1)
    rates.put(engine_rate(make_work(arguments), rows, products, arguments.repeat, barrier.wait))


def engine_rate(
    work: Work, rows: int, products: torch.dtype | None, repeat: int, wait: Callable[[], object] = lambda: None
) -> float:
    """Tokens a second of the engine after the first token, every row with coefficients of its own.

    `wait` returns when it is time to begin.
    """
    engine = make_engine(work, rows, products)
    prompts = (list(work.prompts) * rows)[:rows]
    rates = []
    for _ in range(repeat + 1):
        at_work = engine.submit(Request(prompt, (0.5 + row / rows, 0.5)) for row, prompt in enumerate(prompts))
        engine.step()
        wait()
        started = time.perf_counter()
        while engine.busy:
            engine.step()
        check(at_work)
        rates.append(rows * (work.new_tokens - 1) / (time.perf_counter() - started))
    return statistics.median(rates[1:])


if __name__ == "__main__":
    main()
