"""Every call of the server, and how what is wrong with one is said."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from mva_ray.errors import ConfigError, MvaError
from mva_ray.evaluation.shared_engine import EngineThread
from mva_ray.serve.admission import WAITING_PER_ROW, Admission
from mva_ray.serve.api import api
from mva_ray.serve.bundle import saved
from mva_ray.serve.calls import calls
from mva_ray.serve.catalogue import Catalogue
from mva_ray.serve.errors import Refused, error_body
from mva_ray.serve.explorations import Explorations
from mva_ray.serve.guard import Guard
from mva_ray.serve.meters import Meters
from mva_ray.serve.model import ServedModel
from mva_ray.serve.page import page
from mva_ray.serve.responses import Responses
from mva_ray.serve.shared import Shared
from mva_ray.serve.watch import watch

log = logging.getLogger(__name__)


def make_app(
    catalogue: Catalogue,
    engine: EngineThread[ServedModel],
    token: str | None = None,
    loopback: bool = True,
    seconds: float = 600.0,
    explorations: Explorations | None = None,
) -> FastAPI:
    """The server as an ASGI application.

    Args:
        token: that every request must carry; None for none.
        loopback: whether it is asked for by names of this machine only.
        seconds: that one answer may take.
        explorations: None where it starts none.
    """
    admission = Admission((1 + WAITING_PER_ROW) * engine.generator.rows)
    meters = Meters(admission)
    app = FastAPI(title="mva_ray", description=__doc__, docs_url=None, redoc_url=None)
    app.state.shared = Shared(catalogue, engine, Responses(engine, admission, meters, seconds), meters, explorations)
    app.state.ending = lambda: False
    app.add_middleware(
        Guard, token=token, loopback=loopback, count=lambda status: meters.answers.labels(str(status)).inc()
    )
    _say_what_is_wrong(app)
    for router in (calls, api, watch, saved, page):
        app.include_router(router)
    return app


def _say_what_is_wrong(app: FastAPI) -> None:
    """Every refusal in the one shape, those of the framework too."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        headers = {"retry-after": "1"} if error.status == 429 else None
        return JSONResponse(error.body(), error.status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = [_problem(problem) for problem in error.errors()]
        text = "; ".join(dict.fromkeys(text for text, _ in found))
        return JSONResponse(error_body(text, found[0][1], 400), 400)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        text = f"{request.method} {request.url.path}: {error.detail}"
        return JSONResponse(error_body(text, None, error.status_code), error.status_code, error.headers)

    @app.exception_handler(MvaError)
    async def expected(_: Request, error: MvaError) -> JSONResponse:
        status = 400 if isinstance(error, ConfigError) else 503
        return JSONResponse(error_body(str(error), None, status), status)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        log.error("a request failed", exc_info=error)
        return JSONResponse(error_body("the server failed", None, 500), 500)


def _problem(problem: Mapping[str, Any]) -> tuple[str, str | None]:
    """What is wrong with a request, and the field: the first name in the place that pydantic tells."""
    names = [str(part) for part in problem["loc"] if part not in ("body", "query", "path")]
    param = names[0] if names and not names[0].isdigit() else None
    if problem["type"] == "extra_forbidden":
        return f"`{'.'.join(names)}` is not supported by this server", param
    text = str(problem["msg"]).removeprefix("Value error, ")
    return (f"{'.'.join(names)}: {text}" if param else text), param
