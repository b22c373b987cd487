"""The whole run as one self-contained HTML page: it opens from a file, without a network."""

import secrets
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from pandas import DataFrame, concat
from plotly.offline import get_plotlyjs

from mva_ray.constraints import limit_text
from mva_ray.records import CoefficientNames
from mva_ray.report import figures
from mva_ray.report.completions import compare
from mva_ray.report.curves import training_curves
from mva_ray.report.points import (
    SPLIT_LABELS,
    Points,
    coefficients_text,
    kind_label,
    left_out,
    number,
    reward_text,
    select_points,
    weight,
)
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.run_state import RunState
from mva_ray.run_dir.spending import Spending, read_phases, spending
from mva_ray.table import ParetoTable
from mva_ray.table.cautions import cautions

REFERENCES = ("base", "single", "ones", "convex")


def render_page(run: RunDirectory, state: RunState, table: ParetoTable) -> str:
    """The page as text. All text from models, prompts and errors is escaped by the template.

    Scripts run only with the page's own nonce, and nothing may be fetched: a second lock should an escape
    ever be forgotten.
    """
    frame = table.frame()
    points = select_points(frame)
    curves = training_curves(run)
    return _template().render(
        state=state,
        facts=_facts(frame, points),
        cautions=cautions(frame, state.values),
        front=_records(points.front.sort_values([state.values[0], "candidate"], ascending=[False, True])),
        references=_references(points),
        left_out=_records(concat([points.infeasible, points.partial])),
        constraints=[limit_text(name, limit) for name, limit in state.constraints.items()],
        failed=_records(frame[frame["status"] == "failed"].sort_values(["candidate", "split"])),
        comparison=compare(points, state.coefficients, table.generations),
        figures=_figures(points, state.coefficients, curves),
        conflict=run.conflict.read_object(),
        pairs=run.pair_counts.read_object(),
        spending=_spending(run, table),
        timings=run.timings.read_object(),
        nonce=secrets.token_urlsafe(16),
        plotly_js=Markup(get_plotlyjs()),
    )


def _spending(run: RunDirectory, table: ParetoTable) -> Spending:
    """Of a run without a plan, as tests and earlier versions have it, without prices."""
    settings = (run.plan.read_object() or {}).get("settings") or {}
    return spending(table.evaluations(), read_phases(run.spent), settings)


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("mva_ray.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        weight=weight,
        percent=_percent,
        duration=_duration,
        reward=reward_text,
        kind=kind_label,
        left_out=left_out,
        w=coefficients_text,
        tint=_tint,
    )
    return environment.get_template("report.html.j2")


def _facts(frame: DataFrame, points: Points) -> dict[str, Any]:
    return {
        "base_model": ", ".join(sorted(frame["base_model"].unique())),
        "candidates": frame["candidate"].nunique(),
        "failed": frame.loc[frame["status"] == "failed", "candidate"].nunique(),
        "scored": len(points.main),
        "faint": len(points.faint),
        "infeasible": points.infeasible["candidate"].nunique(),
        "partial": len(points.partial),
        "split": SPLIT_LABELS[points.split],
        "n_prompts": points.n_prompts,
    }


def _figures(points: Points, names: CoefficientNames, curves: Mapping[str, Any]) -> dict[str, figures.Json]:
    drawn = {}
    if len(points.main):
        if len(names) == 3:
            drawn["space"] = figures.space_figure(points, names)
        if len(names) > 3:
            drawn["parallel"] = figures.parallel_figure(points, list(names))
        drawn["pair"] = figures.pair_figure(points, names)
    if curves:
        drawn["training"] = figures.training_figure(curves)
    return drawn


def _references(points: Points) -> list[dict[str, Any]]:
    return [row for kind in REFERENCES for row in _records(points.of_kind(kind).sort_values("candidate"))]


def _records(rows: DataFrame) -> list[dict[str, Any]]:
    return [dict(row) for row in rows.to_dict("records")]


def _percent(share: Any) -> str:
    return "–" if number(share) == "–" else f"{100 * share:.0f} %"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _tint(correlation: float) -> str:
    """Orange where two values conflict, blue where they agree."""
    return f"rgba({'213, 94, 0' if correlation < 0 else '0, 114, 178'}, {0.55 * min(1, abs(correlation)):.2f})"
