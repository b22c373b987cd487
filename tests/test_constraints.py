"""Constraints of a candidate: numbers by hand in pymoo's convention, and the words for people."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.constraints import Limit, constraint_values, is_measured, limit_text, violation
from tests.support.evaluations import failed, ok

ROW = replace(
    ok("a", {"helpful": 1.0, "brief": 0.0}, {"helpful": 0.1, "brief": -2.0}),
    metrics={"tokens": 30.0, "base_nll": 4.2, "fluency": 0.3, "truncated": 0.0},
    rewards={"helpful": "m:h 1", "brief": "m:b 1", "fluency": "m:f 2"},
)


@pytest.mark.parametrize(
    ("name", "limit", "expected"),
    [
        ("base_nll", Limit(max=3.5), (0.2,)),  # 0.7 too much, of 3.5
        ("base_nll", Limit(max=4.2), (0.0,)),  # just satisfied
        ("tokens", Limit(min=20, max=40), (-0.5, -0.25)),
        ("tokens", Limit(min=40, max=50), (0.25, -0.4)),
        ("helpful", Limit(min=0.2), (0.5,)),  # a value's reward as a floor
        ("brief", Limit(min=-1), (1.0,)),  # a negative bound
        ("brief", Limit(max=-4), (0.5,)),
        ("helpful", Limit(min=0), (-0.1,)),  # a bound without a scale
        ("truncated", Limit(max=0), (0.0,)),
        ("fluency", Limit(min=0.1, reward="m:f 2"), (-2.0,)),
    ],
)
def test_constraint_values_by_hand(name: str, limit: Limit, expected: tuple[float, ...]) -> None:
    assert constraint_values(ROW, {name: limit}) == pytest.approx(expected)


def test_constraint_values_come_in_the_order_of_the_limits() -> None:
    limits = {"tokens": Limit(min=20, max=40), "base_nll": Limit(max=3.5)}
    assert constraint_values(ROW, limits) == pytest.approx((-0.5, -0.25, 0.2))
    assert constraint_values(ROW, {}) == ()


@pytest.mark.parametrize(
    ("row", "limits"),
    [
        (failed("a", {"helpful": 1.0}), {"base_nll": Limit(max=1)}),
        (ROW, {"repetition": Limit(max=1)}),
        (ROW, {"fluency": Limit(min=0, reward="m:f 3")}),
    ],
    ids=["failed", "made before", "other version"],
)
def test_what_is_not_measured_is_neither_kept_nor_0(row: object, limits: dict[str, Limit]) -> None:
    assert not is_measured(row, limits)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no"):
        constraint_values(row, limits)  # type: ignore[arg-type]
    assert violation(row, limits) == f"{next(iter(limits))} is not measured"  # type: ignore[arg-type]


def test_a_violation_says_which_and_by_how_much() -> None:
    limits = {"base_nll": Limit(max=3.5), "tokens": Limit(min=20), "helpful": Limit(min=0.25)}
    assert violation(ROW, limits) == "base_nll 4.2 is 0.7 above 3.5; helpful 0.1 is 0.15 below 0.25"
    assert violation(ROW, {"tokens": Limit(min=20)}) is None
    assert violation(ROW, {}) is None


def test_limits_as_people_write_them() -> None:
    texts = [limit_text("tokens", limit) for limit in (Limit(max=3.5), Limit(min=-0.1), Limit(min=20, max=40))]
    assert texts == ["tokens ≤ 3.5", "tokens ≥ -0.1", "20 ≤ tokens ≤ 40"]


@given(st.floats(-100, 100), st.floats(-100, 100), st.floats(0.001, 100))
def test_words_and_numbers_agree(mean: float, low: float, width: float) -> None:
    row, limits = replace(ROW, metrics={"tokens": mean}), {"tokens": Limit(min=low, max=low + width)}
    assert (violation(row, limits) is None) == all(g <= 0 for g in constraint_values(row, limits))
