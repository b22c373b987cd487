"""Wishes as people type them, and everything that is wrong with one at once."""

from typing import Any

import pytest

from mva_ray.errors import ConfigError
from mva_ray.service.wish_text import WishText
from mva_ray.service.wishes import Classes, Named, Preference, Preset, ReferencePoint, Wish

VALUES = ("positive", "brief")


def problems(**texts: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        WishText(**texts).wish(VALUES)
    return caught.value.problems


@pytest.mark.parametrize(
    ("texts", "wish"),
    [
        ({"candidate": "ab"}, Named("ab")),
        ({"prefer": " brief = 0.3 ,positive=7e-1"}, Preference({"positive": 0.7, "brief": 0.3})),
        ({"prefer": "brief=2"}, Preference({"positive": 0, "brief": 2})),
        ({"at": "brief=-2.8"}, ReferencePoint({"brief": -2.8})),
        ({"start": "ab", "improve": "brief,positive=3"}, Classes("ab", {"brief": None, "positive": 3})),
        (
            {"start": "ab", "improve": "brief", "keep": "positive"},
            Classes("ab", {"brief": None}, ("positive",)),
        ),
        (
            {"start": "ab", "improve": "brief", "allow": "positive=0.5"},
            Classes("ab", {"brief": None}, (), {"positive": 0.5}),
        ),
        ({"preset": "knee"}, Preset("knee")),
        ({"preset": "preset12", "within": 3.0}, Preset("preset12", 3.0)),
    ],
)
def test_what_a_text_says(texts: dict[str, Any], wish: Wish) -> None:
    assert WishText(**texts).wish(VALUES) == wish


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("polite=1", ["'polite' is not a value of this run; choose from positive, brief"]),
        ("positive", ["'positive' must be VALUE=WEIGHT, such as positive=0.7"]),
        ("", ["'' must be VALUE=WEIGHT, such as positive=0.7"]),
        ("positive=", ["'positive' must have a number, got ''"]),
        ("positive=much", ["'positive' must have a number, got 'much'"]),
        ("positive=nan", ["'positive' must weigh a number of at least 0, got 'nan'"]),
        ("positive=inf", ["'positive' must weigh a number of at least 0, got 'inf'"]),
        ("positive=-0.1", ["'positive' must weigh a number of at least 0, got '-0.1'"]),
        ("positive=1,positive=2", ["'positive' is given twice"]),
        ("positive=0,brief=0", ["at least one weight must be above 0"]),
        (
            "polite=1,positive,brief=-1",
            [
                "'polite' is not a value of this run; choose from positive, brief",
                "'positive' must be VALUE=WEIGHT, such as positive=0.7",
                "'brief' must weigh a number of at least 0, got '-1'",
            ],
        ),
    ],
)
def test_every_problem_of_a_preference_is_told_at_once(text: str, told: list[str]) -> None:
    assert problems(prefer=text) == [f"--prefer: {problem}" for problem in told]


def test_every_problem_of_a_reference_point_is_told_at_once() -> None:
    assert problems(at="polite=1,positive,brief=inf") == [
        "--at: 'polite' is not a value of this run; choose from positive, brief",
        "--at: 'positive' must be VALUE=MEAN, such as positive=0.7",
        "--at: 'brief' must be a number, got 'inf'",
    ]


def test_every_problem_of_classes_is_told_at_once() -> None:
    assert problems(improve="polite", keep="brief=2", allow="brief") == [
        "--improve: 'polite' is not a value of this run; choose from positive, brief",
        "--allow: 'brief' must be VALUE=MEAN, such as positive=0.7",
        "--keep: 'brief' takes no number",
        "--improve, --keep and --allow: need --from CANDIDATE",
    ]
    assert problems(start="a", keep="brief", allow="brief=1") == [
        "--from: 'brief' can be improved, kept or allowed to fall, but only one of these",
        "--from: say at least one value to improve",
    ]


def test_one_wish_at_a_time() -> None:
    assert problems() == ["needs --candidate, --prefer, --at, --from with --improve, or --preset"]
    assert problems(prefer="brief=1", keep="brief") == ["--prefer and --from cannot go together: leave all but one out"]


@pytest.mark.parametrize("name", ["preset", "preset0", "preset-1", "presetx", "best", "preset²"])
def test_names_of_presets(name: str) -> None:
    assert problems(preset=name) == [f"--preset: '{name}' is no preset; choose from knee, preset1, preset2, ..."]
    assert problems(preset="knee", within=-1.0) == [
        "--preset: presets must be within a percentage of at least 0, got -1"
    ]
