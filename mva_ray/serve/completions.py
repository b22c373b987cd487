"""Answers to one HTTP request, token by token, out of the batches that all requests share."""

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from mva_ray.evaluation.engine import CANCELLED, Draw, Request, Row
from mva_ray.evaluation.shared_engine import EngineThread
from mva_ray.serve.catalogue import Mixture
from mva_ray.serve.errors import Refused
from mva_ray.serve.model import Call, ServedModel
from mva_ray.serve.requests import Asked, ChatRequest, TextRequest
from mva_ray.serve.text import TextStream

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Token:
    """One token with its log-probability in nats (None for the first of a prompt), and the likeliest in its place."""

    text: str
    log_probability: float | None
    alternatives: Sequence[tuple[str, float]]


@dataclass
class Choice:
    """What one choice says, or what it says more: the same words for the whole and for a part.

    Args:
        tokens: where they are asked for.
        count: of generated tokens, the end token included.
        finish: why it ended, None before.
        stop: the stop string that ended it.
    """

    index: int
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    count: int = 0
    finish: Finish | None = None
    stop: str | None = None

    def add(self, more: "Choice") -> None:
        self.text += more.text
        self.tokens += more.tokens
        self.count += more.count
        self.finish, self.stop = more.finish, more.stop


@dataclass(frozen=True)
class Completion:
    """One HTTP request: `n` answers to each of its prompts, by one mixture.

    Args:
        prompts: token ids of each.
        requests: a row a choice; empty where nothing is to be generated.
    """

    asked: ChatRequest | TextRequest
    mixture: Mixture
    prompts: Sequence[tuple[int, ...]]
    requests: Sequence[Request]

    @property
    def prompt_tokens(self) -> int:
        return sum(map(len, self.prompts))

    @property
    def rows(self) -> int:
        """How much of the server it takes."""
        return max(1, len(self.requests))


def chat_completion(model: ServedModel, asked: ChatRequest, mixture: Mixture) -> Completion:
    """
    Raises:
        Refused: the conversation cannot be rendered, or is too long.
    """
    system = mixture.run.settings.get("generation", {}).get("system_prompt")
    ids = model.chat_ids([message.turn for message in asked.messages], system)
    return _completion(model, asked, mixture, [ids], "messages")


def text_completion(model: ServedModel, asked: TextRequest, mixture: Mixture) -> Completion:
    """
    Raises:
        Refused: a prompt is empty, too long, or has tokens that the model does not know.
    """
    prompts = [model.text_ids(prompt) if isinstance(prompt, str) else tuple(prompt) for prompt in asked.prompts]
    return _completion(model, asked, mixture, prompts, "prompt")


def _completion(
    model: ServedModel,
    asked: ChatRequest | TextRequest,
    mixture: Mixture,
    prompts: Sequence[tuple[int, ...]],
    param: str,
) -> Completion:
    for ids in prompts:
        _check(model, asked, ids, param)
    seed = secrets.randbits(63) if asked.seed is None else asked.seed
    requests = [
        Request(
            ids,
            mixture.coefficients,
            _draw(asked, mixture, (seed % 2**64, place, number)),
            max_new_tokens=model.context - len(ids) if asked.limit is None else asked.limit,
            alternatives=asked.alternatives,
        )
        for place, ids in enumerate(prompts)
        for number in range(asked.choices)
        if asked.limit != 0
    ]
    return Completion(asked, mixture, prompts, requests)


def _check(model: ServedModel, asked: ChatRequest | TextRequest, ids: Sequence[int], param: str) -> None:
    if not ids:
        raise Refused("the prompt has no tokens", param)
    if (highest := max(ids)) >= model.vocabulary:
        raise Refused(f"token {highest} is not one of the {model.vocabulary} that the model has", param)
    if len(ids) + (asked.limit != 0) > model.context:
        raise Refused(f"the maximum context length is {model.context} tokens, the prompt has {len(ids)}", param)
    if asked.limit and len(ids) + asked.limit > model.context:
        name = "max_tokens" if asked.max_tokens is not None else "max_completion_tokens"
        raise Refused(
            f"the maximum context length is {model.context} tokens: {len(ids)} of the prompt and {asked.limit} of the "
            f"answer are more; ask for at most {model.context - len(ids)}",
            name,
        )


def _draw(asked: Asked, mixture: Mixture, seed: tuple[int, ...]) -> Draw | None:
    """As the run's own answers were drawn, where the request does not say otherwise."""
    generation = mixture.run.settings.get("generation", {})
    temperature = asked.temperature
    top_k = 0 if temperature is not None else generation.get("top_k", 0)
    if temperature is None:
        temperature = generation.get("temperature", 0.0)
    top_p = 1.0 if asked.top_p is None else asked.top_p
    return Draw(seed, temperature, top_k, top_p) if temperature else None


async def parts(engine: EngineThread[ServedModel], completion: Completion) -> AsyncGenerator[list[Choice], None]:
    """What the choices say more after each step of the engine; each ends with one that has a `finish`.

    Rows whose answer has ended with a stop string make room at once, and all of them where nobody asks on.

    Raises:
        Refused: the mixture cannot answer.
    """
    speakers = [_Speaker(index, engine.generator, completion) for index in range(len(completion.requests))]
    async with aclosing(engine.watch(engine.generator.begin, completion.requests)) as steps:
        async for call in steps:
            more = [part for speaker, row in zip(speakers, call.rows, strict=True) if (part := speaker.listen(row))]
            if stopped := [call.rows[part.index] for part in more if part.stop is not None]:
                engine.cancel(Call(stopped, call.engine))
            if more:
                yield more


async def prompt_tokens(engine: EngineThread[ServedModel], completion: Completion) -> list[list[Token]]:
    """Each token of the prompts with its log-probability after those before it."""
    alternatives = completion.asked.alternatives
    scoring = [
        Request(ids, completion.mixture.coefficients, scored=len(ids) - 1, alternatives=alternatives)
        for ids in completion.prompts
        if len(ids) > 1
    ]
    model = engine.generator
    rows = iter(await engine.result(model.begin, scoring))
    return [
        [Token(model.token_text(ids[0]), None, ()), *(_scored(model, next(rows)) if len(ids) > 1 else [])]
        for ids in completion.prompts
    ]


def _scored(model: ServedModel, row: Row) -> list[Token]:
    _check_row(row)
    asked = row.request.tokens[1:]
    return [
        Token(model.token_text(token), number, _named(model, likeliest))
        for token, number, likeliest in zip(asked, row.log_probabilities, row.alternatives, strict=True)
    ]


def _check_row(row: Row) -> None:
    if row.failure and row.failure != CANCELLED:
        raise Refused(f"this mixture does not answer: {row.failure}", "model")


def _named(model: ServedModel, likeliest: Sequence[tuple[int, float]]) -> list[tuple[str, float]]:
    return [(model.token_text(token), number) for token, number in likeliest]


class _Speaker:
    """One choice while its tokens come."""

    def __init__(self, index: int, model: ServedModel, completion: Completion) -> None:
        self._index = index
        self._model = model
        self._text = TextStream(model.tokenizer, completion.asked.stops)
        self._told = completion.asked.alternatives is not None
        self._heard = 0
        self._finished = False

    def listen(self, row: Row) -> Choice | None:
        """What the row says more than before; None where it says nothing new."""
        if self._finished:
            return None
        done = row.done  # before its tokens are counted: it is set after the last of them
        _check_row(row)
        heard = min(len(row.answer), len(row.alternatives)) if self._told else len(row.answer)
        if heard <= self._heard and not done:
            return None
        new = row.answer[self._heard : heard]
        ended = done and bool(row.answer) and row.answer[-1] in self._model.ends.every
        said = new[:-1] if ended and new else new
        part = Choice(self._index, self._text.add(said, done), count=len(new), stop=self._text.stop)
        if self._told:
            part.tokens = self._tokens(row, len(said))
        self._heard = heard
        self._finished = done or part.stop is not None
        if self._finished:
            part.finish = "stop" if ended or part.stop is not None else "length"
        return part

    def _tokens(self, row: Row, count: int) -> list[Token]:
        span = slice(self._heard, self._heard + count)
        return [
            Token(self._model.token_text(token), number, _named(self._model, likeliest))
            for token, number, likeliest in zip(
                row.answer[span], row.log_probabilities[span], row.alternatives[span], strict=True
            )
        ]
