"""One candidate for each kind of wish; the front of two values is only-brief, ones, only-positive, beyond."""

from pathlib import Path

import pytest

from mva_ray.errors import ConfigError
from mva_ray.service.query import Query, ask
from mva_ray.service.select import named_presets, select
from mva_ray.service.wish_text import WishText
from mva_ray.service.wishes import Classes, Named, Preference, Preset, ReferencePoint, Wish
from mva_ray.table.snapshot import snapshot
from tests.support.evaluations import VALUES, failed, make_run, ok, trade_off


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The front: beyond (0.96, -0.74), only-positive (0.6, -0.4), ones (0.2, 0.2), only-brief (-0.4, 0.6)."""
    run = tmp_path_factory.mktemp("run")
    make_run(run, [*trade_off(2, "search"), *trade_off(2)], VALUES[:2])
    return run


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Named("bro"), None),
        (Named("only-p"), "only-positive"),
        (Named("poor"), "poor"),
        (Preference({"positive": 0.1, "brief": 0.9}), "only-brief"),
        (Preference({"positive": 1}), "beyond"),
        (ReferencePoint({"positive": 0.5}), "only-positive"),
        (ReferencePoint({"brief": 0.5}), "only-brief"),
        (ReferencePoint({"positive": 0.1, "brief": 0.1}), "ones"),
        (ReferencePoint({"positive": 5.0, "brief": 5.0}), "ones"),
        (Classes("beyond", {"brief": None}, allow={"positive": 0.5}), "only-positive"),
        (Classes("beyond", {"brief": None}), "only-brief"),
        (Classes("base", {"positive": None, "brief": None}), "ones"),
        (Classes("ones", {"brief": None}, keep=("positive",)), "ones"),
        (Preset("preset1", 0.0), "beyond"),
        (WishText(at="brief=0.5"), "only-brief"),
    ],
)
def test_a_candidate_for_each_wish(run: Path, wish: Wish | WishText, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ConfigError, match="no such candidate; mva-ray pareto RUN --all"):
            select(run, wish)
    else:
        assert select(run, wish) == select(str(run), wish, "held_out") == expected


def test_select_gives_the_first_row_of_the_query(run: Path) -> None:
    for wish in (
        Preference({"brief": 1, "positive": 1}),
        ReferencePoint({"brief": 0}),
        Classes("base", {"brief": None}),
    ):
        assert ask(run, Query(wish=wish)).best == select(run, wish)


def test_presets_are_candidates_of_the_front_and_come_highest_first_value_first(run: Path) -> None:
    found = snapshot(run)
    frame = found.frame[found.frame["split"] == "held_out"]
    named = named_presets(frame, VALUES[:2], 0.0)
    assert [name for name in named if name != "knee"] == [f"preset{i}" for i in (1, 2, 3, 4)]
    assert list(named.values())[:4] == ["beyond", "only-positive", "ones", "only-brief"]
    assert ask(run, Query(presets=0.0)).rows["candidate"].tolist() == list(named.values())[:4]
    assert len(named_presets(frame, VALUES[:2], 100.0)) <= 2


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        (Preference({"polite": 1, "brief": -1}), "wish: 2 problems\n  - 'polite' is not .*\n  - 'brief' must weigh"),
        (Preference({}), "at least one weight must be above 0"),
        (ReferencePoint({"brief": float("nan")}), "'brief' must be a number, got 'nan'"),
        (ReferencePoint({}), "at least one level is needed"),
        (Classes("nobody", {"brief": None}), "candidate 'nobody': no such candidate"),
        (Classes("only", {"brief": None}), "2 candidates begin with it: only-positive, only-brief"),
        (Classes("base", {}), "say at least one value to improve"),
        (Classes("only-brief", {"positive": None}, allow={"brief": 0.7}), "no candidate on the front does that"),
        (Preset("preset9"), r"there is no 'preset9' on this front; choose from preset1"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_one_line_a_problem(run: Path, wish: Wish, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        select(run, wish)


def test_a_front_of_one(tmp_path: Path) -> None:
    make_run(tmp_path, [ok("alone", {"positive": 1, "brief": 0}, {"positive": 0.3, "brief": 0.1})], VALUES[:2])
    for wish in (
        Preference({"brief": 1}),
        ReferencePoint({"brief": 9}),
        Preset("preset1"),
        Classes("alone", {"brief": 1}),
    ):
        assert select(tmp_path, wish) == "alone"
    with pytest.raises(ConfigError, match="there is no 'knee' on this front; choose from preset1"):
        select(tmp_path, Preset("knee"))


def test_no_front(tmp_path: Path) -> None:
    make_run(tmp_path, [failed("a", {"positive": 1.0, "brief": 0.0})], VALUES[:2])
    with pytest.raises(ConfigError, match="there is no candidate on the front"):
        select(tmp_path, Preference({"brief": 1}))
