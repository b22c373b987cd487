"""The page: look at the front, choose from it, talk to it. Nothing of it comes from another address."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from plotly.offline import get_plotlyjs
from starlette.responses import Response

POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; frame-ancestors 'none'"
"""plotly writes styles into the page; scripts and everything else come from this server alone."""

KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


page = APIRouter(include_in_schema=False)


@page.get("/")
def index() -> Response:
    return _file("page.html")


@page.get("/assets/page.css")
def css() -> Response:
    return _file("page.css")


@page.get("/assets/page.js")
def script() -> Response:
    return _file("page.js")


@page.get("/assets/plotly.js")
def plotly() -> Response:
    return Response(_plotly(), media_type=KINDS["js"], headers={"cache-control": "max-age=86400"})


def _file(name: str) -> Response:
    content = files("mva_ray.serve").joinpath(name).read_text(encoding="utf-8")
    return Response(content, media_type=KINDS[name.rpartition(".")[2]], headers={"content-security-policy": POLICY})


@cache
def _plotly() -> str:
    return str(get_plotlyjs())
