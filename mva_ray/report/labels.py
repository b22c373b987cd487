"""Names beside points of a plot, where they cover nothing and stay inside the axes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

FONT_SIZE = 7.5
NEAREST, FARTHEST, STEP = 10, 130, 4
"""How far the middle of a name may be beyond its point's own size, in points."""
ANGLES = 24
LINE_FROM = 22
"""From this distance on, a thin line joins a name and its point."""


@dataclass(frozen=True)
class Label:
    """What to write beside a point, in data coordinates; tried first in the direction `angle` (degrees, 90 is up)."""

    text: str
    point: tuple[float, float]
    color: str
    angle: float


def place_labels(
    axes: Axes, labels: Sequence[Label], points: NDArray[np.float64], radius: float, renderer: RendererBase
) -> list[Annotation]:
    """Write each label at the nearest place that is free; where there is none, at the one that covers least.

    Args:
        axes: laid out already: nothing may move afterwards.
        points: [n, 2] in data coordinates, none of which may be covered.
        radius: of a point, in points (1/72 inch).
    """
    scale = axes.figure.dpi / 72
    taken = [_around(xy, radius * scale) for xy in axes.transData.transform(points)]
    inside = axes.get_window_extent(renderer)
    written = []
    for label in labels:
        text = _annotate(axes, label)
        size = text.get_window_extent(renderer)
        origin = axes.transData.transform(label.point)
        offset = min(_offsets(label.angle), key=lambda at: _cost(at, origin, size, scale, taken, inside))
        text.set_position(offset)
        if math.hypot(*offset) >= LINE_FROM:
            _join(axes, label, offset)
        taken.append(_box(offset, origin, size, scale))
        written.append(text)
    return written


def _annotate(axes: Axes, label: Label) -> Annotation:
    text = axes.annotate(
        label.text,
        label.point,
        (0, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=FONT_SIZE,
        color=label.color,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        zorder=5,
    )
    text.set_in_layout(False)
    return text


def _join(axes: Axes, label: Label, offset: tuple[float, float]) -> None:
    line = axes.annotate(
        "",
        label.point,
        offset,
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": label.color, "lw": 0.6, "shrinkA": 4, "shrinkB": 4},
        zorder=2.5,
    )
    line.set_in_layout(False)


def _offsets(angle: float) -> Iterator[tuple[float, float]]:
    """Nearest first, and there the wanted direction first, then to both sides of it."""
    turns = sorted((360 * step / ANGLES for step in range(ANGLES)), key=lambda turn: min(turn, 360 - turn))
    for distance in range(NEAREST, FARTHEST, STEP):
        for turn in turns:
            radians = math.radians(angle + turn)
            # Names are wide: to the side of a point they need more room than above it.
            yield 2.2 * distance * math.cos(radians), distance * math.sin(radians)


def _cost(
    offset: tuple[float, float],
    origin: NDArray[np.float64],
    size: Bbox,
    scale: float,
    taken: Sequence[Bbox],
    inside: Bbox,
) -> tuple[bool, int]:
    """Whether it leaves the axes, and how much it covers; `min` takes the first of the best."""
    box = _box(offset, origin, size, scale)
    leaves = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
    return leaves, sum(box.overlaps(other) for other in taken)


def _box(offset: tuple[float, float], origin: NDArray[np.float64], size: Bbox, scale: float) -> Bbox:
    """The pixels of a text of that size, its middle at the offset (in points) from the origin (in pixels)."""
    x, y = origin[0] + offset[0] * scale, origin[1] + offset[1] * scale
    return Bbox.from_extents(x - size.width / 2, y - size.height / 2, x + size.width / 2, y + size.height / 2)


def _around(xy: NDArray[np.float64], radius: float) -> Bbox:
    return Bbox.from_extents(xy[0] - radius, xy[1] - radius, xy[0] + radius, xy[1] + radius)
