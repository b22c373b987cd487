"""The page: look at the front, choose from it, talk to it. Nothing of it comes from another address."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from plotly.offline import get_plotlyjs
from starlette.responses import Response

from mva_ray.serve.errors import Refused

POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; frame-ancestors 'none'"
"""plotly writes styles into the page; scripts and everything else come from this server alone."""

SCRIPTS = ("page.js", "plots.js", "watch.js")
ASSETS = ("page.css", *SCRIPTS)
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


page = APIRouter(include_in_schema=False)


@page.get("/")
def index() -> Response:
    return _file("page.html")


@page.get("/assets/plotly.js")
def plotly() -> Response:
    return Response(plotly_source(), media_type=KINDS["js"], headers={"cache-control": "max-age=86400"})


@page.get("/assets/{name}")
def asset(name: str) -> Response:
    if name not in ASSETS:
        raise Refused(f"there is no '{name}'", None, 404)
    return _file(name)


def source(name: str) -> str:
    """The text of the page, or of a file beside it."""
    return files("mva_ray.serve").joinpath(name).read_text(encoding="utf-8")


@cache
def plotly_source() -> str:
    return str(get_plotlyjs())


def _file(name: str) -> Response:
    kind = KINDS[name.rpartition(".")[2]]
    return Response(source(name), media_type=kind, headers={"content-security-policy": POLICY})
