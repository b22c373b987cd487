"""The pictures of the report, as PNGs."""

import io
import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mva_ray.compare.report_numbers import Floats, Numbers, front, means_table
from mva_ray.compare.results import AdapterInterference, MethodResult
from mva_ray.maths.bootstrap import Interval
from mva_ray.maths.pareto import front_mask
from mva_ray.report.plot import dress
from mva_ray.report.points import FAINT_COLOR, padded_range, staircase

DPI = 150
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#8C6D31", "#22577A", "#A50026")
MARKERS = "osD^vP*Xh<"
SEED_MARKERS = "osD^vPX"
BASE_COLOR = "#5C5C5C"
AXIS = " (mean reward, higher is better)"


def front_figures(numbers: Numbers) -> dict[str, bytes]:
    """All methods' fronts in one picture; for two values also a panel a method with all its candidates."""
    result = numbers.result
    figures = {"fronts": _fronts(numbers)}
    if len(result.values) == 2 and any(run.candidates for run in result.methods):
        figures["fronts_by_method"] = _panels(numbers)
    return figures


def hypervolume_figure(numbers: Numbers) -> bytes:
    """Hypervolumes, and their differences to each baseline, with intervals; the small dots are the seeds."""
    methods, baselines = numbers.methods, [name for name in numbers.result.baselines if name in numbers.result.titles]
    figure = Figure(figsize=(4.6 + 3.2 * len(baselines), 1.3 + 0.36 * len(methods)), layout="constrained")
    axes = figure.subplots(
        1, 1 + len(baselines), sharey=True, squeeze=False, width_ratios=[1.25] + [1] * len(baselines)
    )
    _rows(axes[0, 0], [method.hypervolume for method in methods])
    for row, method in enumerate(methods):
        axes[0, 0].plot(method.by_seed, [row - 0.22] * len(method.by_seed), ".", ms=4, color=FAINT_COLOR)
    axes[0, 0].set_yticks(range(len(methods)), [method.title for method in methods], fontsize=9)
    axes[0, 0].set_title("hypervolume (share of the box)", fontsize=10)
    axes[0, 0].invert_yaxis()
    for panel, baseline in zip(axes[0, 1:], baselines, strict=True):
        found = [method.differences.get(baseline) for method in methods]
        _rows(panel, [one.interval if one else None for one in found])
        panel.axvline(0, color="0.35", lw=1)
        panel.set_title(f"minus {numbers.result.titles[baseline]}", fontsize=10)
    return _png(figure)


def interference_figure(results: Sequence[AdapterInterference], penalties: dict[str, str]) -> bytes:
    """Module type by layer: cosine (left) and CKA (right), a row for each form of the penalty and pair of values.

    The colour scale is one for all panels; the numbers are means over the seeds.
    """
    groups: dict[tuple[str, str, str], list[AdapterInterference]] = {}
    for result in results:
        groups.setdefault((result.penalty, result.first, result.second), []).append(result)
    tables = {group: [_heat(found, measure) for measure in ("cosine", "cka")] for group, found in groups.items()}
    types = list(dict.fromkeys(module.type for result in results for module in result.modules))
    limit = max(float(np.nanmax(np.abs(table))) for pair in tables.values() for table in pair) or 1.0
    figure = Figure(figsize=(10.5, 1.2 + (0.75 + 0.17 * len(types)) * len(tables)), layout="constrained")
    grid = figure.subplots(len(tables), 2, squeeze=False, sharex=True, sharey=True)
    for panels, (group, pair) in zip(grid, tables.items(), strict=True):
        for axes, table, name in zip(panels, pair, ("cosine", "CKA"), strict=True):
            image = axes.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
            axes.set_title(
                f"{penalties[group[0]]}: {name} of {group[1]} and {group[2]}, mean {_signed(float(np.nanmean(table)))}",
                fontsize=8.5,
            )
            axes.set_yticks(range(len(types)), types, fontsize=7.5)
            axes.tick_params(labelsize=7.5)
    for axes in grid[-1]:
        axes.set_xlabel("layer", fontsize=9)
    figure.colorbar(image, ax=grid, shrink=0.9, pad=0.01).ax.tick_params(labelsize=7.5)
    return _png(figure)


def alpha_figure(numbers: Numbers, penalties: dict[str, str]) -> bytes:
    """Interference, own rewards and hypervolume by the weight of the penalty, a colour for each of its forms."""
    rows, values = numbers.alphas, numbers.result.values
    with_volume = any(row.hypervolume for row in rows)
    names = ["interference", *values, *(["hypervolume"] if with_volume else [])]
    columns = len(names) if len(names) <= 4 else min(math.ceil(len(names) / 2), 4)
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.5 * columns, 3.0 * lines + 0.5), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False).ravel())
    for color, penalty in zip(COLORS, dict.fromkeys(row.penalty for row in rows), strict=False):
        own = [row for row in rows if row.penalty == penalty]
        alphas = [row.alpha for row in own]
        grid[0].plot(alphas, [row.cosine for row in own], "o-", ms=4, color=color)
        grid[0].plot(alphas, [row.cka for row in own], "s--", ms=4, color=color)
        for axes, value in zip(grid[1:], values, strict=False):
            _curve(axes, alphas, [row.own[value] for row in own], color)
        if with_volume:
            _curve(grid[1 + len(values)], alphas, [row.hypervolume for row in own], color)
    titles = ["cosine (—) and CKA (- -)", *(f"{value}: its own adapter" for value in values), "hypervolume"]
    smallest = min((row.alpha for row in rows if row.alpha > 0), default=1.0)
    for axes, title in zip(grid, titles[: len(names)], strict=False):
        axes.set_xscale("symlog", linthresh=smallest)
        axes.set_xticks(*_alpha_ticks([row.alpha for row in rows]))
        axes.minorticks_off()
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("alpha", fontsize=9)
        dress(axes)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    forms = dict.fromkeys(row.penalty for row in rows)
    handles = [
        Line2D([], [], color=c, marker="o", ms=4, label=penalties[f]) for c, f in zip(COLORS, forms, strict=False)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return _png(figure)


def _fronts(numbers: Numbers) -> bytes:
    """For two values the staircase that each method attains on average over its seeds, else every front's points."""
    result, values = numbers.result, numbers.result.values
    pairs = list(combinations(range(len(values)), 2))
    columns = min(len(pairs), 3)
    lines = math.ceil(len(pairs) / columns)
    size = (8.4, 6.4) if len(pairs) == 1 else (4.2 * columns, 3.5 * lines + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    base = means_table([result.base], values)[0]
    for axes, (x, y) in zip(grid, pairs, strict=False):
        for index, name in reversed(list(enumerate(result.titles))):
            runs = [run for run in result.methods if run.name == name and run.candidates]
            if len(pairs) == 1:
                _attained(axes, runs, numbers, index, name == result.subject)
            else:
                _cloud(axes, runs, numbers, (x, y), index)
        axes.plot(base[x], base[y], "s", color=BASE_COLOR, ms=8, mec="white", zorder=5)
        dress(axes, values[x], values[y], AXIS)
    for axes in grid[len(pairs) :]:
        axes.set_visible(False)
    figure.legend(handles=_legend(numbers), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return _png(figure)


def _attained(axes: Axes, runs: Sequence[MethodResult], numbers: Numbers, index: int, subject: bool) -> None:
    """The highest y that a front offers at each x: mean over the seeds, a band from the least to the most of them, and
    the points of each seed's front."""
    values = numbers.result.values
    fronts = [front(run, values) for run in runs]
    if not fronts:
        return
    color = COLORS[index % len(COLORS)]
    xs = np.linspace(numbers.box.low[0], numbers.box.high[0], 400)
    of_seeds = np.array([_height(points, xs) for points in fronts])
    heights = of_seeds.mean(axis=0)
    known = np.isfinite(heights)
    band = of_seeds[:, known]
    axes.fill_between(xs[known], band.min(axis=0), band.max(axis=0), color=color, alpha=0.08, lw=0, zorder=1)
    axes.plot(
        xs[known], heights[known], color=color, lw=2.8 if subject else 1.3, alpha=0.95, zorder=3 if subject else 2
    )
    every = np.concatenate(fronts)
    marker = MARKERS[index % len(MARKERS)]
    axes.plot(every[:, 0], every[:, 1], marker, color=color, ms=5 if subject else 4, mec="white", mew=0.4, alpha=0.75)


def _height(points: Floats, xs: Floats) -> Floats:
    """The highest y among the points at or to the right of each x, -inf where there is none."""
    offered = np.where(points[None, :, 0] >= xs[:, None], points[None, :, 1], -np.inf)
    return np.asarray(offered.max(axis=1))


def _cloud(axes: Axes, runs: Sequence[MethodResult], numbers: Numbers, at: tuple[int, int], index: int) -> None:
    """Every front's points, with one standard error."""
    for run in runs:
        means, errors = _means_and_errors(run, numbers)
        on_front = front_mask(means)
        look = {"color": COLORS[index % len(COLORS)], "fmt": MARKERS[index % len(MARKERS)], "ms": 4.5, "mew": 0.4}
        _points(axes, means[on_front][:, at], errors[on_front][:, at], look)


def _panels(numbers: Numbers) -> bytes:
    """A panel a method: every candidate of every seed with one standard error over prompts, its staircases in colour,
    the first baseline's in grey.
    """
    result = numbers.result
    names = [name for name in result.titles if any(run.name == name and run.candidates for run in result.methods)]
    columns = min(3, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.7 * columns, 3.0 * lines + 0.6), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    xlim, ylim = (padded_range(low, high, 0.03) for low, high in zip(numbers.box.low, numbers.box.high, strict=True))
    base = means_table([result.base], result.values)[0]
    behind = next((name for name in result.baselines if name in names), None)
    for axes, name in zip(grid, names, strict=False):
        axes.set(xlim=xlim, ylim=ylim)
        for run in result.methods if name != behind else []:
            if run.name == behind and run.candidates:
                _stairs(axes, front(run, result.values), FAINT_COLOR, 0.8)
        for run in result.methods:
            if run.name == name and run.candidates:
                _candidates(axes, run, numbers, COLORS[list(result.titles).index(name) % len(COLORS)])
        axes.plot(*base, "s", color=BASE_COLOR, ms=6, mec="white", zorder=5)
        axes.set_title(result.titles[name], fontsize=10)
        dress(axes)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel(result.values[0] + AXIS, fontsize=9.5)
    figure.supylabel(result.values[1] + AXIS, fontsize=9.5)
    handles = [
        Line2D([], [], ls="", marker=SEED_MARKERS[index % len(SEED_MARKERS)], color="0.3", ms=5, label=f"seed {seed}")
        for index, seed in enumerate(result.seeds)
    ]
    handles.append(Line2D([], [], ls="", marker="s", color=BASE_COLOR, ms=6, label="base model"))
    if behind:
        handles.append(Line2D([], [], color=FAINT_COLOR, label=f"fronts of {result.titles[behind]}"))
    figure.legend(handles=handles, loc="outside upper center", ncols=6, frameon=False, fontsize=8.5)
    return _png(figure)


def _candidates(axes: Axes, run: MethodResult, numbers: Numbers, color: str) -> None:
    means, errors = _means_and_errors(run, numbers)
    marker = SEED_MARKERS[numbers.result.seeds.index(run.seed) % len(SEED_MARKERS)]
    _stairs(axes, means[front_mask(means)], color, 1.0)
    _points(axes, means, errors, {"color": color, "fmt": marker, "ms": 4, "mew": 0.4})


def _means_and_errors(run: MethodResult, numbers: Numbers) -> tuple[Floats, Floats]:
    """[candidates, values] each; the errors are one standard error over prompts, 0 where there is but one."""
    values, n = numbers.result.values, len(numbers.result.prompts)
    table = np.array([[candidate.rewards[value] for value in values] for candidate in run.candidates])
    errors = table.std(axis=2, ddof=1) / math.sqrt(n) if n > 1 else np.zeros(table.shape[:2])
    return table.mean(axis=2), errors


def _points(axes: Axes, means: Floats, errors: Floats, look: dict[str, Any]) -> None:
    axes.errorbar(
        means[:, 0],
        means[:, 1],
        xerr=errors[:, 0],
        yerr=errors[:, 1],
        mec="white",
        elinewidth=0.6,
        ecolor=(look["color"], 0.35),
        **look,
    )


def _stairs(axes: Axes, points: Floats, color: str, width: float) -> None:
    corners = staircase([(float(x), float(y)) for x, y in points], (axes.get_xlim()[0], axes.get_ylim()[0]))
    axes.plot(*zip(*corners, strict=True), color=color, lw=width, alpha=0.8, zorder=1.5)


def _rows(axes: Axes, intervals: Sequence[Interval | None]) -> None:
    for row, found in enumerate(intervals):
        if found and not math.isnan(found.estimate):
            color = COLORS[row % len(COLORS)]
            axes.plot([found.low, found.high], [row, row], color=color, lw=2, solid_capstyle="butt")
            axes.plot(found.estimate, row, "o", color=color, ms=6, mec="white")
    dress(axes)


def _curve(axes: Axes, alphas: Sequence[float], intervals: Sequence[Interval | None], color: str) -> None:
    found = [(alpha, one) for alpha, one in zip(alphas, intervals, strict=True) if one]
    axes.errorbar(
        [alpha for alpha, _ in found],
        [one.estimate for _, one in found],
        yerr=np.abs([[one.estimate - one.low, one.high - one.estimate] for _, one in found]).T,
        fmt="o-",
        ms=4,
        color=color,
        ecolor=(color, 0.5),
        elinewidth=0.8,
        capsize=2,
    )


def _heat(found: Sequence[AdapterInterference], measure: str) -> Floats:
    """[module types, layers], NaN where a layer has no such module."""
    modules = [module for one in found for module in one.modules]
    types = list(dict.fromkeys(module.type for module in modules))
    table = np.full((len(found), len(types), 1 + max(module.layer for module in modules)), np.nan)
    for index, one in enumerate(found):
        for module in one.modules:
            table[index, types.index(module.type), module.layer] = getattr(module, measure)
    return np.asarray(np.nanmean(table, axis=0)) if len(found) > 1 else table[0]


def _alpha_ticks(alphas: Sequence[float]) -> tuple[list[float], list[str]]:
    ticks = sorted(set(alphas))
    return ticks, [f"{tick:g}" for tick in ticks]


def _legend(numbers: Numbers) -> list[Line2D]:
    lines = "-" if len(numbers.result.values) == 2 else ""
    handles = [
        Line2D([], [], ls=lines, marker=MARKERS[i % len(MARKERS)], color=COLORS[i % len(COLORS)], ms=5, label=title)
        for i, title in enumerate(numbers.result.titles.values())
    ]
    return [*handles, Line2D([], [], ls="", marker="s", color=BASE_COLOR, ms=7, label="base model")]


def _signed(number: float) -> str:
    return f"{number:z.3f}".replace("-", "−")


def _png(figure: Figure) -> bytes:
    image = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(image, format="png", dpi=DPI)
    return image.getvalue()
