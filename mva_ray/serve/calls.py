"""The calls of OpenAI's protocol, and those that watch a server."""

from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from mva_ray.serve.completions import chat_completion, text_completion
from mva_ray.serve.errors import Refused
from mva_ray.serve.requests import ChatRequest, TextRequest
from mva_ray.serve.shared import Everything, Shared

calls = APIRouter()


@calls.get("/health")
@calls.get("/ready")
async def health() -> dict[str, str]:
    """Whether it lives; the model is loaded before anything is answered."""
    return {"status": "ok"}


@calls.get("/metrics")
async def metrics(shared: Everything) -> Response:
    """In Prometheus' form."""
    return Response(generate_latest(shared.meters.registry), media_type=CONTENT_TYPE_LATEST)


@calls.get("/v1/models")
def models(shared: Everything) -> dict[str, Any]:
    """The base, the values alone, the front and its presets, of every run."""
    return {"object": "list", "data": _entries(shared)}


@calls.get("/v1/models/{model:path}")
def one_model(model: str, shared: Everything) -> dict[str, Any]:
    """One of them."""
    for entry in _entries(shared):
        if entry["id"] == model:
            return entry
    raise Refused(f"The model `{model}` does not exist: /v1/models lists what there is", "model", 404)


@calls.post("/v1/chat/completions")
async def chat_completions(asked: ChatRequest, request: Request, shared: Everything) -> Response:
    """An answer to a conversation, by any mixture."""
    mixture = await run_in_threadpool(shared.catalogue.resolve, asked)
    completion = await run_in_threadpool(chat_completion, shared.engine.generator, asked, mixture)
    return await shared.responses.respond(request, completion)


@calls.post("/v1/completions")
async def completions(asked: TextRequest, request: Request, shared: Everything) -> Response:
    """What follows a text, by any mixture."""
    mixture = await run_in_threadpool(shared.catalogue.resolve, asked)
    completion = await run_in_threadpool(text_completion, shared.engine.generator, asked, mixture)
    return await shared.responses.respond(request, completion)


def _entries(shared: Shared) -> list[dict[str, Any]]:
    return [entry | {"max_model_len": shared.engine.generator.context} for entry in shared.catalogue.models()]
