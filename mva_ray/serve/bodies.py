"""Answers in the form of OpenAI's protocol, as vLLM gives them; `mva_ray` in each says which mixture it is of."""

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from mva_ray.serve.completions import Choice, Completion, Token
from mva_ray.serve.requests import ChatRequest


class Body:
    """Makes the bodies of one answer: they share its id and its moment."""

    def __init__(self, completion: Completion) -> None:
        self._completion = completion
        self._chat = isinstance(completion.asked, ChatRequest)
        self._id = ("chatcmpl-" if self._chat else "cmpl-") + secrets.token_hex(8)
        self._created = int(time.time())
        self._begun: set[int] = set()
        self._offsets: dict[int, int] = {}

    def whole(self, choices: Sequence[Choice], echoed: Sequence[Sequence[Token]] = ()) -> dict[str, Any]:
        """
        Args:
            choices: complete, in their order.
            echoed: the tokens of each prompt, where they are wanted before the answer's.
        """
        form = self._chat_choice if self._chat else self._text_choice
        per_prompt = max(1, len(choices) // len(self._completion.prompts))
        for choice in choices if echoed else ():
            choice.tokens[:0] = echoed[choice.index // per_prompt]
        kind = "chat.completion" if self._chat else "text_completion"
        usage = self.usage(sum(choice.count for choice in choices))
        return self._envelope(kind, list(map(form, choices))) | {"usage": usage}

    def chunks(self, parts: Sequence[Choice]) -> Iterator[dict[str, Any]]:
        """One event each."""
        for part in parts:
            if self._chat and part.index not in self._begun:
                self._begun.add(part.index)
                yield self._chunk({"index": part.index, "delta": {"role": "assistant", "content": ""}} | _OPEN)
            if part.text or part.finish or part.tokens:
                yield self._chunk(self._chat_delta(part) if self._chat else self._text_choice(part))

    def last_chunk(self, count: int) -> dict[str, Any]:
        """The event that tells the usage."""
        return self._envelope(self._chunk_kind, []) | {"usage": self.usage(count)}

    def usage(self, count: int) -> dict[str, Any]:
        asked = self._completion.prompt_tokens
        return {"prompt_tokens": asked, "completion_tokens": count, "total_tokens": asked + count}

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return self._envelope(self._chunk_kind, [choice])

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._completion.mixture.name,
            "choices": choices,
            "mva_ray": self._completion.mixture.told(),
        }

    def _chat_choice(self, choice: Choice) -> dict[str, Any]:
        message = {"role": "assistant", "content": choice.text, "refusal": None}
        return {"index": choice.index, "message": message} | self._chat_rest(choice)

    def _chat_delta(self, part: Choice) -> dict[str, Any]:
        return {"index": part.index, "delta": {"content": part.text}} | self._chat_rest(part)

    def _chat_rest(self, choice: Choice) -> dict[str, Any]:
        told = self._completion.asked.alternatives is not None
        content = {"content": [_chat_token(token) for token in choice.tokens], "refusal": None}
        return {
            "logprobs": content if told else None,
            "finish_reason": choice.finish,
            "stop_reason": choice.stop,
        }

    def _text_choice(self, choice: Choice) -> dict[str, Any]:
        told = self._completion.asked.alternatives is not None
        return {
            "index": choice.index,
            "text": choice.text,
            "logprobs": self._text_tokens(choice) if told else None,
            "finish_reason": choice.finish,
            "stop_reason": choice.stop,
        }

    def _text_tokens(self, choice: Choice) -> dict[str, Any]:
        offset, offsets = self._offsets.get(choice.index, 0), []
        for token in choice.tokens:
            offsets.append(offset)
            offset += len(token.text)
        self._offsets[choice.index] = offset
        return {
            "tokens": [token.text for token in choice.tokens],
            "token_logprobs": [token.log_probability for token in choice.tokens],
            "top_logprobs": [_likeliest(token) for token in choice.tokens],
            "text_offset": offsets,
        }


_OPEN: dict[str, Any] = {"logprobs": None, "finish_reason": None}


def _chat_token(token: Token) -> dict[str, Any]:
    likeliest = [_named(text, number) for text, number in token.alternatives]
    return _named(token.text, token.log_probability) | {"top_logprobs": likeliest}


def _named(text: str, number: float | None) -> dict[str, Any]:
    return {"token": text, "logprob": number, "bytes": list(text.encode())}


def _likeliest(token: Token) -> dict[str, float] | None:
    """By their texts; of two with the same text the likelier. The token's own is always there, as the protocol says."""
    if token.log_probability is None:
        return None
    return {token.text: token.log_probability} | dict(reversed(token.alternatives))
