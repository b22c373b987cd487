"""Requests of OpenAI's protocol as they are accepted: what is not known is refused, never ignored."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

MOST_CHOICES, MOST_STOPS, MOST_ALTERNATIVES, MOST_PROMPTS = 64, 16, 20, 256
LARGEST_COEFFICIENT = 100.0

Number = Annotated[FiniteFloat, Field(strict=True)]
Coefficient = Annotated[Number, Field(ge=-LARGEST_COEFFICIENT, le=LARGEST_COEFFICIENT)]
Whole = Annotated[int, Field(strict=True)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Nothing = Literal[None, False] | Annotated[list[Any], Field(max_length=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scale(_Strict):
    """One of llama.cpp's `lora`: the value's place in the run, and its coefficient."""

    id: Annotated[Whole, Field(ge=0)]
    scale: Coefficient


class StreamOptions(_Strict):
    include_usage: bool = False


class Asked(_Strict):
    """What both kinds of completion share.

    `model` is RUN:CANDIDATE, RUN:VALUE, RUN:PRESET, or RUN with one of `preference` (weights of the values),
    `reference_point` (wishes for the mean rewards), `mixture` (coefficients by value, 0 where left out) and `lora`
    (the same as llama.cpp has it). What the run's answers were sampled with is the default.
    """

    model: Name
    n: Annotated[Whole, Field(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: Annotated[Whole, Field(ge=0)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    seed: Annotated[Whole, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    frequency_penalty: Literal[0, None] = None
    presence_penalty: Literal[0, None] = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    preference: Annotated[dict[Name, Annotated[Number, Field(ge=0)]], Field(min_length=1)] | None = None
    reference_point: Annotated[dict[Name, Number], Field(min_length=1)] | None = None
    mixture: dict[Name, Coefficient] | None = None
    lora: list[Scale] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def counts_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @model_validator(mode="after")
    def _one_way_of_choosing(self) -> Self:
        ways = [name for name in WAYS if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} say different things: give one of them")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options belongs to stream: true")
        return self


WAYS = ("preference", "reference_point", "mixture", "lora")


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class Message(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: None = None
    refusal: None = None
    tool_calls: Nothing = None
    function_call: None = None
    audio: None = None
    annotations: Nothing = None

    @property
    def turn(self) -> tuple[str, str]:
        role = "system" if self.role == "developer" else self.role
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return role, text


class TextFormat(_Strict):
    type: Literal["text"]


class ChatRequest(Asked):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=10_000)]
    max_completion_tokens: Annotated[Whole, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[Whole, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None
    response_format: TextFormat | None = None
    store: Literal[None, False] = None
    tools: Nothing = None

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs belongs to logprobs: true")
        if self.max_tokens == 0:
            raise ValueError("max_tokens must be at least 1")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens say different things: give one of them")
        if self.messages[-1].role not in ("user", "system", "developer"):
            raise ValueError("the last of messages must be the user's")
        return self


TokenIds = Annotated[list[Annotated[Whole, Field(ge=0)]], Field(min_length=1)]


class TextRequest(Asked):
    """`POST /v1/completions`: `prompt` is a text or token ids, or several of them."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MOST_PROMPTS)]
    )
    echo: bool | None = None
    logprobs: Annotated[Whole, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None
    best_of: Literal[1, None] = None
    suffix: Literal["", None] = None

    @property
    def alternatives(self) -> int | None:
        return self.logprobs

    @property
    def limit(self) -> int | None:
        return 16 if self.max_tokens is None else self.max_tokens

    @property
    def prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens: 0 belongs to echo: true")
        if self.echo and self.stream:
            raise ValueError("echo cannot be streamed: leave one of them out")
        return self
