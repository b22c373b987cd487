"""vLLM itself: the same answers from what we export, and the same mixtures served by it and by us.

python -m benchmarks.against_vllm runs/quickstart --vllm PATH/TO/vllm --output docs/results/against_vllm.json

Starts `vllm serve` in float32 on the run's base model, with adapters. Two tables:

- `texts`: candidates of the front answer prompts of the table again, each exported as one adapter (`engine: {openai:
  ...}`); the texts that our engine gave stand in the table.
- `served`: `--clients` clients, each with a mixture of its own, at once, by vLLM with one exported adapter a mixture
  and by `mva-ray serve`: seconds, the better of two turns each; how many texts are equal, and how far apart the
  log-probabilities of tokens are as far as they are (greedy texts part where two tokens are level but for rounding).

How vLLM is installed for CPU, and what it needs: docs/engines.md.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import httpx2
import openai

from benchmarks.serving import PROMPTS, cpu, described, drawn, served
from mva_ray.adapters.blocks import load_adapters
from mva_ray.adapters.export import export_candidate
from mva_ray.adapters.fetch import local_directory
from mva_ray.config.engine import OpenAiServer
from mva_ray.config.generation import GenerationSettings
from mva_ray.evaluation.openai import OpenAiGenerator
from mva_ray.export.candidate import Candidate, find
from mva_ray.export.write import VLLM_RANKS
from mva_ray.records import Generation, in_order
from mva_ray.table.snapshot import snapshot

MODEL, SYSTEM = "base", "Answer in one short sentence."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--vllm", required=True, help="the program")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    front = snapshot(arguments.run).on("held_out").query("on_front")["candidate"]
    candidates = [find(arguments.run, name) for name in front[: arguments.candidates]]
    found: dict[str, Any] = {"cpu": cpu()}
    with vllm(arguments, candidates[0]) as (url, seconds):
        found["vllm_start_s"] = seconds
        found["texts"] = texts(arguments, url, candidates)
        by_vllm = asyncio.run(served_by_vllm(arguments, url, candidates[0]))
    with served(arguments.run) as (url, _):
        by_us = asyncio.run(served_by_us(arguments, url))
    found["served"] = {
        "clients": arguments.clients,
        "tokens": arguments.tokens,
        "seconds": {"vllm": by_vllm.seconds, "ours": by_us.seconds},
        "times_faster": by_vllm.seconds / by_us.seconds,
        **compared(by_us, by_vllm),
    }
    print(json.dumps(found, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")


@contextlib.contextmanager
def vllm(arguments: argparse.Namespace, candidate: Candidate) -> Iterator[tuple[str, float]]:
    """Its address, and the seconds until it answered."""
    factors = load_adapters(candidate.base_model, candidate.adapters)
    rank = sum(max(map(len, one.a.values())) for one in factors)
    options = {
        "--served-model-name": MODEL,
        "--dtype": "float32",
        "--generation-config": "vllm",
        "--max-loras": arguments.clients,
        "--max-cpu-loras": arguments.clients,
        "--max-lora-rank": next(one for one in VLLM_RANKS if one >= rank),
        "--max-model-len": 1024,
        "--host": "127.0.0.1",
        "--port": arguments.port,
    }
    command = [arguments.vllm, "serve", str(local_directory(candidate.base_model)), "--enable-lora"]
    command += [str(word) for option in options.items() for word in option]
    setting = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    setting |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": f"0-{(os.cpu_count() or 1) - 1}"}
    started, url = time.perf_counter(), f"http://127.0.0.1:{arguments.port}"
    with (
        tempfile.NamedTemporaryFile("w+") as log,
        subprocess.Popen(command, env=os.environ | setting, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            while not answers(url):
                if process.poll() is not None:
                    raise SystemExit(f"vLLM has ended:\n{Path(log.name).read_text()[-3000:]}")
                time.sleep(1)
            yield url, time.perf_counter() - started
        finally:
            process.terminate()


def answers(url: str) -> bool:
    with contextlib.suppress(httpx2.HTTPError):
        return httpx2.get(f"{url}/health").status_code == 200
    return False


def texts(arguments: argparse.Namespace, url: str, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """What vLLM says with our exports, against the texts of the table."""
    kept = snapshot(arguments.run)
    with tempfile.TemporaryDirectory() as directory:
        settings = OpenAiServer(
            base_url=f"{url}/v1",
            model=MODEL,
            adapters_dir=directory,
            max_lora_rank=512,
            max_loras=arguments.clients,
        )
        generation = GenerationSettings(**candidates[0].settings["generation"])
        with OpenAiGenerator(settings, candidates[0].base_model, candidates[0].adapters, generation) as generator:
            pairs = []
            for candidate in candidates:
                recorded = kept.generations(candidate.evaluation.candidate, "held_out")[: arguments.prompts]
                asked = [(candidate.coefficients, one.generation.prompt) for one in recorded]
                pairs += list(zip(recorded, generator.answer(asked), strict=True))
    failed = [str(said) for _, said in pairs if not isinstance(said, Generation)]
    equal = [said.completion == one.generation.completion for one, said in pairs if isinstance(said, Generation)]
    return {"candidates": len(candidates), "answers": len(pairs), "equal": sum(equal), "failed": failed}


@dataclass(frozen=True)
class Served:
    """Seconds for all answers, their texts, and the tokens of each with their log-probabilities."""

    seconds: float
    texts: list[str]
    tokens: list[list[tuple[str, float]]]


async def served_by_vllm(arguments: argparse.Namespace, url: str, candidate: Candidate) -> Served:
    values = [adapter.value for adapter in candidate.adapters]
    factors = load_adapters(candidate.base_model, candidate.adapters)
    models = []
    with tempfile.TemporaryDirectory() as directory:
        async with httpx2.AsyncClient(timeout=600) as client:
            for place, mixture in enumerate(drawn(values, arguments.clients)):
                models.append(f"mixture{place}")
                path = Path(directory) / models[-1]
                export_candidate(factors, in_order(mixture, values), path, candidate.base_model)
                body = {"lora_name": models[-1], "lora_path": str(path)}
                (await client.post(f"{url}/v1/load_lora_adapter", json=body)).raise_for_status()
        return await at_once(url, [{"model": model} for model in models], arguments.tokens)


async def served_by_us(arguments: argparse.Namespace, url: str) -> Served:
    run, values = await described(url)
    mixtures = drawn(values, arguments.clients)
    asked = [{"model": run, "extra_body": {"mixture": mixture}} for mixture in mixtures]
    return await at_once(url, asked, arguments.tokens)


async def at_once(url: str, models: Sequence[dict[str, Any]], tokens: int) -> Served:
    """The better of two turns, after one that warms up."""
    seconds, answered = [], []
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600) as client:

        async def ask(place: int, model: dict[str, Any]) -> Any:
            prompt = PROMPTS[place % len(PROMPTS)]
            messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
            options: dict[str, Any] = {"max_tokens": tokens, "temperature": 0, "logprobs": True, **model}
            return (await client.chat.completions.create(messages=messages, **options)).choices[0]

        for _ in range(3):
            started = time.perf_counter()
            answered = await asyncio.gather(*(ask(place, model) for place, model in enumerate(models)))
            seconds.append(time.perf_counter() - started)
    said = [[(token.token, token.logprob) for token in one.logprobs.content] for one in answered]
    return Served(min(seconds[1:]), [one.message.content.strip() for one in answered], said)


def compared(one: Served, other: Served) -> dict[str, Any]:
    apart, parted = 0.0, []
    for number, (ours, theirs) in enumerate(zip(one.tokens, other.tokens, strict=True)):
        both = zip(ours, theirs, strict=False)
        alike = list(takewhile(lambda pair: pair[0][0] == pair[1][0], both))
        apart = max(apart, *(abs(mine[1] - its[1]) for mine, its in alike))
        if one.texts[number] != other.texts[number]:
            parted.append([len(alike), ours[len(alike) :][:1], theirs[len(alike) :][:1]])
    equal = f"{len(one.texts) - len(parted)} of {len(one.texts)}"
    return {"equal_answers": equal, "log_probabilities_apart": apart, "parted_at": parted}


if __name__ == "__main__":
    main()
