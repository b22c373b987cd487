"""Several runs side by side."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mva_ray.errors import ConfigError
from mva_ray.run_dir.run_state import RunState
from mva_ray.service.query import Query, ask
from mva_ray.service.render import records, write
from mva_ray.service.wishes import Classes, Preference
from tests.support.evaluations import VALUES, in_blocks, make_run, ok, trade_off

WEIGHTS = {"positive": 1.0, "brief": 0.5}


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """The second has one candidate that dominates `ones`, and one that is dominated by `beyond`."""
    make_run(tmp_path / "a", trade_off(2), VALUES[:2])
    better = ok("better", WEIGHTS, {"positive": 0.3, "brief": 0.3})
    worse = ok("worse", WEIGHTS, {"positive": 0.9, "brief": -0.8})
    make_run(tmp_path / "b", [better, worse], VALUES[:2])
    return [tmp_path / "a", tmp_path / "b"]


def test_each_front_and_what_is_on_the_front_of_all(runs: list[Path]) -> None:
    rows = ask(runs, Query()).rows
    found = {(Path(row["run"]).name, row["candidate"]): row["joint_front"] for row in rows.to_dict("records")}
    assert found == {
        ("a", "beyond"): True,
        ("a", "only-positive"): True,
        ("a", "ones"): False,
        ("a", "only-brief"): True,
        ("b", "better"): True,
        ("b", "worse"): False,
    }
    assert ask(runs, Query(where="run LIKE '%/b' AND joint_front")).rows["candidate"].tolist() == ["better"]
    assert ask(runs, Query(wish=Preference({"positive": 1, "brief": 1}))).best == "better"


def test_as_text_and_as_json(runs: list[Path]) -> None:
    out = io.StringIO()
    write(ask(runs, Query()), "table", None, out)
    assert "a: 3 of 4 shown are on the front of all runs" in out.getvalue()
    assert "b: 1 of 2 shown are on the front of all runs" in out.getvalue()
    (row,) = records(ask(runs, Query(where="candidate = 'better'")))
    assert (row["run"], row["joint_front"], row["coefficients"]) == (str(runs[1]), True, WEIGHTS)
    json.dumps(row, allow_nan=False)


def test_runs_with_other_coefficients(runs: list[Path], tmp_path: Path) -> None:
    make_run(tmp_path / "blocks", in_blocks(trade_off(2), 2), VALUES[:2], blocks=2)
    out = io.StringIO()
    answer = ask([runs[0], tmp_path / "blocks"], Query())
    write(answer, "table", None, out)
    assert "coefficients differ between the runs" in out.getvalue()
    found = records(answer)
    assert {len(row["coefficients"]) for row in found} == {2, 4}


def test_what_makes_runs_hard_to_compare_is_said(runs: list[Path]) -> None:
    assert ask(runs, Query()).doubts == ()
    state = RunState.load(runs[1])
    other = replace(ok("new", WEIGHTS, WEIGHTS), prompts_hash="others", rewards={"positive": "m:f@2", "brief": "m:g@2"})
    make_run(runs[1], [other], VALUES[:2])
    replace(state, prompts={"held_out": "others"}).save(runs[1])
    doubts = ask(runs, Query()).doubts
    assert [doubt.split(":")[0] for doubt in doubts] == [
        "the runs have other prompts",
        "the runs have other rewards of 'positive'",
        "the runs have other rewards of 'brief'",
    ]


def test_runs_that_cannot_stand_side_by_side(runs: list[Path], tmp_path: Path) -> None:
    make_run(tmp_path / "three", trade_off(3), VALUES[:3])
    with pytest.raises(ConfigError) as caught:
        ask([runs[0], runs[0], tmp_path / "three"], Query())
    assert "a is given twice" in caught.value.problems[0]
    assert "three has other values (positive, brief, plain) than" in caught.value.problems[1]
    with pytest.raises(ConfigError, match="at least one run is needed"):
        ask([], Query())


def test_where_one_stands_must_be_one_candidate(runs: list[Path], tmp_path: Path) -> None:
    make_run(tmp_path / "again", trade_off(2), VALUES[:2])
    assert ask(runs, Query(wish=Classes("better", {"brief": None}))).best == "only-brief"
    with pytest.raises(ConfigError, match="is in several of these runs: ask one of them alone"):
        ask([runs[0], tmp_path / "again"], Query(wish=Classes("base", {"brief": None})))


def test_a_run_without_held_out_rows_brings_all_to_the_search_prompts(runs: list[Path], tmp_path: Path) -> None:
    make_run(tmp_path / "young", trade_off(2, "search"), VALUES[:2])
    make_run(runs[0], trade_off(2, "search"), VALUES[:2])
    answer = ask([runs[0], tmp_path / "young"], Query())
    assert (answer.split, set(answer.rows["run"].map(lambda run: Path(run).name))) == ("search", {"a", "young"})
