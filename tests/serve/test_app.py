"""The official client against a served run: plain, streamed, log-probabilities, errors, and any mixture at once."""

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.support.served import CANDIDATES, CONTEXT, Served, chat_text, serving

TURNS: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]
RENDERED = chat_text(TURNS)
TOKENS = 12


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), tiny_model) as found:
        yield found


def chat(served: Served, model: str = "demo:middle", **options: Any) -> Any:
    settings: dict[str, Any] = {"max_tokens": TOKENS, "messages": TURNS} | options
    return served.client.chat.completions.create(model=model, **settings)


@pytest.mark.parametrize(
    ("model", "extra", "w"),
    [
        ("demo:base", {}, (0.0, 0.0)),
        ("demo:positive", {}, (1.0, 0.0)),
        ("demo:left", {}, (1.5, -0.5)),
        ("demo:balanced", {}, (0.5, 0.5)),
        ("demo", {}, (0.5, 0.5)),
        ("demo", {"preference": {"brief": 1}}, (0.0, 2.0)),
        ("demo", {"reference_point": {"positive": 0.8}}, (1.5, -0.5)),
        ("demo:knee", {}, (0.5, 0.5)),
        ("demo", {"mixture": {"positive": -0.4, "brief": 1.3}}, (-0.4, 1.3)),
        ("demo", {"mixture": {"brief": 2.5}}, (0.0, 2.5)),
        ("demo", {"lora": [{"id": 1, "scale": 0.7}]}, (0.0, 0.7)),
    ],
)
def test_every_way_to_name_a_mixture_is_answered_by_the_merged_model(
    served: Served, model: str, extra: dict[str, Any], w: tuple[float, float]
) -> None:
    found = chat(served, model, extra_body=extra)
    assert found.choices[0].message.content == served.greedy(w, RENDERED, TOKENS)
    assert found.mva_ray["mixture"] == dict(zip(("positive", "brief"), w, strict=True)), "the answer says its mixture"
    assert found.model == model


def test_the_form_of_an_answer(served: Served) -> None:
    found = chat(served)
    assert (found.object, found.choices[0].index) == ("chat.completion", 0)
    assert found.id.startswith("chatcmpl-")
    assert found.choices[0].finish_reason in ("stop", "length")
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert found.choices[0].logprobs is None
    assert found.mva_ray["candidate"] == "middle"


def test_a_stream_says_what_the_whole_says(served: Served) -> None:
    whole = chat(served, n=2)
    events = list(chat(served, n=2, stream=True, stream_options={"include_usage": True}))
    texts = ["", ""]
    finish: list[str | None] = [None, None]
    for event in events[:-1]:
        for choice in event.choices:
            texts[choice.index] += choice.delta.content or ""
            finish[choice.index] = choice.finish_reason
    assert texts == [choice.message.content for choice in whole.choices]
    assert finish == [choice.finish_reason for choice in whole.choices]
    assert len({event.id for event in events}) == 1
    assert (events[-1].choices, events[-1].usage) == ([], whole.usage)


def test_events_are_those_of_the_protocol(served: Served) -> None:
    body = {"model": "demo:middle", "messages": TURNS, "max_tokens": 3, "stream": True}
    lines = served.post("/v1/chat/completions", **body).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [event["choices"][0]["finish_reason"] for event in events][-1] in ("stop", "length")
    assert all("usage" not in event for event in events)


def test_text_ends_before_a_stop_string(served: Served) -> None:
    whole = served.greedy((0.5, 0.5), RENDERED, TOKENS)
    stop = whole[4:7]
    expected = whole[: whole.index(stop)]
    found = chat(served, stop=[stop, "never said"])
    assert (found.choices[0].message.content, found.choices[0].finish_reason) == (expected, "stop")
    assert found.choices[0].stop_reason == stop
    streamed = "".join(event.choices[0].delta.content or "" for event in chat(served, stop=stop, stream=True))
    assert streamed == expected


def test_samples_follow_their_seed(served: Served) -> None:
    def sampled(**options: Any) -> list[str]:
        found = chat(served, temperature=1.5, top_p=0.95, n=3, **options)
        return [choice.message.content for choice in found.choices]

    assert sampled(seed=7) == sampled(seed=7)
    assert len(set(sampled(seed=7))) == 3
    assert sampled() != sampled(), "without a seed, others every time"
    assert chat(served, temperature=0.0).choices[0].message.content == served.greedy((0.5, 0.5), RENDERED, TOKENS)


def test_log_probabilities_are_those_of_the_merged_model(served: Served) -> None:
    """Of an answer while it is generated, and of a prompt that is read (`echo`)."""
    text, prompt, expected = served.answer((0.5, 0.5), RENDERED, TOKENS)
    found = chat(served, logprobs=True, top_logprobs=3).choices[0]
    told = [token.logprob for token in found.logprobs.content]
    assert told == pytest.approx(expected[prompt - 1 :][: len(told)], abs=1e-4)
    assert found.message.content == text
    for token in found.logprobs.content:
        assert token.logprob == pytest.approx(max(entry.logprob for entry in token.top_logprobs)), "greedy"
        assert len(token.top_logprobs) == 3
        assert bytes(token.bytes).decode() == token.token
    read: Any = served.client.completions.create(
        model="demo:middle", prompt=RENDERED, max_tokens=TOKENS, echo=True, logprobs=2
    )
    both = read.choices[0].logprobs
    assert read.choices[0].text == RENDERED + text
    assert both.token_logprobs[0] is None
    assert both.token_logprobs[1:] == pytest.approx(expected[: len(both.tokens) - 1], abs=1e-4)
    assert both.text_offset == [len("".join(both.tokens[:at])) for at in range(len(both.tokens))]
    only = served.client.completions.create(model="demo:middle", prompt=RENDERED, max_tokens=0, echo=True)
    assert (only.choices[0].text, only.usage.completion_tokens) == (RENDERED, 0)  # type: ignore[union-attr]


def test_several_prompts_as_texts_and_as_tokens(served: Served) -> None:
    texts = ["Why is", "Say that you", "bread"]
    found = served.client.completions.create(model="demo:left", prompt=texts, max_tokens=6)
    assert [choice.text for choice in found.choices] == [served.greedy((1.5, -0.5), text, 6) for text in texts]
    tokenizer = served.engine.generator.tokenizer
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    again = served.client.completions.create(model="demo:left", prompt=ids, max_tokens=6)
    assert [choice.text for choice in again.choices] == [choice.text for choice in found.choices]


def test_the_calls_of_lm_eval(served: Served) -> None:
    """Likelihoods of a continuation: token ids, echo, one token more, and whether each is the likeliest."""
    tokenizer = served.engine.generator.tokenizer
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("Why is the sky", "bread at home")]
    body = {"model": "demo:base", "prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
    found = served.post("/v1/completions", seed=1234, **body).json()
    for prompt, choice in zip(ids, found["choices"], strict=True):
        told = choice["logprobs"]
        assert len(told["tokens"]) == len(told["token_logprobs"]) == len(told["top_logprobs"]) == len(prompt) + 1
        assert all(number < 0 for number in told["token_logprobs"][1:])
        assert told["token_logprobs"][-1] == max(told["top_logprobs"][-1].values()), "the greedy one"


def test_mixtures_share_batches_and_none_changes_what_another_says(served: Served) -> None:
    """16 clients with 16 mixtures at once, each against itself alone."""
    mixtures = [{"positive": round(0.2 * i - 1.5, 2), "brief": round(1.7 - 0.3 * i, 2)} for i in range(16)]

    async def ask(mixture: dict[str, float]) -> str:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
            found = await client.chat.completions.create(
                model="demo", messages=TURNS, max_tokens=TOKENS, extra_body={"mixture": mixture}
            )
            return str(found.choices[0].message.content)

    async def together() -> list[str]:
        return await asyncio.gather(*map(ask, mixtures))

    alone = [asyncio.run(ask(mixture)) for mixture in mixtures]
    assert asyncio.run(together()) == alone
    assert len(set(alone)) > 8


def test_models_are_listed_with_what_they_are(served: Served) -> None:
    found: dict[str, Any] = {model.id: model for model in served.client.models.list()}
    assert {
        "demo:base",
        "demo:balanced",
        "demo:positive",
        "demo:brief",
        *(f"demo:{name}" for name in CANDIDATES),
    } <= set(found)
    assert found["demo:base"].parent is None
    assert found["demo:left"].metadata["mixture"] == {"positive": 1.5, "brief": -0.5}
    assert found["demo:left"].metadata["rewards"]["positive"]["mean"] == 0.9
    assert found["demo:balanced"].metadata["candidate"] == "middle"
    assert {model.parent for model in found.values()} == {None, "demo:base"}
    assert served.client.models.retrieve("demo:left").id == "demo:left"


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ({"model": "demo:unknown"}, 404, "model", "demo:positive"),
        ({"model": "other"}, 404, "model", "does not exist"),
        ({"model": None}, 400, "model", "string"),
        ({"messages": []}, 400, "messages", "at least 1"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "messages", "content"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "messages", "role"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, 400, None, "last"),
        ({"messages": [{"role": "user", "content": "word " * 200}]}, 400, "messages", "maximum context"),
        ({"max_tokens": CONTEXT}, 400, "max_tokens", "at most"),
        ({"max_completion_tokens": CONTEXT, "max_tokens": None}, 400, "max_completion_tokens", "at most"),
        ({"max_tokens": 0}, 400, None, "at least 1"),
        ({"max_tokens": True}, 400, "max_tokens", "integer"),
        ({"temperature": -1}, 400, "temperature", "greater than or equal to 0"),
        ({"temperature": 3}, 400, "temperature", "less than or equal to 2"),
        ({"temperature": "hot"}, 400, "temperature", "number"),
        ({"top_p": 0}, 400, "top_p", "greater than 0"),
        ({"n": 0}, 400, "n", "greater than or equal to 1"),
        ({"top_logprobs": 99, "logprobs": True}, 400, "top_logprobs", "20"),
        ({"top_logprobs": 2}, 400, None, "logprobs: true"),
        ({"tools": [{"type": "function"}]}, 400, "tools", ""),
        ({"response_format": {"type": "json_object"}}, 400, "response_format", "text"),
        ({"presence_penalty": 0.5}, 400, "presence_penalty", ""),
        ({"nonsense": 1}, 400, "nonsense", "`nonsense` is not supported"),
        ({"stream_options": {"include_usage": True}}, 400, None, "stream: true"),
        ({"model": "demo", "mixture": {"kind": 1.0}}, 400, "mixture", "positive, brief"),
        ({"model": "demo", "mixture": {"brief": 1e9}}, 400, "mixture", "100"),
        ({"model": "demo", "mixture": {"brief": 1.0}, "preference": {"brief": 1}}, 400, None, "one of them"),
        ({"model": "demo:left", "mixture": {"brief": 1.0}}, 400, "model", "belongs to model"),
        ({"model": "demo", "preference": {"kind": 1}}, 400, "preference", "positive, brief"),
        ({"model": "demo", "reference_point": {"kind": 1}}, 400, "reference_point", "positive, brief"),
        ({"model": "demo", "lora": [{"id": 2, "scale": 1.0}]}, 400, "lora", "0 to 1"),
    ],
)
def test_what_is_wrong_is_refused_with_its_field(
    served: Served, body: dict[str, Any], status: int, param: str | None, words: str
) -> None:
    asked = {"model": "demo:middle", "messages": TURNS, "max_tokens": 4} | body
    for stream in (False, True) if "stream_options" not in body else (False,):
        answer = served.post("/v1/chat/completions", **asked, **({"stream": True} if stream else {}))
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (status, status, param)
        assert words in error["message"]
        assert set(error) == {"message", "type", "param", "code"}


def test_the_client_raises_its_own_errors(served: Served) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        chat(served, "demo:unknown")
    assert missing.value.body["param"] == "model"  # type: ignore[index]
    with pytest.raises(openai.BadRequestError):
        chat(served, temperature=5)


@pytest.mark.parametrize(
    ("content", "kind"), [(b"{broken", "application/json"), (b"{}", "text/plain"), (b"[1]", "application/json")]
)
def test_bodies_that_are_no_requests(served: Served, content: bytes, kind: str) -> None:
    answer = httpx2.post(f"{served.url}/v1/chat/completions", content=content, headers={"content-type": kind})
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/v1/completions", 405)])
def test_paths_and_methods_that_are_not_there(served: Served, method: str, path: str, status: int) -> None:
    answer = httpx2.request(method, served.url + path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)


def test_what_leaves_makes_room_at_once(served: Served) -> None:
    """A stream that is dropped and a request that is given up leave no row and no place behind."""
    body = {"model": "demo:middle", "messages": TURNS, "max_tokens": 60, "n": 8, "temperature": 1.0}
    with httpx2.stream("POST", f"{served.url}/v1/chat/completions", json={**body, "stream": True}) as answer:
        next(answer.iter_lines())
    with pytest.raises(httpx2.TimeoutException):
        httpx2.post(f"{served.url}/v1/chat/completions", json=body, timeout=0.02)
    asyncio.run(_idle(served))
    assert "mva_ray_completions 0.0" in httpx2.get(f"{served.url}/metrics").text


async def _idle(served: Served) -> None:
    async with asyncio.timeout(10):
        while served.engine.generator.busy:
            await asyncio.sleep(0.05)


def test_what_a_server_measures(served: Served) -> None:
    chat(served)
    text = httpx2.get(f"{served.url}/metrics").text
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(numbers["mva_ray_generated_tokens_total"]) > 0
    assert float(numbers['mva_ray_http_answers_total{status="200"}']) > 0
    assert float(numbers["mva_ray_first_token_seconds_count"]) > 0
    assert math.isfinite(float(numbers["mva_ray_completion_seconds_sum"]))
    assert httpx2.get(f"{served.url}/health").json() == {"status": "ok"}
