"""How far a run is, at every point where it may stand or have been killed."""

import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mva_ray.errors import ConfigError
from mva_ray.records import Evaluation
from mva_ray.report import write_report
from mva_ray.service.query import Query, ask
from mva_ray.service.render import notes, write_status
from mva_ray.service.status import status
from tests.support.evaluations import START, VALUES, failed, make_run, ok, trade_off


def plan(run: Path, n: int = 2, candidates: int = 9) -> None:
    values = [{"name": name, "pairs": None, "adapter": None} for name in VALUES[:n]]
    stages = {f"{kind} '{name}'": f"{kind}key" for name in VALUES[:n] for kind in ("pairs", "adapter")}
    settings = {"name": "demo", "values": values, "search": {"candidates": candidates}}
    (run / "plan.json").write_text(json.dumps({"stages": stages, "settings": settings}))


def adapters(run: Path, *values: str) -> None:
    for value in values:
        (run / "adapters" / f"{value}-adapterkey").mkdir(parents=True)


def pairs(run: Path, *values: str) -> None:
    (run / "pairs").mkdir(exist_ok=True)
    for value in values:
        (run / "pairs" / f"{value}-pairskey.jsonl").touch()


def shown(run: Path) -> str:
    out = io.StringIO()
    write_status(status(run), out)
    return out.getvalue()


def test_stages_before_the_search(tmp_path: Path) -> None:
    plan(tmp_path)
    assert status(tmp_path).stage == "preference pairs"
    pairs(tmp_path, "positive", "brief")
    assert status(tmp_path).stage == "adapter 'positive'"
    adapters(tmp_path, "positive")
    assert status(tmp_path).stage == "adapter 'brief'"
    assert status(tmp_path).adapters == {"positive": True, "brief": False}
    adapters(tmp_path, "brief")
    found = status(tmp_path)
    assert (found.stage, found.searched, found.budget, found.last, found.left) == ("search", 0, 9, None, None)
    assert "none yet" in shown(tmp_path)


def test_an_adapter_of_another_key_does_not_count(tmp_path: Path) -> None:
    """The config has changed since: its training is to come."""
    plan(tmp_path)
    pairs(tmp_path, "positive", "brief")
    (tmp_path / "adapters" / "positive-earlierkey").mkdir(parents=True)
    assert status(tmp_path).stage == "adapter 'positive'"


def ready(run: Path, rows: list[Evaluation], n: int = 2) -> None:
    plan(run, n)
    adapters(run, *VALUES[:n])
    make_run(run, rows, VALUES[:n])


def test_a_search_under_way(tmp_path: Path) -> None:
    """Eight rows a millisecond apart, of two prompts and 7.5 tokens each; one failed, so 7 of 9 are there."""
    ready(tmp_path, trade_off(2, "search"))
    found = status(tmp_path)
    assert (found.stage, found.searched, found.budget, found.front, found.held_out) == ("search", 7, 9, 4, 0)
    assert found.answers == 16
    assert found.tokens == 7 * 15
    assert found.tokens_a_second == pytest.approx(7 * 15 / 8 / 0.001)
    assert found.left == timedelta(milliseconds=2)
    assert [(failure.count, failure.kind) for failure in found.failures] == [(1, "reward_raised")]
    assert "1 by reward_raised; the newest: ValueError: [bold]no such word" in shown(tmp_path)


def test_the_hypervolume_is_a_share_of_the_box_so_far(tmp_path: Path) -> None:
    """By hand: worst -9 and best 0.6 of both values, front (0.6, -0.4), (0.2, 0.2), (-0.4, 0.6), and `beyond`."""
    ready(tmp_path, [row for row in trade_off(2, "search") if row.candidate != "beyond"])
    wide, box = 0.6 + 9, (0.6 + 9) ** 2
    expected = wide * (9 - 0.4) + (0.2 + 9) * (0.2 + 0.4) + (9 - 0.4) * (0.6 - 0.2)
    assert status(tmp_path).hypervolume == pytest.approx(expected / box)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_scoring_the_front_and_then_nothing_left(tmp_path: Path, n: int) -> None:
    searched = trade_off(n, "search")
    ready(tmp_path, searched, n)
    (tmp_path / "search.json").write_text("{}")
    assert status(tmp_path).stage == "held-out front"
    make_run(tmp_path, trade_off(n), VALUES[:n])
    found = status(tmp_path)
    assert (found.stage, found.left) == ("finished", None)
    assert "finished" in shown(tmp_path)


def test_failures_are_counted_by_kind_with_the_newest_reason(tmp_path: Path) -> None:
    weights = dict.fromkeys(VALUES[:2], 0.5)
    rows = [replace(failed(str(i), weights, "search"), error=f"reason {i}") for i in range(3)]
    rows.append(replace(failed("4", weights, "search"), failure="actor_died", error="gone"))
    ready(tmp_path, rows)
    found = status(tmp_path)
    assert [(failure.count, failure.kind, failure.error) for failure in found.failures] == [
        (3, "reward_raised", "reason 2"),
        (1, "actor_died", "gone"),
    ]
    assert (found.front, found.hypervolume, found.tokens) == (0, None, 0)
    assert found.last == START + timedelta(milliseconds=3)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plan\.json is missing"):
        status(tmp_path)


def test_a_search_with_a_budget_in_answers(tmp_path: Path) -> None:
    """Rows of some prompts count with those: seven of two and one of one here."""
    rows = trade_off(2, "search")
    ready(tmp_path, [*rows[:-1], replace(rows[-1], status="partial", n_prompts=1)])
    settings = json.loads((tmp_path / "plan.json").read_text())
    settings["settings"]["search"]["answers"] = 1200
    (tmp_path / "plan.json").write_text(json.dumps(settings))
    found = status(tmp_path)
    assert (found.searched_answers, found.answer_budget) == (sum(row.n_prompts for row in rows) - 1, 1200)
    assert ", 15 of 1,200 answers, " in shown(tmp_path)


def test_values_that_are_one_and_answers_that_are_cut_off_are_said(tmp_path: Path) -> None:
    """By `status`, with the front, and on the page."""
    first, second = VALUES[:2]
    weights = [{first: index / 10, second: 0.0} for index in range(9)]
    rows = [ok(f"c{w[first]}", w, {first: w[first], second: -w[first]}, "search") for w in weights]
    ready(tmp_path, [replace(row, metrics=row.metrics | {"truncated": 0.75}) for row in rows])
    function, cut_off = status(tmp_path).cautions
    assert function.startswith(f"'{first}' is nearly a function of '{second}' over 9 candidates")
    assert cut_off.startswith("75% of the answers")
    assert f"caution      {function}" in shown(tmp_path)
    assert notes(ask(tmp_path, Query()))[-2:] == [function, cut_off]
    page = Path(write_report(tmp_path)).read_text()
    assert '<p class="notice">75% of the answers' in page
