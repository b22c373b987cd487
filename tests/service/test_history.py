"""How a front grew."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mva_ray.errors import ConfigError
from mva_ray.service.history import history
from mva_ray.service.query import Query, ask
from mva_ray.service.show import show
from mva_ray.service.status import status
from tests.support.evaluations import VALUES, failed, make_run, ok, trade_off

WEIGHTS = {"positive": 1.0, "brief": 0.5}


def test_by_hand(tmp_path: Path) -> None:
    """In the box from (0, 0) to (4, 4): (1, 1) has 1 of 16, (4, 0) no area of its own, (2, 4) has 8."""
    means = [(1, 1), (4, 0), (0, 0), (2, 4), (2, 4)]
    rows = [ok(f"c{i}", WEIGHTS, dict(zip(VALUES[:2], mean, strict=True)), "search") for i, mean in enumerate(means)]
    rows.insert(1, failed("broken", WEIGHTS, "search"))
    make_run(tmp_path, rows, VALUES[:2])
    found = history(tmp_path)
    assert [moment.hypervolume for moment in found.moments] == pytest.approx([1 / 16] * 4 + [0.5] * 2)
    assert [moment.front for moment in found.moments] == [1, 1, 2, 2, 2, 3]
    assert [moment.joined for moment in found.moments] == [True, False, True, False, True, True]
    assert [moment.answers for moment in found.moments] == [2, 4, 6, 8, 10, 12]
    assert (found.low, found.high) == ({"positive": 0, "brief": 0}, {"positive": 4, "brief": 4})


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_it_ends_at_the_front_of_the_table(tmp_path: Path, n: int) -> None:
    values = tuple(f"value{i}" for i in range(n))
    rows = trade_off(min(n, 5), "search")
    if n > 5:
        rows = [
            replace(
                row,
                coefficients={v: float(i) for v in values},
                reward_mean={v: float((i * (j + 3)) % 11) for j, v in enumerate(values)},
                reward_se=dict.fromkeys(values, 0.1),
            )
            for i, row in enumerate(rows)
            if row.status == "ok"
        ]
    else:
        values = VALUES[:n]
    table = make_run(tmp_path, rows, values)
    last = history(tmp_path).moments[-1]
    assert last.front == len(table.front("search"))
    assert 0 < (last.hypervolume or 0) <= 1


def test_the_front_after_some_evaluations(tmp_path: Path) -> None:
    make_run(tmp_path, [*trade_off(2, "search"), *trade_off(2)], VALUES[:2])
    for moment in history(tmp_path).moments:
        rows = ask(tmp_path, Query(after=moment.evaluations)).rows
        assert len(rows) == moment.front
        assert moment.joined == (moment.candidate in rows["candidate"].tolist())
    assert ask(tmp_path, Query(after=2)).rows["candidate"].tolist() == ["ones"]
    assert ask(tmp_path, Query(after=0)).split == "search"
    with pytest.raises(ConfigError, match="--after: counts evaluations of the search"):
        ask(tmp_path, Query(after=1, split="held_out"))


def test_a_status_says_the_same_hypervolume(tmp_path: Path) -> None:
    make_run(tmp_path, trade_off(2, "search"), VALUES[:2])
    values = [{"name": name, "pairs": None, "adapter": None} for name in VALUES[:2]]
    stages = {f"{kind} '{name}'": "key" for name in VALUES[:2] for kind in ("pairs", "adapter")}
    settings = {"name": "demo", "values": values, "search": {"candidates": 9}}
    (tmp_path / "plan.json").write_text(json.dumps({"stages": stages, "settings": settings}))
    for name in VALUES[:2]:
        (tmp_path / "adapters" / f"{name}-key").mkdir(parents=True)
    assert history(tmp_path).moments[-1].hypervolume == pytest.approx(status(tmp_path).hypervolume)


def test_nothing_yet_and_no_box(tmp_path: Path) -> None:
    make_run(tmp_path / "empty", [], VALUES[:2])
    assert history(tmp_path / "empty").moments == ()
    make_run(tmp_path / "one", [ok("a", WEIGHTS, WEIGHTS, "search")], VALUES[:2])
    out = io.StringIO()
    show(history(tmp_path / "one"), "table", out)
    assert history(tmp_path / "one").moments[0].hypervolume is None
    assert "1 of 1 evaluations came onto the front" in out.getvalue()
    show(history(tmp_path / "empty"), "json", out)
