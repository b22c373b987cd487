"""The two calls of OpenAI's protocol that answer: whole, or as server-sent events."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from mva_ray.evaluation.shared_engine import EngineThread
from mva_ray.serve.admission import Admission
from mva_ray.serve.bodies import Body
from mva_ray.serve.completions import Choice, Completion, parts, prompt_tokens
from mva_ray.serve.errors import Refused, error_body
from mva_ray.serve.meters import Meters
from mva_ray.serve.model import ServedModel

T = TypeVar("T")
log = logging.getLogger(__name__)
CLIENT_CLOSED = 499


@dataclass(frozen=True)
class Responses:
    """Gives answers.

    Args:
        seconds: that one answer may take.
    """

    engine: EngineThread[ServedModel]
    admission: Admission
    meters: Meters
    seconds: float

    async def respond(self, request: Request, completion: Completion) -> Response:
        """
        Raises:
            Refused: there is no room, no time left, or the mixture cannot answer.
        """
        if completion.asked.stream:
            return await self._stream(request, completion)
        body = await _while_connected(request, self._whole(completion))
        return JSONResponse(body) if body is not None else Response(status_code=CLIENT_CLOSED)

    async def _whole(self, completion: Completion) -> dict[str, Any]:
        choices = [Choice(index) for index in range(max(1, len(completion.requests)))]
        async with aclosing(self._parts(completion)) as stream:
            async for more in stream:
                for part in more:
                    choices[part.index].add(part)
        echoed = await self._echoed(completion, choices)
        return Body(completion).whole(choices, echoed)

    async def _echoed(self, completion: Completion, choices: list[Choice]) -> list[list[Any]]:
        """With `echo` the prompt stands before the answer, and its tokens where they are asked for."""
        if not getattr(completion.asked, "echo", None):
            return []
        texts = [self.engine.generator.tokenizer.decode(list(ids)) for ids in completion.prompts]
        if not completion.requests:
            choices[:] = [Choice(index, finish="length") for index in range(len(texts) * completion.asked.choices)]
        for choice in choices:
            choice.text = str(texts[choice.index // completion.asked.choices]) + choice.text
        told = completion.asked.alternatives is not None
        return await prompt_tokens(self.engine, completion) if told else []

    async def _stream(self, request: Request, completion: Completion) -> Response:
        """The first part is waited for, so that what is refused is refused with its status."""
        stream = self._parts(completion)
        first = await _while_connected(request, anext(stream))
        if first is None:
            await stream.aclose()
            return Response(status_code=CLIENT_CLOSED)
        return Events(self._events(completion, first, stream))

    async def _events(
        self, completion: Completion, first: list[Choice], stream: AsyncGenerator[list[Choice], None]
    ) -> AsyncGenerator[str, None]:
        body, count = Body(completion), 0
        async with aclosing(stream):
            try:
                more: list[Choice] | None = first
                while more is not None:
                    count += sum(part.count for part in more)
                    for chunk in body.chunks(more):
                        yield event(chunk)
                    more = await anext(stream, None)
                if completion.asked.counts_usage:
                    yield event(body.last_chunk(count))
            except Refused as refused:
                yield event(refused.body())
            except Exception:
                log.exception("an answer ended")
                yield event(error_body("the server failed while it answered", None, 500))
            yield "data: [DONE]\n\n"

    async def _parts(self, completion: Completion) -> AsyncGenerator[list[Choice], None]:
        started, first = time.monotonic(), True
        self.meters.prompt_tokens.inc(completion.prompt_tokens)
        with self.admission.take(completion.rows):
            async with aclosing(parts(self.engine, completion)) as stream:
                while True:
                    left = self.seconds - (time.monotonic() - started)
                    try:
                        more = await asyncio.wait_for(anext(stream, None), max(0.001, left))
                    except TimeoutError:
                        raise Refused(f"not done after {self.seconds:g} s", "max_tokens", 408) from None
                    if more is None:
                        break
                    self.meters.generated_tokens.inc(sum(part.count for part in more))
                    if first:
                        self.meters.first_token.observe(time.monotonic() - started)
                        first = False
                    yield more
        self.meters.seconds.observe(time.monotonic() - started)


class Events(StreamingResponse):
    """Server-sent events, whose source is closed at once where the client goes away."""

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        self._source = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._source.aclose()


async def _while_connected(request: Request, work: Awaitable[T]) -> T | None:
    """What comes of the work; None where the client goes away before, and the work is given up."""
    working, leaving = asyncio.ensure_future(work), asyncio.create_task(_left(request))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
