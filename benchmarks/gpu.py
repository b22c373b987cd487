"""What a GPU makes of the engine, in one call, with torch, transformers and peft alone.

python -m benchmarks.gpu --output docs/results/gpu.json

Random weights of the shapes of real models: throughput does not depend on the weights. Of each shape

- logits of blended rows, by the engine's first pass, its decoding and its recorded decoding, against models that were
  really merged, in float32 and bfloat16, and how many greedy tokens agree
- seconds a candidate by the procedures a to c of benchmarks/candidates.py and by the engine, whose decoding steps are
  recorded as CUDA graphs, and without recordings
- tokens a second while decoding, against what reading weights, keys and values once a step would allow
- how long the GPU works on a recorded step: on the blended model, the base alone, and the bare products of its layers
- how many rows the engine chooses by itself where memory is the limit
- the penalty of the training against float64 on the CPU, and what a step of it takes

Without a GPU `--shapes tiny` runs all that needs none.
"""

import argparse
import copy
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.candidates import (
    LLAMA_2_7B,
    Work,
    authors,
    by_disk,
    check,
    generate,
    in_memory,
    median_seconds,
    merge,
    random_adapter,
)
from mva_ray.adapters.blend import BlendedModel
from mva_ray.evaluation.decoding import CudaGraphs, Decoding
from mva_ray.evaluation.engine import Engine, Request
from mva_ray.evaluation.row_limit import RowLimit, rows_that_fit
from mva_ray.maths.decorrelation import LinearHsic
from mva_ray.maths.low_rank import Deltas

SHAPES = {
    "llama-2-7b": LLAMA_2_7B,
    "llama-3.2-1b": LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
    "tiny": LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    ),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WEIGHTS = (0.7, -0.4)
SECONDS = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["llama-3.2-1b", "llama-2-7b"])
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 64, 128, 256])
    parser.add_argument("--only", default="", help="parts whose name has this in it")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "penalty": penalty(4 if DEVICE.type == "cpu" else 128)}
    say(results)
    failed = 0
    for shape in arguments.shapes:
        results[shape] = {}
        for name, part in parts(SHAPES[shape], arguments):
            if arguments.only not in name:
                continue
            free()
            try:
                results[shape][name] = part()
            except Exception as error:  # a machine is lent for minutes: the other parts go on
                results[shape][name] = f"{type(error).__name__}: {error}"
                failed += 1
            say({f"{shape}, {name}": results[shape][name]})
            if arguments.output:
                arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(f"{failed} parts failed" if failed else 0)


def say(figures: dict[str, Any]) -> None:
    print(f"[{time.perf_counter() - SECONDS:5.0f} s]", json.dumps(figures), flush=True)


def free() -> None:
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()


def machine() -> dict[str, Any]:
    found: dict[str, Any] = {"torch": torch.__version__, "transformers": transformers.__version__, "device": "cpu"}
    if DEVICE.type == "cuda":
        found |= {"device": torch.cuda.get_device_name(), "gigabytes a second": bandwidth() / 1e9}
    return found


@cache
def bandwidth() -> float:
    """Bytes a second of a large copy, read and written ones counted."""
    source = torch.randn(2**30, device=DEVICE)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * 4 * 2**30 / median_seconds(lambda: target.copy_(source), 9)


def parts(config: LlamaConfig, arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is measured of a shape, by name."""
    for dtype in (torch.float32, torch.bfloat16):
        yield f"logits in {dtype}", partial(agreement, config, arguments, dtype)
    work = make_work(config, arguments, torch.bfloat16)
    engine = make_engine(work, max(arguments.rows))
    for recorded in (False, True):
        how = "recorded" if recorded else "kernel by kernel"
        for rows in arguments.rows:
            yield f"decoding {how}, {rows} rows", partial(decoding, engine, work, rows, recorded)
    del engine
    yield "seconds a candidate", partial(candidate_seconds, work, max(arguments.rows))
    if DEVICE.type == "cuda":
        yield "what the GPU works on in a step", partial(composition, work, arguments.rows[-2])
        yield "rows by memory", partial(rows_by_memory, work, config)


def make_work(config: LlamaConfig, arguments: argparse.Namespace, dtype: torch.dtype) -> Work:
    def load() -> Any:
        torch.manual_seed(0)
        with DEVICE:
            return AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype).eval()

    draw = torch.Generator().manual_seed(0)
    lengths = [arguments.prompt_tokens - number % 5 for number in range(arguments.prompts)]
    prompts = [tuple(torch.randint(5, config.vocab_size, (length,), generator=draw).tolist()) for length in lengths]
    base = load()
    adapters = [random_adapter(base, arguments.rank, seed) for seed in (1, 2)]
    return Work(load, adapters, prompts, arguments.new_tokens)


def make_engine(work: Work, rows: int, most: int | None = None) -> Engine:
    blend = BlendedModel(work.load(), work.adapters)
    limit = RowLimit(None, most) if most else RowLimit(rows)
    return Engine(blend, end_tokens=(), max_new_tokens=work.new_tokens, limit=limit)


def set_recorded(engine: Engine, recorded: bool) -> None:
    record = CudaGraphs() if recorded and DEVICE.type == "cuda" else None
    engine._decoding = Decoding(engine._blend, engine._cache, record)


@torch.inference_mode()
def agreement(config: LlamaConfig, arguments: argparse.Namespace, dtype: torch.dtype) -> dict[str, float]:
    """Root mean square differences of logits in units of their spread, and the share of greedy tokens that agree."""
    work, rows = make_work(config, arguments, dtype), arguments.rows[0]
    merged = merge(work.load(), work.adapters, WEIGHTS)
    texts = work.prompts[:rows]
    expected = [merged(torch.tensor([text], device=DEVICE)).logits[0, -2] for text in texts]
    said = generate(merged, texts, work.new_tokens)[:, -work.new_tokens :].tolist()
    del merged
    free()
    engine = make_engine(work, rows)
    scored = [Request(text, WEIGHTS, scored=1) for text in texts]
    found = engine.logits(scored, [[len(text) - 1 for text in texts]])
    figures = {"first pass": spread_error([of_row[0] for of_row in found], expected)}
    for recorded in (False, True):
        set_recorded(engine, recorded)
        answers = engine.answer([Request(text, WEIGHTS) for text in texts])
        check(answers)
        pairs = [pair for row, own in zip(answers, said, strict=True) for pair in zip(row.answer, own, strict=True)]
        name = "recorded decoding" if recorded else "decoding"
        figures[f"greedy tokens equal, {name}"] = sum(a == b for a, b in pairs) / len(pairs)
        figures[f"answers equal, {name}"] = sum(row.answer == own for row, own in zip(answers, said, strict=True))
    return figures | {"answers": len(texts)}


def spread_error(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    a, b = torch.stack(list(found)).double(), torch.stack(list(expected)).double()
    return float((a - b).square().mean().sqrt() / b.var(-1).mean().sqrt())


def candidate_seconds(work: Work, rows: int) -> dict[str, float]:
    """Seconds a candidate that answers all prompts; procedures as in benchmarks/candidates.py."""
    seconds = {"a": median_seconds(lambda: authors(work, WEIGHTS), 1)}
    free()
    with tempfile.TemporaryDirectory() as directory:
        seconds["b"] = median_seconds(lambda: by_disk(work, WEIGHTS, Path(directory)), 1)
    free()
    seconds["c"] = merged_in_memory(work)
    free()
    candidates = 2 * rows // len(work.prompts)
    requests = [Request(prompt, (0.1 * i, 0.5)) for i in range(1, candidates + 1) for prompt in work.prompts]
    engine = make_engine(work, rows)
    for recorded in (False, True):
        set_recorded(engine, recorded)
        name = "ours, recorded" if recorded else "ours"
        seconds[f"{name}, the first time"] = median_seconds(lambda: check(engine.answer(requests)), 1) / candidates
        seconds[name] = median_seconds(lambda: check(engine.answer(requests)), 3) / candidates
    return seconds


def merged_in_memory(work: Work) -> float:
    base = work.load()
    in_memory(base, work, WEIGHTS)
    return median_seconds(lambda: in_memory(base, work, WEIGHTS), 2)


def decoding(engine: Engine, work: Work, rows: int, recorded: bool) -> dict[str, float]:
    """Milliseconds of a decoding step, and tokens a second against the bound of memory."""
    set_recorded(engine, recorded)
    seconds = statistics.median(steps(engine, work, rows, partial(timed, engine.step)))
    model = engine._blend.model
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    if not model.config.tie_word_embeddings:
        weights -= model.get_input_embeddings().weight.numel() * model.dtype.itemsize
    keys = 2 * model.config.num_hidden_layers * model.config.num_key_value_heads * model.config.head_dim
    cached = rows * (len(work.prompts[0]) + work.new_tokens / 2) * keys * model.dtype.itemsize
    figures = {"milliseconds": 1e3 * seconds, "tokens a second": rows / seconds, "gigabytes": (weights + cached) / 1e9}
    if DEVICE.type == "cuda":
        figures["share of the bandwidth"] = (weights + cached) / seconds / bandwidth()
    return figures


def timed(step: Callable[[], None]) -> float:
    started = time.perf_counter()
    step()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def steps(engine: Engine, work: Work, rows: int, step: Callable[[], float]) -> list[float]:
    """What `step` gives at each decoding step of so many rows, each with coefficients of its own; the second round."""
    prompts = (list(work.prompts) * rows)[:rows]
    for _ in range(2):
        at_work = engine.submit(Request(prompt, (0.5 + row / rows, 0.5)) for row, prompt in enumerate(prompts))
        engine.step()
        found = []
        while engine.busy:
            found.append(step())
        check(at_work)
    return found


def composition(work: Work, rows: int) -> dict[str, float]:
    """Milliseconds that the GPU works on recorded steps: of the blended model, of the base model alone, and of the
    bare products of its linear layers."""
    found = {}
    for name, adapters in (("blended", work.adapters), ("base", [])):
        engine = make_engine(replace(work, adapters=adapters), rows)
        w = (0.5, 0.5)[: len(adapters)]
        check(engine.answer([Request(prompt, w) for prompt in (list(work.prompts) * rows)[:rows]]))
        found[name] = statistics.median(milliseconds(step.replay) for step in engine._decoding._recordings.values())
        del engine
        free()
    linears = [module.weight.detach() for module in work.load().modules() if isinstance(module, torch.nn.Linear)]
    inputs = [torch.randn(rows, weight.shape[1], device=DEVICE, dtype=weight.dtype) for weight in linears]

    def products() -> Tensor:
        return [linear(*pair) for pair in zip(inputs, linears, strict=True)][-1]

    products()
    replay, _ = CudaGraphs()(products)
    return {"rows": rows, **found, "bare products": milliseconds(replay)}


def milliseconds(call: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    call()
    start.record()
    for _ in range(10):
        call()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 10


def rows_by_memory(work: Work, config: LlamaConfig) -> dict[str, Any]:
    """Answers so long that the rows which fit are fewer than the most: what is chosen, and what it takes up."""
    length = config.max_position_embeddings
    long = Work(work.load, work.adapters, [prompt * 100 for prompt in work.prompts], 64)
    texts = [tuple(prompt[: length - 64]) for prompt in long.prompts]
    engine = make_engine(long, 0, most=1)
    free_bytes, total = torch.cuda.mem_get_info()
    fit = rows_that_fit(free_bytes, config, length, engine._blend.model.dtype.itemsize)
    engine._limit = RowLimit(fit)
    torch.cuda.reset_peak_memory_stats()
    seconds = median_seconds(lambda: check(engine.answer([Request(text, WEIGHTS) for text in texts * 2])), 1)
    return {
        "tokens a row": length,
        "rows that fit": fit,
        "rows at the end": engine._limit.rows,
        "answers": 2 * len(texts),
        "seconds": seconds,
        "peak share of the memory": torch.cuda.max_memory_reserved() / total,
    }


def penalty(modules: int) -> dict[str, float]:
    """The default penalty of modules 4096 x 4096 at rank 64 against two earlier adapters, forward and backward."""
    draw = torch.Generator().manual_seed(0)

    def deltas() -> Deltas:
        a = torch.randn(modules, 64, 4096, generator=draw) / 64
        return Deltas(a, torch.randn(modules, 4096, 64, generator=draw) / 64, 2.0)

    earlier, current = [deltas(), deltas()], deltas()

    def run(device: torch.device, dtype: torch.dtype, some: int) -> tuple[Callable[[], Tensor], Tensor]:
        def moved(of: Deltas) -> Deltas:
            return Deltas(of.a[:some].to(device, dtype), of.b[:some].to(device, dtype), of.scaling)

        form, trained = LinearHsic(list(map(moved, earlier)), normalised=True), moved(current)
        trained.b.requires_grad_()

        def step() -> Tensor:
            trained.b.grad = None
            value = form(trained, 0)
            value.backward()
            return value.detach()

        value = step()
        assert trained.b.grad is not None
        return step, torch.cat([value.view(1).double().cpu(), trained.b.grad.flatten().double().cpu()])

    _, exact = run(torch.device("cpu"), torch.float64, 4)
    _, found = run(DEVICE, torch.float32, 4)
    step, _ = run(DEVICE, torch.float32, modules)
    errors = [float((a - b).norm() / b.norm()) for a, b in ((found[:1], exact[:1]), (found[1:], exact[1:]))]
    return {
        "modules": modules,
        "relative error": errors[0],
        "relative error of the gradient": errors[1],
        "milliseconds": 1e3 * median_seconds(step, 5),
    }


if __name__ == "__main__":
    main()
