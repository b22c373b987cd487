"""Completions by a server that speaks the OpenAI protocol and loads LoRA adapters as vLLM does (docs/engines.md).

Imports neither torch nor transformers until a generator is made.
"""

import hashlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx2

from mva_ray.config.engine import OpenAiServer
from mva_ray.config.generation import GenerationSettings, Sampling
from mva_ray.endpoint import THIS_REQUEST_ONLY, Client, cause, said, status_of
from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.answers import Answer, sampled
from mva_ray.evaluation.exports import Exports
from mva_ray.records import AdapterRef, Coefficients, Generation

LEFT_ALONE = {"top_p": 1, "min_p": 0, "repetition_penalty": 1}
"""Said in full: what a request leaves open, vLLM takes from the model's generation_config.json."""

REFUSED = frozenset({400, 404, 422, 500})
"""Answers that, with a reason, turn down one adapter; vLLM says 500 where an adapter does not fit its engine."""

REFUSAL = "Call to add_lora method failed"
"""How vLLM begins where its engine does not take an adapter, with status 500: it would not take it the next time."""

log = logging.getLogger(__name__)


class OpenAiGenerator:
    """Answers prompts for any coefficients as our own engine does: the same tokens go in, greedy text comes out.

    A candidate is exported as one LoRA adapter into `settings.adapters_dir`, loaded by the server, and unloaded and
    deleted when its requests of a call are answered. What a killed process left there is unloaded and deleted first.

    Args:
        settings: the server.
        base_model: hub id or directory of what the server has under the name `settings.model`; its tokenizer and
            settings are read, its weights are not.
        adapters: n value adapters, or parts of them.
        generation: how candidates answer.
        seed: of sampled answers.

    Raises:
        ConfigError: the environment variable for the key is not set, or `adapters_dir` cannot be made.
    """

    def __init__(
        self,
        settings: OpenAiServer,
        base_model: str,
        adapters: Sequence[AdapterRef],
        generation: GenerationSettings,
        seed: int = 0,
    ) -> None:
        from mva_ray.adapters.base_model import load_tokenizer
        from mva_ray.adapters.blocks import load_adapters
        from mva_ray.adapters.ends import read_ends
        from mva_ray.adapters.fetch import local_directory

        self._client = Client(settings, "engine.openai", settings.restart_timeout)
        self._settings = settings
        self._base_model = base_model
        self._adapters = load_adapters(base_model, adapters)
        self._generation = generation
        self._seed = seed
        self._tokenizer = load_tokenizer(base_model)
        self._tokenizing = threading.Lock()
        self._loading = threading.BoundedSemaphore(settings.max_loras)
        self._asking = threading.BoundedSemaphore(settings.concurrency)
        self._ends = read_ends(local_directory(base_model), self._tokenizer)
        self._without_ids = False
        self._exports = Exports(settings.adapters_dir)
        for name in self._exports.remove_abandoned():
            with suppress(httpx2.HTTPError):  # the server may have started again since
                self._client.post_once("/unload_lora_adapter", {"lora_name": name})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        """Completions, in the order of the requests (coefficients and prompt); candidates may be mixed.

        Returns:
            a generation for each request, or why there is none.

        Raises:
            RunError: the server fails for good: it is not there, lets nobody in, or does not have these calls.
        """
        by_candidate: dict[Coefficients, dict[int, str]] = {}
        for index, (coefficients, prompt) in enumerate(requests):
            by_candidate.setdefault(coefficients, {})[index] = prompt
        found: dict[int, Answer] = {}
        with _threads(self._settings.concurrency) as asking, _threads(self._settings.max_loras) as loading:
            answers = loading.map(partial(self._answer, asking), by_candidate, by_candidate.values())
            for prompts, answered in zip(by_candidate.values(), answers, strict=True):
                found.update(zip(prompts, answered, strict=True))
        return [found[index] for index in range(len(requests))]

    def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        """Several completions a prompt by the base model, for preference pairs; the same call has the same seeds.

        Returns:
            one list of `sampling.completions_per_prompt` generations a prompt.

        Raises:
            RunError: the server fails for good, or refuses a prompt.
        """
        count = sampling.completions_per_prompt
        options = {**LEFT_ALONE, "temperature": sampling.temperature, "top_k": sampling.top_k or -1}
        texts = [prompt for prompt in prompts for _ in range(count)]
        seeds = [{**options, "seed": _seed(seed, prompt, k)} for prompt in prompts for k in range(count)]
        with _threads(self._settings.concurrency) as asking:
            drawn = list(map(sampled, asking.map(partial(self._complete, self._settings.model), seeds, texts)))
        return [drawn[start : start + count] for start in range(0, len(drawn), count)]

    def _answer(
        self, asking: ThreadPoolExecutor, coefficients: Coefficients, prompts: Mapping[int, str]
    ) -> list[Answer]:
        try:
            with self._loaded(coefficients) as model:
                options = map(self._options, prompts.values())
                return list(asking.map(partial(self._complete, model), options, prompts.values()))
        except CandidateFailure as failure:
            return [failure] * len(prompts)

    def _options(self, prompt: str) -> dict[str, Any]:
        wanted = self._generation
        if not wanted.temperature:
            return {**LEFT_ALONE, "temperature": 0}
        drawn = {"temperature": wanted.temperature, "top_k": wanted.top_k or -1, "seed": _seed(self._seed, prompt, 0)}
        return {**LEFT_ALONE, **drawn}

    @contextmanager
    def _loaded(self, coefficients: Coefficients) -> Iterator[str]:
        """The server's name for base + sum_i w_i theta_i, as long as the context lasts."""
        if not any(coefficients):
            yield self._settings.model
            return
        with self._loading, self._exports.new() as held:
            self._export(coefficients, held / "adapter")
            self._load(held.name, held / "adapter")
            try:
                yield held.name
            finally:
                self._unload(held.name)

    def _export(self, coefficients: Coefficients, directory: Path) -> None:
        from mva_ray.adapters.export import export_candidate

        try:
            export_candidate(self._adapters, coefficients, directory, self._base_model)
        except OSError as error:
            raise RunError(f"no adapter can be written to {directory}: {error.strerror or error}") from error

    def _load(self, name: str, directory: Path) -> None:
        try:
            self._client.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(directory)}, REFUSAL)
        except httpx2.HTTPError as error:
            reason = said(error) or ""
            if "already been loaded" in reason:  # by the first attempt, whose answer was lost: names are used once
                return
            if reason and status_of(error) in REFUSED:
                raise CandidateFailure("generation_raised", f"its adapter is refused: {cause(error)}") from None
            raise self._broken(error) from None

    def _unload(self, name: str) -> None:
        """What it answered stays good where this fails, so that is said and no more."""
        try:
            self._client.post("/unload_lora_adapter", {"lora_name": name})
        except httpx2.HTTPError as error:
            log.warning("the server at %s keeps the adapter %s: %s", self._client.url, name, cause(error))

    def _complete(self, model: str, options: Mapping[str, Any], prompt: str) -> Answer:
        body = {
            "model": model,
            "prompt": self._ids(prompt),
            "max_tokens": self._generation.max_new_tokens,
            "stop_token_ids": list(self._ends.every),
            "return_token_ids": True,
            **options,
        }
        try:
            with self._asking:
                response = self._client.post("/completions", body)
            return self._read(prompt, response.json())
        except httpx2.HTTPError as error:
            lost = status_of(error) == 404 and model != self._settings.model
            if lost or status_of(error) in THIS_REQUEST_ONLY:
                return CandidateFailure("generation_raised", f"a prompt is refused: {cause(error)}")
            raise self._broken(error) from None
        except (ValueError, LookupError, TypeError):
            raise RunError(f"the server at {self._client.url} does not speak the OpenAI protocol") from None

    def _read(self, prompt: str, body: Any) -> Answer:
        """An answer in the protocol's words; its count has the end token, which that of a `Generation` leaves out."""
        choice = body["choices"][0]
        reason, text, tokens = choice["finish_reason"], str(choice["text"]), int(body["usage"]["completion_tokens"])
        if reason not in ("length", "stop"):
            return CandidateFailure("generation_raised", f"the server ended an answer with {reason!r}")
        cut_off = reason == "length"
        said = choice.get("token_ids")
        ids = self._tokenised(text) if said is None else [int(token) for token in said]
        if not cut_off and (said is None or not ids or ids[-1] not in self._ends.every):
            ids.append(self._end_of(choice))
        return Generation(prompt, text.strip(), max(0, tokens - (not cut_off)), truncated=cut_off, ids=tuple(ids))

    def _end_of(self, choice: Mapping[str, Any]) -> int:
        """The end token that the server does not count among the ids: vLLM says which, unless it is the tokenizer's."""
        reason = choice.get("stop_reason")
        return reason if isinstance(reason, int) else self._ends.turn

    def _tokenised(self, text: str) -> list[int]:
        """The text as it came, outer whitespace too; not always what was generated, which is said once."""
        from mva_ray.adapters.prompting import completion_ids

        with self._tokenizing:
            if not self._without_ids:
                log.warning(
                    "the server at %s returns no token ids: its texts are tokenised again, which may give other tokens",
                    self._client.url,
                )
            self._without_ids = True
            return completion_ids(self._tokenizer, text, end=None)

    def _ids(self, prompt: str) -> list[int]:
        from mva_ray.adapters.prompting import prompt_ids

        with self._tokenizing:
            return prompt_ids(self._tokenizer, prompt, self._generation.system_prompt)

    def _broken(self, error: httpx2.HTTPError) -> RunError:
        line = f"the server at {self._client.url} fails: {cause(error)}"
        if status_of(error) and error.request.url.path.endswith("/load_lora_adapter"):
            line += " (vLLM loads adapters with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True)"
        return RunError(line)


def _seed(seed: int, prompt: str, number: int) -> int:
    """Of one completion, whatever else is asked: 32 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number} {prompt}".encode()).digest()[:4])


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """So many threads; where the context ends with an error, what waits for them is dropped."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
