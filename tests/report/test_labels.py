"""Names beside points: they cover no point and no other name, and leave no axis, however crowded it is."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from mva_ray.report.labels import Label, place_labels

RADIUS = 6.0


def plotted(points: NDArray[np.float64]) -> tuple[Axes, RendererBase]:
    figure = Figure(figsize=(8.4, 6.2), layout="constrained", dpi=150)
    axes = figure.subplots()
    axes.plot(*points.T, "o")
    axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    renderer: RendererBase = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    return axes, renderer


def contains(outer: Bbox, inner: Bbox) -> bool:
    return bool(outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1)


@pytest.mark.parametrize("seed", range(10))
def test_names_cover_nothing_and_stay_inside(seed: int) -> None:
    """Forty points along a front, names at both ends, one of them in the corner: as in the quickstart's picture."""
    random = np.random.default_rng(seed)
    x = np.sort(random.random(40))
    points = np.column_stack([x, 1 - x + 0.05 * random.normal(size=40)]).clip(0, 1)
    axes, renderer = plotted(points)
    labels = [
        Label(f"{name} alone", (float(px), float(py)), "black", angle)
        for (name, angle), (px, py) in zip((("thorough", 90.0), ("brief", -90.0)), points[[0, -1]], strict=True)
    ]
    texts = place_labels(axes, labels, points, RADIUS, renderer)
    boxes = [text.get_window_extent(renderer) for text in texts]
    inside = axes.get_window_extent(renderer)
    pixels = axes.transData.transform(points)
    assert [text.get_text() for text in texts] == ["thorough alone", "brief alone"]
    assert not boxes[0].overlaps(boxes[1])
    for box in boxes:
        assert contains(inside, box)
        grown = box.padded(RADIUS * 150 / 72 - 1)
        assert not any(grown.contains(*pixel) for pixel in pixels)


def test_where_nothing_is_free_the_name_is_still_written_inside() -> None:
    axis = np.linspace(0, 1, 60)
    points = np.array([(x, y) for x in axis for y in axis])
    axes, renderer = plotted(points)
    (text,) = place_labels(axes, [Label("a name", (0.0, 0.0), "black", 90)], points, RADIUS, renderer)
    box, inside = text.get_window_extent(renderer), axes.get_window_extent(renderer)
    assert contains(inside, box)
