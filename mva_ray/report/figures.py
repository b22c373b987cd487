"""The interactive figures of the page, as plain plotly JSON; text from outside is escaped in every hover."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from pandas import DataFrame
from plotly.subplots import make_subplots

from mva_ray.records import CoefficientNames
from mva_ray.report.points import (
    FAINT_COLOR,
    FRONT_COLOR,
    INFEASIBLE,
    VALUE_COLORS,
    KindStyle,
    Points,
    coefficients_text,
    kind_label,
    left_out,
    number,
    padded_range,
    reward_text,
    staircase,
)

Json = dict[str, Any]
GRID = "rgba(128,128,128,0.22)"
SPACE_GRID = "#9AA3AA"
METRICS = {
    "loss": "DPO loss",
    "hsic": "penalty (before its weight)",
    "reward_accuracy": "reward accuracy",
    "reward_margin": "reward margin",
}


def pair_figure(points: Points, names: CoefficientNames) -> Json:
    """Two values against each other, with error bars; the staircase too where there are but two.

    Each trace carries all values in `meta`, `[[means, standard errors], ...]` in their order, so that the page
    can show another pair.
    """
    values = list(names)
    figure = go.Figure()
    if len(values) == 2:
        figure.add_trace(_stairs(points, *values))
    if len(points.faint):
        figure.add_trace(_pair_trace(points.faint, names, "search split only", _faint_marker()))
    for style, rows in points.by_style():
        trace = _pair_trace(rows, names, style.label, _marker(style, style.symbol, style.size + 2))
        trace.update(error_x=_error_bars(style), error_y=_error_bars(style))
        figure.add_trace(trace)
    figure.add_trace(_pair_trace(points.front, names, "on the front", _ring(18)).update(hoverinfo="skip"))
    x, y = values[:2]
    figure.update_xaxes(title={"text": _axis(x), "standoff": 10}, gridcolor=GRID, zerolinecolor=GRID)
    figure.update_yaxes(title={"text": _axis(y), "standoff": 10}, gridcolor=GRID, zerolinecolor=GRID)
    return _to_json(figure, legend_traceorder="reversed", height=560, hovermode="closest")


def space_figure(points: Points, names: CoefficientNames) -> Json:
    """Three values as a space to turn."""
    figure = go.Figure()
    for style, rows in points.by_style():
        figure.add_trace(
            _space_trace(rows, names, style.label, {"symbol": style.symbol_3d, "color": style.color, "size": 6})
        )
    ring = {"symbol": "circle-open", "color": FRONT_COLOR, "size": 11, "line": {"width": 2}}
    figure.add_trace(_space_trace(points.front, names, "on the front", ring).update(hoverinfo="skip"))
    axes = {
        f"{letter}axis": {"title": value, "gridcolor": SPACE_GRID, "showbackground": False, "zerolinecolor": SPACE_GRID}
        for letter, value in zip("xyz", names, strict=True)
    }
    camera = {"eye": {"x": 1.5, "y": 1.5, "z": 0.8}, "center": {"x": 0, "y": 0, "z": -0.12}}
    return _to_json(
        figure,
        legend_traceorder="reversed",
        height=620,
        scene={**axes, "aspectmode": "cube", "camera": camera},
        margin={"l": 0, "r": 0, "t": 40, "b": 0},
    )


def parallel_figure(points: Points, values: Sequence[str]) -> Json:
    """Any number of values: one axis each, one line a candidate; infeasible ones and the front in colour and on top."""
    standing = points.main["on_front"].astype(int) - ~points.main["feasible"]
    rows = points.main.assign(standing=standing).sort_values("standing", key=abs, kind="stable")
    lines = go.Parcoords(
        dimensions=[{"label": value, "values": _numbers(rows, value)} for value in values],
        line={
            "color": rows["standing"].tolist(),
            "colorscale": [[0, INFEASIBLE.color], [0.5, "#C9C9C9"], [1, FRONT_COLOR]],
            "cmin": -1,
            "cmax": 1,
        },
        unselected={"line": {"opacity": 0.06}},
    )
    return _to_json(go.Figure(lines), height=460, margin={"l": 70, "r": 70, "t": 60, "b": 30})


def training_figure(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Json:
    """Each metric of the training by step, a line a value."""
    figure = make_subplots(2, 2, subplot_titles=list(METRICS.values()), vertical_spacing=0.14, horizontal_spacing=0.08)
    for index, (value, steps) in enumerate(curves.items()):
        for place, metric in enumerate(METRICS):
            line = go.Scatter(
                x=[step["step"] for step in steps],
                y=[step.get(metric) for step in steps],
                name=value,
                legendgroup=value,
                showlegend=place == 0,
                mode="lines+markers" if len(steps) <= 40 else "lines",
                marker={"size": 4},
                line={"color": VALUE_COLORS[index % len(VALUE_COLORS)], "width": 1.8},
            )
            figure.add_trace(line, row=place // 2 + 1, col=place % 2 + 1)
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_xaxes(title="step", row=2)
    figure.update_annotations(font_size=13)
    return _to_json(figure, height=580, hovermode="x unified", legend_y=1.08, margin_t=80)


def _pair_trace(rows: DataFrame, names: CoefficientNames, name: str, marker: Json) -> go.Scatter:
    meta = [[_numbers(rows, value), _numbers(rows, f"{value}_se")] for value in names]
    (x, x_se), (y, y_se) = meta[:2]
    return go.Scatter(
        x=x,
        y=y,
        error_x={"array": x_se, "visible": False},
        error_y={"array": y_se, "visible": False},
        mode="markers",
        name=name,
        marker=marker,
        meta=meta,
        text=[_hover(row, names) for row in rows.to_dict("records")],
        hoverinfo="text",
    )


def _space_trace(rows: DataFrame, names: CoefficientNames, name: str, marker: Json) -> go.Scatter3d:
    x, y, z = (_numbers(rows, value) for value in names)
    hover = [_hover(row, names) for row in rows.to_dict("records")]
    return go.Scatter3d(x=x, y=y, z=z, mode="markers", name=name, marker=marker, text=hover, hoverinfo="text")


def _stairs(points: Points, x: str, y: str) -> go.Scatter:
    """The staircase, out to where the lowest error bars end."""
    lows = [float((points.main[value] - points.main[f"{value}_se"].fillna(0)).min()) for value in (x, y)]
    highs = [float(points.main[value].max()) for value in (x, y)]
    floor = (padded_range(lows[0], highs[0])[0], padded_range(lows[1], highs[1])[0])
    corners = staircase(list(points.front[[x, y]].itertuples(index=False, name=None)), floor)
    return go.Scatter(
        x=[corner[0] for corner in corners],
        y=[corner[1] for corner in corners],
        mode="lines",
        line={"color": FRONT_COLOR, "width": 2},
        hoverinfo="skip",
        showlegend=False,
    )


def _hover(row: Mapping[str, Any], names: CoefficientNames) -> str:
    lines = [
        f"<b>{escape(kind_label(row, names))}</b> · {escape(row['candidate'])}",
        f"w: {escape(coefficients_text(row, names))}",
        *(f"{escape(value)}: {reward_text(row, value)}" for value in names),
        f"{number(row['tokens'])} tokens on average",
        *([escape(reason)] if (reason := left_out(row)) else []),
    ]
    return "<br>".join(lines)


def _marker(style: KindStyle, symbol: str, size: float) -> Json:
    return {"symbol": symbol, "color": style.color, "size": size, "line": {"color": "white", "width": 0.8}}


def _faint_marker() -> Json:
    return {"symbol": "circle", "color": FAINT_COLOR, "size": 5, "opacity": 0.5}


def _ring(size: float) -> Json:
    return {"symbol": "circle-open", "color": FRONT_COLOR, "size": size, "line": {"width": 1.6}}


def _error_bars(style: KindStyle) -> Json:
    return {"visible": True, "thickness": 1, "width": 0, "color": style.color}


def _axis(value: str) -> str:
    return f"{value} (mean reward, higher is better)"


def _numbers(rows: DataFrame, column: str) -> list[float | None]:
    return [None if missing else float(entry) for entry, missing in zip(rows[column], rows[column].isna(), strict=True)]


def _to_json(figure: go.Figure, **layout: Any) -> Json:
    """Colours of text and background are left to the page, which knows whether it is light or dark."""
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        modebar={"bgcolor": "rgba(0,0,0,0)"},
        margin={"l": 70, "r": 20, "t": 60, "b": 50},
    )
    figure.update_layout(**layout)
    return dict(json.loads(figure.to_json()))
