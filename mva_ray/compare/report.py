"""A comparison as one page to open and as markdown for a repository, with the same content."""

import base64
import re
from itertools import chain
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mva_ray.compare.report_numbers import Numbers
from mva_ray.compare.report_sections import Picture, sections
from mva_ray.compare.results import ComparisonResult
from mva_ray.run_dir.place import joined
from mva_ray.run_dir.stores import store_at


def write_comparison(result: ComparisonResult, directory: Path | str) -> str:
    """Write `report.html` (self-contained), `README.md` and its PNGs, and return where the page is.

    Works at any point of a comparison: what is not there yet is left out, and the numbers are of what is there.
    """
    parts, store = sections(Numbers(result)), store_at(directory)
    for picture in chain.from_iterable(part.pictures for part in parts):
        store.write(f"{picture.name}.png", picture.png)
    for template, name in (("report.md.j2", "README.md"), ("report.html.j2", "report.html")):
        text = _environment(template).get_template(template).render(result=result, sections=parts)
        store.write(name, text.encode())
    return joined(store.place, "report.html")


def _environment(template: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("mva_ray.compare", "."),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(md=_markdown, data_uri=_data_uri, tint=_tint)
    return environment


def _markdown(text: str) -> str:
    """Text from outside in one line, with nothing in it that markdown or HTML would read as its own."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _data_uri(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"


def _tint(share: float | None) -> str:
    """Blue above a half, orange below."""
    if share is None:
        return "transparent"
    return f"rgba({'0, 114, 178' if share >= 0.5 else '213, 94, 0'}, {0.8 * abs(share - 0.5):.2f})"
