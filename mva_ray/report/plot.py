"""The front as a PNG: one plot for two values, a grid of all pairs for more."""

import io
import math
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from pandas import DataFrame

from mva_ray.records import CoefficientNames
from mva_ray.report.labels import Label, place_labels
from mva_ray.report.points import (
    FAINT_COLOR,
    FRONT_COLOR,
    KINDS,
    PARTIAL,
    SPLIT_LABELS,
    KindStyle,
    Points,
    has_part,
    padded_range,
    select_points,
    staircase,
)

DPI = 150
RING = 12
"""The size of the ring around a candidate of the front, in points."""


def plot_front(frame: DataFrame, names: CoefficientNames, run_name: str = "") -> bytes:
    """A PNG of every candidate with its error bars (one standard error) and the Pareto front.

    Args:
        frame: `ParetoTable.frame()`; the front is drawn on the held-out split where there is one.
        names: the coefficients of each value; with more than two values each pair has its plot.
        run_name: for the title.
    """
    points = select_points(frame)
    title = _title(points, run_name, len(names) > 2)
    figure = _pair_grid(points, names, title) if len(points.main) else _empty_figure(title)
    image = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(image, format="png", dpi=DPI)
    return image.getvalue()


def _title(points: Points, run_name: str, explain_axes: bool) -> str:
    what = f"{run_name}: Pareto front" if run_name else "Pareto front"
    if points.main.empty:
        return what
    axes = "\nmean rewards, higher is better" if explain_axes else ""
    return f"{what} on {points.n_prompts} {SPLIT_LABELS[points.split]} prompts{axes}"


def _empty_figure(title: str) -> Figure:
    figure = Figure(figsize=(6, 3), layout="constrained")
    figure.suptitle(title, fontsize=12)
    figure.text(0.5, 0.45, "no candidate has been scored", ha="center", va="center", color="0.4")
    return figure


def _pair_grid(points: Points, names: CoefficientNames, title: str) -> Figure:
    """One plot for each pair of values, on the same scale for a value wherever it appears."""
    pairs = list(combinations(names, 2))
    columns = max(math.ceil(math.sqrt(len(pairs))), min(3, len(pairs)))
    rows = math.ceil(len(pairs) / columns)
    alone = len(pairs) == 1
    figure = Figure(figsize=(8.4, 6.2) if alone else (3.9 * columns, 3.3 * rows + 0.8), layout="constrained", dpi=DPI)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    limits = {value: _limits(points, value) for value in names}
    for axes, (x, y) in zip(grid, pairs, strict=False):
        axes.set(xlim=limits[x], ylim=limits[y])
        _draw_pair(axes, points, x, y, alone)
        dress(axes, x, y, " (mean reward, higher is better)" if alone else "")
    for axes in grid[len(pairs) :]:
        axes.set_visible(False)
    figure.legend(
        handles=_legend(points, alone), loc="outside lower center", ncols=4 if alone else 7, frameon=False, fontsize=9
    )
    figure.suptitle(title, fontsize=12)
    renderer: RendererBase = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)  # lays it out: names need to know where the points are
    for axes, (x, y) in zip(grid, pairs, strict=False):
        _name_single_adapters(axes, points, names, x, y, renderer)
    return figure


def _limits(points: Points, value: str) -> tuple[float, float]:
    """An interval that holds every mean, and the error bars on the main split."""
    centres, errors = _floats(points.main, value), np.nan_to_num(_floats(points.main, f"{value}_se"))
    others = [_floats(rows, value) for rows in (points.faint, points.infeasible, points.partial)]
    every = np.concatenate([centres - errors, centres + errors, *others])
    return padded_range(float(every.min()), float(every.max()))


def _draw_pair(axes: Axes, points: Points, x: str, y: str, alone: bool) -> None:
    """A staircase joins the front only where these two values are all there are."""
    axes.plot(_floats(points.faint, x), _floats(points.faint, y), "o", ms=3.5, color=FAINT_COLOR, alpha=0.45, mew=0)
    if alone and len(points.front):
        _draw_stairs(axes, list(zip(_floats(points.front, x), _floats(points.front, y), strict=True)))
    scale = 1.0 if alone else 0.8
    for style, rows in points.by_style():
        _draw_kind(axes, rows, x, y, style, scale)
    axes.plot(_floats(points.front, x), _floats(points.front, y), **_ring(RING * scale))


def _draw_stairs(axes: Axes, front: list[tuple[float, float]]) -> None:
    corners = staircase(front, floor=(axes.get_xlim()[0], axes.get_ylim()[0]))
    xs, ys = zip(*corners, strict=True)
    axes.plot(xs, ys, color=FRONT_COLOR, lw=1.4, zorder=1.5)
    axes.fill_between(xs, axes.get_ylim()[0], ys, color=FRONT_COLOR, alpha=0.05, lw=0, zorder=0.5)


def _draw_kind(axes: Axes, rows: DataFrame, x: str, y: str, style: KindStyle, scale: float) -> None:
    axes.errorbar(
        _floats(rows, x),
        _floats(rows, y),
        xerr=_floats(rows, f"{x}_se"),
        yerr=_floats(rows, f"{y}_se"),
        ls="",
        **_marker(style),
        ms=style.size * 0.8 * scale,
        mew=0.6,
        elinewidth=0.8,
        ecolor=(style.color, 0.6),
        zorder=3,
    )


def _name_single_adapters(
    axes: Axes, points: Points, names: CoefficientNames, x: str, y: str, renderer: RendererBase
) -> None:
    """Name these two values' adapters, if possible on the side where their own front has ended."""
    color = KINDS["single"].color
    labels = [
        Label(f"{value} alone", (row[x], row[y]), color, angle)
        for row in points.of_kind("single").to_dict("records")
        for value, angle in ((x, -90), (y, 90))
        if has_part(row, names[value])
    ]
    every = [points.main, points.faint, points.infeasible, points.partial]
    drawn = np.vstack([np.column_stack([_floats(rows, x), _floats(rows, y)]) for rows in every])
    place_labels(axes, labels, drawn, RING / 2, renderer)


def dress(axes: Axes, x: str = "", y: str = "", suffix: str = "") -> None:
    """A quiet grid, no frame, the names of the axes."""
    axes.grid(color="0.92", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color("0.6")
    axes.tick_params(labelsize=8, color="0.7")
    axes.set_xlabel(f"{x}{suffix}", fontsize=9.5)
    axes.set_ylabel(f"{y}{suffix}", fontsize=9.5)


def _legend(points: Points, alone: bool) -> list[Line2D]:
    """An entry for each thing that is in the picture, the front first."""
    ring = Line2D([], [], label="on the front", **{**_ring(11), "ls": "-" if alone else ""})
    kinds = [
        Line2D([], [], ls="", label=style.label, ms=style.size * 0.8, **_marker(style))
        for style, _ in reversed(points.by_style())
    ]
    faint = Line2D([], [], ls="", marker="o", ms=4, color=FAINT_COLOR, alpha=0.6, label="search split only")
    return [ring, *kinds, *([faint] if len(points.faint) else [])]


def _marker(style: KindStyle) -> dict[str, Any]:
    """Filled with a white rim; of those that did not answer all prompts only the outline."""
    rim = {"mfc": "none", "mec": style.color} if style is PARTIAL else {"mec": "white"}
    return {"marker": style.marker, "color": style.color, **rim}


def _ring(size: float) -> dict[str, Any]:
    return {
        "marker": "o",
        "ms": size,
        "mfc": "none",
        "mec": FRONT_COLOR,
        "mew": 1.2,
        "color": FRONT_COLOR,
        "ls": "",
        "zorder": 4,
    }


def _floats(rows: DataFrame, column: str) -> NDArray[np.float64]:
    return np.asarray(rows[column].to_numpy(dtype=float, na_value=np.nan))
