"""Completions by many candidates at once: from prompts to requests of the engine, and from its tokens to text."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from mva_ray.adapters.architecture import positions
from mva_ray.adapters.base_model import load_base_model, load_tokenizer, native_products
from mva_ray.adapters.blocks import load_adapters
from mva_ray.adapters.ends import Ends, read_ends
from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.prompting import completion_ids, prompt_ids
from mva_ray.config.generation import GenerationSettings, Sampling
from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.answers import Answer, sampled
from mva_ray.evaluation.engine import Draw, Engine, Request, Row
from mva_ray.evaluation.row_limit import MOST, RowLimit, rows_that_fit
from mva_ray.evaluation.self_test import checked_engine
from mva_ray.records import AdapterRef, Coefficients, Generation

T = TypeVar("T")

MEASURES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "base_nll": lambda log_probabilities: -sum(log_probabilities) / len(log_probabilities)
}
"""Every engine metric: from the log-probabilities of a completion's tokens under the base model, in nats."""


@dataclass(frozen=True)
class Pending(Generic[T]):
    """Requests at work, and what becomes of them."""

    rows: Sequence[Row]
    read: Callable[[Sequence[Row]], T]

    def is_done(self) -> bool:
        return all(row.done for row in self.rows)

    def result(self) -> T:
        return self.read(self.rows)


class LocalGenerator:
    """Holds the base model and all value adapters, and answers prompts for any coefficients. Not thread-safe.

    `begin_*` queue work that `step` does, whoever asked for it; the methods without `begin` do both.
    """

    def __init__(
        self,
        base_model: str,
        adapters: Sequence[AdapterRef],
        settings: GenerationSettings,
        seed: int = 0,
        gpus: float = 0,
    ) -> None:
        self._tokenizer = load_tokenizer(base_model)
        self._ends = read_ends(local_directory(base_model), self._tokenizer)
        self._settings = settings
        self._seed = seed
        self._base = (0.0,) * len(adapters)
        self._engine = load_engine(base_model, adapters, self._ends, settings.max_new_tokens, settings.batch_size, gpus)

    @property
    def rows(self) -> int:
        """How many are at work at once now."""
        return self._engine.rows

    @property
    def busy(self) -> bool:
        return self._engine.busy

    def step(self) -> None:
        """One forward pass over whatever is asked for."""
        self._engine.step()

    def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        """Completions, in the order of the requests (coefficients and prompt); candidates may be mixed.

        Returns:
            a generation for each request, or why there is none. It depends on that request alone, and on the seed where
            the settings have a temperature; all candidates then meet the same random numbers on a prompt.
        """
        return self._finish(self.begin_answers(requests))

    def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        """Several completions a prompt by the base model, for preference pairs.

        Returns:
            one list of `sampling.completions_per_prompt` generations a prompt; what is drawn depends on the prompt, the
            settings and the seed alone.

        Raises:
            RunError: a prompt cannot be answered.
        """
        return self._finish(self.begin_samples(prompts, sampling, seed))

    def measure(self, metrics: Sequence[str], generations: Sequence[Generation]) -> list[dict[str, float]]:
        """The named engine metrics of each completion, all by one pass of the base model over it.

        The end token counts where the model ended the completion, so that an empty one has a likelihood too.
        """
        return self._finish(self.begin_measure(metrics, generations))

    def begin_answers(self, requests: Sequence[tuple[Coefficients, str]]) -> Pending[list[Answer]]:
        rows = self._engine.submit(
            Request(self._ids(prompt), weights, self._draw(prompt)) for weights, prompt in requests
        )
        return Pending(
            rows, lambda done: [self._read(prompt, r) for (_, prompt), r in zip(requests, done, strict=True)]
        )

    def begin_samples(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> Pending[list[list[Generation]]]:
        count = sampling.completions_per_prompt

        def draw(prompt: str, number: int) -> Draw:
            return Draw((seed, number, _number(prompt)), sampling.temperature, sampling.top_k)

        asked = [(prompt, number) for prompt in prompts for number in range(count)]
        rows = self._engine.submit([Request(self._ids(p), self._base, draw(p, number)) for p, number in asked])

        def read(done: Sequence[Row]) -> list[list[Generation]]:
            drawn = [sampled(self._read(prompt, row)) for (prompt, _), row in zip(asked, done, strict=True)]
            return [drawn[start : start + count] for start in range(0, len(drawn), count)]

        return Pending(rows, read)

    def begin_measure(
        self, metrics: Sequence[str], generations: Sequence[Generation]
    ) -> Pending[list[dict[str, float]]]:
        rows = self._engine.submit([self._scoring(generation) for generation in generations])
        return Pending(rows, lambda done: [_measured(metrics, row) for row in done])

    def _finish(self, pending: Pending[T]) -> T:
        while not pending.is_done():
            self._engine.step()
        return pending.result()

    def _ids(self, prompt: str) -> tuple[int, ...]:
        return tuple(prompt_ids(self._tokenizer, prompt, self._settings.system_prompt))

    def _draw(self, prompt: str) -> Draw | None:
        wanted = self._settings
        return Draw((self._seed, _number(prompt)), wanted.temperature, wanted.top_k) if wanted.temperature else None

    def _scoring(self, generation: Generation) -> Request:
        answer = generation.ids or self._ids_of(generation)
        return Request((*self._ids(generation.prompt), *answer), self._base, scored=len(answer))

    def _ids_of(self, generation: Generation) -> list[int]:
        """Of an answer whose ids are not known, by its text; of an empty one, the end token."""
        ids = completion_ids(self._tokenizer, generation.completion, None if generation.truncated else self._ends.turn)
        return ids or [self._ends.turn]

    def _read(self, prompt: str, row: Row) -> Answer:
        if row.failure:
            return CandidateFailure("generation_raised", row.failure)
        ended = row.answer[-1] in self._ends.every
        said = row.answer[:-1] if ended else row.answer
        completion = self._tokenizer.decode(said, skip_special_tokens=True)
        return Generation(prompt, completion.strip(), len(said), not ended, tuple(row.answer), row.seconds)


def load_engine(
    base_model: str,
    adapters: Sequence[AdapterRef],
    ends: Ends,
    max_new_tokens: int,
    rows: int | None = None,
    gpus: float = 0,
) -> Engine:
    """An engine of a base model and its adapters, seen to compute what the model itself computes.

    Args:
        max_new_tokens: of answers that do not say it themselves.
        rows: that are answered at once; None for what is fast and fits.

    Raises:
        RunError: the model cannot be loaded, or our engine cannot follow it.
        ConfigError: an adapter is not a plain LoRA.
    """
    model = load_base_model(base_model, gpus)
    return checked_engine(
        base_model,
        model,
        load_adapters(base_model, adapters),
        native_products(model.device),
        end_tokens=ends.every,
        max_new_tokens=max_new_tokens,
        limit=RowLimit(rows, _most_rows(model, max_new_tokens)),
        longest=positions(model.config),
    )


def _number(prompt: str) -> int:
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8])


def _most_rows(model: Any, max_new_tokens: int) -> int:
    """On a GPU, as many as fit beside the model; prompts are taken to be as long as the answers, or 256 tokens."""
    if model.device.type != "cuda":
        return MOST
    free, _ = torch.cuda.mem_get_info(model.device)
    length = max_new_tokens + max(256, max_new_tokens)
    return rows_that_fit(free, model.config.get_text_config(), length, model.dtype.itemsize)


def _measured(metrics: Sequence[str], row: Row) -> dict[str, float]:
    if row.failure:
        raise CandidateFailure("generation_raised", f"{', '.join(metrics)}: {row.failure}")
    return {name: MEASURES[name](row.log_probabilities) for name in metrics}
