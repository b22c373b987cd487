"""Answers as text for people and as CSV, JSON or parquet for programs."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TextIO

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from mva_ray.errors import ConfigError
from mva_ray.run_dir.place import name_of
from mva_ray.service.query import Answer
from mva_ray.service.status import Status
from mva_ray.service.wishes import ReferencePoint, described

Format = Literal["table", "csv", "json", "parquet"]
SPLIT_TITLES = {
    "held_out": "held-out prompts (never seen by the search)",
    "search": "search prompts (the search optimised on these: optimistic)",
}


def write(answer: Answer, output_format: Format, output: Path | None, stdout: TextIO) -> None:
    """Write an answer in one format to a file, or to `stdout` where `output` is None.

    Raises:
        ConfigError: parquet without a file, or a file that cannot be written, or that holds something already.
    """
    if output is None and output_format == "parquet":
        raise ConfigError("--format parquet", ["needs a file: add --output FILE"])
    if output is None:
        _write_text(answer, output_format, stdout)
        return
    if output.is_file() and output.stat().st_size:
        raise ConfigError("--output", [f"{output} is there already: give another name, or delete it first"])
    try:
        if output_format == "parquet":
            answer.rows.to_parquet(output, index=False)
        else:
            with output.open("w", encoding="utf-8") as file:
                _write_text(answer, output_format, file)
    except OSError as error:
        raise ConfigError("--output", [f"{output} cannot be written: {error.strerror or error}"]) from None


def records(answer: Answer) -> list[dict[str, Any]]:
    """One JSON object a row; NA becomes null, so that the text is valid JSON."""
    return [_record(row, answer) for row in answer.rows.to_dict("records")]


def ranking(answer: Answer) -> str | None:
    """The wish, the function that ranked by it, the best candidate and its neighbours; None without a wish."""
    if answer.wish is None:
        return None
    wish, function = described(answer.wish)
    line = f"best for {wish}: {answer.best or 'none'} ({function})"
    if isinstance(answer.wish, ReferencePoint) and len(answer.rows):
        met = all(answer.rows[value].iloc[0] >= level for value, level in answer.wish.levels.items())
        line += "; it has all of that" if met else "; nothing has all of that"
    others = [f"{name} for more {value}" for value, name in answer.alternatives.items() if name != answer.best]
    return line + (f"; near it {', '.join(others)}" if others else "")


def notes(answer: Answer) -> list[str]:
    """What people should know besides the rows, one line each."""
    lines = [line for line in (ranking(answer),) if line]
    knees = answer.rows.loc[answer.rows["knee"], "candidate"].tolist()
    if knees and not answer.everything:
        lines.append(f"knee, where every move to a neighbour costs most: {', '.join(knees)}")
    for place, name in _short_names(answer.runs).items():
        of_run = answer.rows[(answer.rows["run"] == place) & answer.rows["on_front"]]
        lines.append(f"{name}: {int(of_run['joint_front'].sum())} of {len(of_run)} shown are on the front of all runs")
    return [*lines, *answer.doubts]


def _searched(status: Status) -> str:
    """How far the search is; with a budget in answers, how many candidates there will be is not known."""
    if status.answer_budget:
        return f"{status.searched}, {status.searched_answers:,} of {status.answer_budget:,} answers"
    return f"{status.searched} of {status.budget}"


def write_status(status: Status, stdout: TextIO) -> None:
    """One line for each thing that is known of a run."""
    console = Console(file=stdout, highlight=False)
    there = [value for value, is_there in status.adapters.items() if is_there]
    lines = {
        "stage": status.stage + (f", about {_duration(status.left)} left" if status.left else ""),
        "adapters": f"{len(there)} of {len(status.adapters)}" + (f" ({', '.join(there)})" if there else ""),
        "candidates": f"{_searched(status)}, {status.front} on the front of the search prompts",
        "held-out": f"{status.held_out} scored" if status.held_out else "",
        "hypervolume": f"{status.hypervolume:.3f} of the box so far" if status.hypervolume is not None else "",
        "answers": f"{status.answers:,}, {status.tokens:,} tokens"
        + (f", {status.tokens_a_second:,.0f} tokens a second" if status.tokens_a_second else ""),
        **(status.spent.lines(status.limits) if status.spent.phases else {}),
        "last row": f"{_duration(datetime.now(UTC) - status.last)} ago" if status.last else "none yet",
    }
    console.print(status.name, style="bold", markup=False)
    for name, text in lines.items():
        if text:
            console.print(f"{name:12} {text}", markup=False, soft_wrap=True)
    if status.ended_by:
        console.print(status.ended_by, markup=False, soft_wrap=True)
    for caution in status.cautions:
        console.print(f"{'caution':12} {caution}", markup=False, soft_wrap=True)
    for failure in status.failures:
        line = f"{'failed':12} {failure.count} by {failure.kind}; the newest: {failure.error}"
        console.print(line, markup=False, soft_wrap=True)


def _duration(span: timedelta) -> str:
    """In its two largest units."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _write_text(answer: Answer, output_format: Format, file: TextIO) -> None:
    if output_format == "csv":
        answer.rows.to_csv(file, index=False)
    elif output_format == "json":
        file.write(json.dumps(records(answer), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        _print_table(answer, Console(file=file, highlight=False))


def _record(row: Mapping[Any, Any], answer: Answer) -> dict[str, Any]:
    failed, values = row["status"] == "failed", answer.values
    record = {
        "candidate": row["candidate"],
        "kind": row["kind"],
        "coefficients": {name.removeprefix("w_"): row[name] for name in row if _is_weight(name, row)},
        "rewards": {} if failed else {value: {"mean": row[value], "se": row[f"{value}_se"]} for value in values},
        "split": row["split"],
        "on_front": row["on_front"],
        "feasible": row["feasible"],
        "status": row["status"],
        "n_prompts": row["n_prompts"],
        "metrics": {name: _or_null(row[name]) for name in answer.metrics},
    }
    if row["on_front"]:
        record |= {"knee": row["knee"], "pseudo_weights": {value: row[f"pseudo_{value}"] for value in values}}
    optional = ("failure", "error", "violation", "score", "preset", "run", "joint_front")
    return record | {name: row[name] for name in optional if name in row and _or_null(row[name]) is not None}


def _is_weight(name: str, row: Mapping[Any, Any]) -> bool:
    """Whether a column is a coefficient that this candidate has; of several runs each may have others."""
    return name.startswith("w_") and _or_null(row[name]) is not None


def _or_null(cell: Any) -> Any:
    import pandas as pd

    return None if pd.isna(cell) else cell


def _print_table(answer: Answer, console: Console) -> None:
    what = "All candidates" if answer.everything else "Pareto front"
    console.print(f"{what} on {answer.n_prompts} {SPLIT_TITLES[answer.split]}", style="bold", soft_wrap=True)
    if len(answer.rows):
        console.print(f"{_legend(answer)}; value: mean reward ± standard error, higher is better", soft_wrap=True)
        table = _table(answer)
        roomy = console.options.update(width=10_000)
        console.width = max(console.width, Measurement.get(console, roomy, table).minimum)
        console.print(table)
    else:
        console.print("no candidates")
    for line in notes(answer):
        console.print(line, markup=False, soft_wrap=True)
    _print_left_out(answer, console)


def _print_left_out(answer: Answer, console: Console) -> None:
    """How many are failed, infeasible or partial, and of those that are shown why."""
    from mva_ray.table.frame import standing

    words = standing(answer.rows)
    for word, count in answer.left_out.items():
        hint = "" if answer.everything else " (--all shows why)"
        console.print(f"{count} {word} candidate{'s' if count > 1 else ''}{hint}")
        for row in answer.rows[words == word].to_dict("records"):
            console.print(f"  {row['candidate']}: {_why(row, word)}", markup=False, soft_wrap=True)


def _why(row: Mapping[Any, Any], word: str) -> str:
    reasons = {
        "failed": f"{row['failure']}: {row['error']}",
        "infeasible": row["violation"],
        "partial": f"answered {row['n_prompts']} prompts only",
    }
    return str(reasons[word])


def _table(answer: Answer) -> Table:
    from mva_ray.table.frame import standing

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in _leading_columns(answer):
        table.add_column(name, no_wrap=True)
    rows = answer.rows.to_dict("records")
    for value, names in answer.coefficients.items():
        longest_word = max(len(word) for row in rows for word in _reward(row, value).split())
        for heading in _headings(names):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column(value, justify="right", min_width=longest_word, overflow="fold")
    if answer.wish is not None:
        table.add_column("score", justify="right", no_wrap=True)
    for row, word in zip(rows, standing(answer.rows), strict=True):
        best = row["candidate"] == answer.best or bool(row.get("joint_front"))
        table.add_row(*_cells(row, word, answer), style="bold" if best else None)
    return table


def _headings(names: Sequence[str]) -> list[str]:
    return ["w"] * len(names) if len(names) < 2 else [f"w{block + 1}" for block in range(len(names))]


def _legend(answer: Answer) -> str:
    headings = _headings(next(iter(answer.coefficients.values())))
    if not headings:
        return "coefficients differ between the runs (--format json has them)"
    if len(headings) == 1:
        return "w: coefficient"
    return f"{headings[0]} to {headings[-1]}: coefficients of the blocks of layers, first to last"


def _leading_columns(answer: Answer) -> list[str]:
    names = [("run", bool(answer.runs)), ("preset", "preset" in answer.rows), ("candidate", True), ("kind", True)]
    return [name for name, shown in [*names, ("status", answer.everything)] if shown]


def _cells(row: Mapping[Any, Any], standing: str, answer: Answer) -> list[str]:
    leading = dict(row) | {"status": standing, "run": _short_names(answer.runs).get(row.get("run", ""))}
    cells = [str(leading[name]) for name in _leading_columns(answer)]
    for value, names in answer.coefficients.items():
        cells += [*(f"{row[f'w_{name}']:.2f}" for name in names), _reward(row, value)]
    if answer.wish is not None:
        cells.append(f"{row['score']:.3f}")
    return cells


def _short_names(runs: Sequence[str]) -> dict[str, str]:
    """The last part of each place, where no two are alike; else the whole places."""
    short = {place: name_of(place) for place in runs}
    return short if len(set(short.values())) == len(runs) else dict(zip(runs, runs, strict=True))


def _reward(row: Mapping[Any, Any], value: str) -> str:
    if row["status"] == "failed":
        return "-"
    return f"{row[value]:.3f} ±{row[f'{value}_se']:.3f}"
