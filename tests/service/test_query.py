"""Queries over the Pareto table and what they look like."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.cells import cell_len

from mva_ray.constraints import Limit
from mva_ray.errors import ConfigError
from mva_ray.run_dir.run_state import RunState
from mva_ray.service.query import Query, ask
from mva_ray.service.render import Format, records, write
from mva_ray.service.where import where
from tests.support.evaluations import VALUES, failed, in_blocks, make_run, ok, trade_off


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two values: held-out and search rows."""
    make_run(tmp_path, [*trade_off(2, "search"), *trade_off(2)], VALUES[:2])
    return tmp_path


@pytest.fixture
def frame(run: Path) -> pd.DataFrame:
    return ask(run, Query(everything=True)).rows


def text(run_dir: Path, query: Query, output_format: Format = "table") -> str:
    out = io.StringIO()
    write(ask(run_dir, query), output_format, None, out)
    return out.getvalue()


def names(run_dir: Path, **query: Any) -> list[str]:
    return list(ask(run_dir, Query(**query)).rows["candidate"])


def test_the_front_of_the_held_out_split_by_default(run: Path) -> None:
    answer = ask(run, Query())
    assert (answer.split, answer.n_prompts, answer.left_out) == ("held_out", 2, {"failed": 1})
    assert set(answer.rows["split"]) == {"held_out"}
    assert names(run) == ["beyond", "only-positive", "ones", "only-brief"]


def test_all_has_every_candidate_of_the_split_oldest_first(run: Path) -> None:
    expected = ["base", "ones", "only-positive", "only-brief", "half", "beyond", "poor", "broken"]
    assert names(run, everything=True) == expected
    assert set(ask(run, Query(split="search", everything=True)).rows["split"]) == {"search"}


def test_sort_and_limit(run: Path) -> None:
    assert names(run, sort="-brief", limit=2) == ["only-brief", "ones"]
    assert names(run, sort="brief", limit=1) == ["beyond"]
    assert names(run, limit=0) == []
    assert names(run, sort="-positive", everything=True)[-1] == "broken"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("positive > 0.4", ["only-positive", "beyond"]),
        ("w_brief < 0", ["beyond"]),
        ("status = 'failed'", ["broken"]),
        ("positive IS NULL", ["broken"]),
        ("kind IN ('base', 'ones') AND on_front", ["ones"]),
        ("positive >= (SELECT 0.9)", ["beyond"]),
        ("candidate LIKE 'only-%' -- a comment", ["only-positive", "only-brief"]),
        ("created_at < '2020-01-01'", []),
    ],
)
def test_where(frame: pd.DataFrame, condition: str, expected: list[str]) -> None:
    assert list(where(frame, condition)["candidate"]) == expected


def test_where_of_no_rows(frame: pd.DataFrame) -> None:
    assert len(where(frame.head(0), "positive > 0")) == 0


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "nonsense > 1",
        "positive >",
        "positive > 0, brief > 0",
        "count(*) > 1",
        "candidate",
        "true; SELECT 1",
        "true); COPY (SELECT 1) TO 'stolen.csv'; --",
        "true) UNION SELECT 1 --",
        "true) FROM read_text('/etc/passwd') WHERE (true",
        "true) ORDER BY (positive",
        "(SELECT content FROM read_text('/etc/passwd')) LIKE 'root%'",
        "(SELECT count(*) FROM '/etc/passwd') > 0",
        "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
        "(SELECT count(*) FROM glob('/*')) > 0",
        "(SELECT count(*) FROM frame) > 0",
        "SET threads = 1",
    ],
)
def test_where_that_is_no_condition_over_the_columns(frame: pd.DataFrame, condition: str) -> None:
    with pytest.raises(ConfigError, match="--where: ") as caught:
        where(frame, condition)
    assert str(caught.value).endswith("; the columns are " + ", ".join(frame.columns))
    assert "\n" not in str(caught.value)


def test_where_that_does_not_end(frame: pd.DataFrame) -> None:
    """DuckDB hears of no signal meanwhile: without a limit, only `kill -9` would end it."""
    with pytest.raises(ConfigError, match=r"^--where: not done after 0\.2 s on 8 rows: give a condition on") as caught:
        where(frame, "(SELECT count(*) FROM range(1000000000000)) > 0", seconds=0.2)
    assert "\n" not in str(caught.value)
    assert len(where(frame, "positive > 0.4")) == 2


def test_where_that_wants_too_much_memory(frame: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match=r"^--where: Out of Memory"):
        where(frame, "(SELECT len(list(range)) FROM range(100000000000)) > 0", seconds=60)


def test_preference_ranks_the_front(run: Path) -> None:
    answer = ask(run, Query(prefer="positive=0.1,brief=0.9"))
    assert answer.best == answer.rows["candidate"].iloc[0] == "only-brief"
    assert answer.rows["score"].is_monotonic_decreasing
    assert ask(run, Query(prefer="positive=1")).best == "beyond"


def test_preference_is_scaled_over_the_front_whatever_is_left_after_where(run: Path) -> None:
    whole = ask(run, Query(prefer="positive=1,brief=1")).rows.set_index("candidate")["score"]
    part = ask(run, Query(prefer="positive=1,brief=1", where="w_brief >= 0")).rows.set_index("candidate")["score"]
    assert "beyond" not in part.index
    assert part.to_dict() == whole.drop("beyond").to_dict()


def test_preference_over_an_empty_front(tmp_path: Path) -> None:
    make_run(tmp_path, [failed("a", {"positive": 1.0, "brief": 0.0})], VALUES[:2])
    answer = ask(tmp_path, Query(prefer="positive=1"))
    assert (len(answer.rows), answer.best) == (0, None)
    assert "best for positive=1, brief=0: none" in text(tmp_path, Query(prefer="positive=1"))


def test_every_problem_of_a_query_is_told_at_once(run: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ask(run, Query(everything=True, sort="-niceness", prefer="polite=1", limit=-1, after=-2, presets=-3.0))
    told = "\n".join(caught.value.problems)
    for part in (
        "--prefer: 'polite'",
        "--all: cannot go",
        "--sort: cannot go",
        "--sort: no column 'niceness'; the col",
        "--presets: cannot go",
        "--presets: must be a percentage of at least 0, got -3",
        "--limit: must be at least 0, got -1",
        "--after: must be at least 0, got -2",
    ):
        assert part in told


@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_json_records(tmp_path: Path, n_values: int) -> None:
    values = VALUES[:n_values]
    make_run(tmp_path, trade_off(n_values), values)
    parsed = {row["candidate"]: row for row in json.loads(text(tmp_path, Query(everything=True), "json"))}
    assert parsed["beyond"]["coefficients"]["brief"] == -0.3
    assert list(parsed["beyond"]["rewards"]) == list(values)
    assert set(parsed["beyond"]["rewards"]["brief"]) == {"mean", "se"}
    assert parsed["poor"]["on_front"] is False
    on_front = parsed["base"]["on_front"]
    if on_front:
        assert isinstance(parsed["base"].pop("knee"), bool)
        assert sum(parsed["base"].pop("pseudo_weights").values()) == pytest.approx(1)
    assert parsed["base"] == {
        "candidate": "base",
        "kind": "base",
        "coefficients": dict.fromkeys(values, 0),
        "rewards": {value: {"mean": 0, "se": 0.031} for value in values},
        "split": "held_out",
        "on_front": on_front,
        "feasible": True,
        "status": "ok",
        "n_prompts": 2,
        "metrics": {"tokens": 7.5, "truncated": 0.5, "repetition": 0.0, "distinct": 0.5, "base_nll": None},
    }


def test_blocks_of_layers_in_every_output(tmp_path: Path) -> None:
    make_run(tmp_path, in_blocks(trade_off(2), 3), VALUES[:2], blocks=3)
    beyond = next(row for row in json.loads(text(tmp_path, Query(), "json")) if row["candidate"] == "beyond")
    names_of_two = [f"{value}_block{block}" for value in VALUES[:2] for block in (1, 2, 3)]
    assert beyond["coefficients"] == dict(zip(names_of_two, [1.4] * 3 + [-0.3] * 3, strict=True))
    assert list(beyond["rewards"]) == list(VALUES[:2])
    legend, headings, *_ = text(tmp_path, Query()).splitlines()[1:]
    assert legend.startswith("w1 to w3: coefficients of the blocks of layers, first to last; value: mean reward")
    assert headings.split() == ["candidate", "kind", "w1", "w2", "w3", "positive", "w1", "w2", "w3", "brief"]
    assert names(tmp_path, where="w_brief_block2 < 0") == ["beyond"]


def test_json_of_a_failed_candidate(run: Path) -> None:
    (record,) = records(ask(run, Query(everything=True, where="status = 'failed'")))
    assert record["rewards"] == {}
    assert record["metrics"]["tokens"] is None
    assert (record["failure"], record["error"]) == ("reward_raised", "ValueError: [bold]no such word")


def test_json_of_a_ranking_has_scores(run: Path) -> None:
    rows = json.loads(text(run, Query(prefer="positive=1"), "json"))
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)


def test_csv_and_parquet_hold_the_flat_columns(run: Path, tmp_path: Path) -> None:
    csv = pd.read_csv(io.StringIO(text(run, Query(everything=True), "csv")))
    answer = ask(run, Query(everything=True))
    write(answer, "parquet", tmp_path / "rows.parquet", io.StringIO())
    parquet = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(csv.columns) == list(parquet.columns) == list(answer.rows.columns)
    assert csv["positive"].isna().sum() == parquet["positive"].isna().sum() == 1
    assert parquet["positive"].dropna().tolist() == answer.rows["positive"].dropna().tolist()


@pytest.mark.parametrize("output_format", ["table", "csv", "json"])
def test_a_file_holds_what_the_terminal_would_show(run: Path, tmp_path: Path, output_format: Format) -> None:
    write(ask(run, Query()), output_format, tmp_path / "out", io.StringIO())
    assert (tmp_path / "out").read_text(encoding="utf-8") == text(run, Query(), output_format)


def test_parquet_needs_a_file(run: Path) -> None:
    with pytest.raises(ConfigError, match="--format parquet: needs a file: add --output FILE"):
        text(run, Query(), "parquet")


@pytest.mark.parametrize("output_format", ["csv", "parquet"])
def test_a_file_that_holds_something_is_left_alone(run: Path, tmp_path: Path, output_format: Format) -> None:
    """What is empty, such as one of mktemp or /dev/stdout, was made to be written to."""
    held, empty = tmp_path / "notes", tmp_path / "empty"
    held.write_text("of last week")
    empty.touch()
    with pytest.raises(ConfigError, match=r"--output: .*notes is there already: give another name, or delete it"):
        write(ask(run, Query()), output_format, held, io.StringIO())
    assert held.read_text() == "of last week"
    write(ask(run, Query()), output_format, empty, io.StringIO())
    assert empty.stat().st_size


@pytest.mark.parametrize("output_format", ["csv", "parquet"])
def test_a_file_that_cannot_be_written(run: Path, tmp_path: Path, output_format: Format) -> None:
    with pytest.raises(ConfigError, match=r"--output: .*cannot be written"):
        write(ask(run, Query()), output_format, tmp_path / "missing" / "out", io.StringIO())


@pytest.fixture
def left_out(tmp_path: Path) -> Path:
    """A run of three values with a limit and a reward that is only a constraint, and a candidate of each fate."""
    values = VALUES[:3]
    rows = trade_off(3)
    partial = replace(rows[2], candidate="gone", status="partial", n_prompts=1)
    broken = replace(rows[3], candidate="wild", metrics=rows[3].metrics | {"truncated": 0.9, "fluency": 0.05})
    rows = [replace(row, metrics=row.metrics | {"fluency": 0.2}) if row.status == "ok" else row for row in rows]
    scored = [replace(row, rewards=row.rewards | {"fluency": "m:f 1"}) for row in (*rows, partial, broken)]
    make_run(tmp_path, scored, values)
    limits = {"truncated": Limit(max=0.5), "fluency": Limit(min=0.1, reward="m:f 1")}
    replace(RunState.load(tmp_path), constraints=limits).save(tmp_path)
    return tmp_path


def test_what_is_left_out_of_the_front_is_counted(left_out: Path) -> None:
    assert ask(left_out, Query()).left_out == {"failed": 1, "infeasible": 1, "partial": 1}
    assert not {"gone", "wild"} & set(names(left_out))
    assert text(left_out, Query()).endswith(
        "1 failed candidate (--all shows why)\n"
        "1 infeasible candidate (--all shows why)\n"
        "1 partial candidate (--all shows why)\n"
    )


def test_all_says_why_a_candidate_is_left_out(left_out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = text(left_out, Query(everything=True))
    assert shown.endswith(
        "1 failed candidate\n"
        "  broken: reward_raised: ValueError: [bold]no such word\n"
        "1 infeasible candidate\n"
        "  wild: truncated 0.9 is 0.4 above 0.5; fluency 0.05 is 0.05 below 0.1\n"
        "1 partial candidate\n"
        "  gone: answered 1 prompts only\n"
    )
    statuses = {line.split()[0]: line.split()[2] for line in shown.splitlines()[4:] if line.startswith(("w", "g", "p"))}
    assert statuses == {"wild": "infeasible", "gone": "partial", "poor": "ok"}
    table = shown[: shown.index("1 failed")].splitlines()
    assert max(map(cell_len, table)) <= 80


def test_json_of_what_is_left_out(left_out: Path) -> None:
    found = {row["candidate"]: row for row in records(ask(left_out, Query(everything=True)))}
    assert (found["wild"]["status"], found["wild"]["feasible"], found["wild"]["on_front"]) == ("ok", False, False)
    assert found["wild"]["violation"] == "truncated 0.9 is 0.4 above 0.5; fluency 0.05 is 0.05 below 0.1"
    assert found["wild"]["metrics"]["fluency"] == 0.05
    assert (found["gone"]["status"], found["gone"]["n_prompts"]) == ("partial", 1)
    assert found["gone"]["rewards"]["positive"]["mean"] == found["only-positive"]["rewards"]["positive"]["mean"]
    assert not {"failure", "error", "violation"} & found["poor"].keys()


def test_metrics_can_be_asked_for(left_out: Path) -> None:
    assert names(left_out, everything=True, where="NOT feasible AND status = 'ok'") == ["wild"]
    assert names(left_out, everything=True, where="fluency < 0.1") == ["wild"]
    assert names(left_out, sort="-distinct", limit=1) != []
    assert names(left_out, prefer="brief=1")[0] == "only-brief"


@pytest.mark.parametrize("n_values", [2, 3])
@pytest.mark.parametrize("options", [{}, {"everything": True}, {"prefer": "positive=0.7,brief=0.3"}])
def test_the_table_fits_80_columns(
    tmp_path: Path, n_values: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    make_run(tmp_path, trade_off(n_values), VALUES[:n_values])
    lines = text(tmp_path, Query(**options)).splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith(("best", "1 failed")))]
    assert max(cell_len(line) for line in table) <= 80


def test_five_values_are_never_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    make_run(tmp_path, trade_off(5), VALUES)
    shown = text(tmp_path, Query(everything=True))
    assert "…" not in shown
    for part in ("only-positive", "-0.30", "-0.860", "±0.031"):
        assert part in shown


def test_the_table_says_what_it_shows(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    shown = text(run, Query())
    assert shown.startswith("Pareto front on 2 held-out prompts (never seen by the search)\n")
    assert "0.960 ±0.031" in shown
    assert shown.endswith("1 failed candidate (--all shows why)\n")
    search = text(run, Query(split="search", everything=True))
    assert search.startswith("All candidates on 2 search prompts (the search optimised on these: optimistic)\n")
    assert search.endswith("1 failed candidate\n  broken: reward_raised: ValueError: [bold]no such word\n")


def test_the_table_names_the_scalarisation_and_the_best(run: Path) -> None:
    shown = text(run, Query(prefer="positive=0.1,brief=0.9"))
    assert "best for positive=0.1, brief=0.9: only-brief (augmented Chebyshev, normalised over the front)" in shown


@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_an_empty_table(tmp_path: Path, n_values: int) -> None:
    make_run(tmp_path, [], VALUES[:n_values])
    assert "no candidates" in text(tmp_path, Query())
    assert json.loads(text(tmp_path, Query(), "json")) == []
    assert text(tmp_path, Query(where="positive > 0", sort="brief"), "csv").startswith("candidate,split,kind")


def test_a_value_named_like_an_sql_keyword_can_be_quoted(tmp_path: Path) -> None:
    make_run(tmp_path, [ok("a", {"order": 1.0, "brief": 0.0}, {"order": 0.5, "brief": 0.1})], ("order", "brief"))
    assert names(tmp_path, where='"order" > 0') == ["a"]
