"""The Pareto table: exact round trips, atomic commits, the flat frame, the front, and its documentation."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from mva_ray.constraints import Limit
from mva_ray.errors import ConfigError
from mva_ray.records import RESERVED_COLUMNS, Evaluation, Generation, ScoredGeneration, coefficient_names
from mva_ray.run_dir.run_state import RunState
from mva_ray.table import ParetoTable, pareto_table
from mva_ray.table.frame import columns, kind
from mva_ray.table.schema import EARLIER_COLUMNS, SCHEMA
from tests.support.evaluations import VALUES, failed, in_blocks, make_run, ok, trade_off

DOCS = Path(__file__).parents[2] / "docs" / "table.md"
WEIGHTS = {"positive": 1.0, "brief": -0.5}


def nan_generation(row: Evaluation) -> Evaluation:
    scored = ScoredGeneration(Generation("p", "c", 1, False), {"positive": float("nan")})
    return replace(row, generations=(scored,))


@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_rows_come_back_exactly_equal(tmp_path: Path, n_values: int) -> None:
    rows = trade_off(n_values)
    ParetoTable(tmp_path).append(rows)
    assert ParetoTable(tmp_path).evaluations(with_generations=True) == rows
    assert ParetoTable(tmp_path).evaluations() == [replace(row, generations=()) for row in rows]


def test_rows_come_back_oldest_first(tmp_path: Path) -> None:
    first, second = (replace(ok(name, WEIGHTS, WEIGHTS)) for name in ("first", "second"))
    second = replace(second, created_at=first.created_at + timedelta(microseconds=1))
    ParetoTable(tmp_path).append([second])
    ParetoTable(tmp_path).append([first])
    assert [row.candidate for row in ParetoTable(tmp_path).evaluations()] == ["first", "second"]


def test_times_of_any_zone_come_back_as_the_same_moment(tmp_path: Path) -> None:
    created_at = datetime(2026, 5, 1, 1, 30, 0, 7, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    ParetoTable(tmp_path).append([replace(ok("a", WEIGHTS, WEIGHTS), created_at=created_at)])
    (row,) = ParetoTable(tmp_path).evaluations()
    assert row.created_at == created_at
    assert row.created_at.utcoffset() == timedelta(0)


def test_evaluations_can_be_filtered(tmp_path: Path) -> None:
    rows = [
        ok("a", WEIGHTS, WEIGHTS, split, context) for split in ("search", "held_out") for context in ("now", "then")
    ]
    table = ParetoTable(tmp_path)
    table.append(rows)
    assert len(table.evaluations(context="now")) == 2
    assert len(table.evaluations(split="search")) == 2
    assert [(row.context, row.split) for row in table.evaluations("then", "held_out")] == [("then", "held_out")]
    assert table.evaluations(context="") == []


def test_one_append_is_one_commit_after_the_one_that_creates_the_table(tmp_path: Path) -> None:
    table = ParetoTable(tmp_path)
    table.append(trade_off(2))
    table.append(trade_off(3))
    assert DeltaTable(tmp_path / "table").version() == 2


def test_appending_nothing_writes_nothing(tmp_path: Path) -> None:
    ParetoTable(tmp_path).append([])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda row: replace(row, reward_mean={"positive": float("nan")}), r"reward_mean\[positive\]"),
        (lambda row: replace(row, reward_se={"brief": float("inf")}), r"reward_se\[brief\]"),
        (lambda row: replace(row, coefficients={"brief": float("-inf")}), r"coefficients\[brief\]"),
        (lambda row: replace(row, metrics={"base_nll": float("nan")}), r"metrics\[base_nll\]"),
        (lambda row: replace(row, seconds=float("inf")), "seconds"),
        (nan_generation, r"generations.rewards\[positive\]"),
        (lambda row: replace(row, created_at=datetime(2026, 1, 1)), "no time zone"),
    ],
)
def test_a_bad_number_keeps_the_whole_batch_out(
    tmp_path: Path, spoil: Callable[[Evaluation], Evaluation], message: str
) -> None:
    good = ok("a", WEIGHTS, WEIGHTS)
    with pytest.raises(ValueError, match=message):
        ParetoTable(tmp_path).append([good, spoil(good)])
    assert ParetoTable(tmp_path).evaluations() == []


def test_a_commit_conflict_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conflicts = iter([True, True, False])

    def contended(*args: Any, **kwargs: Any) -> None:
        if next(conflicts):
            raise CommitFailedError("another writer was first")
        write_deltalake(*args, **kwargs)

    monkeypatch.setattr(pareto_table, "write_deltalake", contended)
    ParetoTable(tmp_path).append([ok("a", WEIGHTS, WEIGHTS)])
    assert len(ParetoTable(tmp_path).evaluations()) == 1


def test_a_conflict_that_never_ends_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def contended(*args: Any, **kwargs: Any) -> None:
        raise CommitFailedError("another writer was first")

    monkeypatch.setattr(pareto_table, "write_deltalake", contended)
    monkeypatch.setattr(pareto_table, "COMMIT_ATTEMPTS", 3)
    with pytest.raises(CommitFailedError):
        ParetoTable(tmp_path).append([ok("a", WEIGHTS, WEIGHTS)])


@pytest.mark.parametrize("where", ["disk", "objects"])
def test_four_processes_append_at_once_without_loss(tmp_path: Path, where: str, request: pytest.FixtureRequest) -> None:
    run_dir = str(tmp_path) if where == "disk" else request.getfixturevalue("s3")
    script = """
import sys
from mva_ray.table import ParetoTable
from tests.support.evaluations import ok
for i in range(5):
    name = f"{sys.argv[2]}-{i}"
    ParetoTable(sys.argv[1]).append([ok(name + part, {"brief": 1.0}, {"brief": 0.5}) for part in "abcd"])
"""
    repository = Path(__file__).parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", script, run_dir, str(writer)], cwd=repository) for writer in range(4)
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    names = [row.candidate for row in ParetoTable(run_dir).evaluations()]
    assert sorted(names) == [f"{writer}-{i}{part}" for writer in range(4) for i in range(5) for part in "abcd"]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([0, 0], "base"),
        ([0.0, -0.0, 0], "base"),
        ([1, 0], "single"),
        ([0, 0, 1.0], "single"),
        ([1, 1], "ones"),
        ([1, 1, 1, 1, 1], "ones"),
        ([0.3, 0.7], "convex"),
        ([0.1, 0.2, 0.7], "convex"),
        ([0.1] * 10, "convex"),
        ([0.3333] * 3, "convex"),
        ([0.1429] * 7, "convex"),
        ([1.5, -0.5], "search"),
        ([1, 1, 0], "search"),
        ([2, 0], "search"),
        ([0.5, 0.5001], "search"),
        ([0.5, 0.4999], "search"),
        ([0.3333, 0.3333, 0.3332], "search"),
    ],
)
def test_kind_of_a_candidate(weights: list[float], expected: str) -> None:
    assert kind([[weight] for weight in weights]) == expected
    assert kind([[weight] * 3 for weight in weights]) == expected


@pytest.mark.parametrize("weights", [[[1, 1], [0, 0.5]], [[1, 0], [0, 1]], [[0, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.4]]])
def test_blocks_that_differ_are_a_search_of_its_own(weights: list[list[float]]) -> None:
    """Half an adapter is not a single one, though each block's coefficients sum to 1."""
    assert kind(weights) == "search"


def test_frame_has_a_column_for_each_value_and_block(tmp_path: Path) -> None:
    table = make_run(tmp_path, in_blocks(trade_off(2), 2), VALUES[:2], blocks=2)
    frame = table.frame().set_index("candidate")
    assert [column for column in frame.columns if column.startswith("w_")] == [
        "w_positive_block1",
        "w_positive_block2",
        "w_brief_block1",
        "w_brief_block2",
    ]
    assert frame.loc["beyond", ["w_positive_block1", "w_brief_block2"]].tolist() == [1.4, -0.3]
    assert list(frame["kind"]) == ["base", "ones", "single", "single", "convex", "search", "search", "search"]
    assert len(table.front()) == len(make_run(tmp_path / "other", trade_off(2), VALUES[:2]).front())


def test_frame_has_the_columns_of_every_value_in_order(tmp_path: Path) -> None:
    frame = make_run(tmp_path, trade_off(3), VALUES[:3]).frame()
    assert list(frame.columns) == columns(coefficient_names(VALUES[:3]), {})
    assert list(frame["kind"]) == ["base", "ones", "single", "single", "single", "convex", "search", "search", "search"]
    beyond = frame.set_index("candidate").loc["beyond"]
    assert (beyond["w_positive"], beyond["w_brief"], beyond["positive_se"]) == (1.4, -0.3, 0.031)


def test_a_failed_candidate_has_no_rewards_and_is_not_on_the_front(tmp_path: Path) -> None:
    row = make_run(tmp_path, trade_off(2), VALUES[:2]).frame().set_index("candidate").loc["broken"]
    assert row["status"] == "failed"
    assert not row["on_front"]
    assert row[["positive", "positive_se", "brief", "tokens"]].isna().all()
    assert (row["failure"], row["error"]) == ("reward_raised", "ValueError: [bold]no such word")


def test_the_front_of_each_split_is_its_own(tmp_path: Path) -> None:
    rows = [
        ok("a", WEIGHTS, {"positive": 1, "brief": 0}, "search"),
        ok("b", WEIGHTS, {"positive": 0, "brief": 1}, "search"),
        ok("a", WEIGHTS, {"positive": 1, "brief": 1}),
        ok("b", WEIGHTS, {"positive": 0, "brief": 1}),
    ]
    table = make_run(tmp_path, rows, ("positive", "brief"))
    assert list(table.frame()["on_front"]) == [True, True, True, False]
    assert list(table.frame("search")["on_front"]) == [True, True]
    assert list(table.front("search")["candidate"]) == ["a", "b"]
    assert list(table.front()["candidate"]) == ["a"]


def test_front_is_of_the_search_split_until_there_are_held_out_rows(tmp_path: Path) -> None:
    table = make_run(tmp_path, trade_off(2, "search"), VALUES[:2])
    assert set(table.front()["split"]) == {"search"}
    table.append(trade_off(2, "held_out"))
    assert set(table.front()["split"]) == {"held_out"}


@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_front_is_sorted_by_the_first_value(tmp_path: Path, n_values: int) -> None:
    front = make_run(tmp_path, trade_off(n_values), VALUES[:n_values]).front()
    assert front["positive"].is_monotonic_decreasing
    assert list(front.index) == list(range(len(front)))
    assert not {"poor", "broken"} & set(front["candidate"])


def test_ties_are_all_on_the_front(tmp_path: Path) -> None:
    rows = [ok(name, WEIGHTS, {"positive": 1, "brief": 1}) for name in ("a", "b")]
    assert list(make_run(tmp_path, rows, ("positive", "brief")).front()["candidate"]) == ["a", "b"]


LIMITS = {"base_nll": Limit(max=3.5), "fluency": Limit(min=0.1, reward="m:f 1")}


def measured(candidate: str, rewards: dict[str, float], base_nll: float, fluency: float) -> Evaluation:
    row = ok(candidate, WEIGHTS, rewards)
    metrics = row.metrics | {"base_nll": base_nll, "fluency": fluency}
    return replace(row, metrics=metrics, rewards=row.rewards | {"fluency": "m:f 1"})


def constrained(run_dir: Path, rows: list[Evaluation]) -> pd.DataFrame:
    table = make_run(run_dir, rows, ("positive", "brief"))
    replace(RunState.load(run_dir), constraints=LIMITS).save(run_dir)
    return table.frame().set_index("candidate")


def test_the_front_is_of_feasible_candidates(tmp_path: Path) -> None:
    rows = [
        measured("broken", {"positive": 9, "brief": 9}, base_nll=5.0, fluency=0.05),
        measured("good", {"positive": 1, "brief": 1}, base_nll=3.0, fluency=0.2),
        measured("worse", {"positive": 0, "brief": 1}, base_nll=3.0, fluency=0.2),
        failed("failed", WEIGHTS),
    ]
    frame = constrained(tmp_path, rows)
    assert list(frame["feasible"]) == [False, True, True, False]
    assert list(frame["on_front"]) == [False, True, False, False]
    assert frame["violation"]["broken"] == "base_nll 5 is 1.5 above 3.5; fluency 0.05 is 0.05 below 0.1"
    assert frame["violation"][["good", "worse", "failed"]].isna().all()
    assert frame["fluency"].dropna().to_dict() == {"broken": 0.05, "good": 0.2, "worse": 0.2}


def test_feasibility_follows_the_constraints_of_now(tmp_path: Path) -> None:
    """It is in no row: lifting a limit brings its candidates back without an evaluation."""
    rows = [measured("broken", {"positive": 9, "brief": 9}, base_nll=5.0, fluency=0.2), ok("old", WEIGHTS, WEIGHTS)]
    frame = constrained(tmp_path, rows)
    assert list(frame["feasible"]) == [False, False]
    assert frame["violation"]["old"] == "base_nll is not measured; fluency is not measured"
    replace(RunState.load(tmp_path), constraints={}).save(tmp_path)
    assert list(ParetoTable(tmp_path).frame()["feasible"]) == [True, True]
    assert list(ParetoTable(tmp_path).front()["candidate"]) == ["broken"]


def test_a_partial_candidate_is_shown_and_is_not_on_the_front(tmp_path: Path) -> None:
    partial = replace(ok("gone", WEIGHTS, {"positive": 9, "brief": 9}), status="partial", n_prompts=1)
    earlier = replace(partial, status="stopped", error="dominated")
    assert make_run(tmp_path / "earlier", [earlier], ("positive", "brief")).frame()["status"].tolist() == ["partial"]
    frame = make_run(tmp_path, [partial, ok("a", WEIGHTS, WEIGHTS)], ("positive", "brief")).frame()
    assert list(frame["status"]) == ["partial", "ok"]
    assert list(frame["on_front"]) == [False, True]
    assert (frame["positive"][0], frame["n_prompts"][0]) == (9, 1)


def write_table_of_an_earlier_version(run_dir: Path, row: Evaluation) -> None:
    """As version 0.1 wrote it: two columns in place of the metrics, and no generator."""
    content = asdict(row)
    for scored in content["generations"]:
        del scored["metrics"]
        scored |= scored.pop("generation")
    content |= {"mean_tokens": content["metrics"]["tokens"], "truncated_share": content["metrics"]["truncated"]}
    kept = without_fields("metrics", "generator") + [pa.field(name, pa.float64()) for name in EARLIER_COLUMNS]
    write_deltalake(run_dir / "table", pa.Table.from_pylist([content], schema=pa.schema(kept)))


def without_fields(*names: str) -> list[pa.Field]:
    """The schema without some columns, `ids` of generations and what they share with the columns."""
    fields = SCHEMA.field("generations").type.value_type
    texts = pa.struct([field for field in fields if field.name not in (*names, "ids")])
    kept = [field for field in SCHEMA if field.name not in (*names, "generations")]
    return [*kept, pa.field("generations", pa.list_(texts), nullable=False)]


def test_a_table_of_an_earlier_version_is_read_and_continued(tmp_path: Path) -> None:
    old, new = ok("old", WEIGHTS, WEIGHTS), replace(ok("new", WEIGHTS, WEIGHTS), created_at=datetime.now(UTC))
    write_table_of_an_earlier_version(tmp_path, old)
    texts = tuple(replace(scored, metrics={}) for scored in without_ids(old).generations)
    as_read = replace(old, metrics={"tokens": 7.5, "truncated": 0.5}, generator="", generations=texts)
    table = ParetoTable(tmp_path)
    assert table.evaluations(with_generations=True) == [as_read]
    table.append([new])
    assert table.evaluations(with_generations=True) == [as_read, new]


def without_ids(row: Evaluation) -> Evaluation:
    generations = (replace(scored, generation=replace(scored.generation, ids=None)) for scored in row.generations)
    return replace(row, generations=tuple(generations))


def test_a_table_from_before_ids_were_kept_is_read_and_continued(tmp_path: Path) -> None:
    """A field within a list of structs is added by the next append; the texts before it have none."""
    old, new = ok("old", WEIGHTS, WEIGHTS), replace(ok("new", WEIGHTS, WEIGHTS), created_at=datetime.now(UTC))
    content = asdict(old)
    content["generations"] = [scored | scored.pop("generation") for scored in content["generations"]]
    written = pa.Table.from_pylist([content], schema=pa.schema(without_fields()))
    write_deltalake(tmp_path / "table", written)
    make_run(tmp_path, [], ("positive", "brief"))
    table = ParetoTable(tmp_path)
    assert table.evaluations(with_generations=True) == [without_ids(old)]
    table.append([new])
    assert table.evaluations(with_generations=True) == [without_ids(old), new]
    assert [row.generation.ids for row in table.generations("old", "held_out")] == [None, None]
    assert [row.generation.ids for row in table.generations("new", "held_out")] == [(3, 151_642, 9, 0, 7, 1), None]
    assert list(table.frame()["candidate"]) == ["old", "new"]


def test_rows_of_other_contexts_and_prompts_are_counted_not_shown(tmp_path: Path) -> None:
    current = ok("a", WEIGHTS, WEIGHTS)
    table = make_run(tmp_path, [current], ("positive", "brief"))
    table.append([ok("b", {"other": 1.0}, {"other": 1.0}, context="then")])
    table.append([replace(ok("c", WEIGHTS, {"positive": 9, "brief": 9}), prompts_hash="older prompts")])
    assert list(table.frame()["candidate"]) == ["a"]
    assert list(table.front()["candidate"]) == ["a"]
    assert table.earlier() == 2


@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_an_empty_table_has_an_empty_frame_and_front(tmp_path: Path, n_values: int) -> None:
    table = make_run(tmp_path, [], VALUES[:n_values])
    assert table.evaluations() == []
    assert (
        list(table.frame().columns) == list(table.front().columns) == columns(coefficient_names(VALUES[:n_values]), {})
    )
    assert len(table.frame()) == len(table.front()) == table.earlier() == 0
    assert table.generations("a", "held_out") == []


def test_a_table_of_failures_has_no_front(tmp_path: Path) -> None:
    table = make_run(tmp_path, [failed("a", WEIGHTS)], ("positive", "brief"))
    assert len(table.frame()) == 1
    assert len(table.front()) == 0


def test_types_do_not_depend_on_the_rows(tmp_path: Path) -> None:
    full = make_run(tmp_path / "full", trade_off(2), VALUES[:2]).frame()
    empty = make_run(tmp_path / "empty", [], VALUES[:2]).frame()
    pd.testing.assert_series_equal(full.dtypes, empty.dtypes)


def test_generations_of_a_candidate(tmp_path: Path) -> None:
    rows = trade_off(2)
    table = make_run(tmp_path, rows, VALUES[:2])
    assert table.generations("half", "held_out") == list(rows[4].generations)
    assert table.generations("half", "search") == []
    assert table.generations("broken", "held_out") == []


def test_run_state_round_trip(tmp_path: Path) -> None:
    state = RunState("demo", ("brief", "positive"), "now", {"search": "s", "held_out": "h"}, LIMITS, blocks=2)
    state.save(tmp_path / "new")
    state.save(tmp_path / "new")
    assert RunState.load(tmp_path / "new") == state
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run.json"]


def test_a_directory_without_run_json_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ParetoTable(tmp_path).frame()
    assert str(caught.value) == (
        f"{tmp_path}: not a run directory: run.json is missing; give the directory that mva_ray.explore printed"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"name": "x", "values": 3}), "\x00"])
def test_an_unreadable_run_json_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ConfigError, match=r"run\.json cannot be read") as caught:
        RunState.load(tmp_path)
    assert "\n" not in str(caught.value)


def documented(heading: str) -> list[str]:
    section = DOCS.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)


def test_docs_name_every_column_of_the_schema_and_no_other() -> None:
    assert documented("Delta schema") == SCHEMA.names


def test_docs_name_every_column_of_the_frame_and_no_other() -> None:
    assert documented("Columns of the frame") == columns({"<value>": ("<coefficient>",)}, {"<extra reward>": Limit()})


def test_reserved_columns_are_those_that_are_not_a_value() -> None:
    assert set(columns({}, {})) | {"score", "preset", "run", "joint_front"} == RESERVED_COLUMNS
