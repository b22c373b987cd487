"""The report's numbers by hand: the box, hypervolumes, paired differences, coverage, single values."""

import math
from pathlib import Path

import numpy as np
import pytest

from mva_ray.compare.report_numbers import Numbers, box, cautions, cut_off
from mva_ray.compare.report_verdict import NO_DIFFERENCE, verdict
from mva_ray.compare.results import AlphaResult, Candidate, ComparisonResult, MethodResult, SingleResult, read_result
from tests.support.comparisons import make_result

Place = tuple[float, float]
N = 4


def rewards(place: Place, spread: float = 0.0) -> dict[str, list[float]]:
    offsets = spread * np.array([1.0, -1.0, 0.5, -0.5])
    return {value: (level + offsets).tolist() for value, level in zip("xy", place, strict=True)}


def comparison(runs: dict[tuple[str, int], list[Place]], base: Place = (0, 0), spread: float = 0.0) -> ComparisonResult:
    return ComparisonResult(
        name="n",
        base_model="b",
        command="c",
        values=["x", "y"],
        seeds=sorted({seed for _, seed in runs}) or [0],
        prompts=[f"p{index}" for index in range(N)],
        prompts_hash="h",
        base=rewards(base, spread),
        methods=[
            MethodResult(
                name=name,
                title=name.upper(),
                description="",
                seed=seed,
                candidates=[Candidate(label=str(place), rewards=rewards(place, spread)) for place in places],
            )
            for (name, seed), places in runs.items()
        ],
    )


ONE_SEED = {("mva", 0): [(10.0, 0.0), (6.0, 6.0), (0.0, 10.0), (1.0, 1.0)], ("soup", 0): [(5.0, 5.0)]}


def test_the_box_is_that_of_all_means_with_a_tenth_of_air_below() -> None:
    found = box(comparison(ONE_SEED, base=(-10, 0)))
    assert found.low.tolist() == [-12, -1]
    assert found.high.tolist() == [10, 10]


def test_the_box_of_a_value_that_never_changes_has_a_size() -> None:
    found = box(comparison({("mva", 0): [(1, 7)]}, base=(0, 7)))
    assert (found.high > found.low).all()


def test_a_box_that_the_config_fixes_holds_and_what_lies_outside_is_counted() -> None:
    fixed = comparison(ONE_SEED).model_copy(update={"box": {"y": (2.0, 12.0), "x": (0.0, 8.0)}})
    numbers = Numbers(fixed)
    assert numbers.box.low.tolist() == [0, 2]
    assert numbers.box.high.tolist() == [8, 12]
    assert numbers.outside == 2, "(10, 0) above and below, (1, 1) below"
    assert numbers.methods[1].hypervolume.estimate == pytest.approx(5 * 3 / 80)


def test_hypervolume_by_hand() -> None:
    # Box from (-1, -1) to (10, 10), area 121. MVA: 11 wide 1 high, 7 wide up to 7, 1 wide up to 11. SOUP: 6 x 6.
    mva, soup = Numbers(comparison(ONE_SEED)).methods
    area = 11 * 1 + 7 * 6 + 1 * 4
    assert mva.hypervolume.estimate == pytest.approx(area / 121)
    assert mva.front == 3
    assert mva.candidates == 4
    assert mva.inner_product == pytest.approx((7 * 3 + 2 * (8 + 9 + 10 + 11)) / 11 / 11)  # eleven preferences
    assert mva.spacing == pytest.approx(0)
    assert math.isnan(soup.spacing)
    assert mva.differences["soup"].interval.estimate == pytest.approx((area - 36) / 121)
    assert (mva.differences["soup"].ahead, mva.differences["soup"].seeds) == (1, 1)
    assert soup.differences == {}


def test_noise_that_all_methods_share_is_not_in_their_difference() -> None:
    """Prompts are paired: with the same offsets for all, the difference is far surer than either hypervolume."""
    runs = {(name, seed): [(place, place)] for name, place in (("mva", 6.0), ("soup", 5.0)) for seed in (1, 2, 3)}
    mva = Numbers(comparison(runs, base=(0, 0), spread=2.0)).methods[0]
    alone, paired = mva.hypervolume, mva.differences["soup"].interval
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_a_missing_seed_is_missing_and_no_zero() -> None:
    runs = {("mva", 0): [(5.0, 5.0)], ("mva", 1): [(7.0, 7.0)], ("soup", 0): [], ("soup", 1): [(6.0, 6.0)]}
    mva, soup = Numbers(comparison(runs)).methods
    assert math.isnan(soup.by_seed[0])
    assert soup.hypervolume.estimate == pytest.approx(soup.by_seed[1])
    assert mva.differences["soup"].seeds == 1
    assert mva.differences["soup"].interval.estimate == pytest.approx(mva.by_seed[1] - soup.by_seed[1])


def test_coverage_by_hand() -> None:
    covered = Numbers(comparison(ONE_SEED)).coverage
    assert covered[0, 1] == 1
    assert covered[1, 0] == 0
    assert math.isnan(covered[0, 0])


def test_one_value_at_an_equal_other_by_hand() -> None:
    """Levels are quarters of 0 to 10. SOUP has one model at (5, 5), so it reaches 2.5 and 5 and not 7.5."""
    found = Numbers(comparison(ONE_SEED)).at_equal
    assert [(one.given, one.wanted, one.level) for one in found[:3]] == [
        ("x", "y", 2.5),
        ("x", "y", 5),
        ("x", "y", 7.5),
    ]
    assert [one.given for one in found[3:]] == ["y"] * 3
    quarter, half, most = found[:3]
    assert quarter.most["mva"].estimate == pytest.approx(10 - 2.5 * 4 / 6)
    assert half.differences["mva"].estimate == pytest.approx(10 - 5 * 4 / 6 - 5)
    assert most.most["mva"].estimate == pytest.approx(6 - 1.5 * 6 / 4)
    assert most.reached == {"mva": 1, "soup": 0}
    assert "soup" not in most.most
    assert most.differences == {}


def test_a_level_that_one_seed_does_not_reach_has_no_mean() -> None:
    """The mean over the seeds that reach it would be that of the better ones."""
    runs = {("soup", 0): [(10.0, 0.0)], ("soup", 1): [(2.0, 9.0)], ("mva", 0): [(10.0, 1.0)], ("mva", 1): [(9.0, 2.0)]}
    half = next(one for one in Numbers(comparison(runs)).at_equal if one.given == "x" and one.level == 6)
    assert half.reached == {"soup": 1, "mva": 2}
    assert list(half.most) == ["mva"]


def test_win_rates_against_the_baseline_have_intervals_over_prompts_and_seeds() -> None:
    """MVA's answer is better to three of four prompts with seed 0, to all with seed 1."""
    made = comparison({(name, seed): [(1.0, 1.0)] for name in ("mva", "soup") for seed in (0, 1)})
    better = [{"x": [2.0, 2, 2, 0], "y": [1.0] * 4}, {"x": [2.0] * 4, "y": [1.0] * 4}]
    mva = [
        run.model_copy(update={"candidates": [Candidate(label="", rewards=better[run.seed])]})
        for run in made.methods
        if run.name == "mva"
    ]
    of_soup = [run for run in made.methods if run.name == "soup"]
    only_y = {"x": 0.0, "y": 1.0}
    asked = made.model_copy(update={"methods": [*mva, *of_soup], "preferences": [{"x": 1.0, "y": 1.0}, only_y]})
    both, tied = Numbers(asked).wins_over_baseline
    assert both["mva"].estimate == pytest.approx(7 / 8)
    assert both["mva"].low < 7 / 8 < both["mva"].high
    assert (tied["mva"].low, tied["mva"].high) == (0.5, 0.5)
    assert Numbers(asked).wins[0, 1] == pytest.approx(7 / 8)


def test_whether_values_are_one_is_seen_in_all_that_was_searched() -> None:
    """On the front of two values the one always is a function of the other."""
    line = [(float(place), 23.0 - place) for place in range(24)]
    made = comparison({("mva", 0): line})
    anywhere = [dict(zip("xy", row, strict=True)) for row in np.random.default_rng(0).normal(size=(24, 2)).tolist()]
    runs = [run.model_copy(update={"searched": anywhere}) for run in made.methods]
    assert Numbers(made).predicted["x"] > 0.99
    found = Numbers(made.model_copy(update={"methods": runs})).predicted
    assert found["x"] < 0.3
    twice = [run.model_copy(update={"searched": [*anywhere, *anywhere]}) for run in made.methods]
    assert Numbers(made.model_copy(update={"methods": twice})).predicted == found, "a model is not predicted by itself"


def test_a_value_in_which_candidates_differ_by_luck_is_said() -> None:
    """x rises from candidate to candidate; y is drawn anew for every answer."""
    random = np.random.default_rng(0)
    made, n = comparison({("mva", 0): [(0.0, 0.0)]}), 40
    candidates = [
        Candidate(label="", rewards={"x": [float(place)] * n, "y": random.normal(size=n).tolist()})
        for place in range(10)
    ]
    runs = [run.model_copy(update={"candidates": candidates}) for run in made.methods]
    flat = dict.fromkeys(("x", "y"), [0.0] * n)
    result = made.model_copy(update={"methods": runs, "prompts": [f"p{index}" for index in range(n)], "base": flat})
    (line,) = cautions(result)
    assert line.startswith(f"candidates differ in 'y' by the luck of {n} prompts")
    assert Numbers(result).reliabilities["x"] == 1.0


def test_answers_that_are_mostly_cut_off_are_said() -> None:
    def cut(share: float | None) -> ComparisonResult:
        made = comparison(ONE_SEED)
        runs = [
            run.model_copy(update={"candidates": [one.model_copy(update={"cut_off": share}) for one in run.candidates]})
            for run in made.methods
        ]
        return made.model_copy(update={"methods": runs})

    assert "60% of the answers to held-out prompts were cut off" in cautions(cut(0.6))[0]
    assert cautions(cut(0.4)) == []
    assert cautions(cut(None)) == []
    assert cut_off(cut(None)) is None


def test_singles_are_compared_with_plain_dpo() -> None:
    singles = [
        SingleResult(penalty=penalty, value=value, seed=seed, rewards=rewards((at + seed, 2 * at)))
        for penalty, at in (("none", 1.0), ("hsic", 0.5))
        for value in "xy"
        for seed in (0, 1)
    ]
    runs = {("mva", seed): [(1.0, 1.0)] for seed in (0, 1)}
    found = Numbers(comparison(runs).model_copy(update={"singles": singles})).singles
    assert [(one.penalty, one.value) for one in found] == [("none", "x"), ("none", "y"), ("hsic", "x"), ("hsic", "y")]
    assert found[0].reward.estimate == 1.5
    assert found[0].difference is None
    assert found[2].difference is not None
    assert (found[2].difference.low, found[2].difference.high) == pytest.approx((-0.5, -0.5))
    assert found[3].difference is not None
    assert found[3].difference.estimate == -1


def test_alphas_are_sorted_and_their_fronts_measured_in_the_same_box() -> None:
    alphas = [
        AlphaResult(
            penalty="hsic",
            alpha=alpha,
            seed=0,
            cosine=0.1,
            cka=0.2,
            own=rewards((alpha, 1)),
            candidates=[Candidate(label="", rewards=rewards((5, 5)))] if alpha else [],
        )
        for alpha in (10, 0)
    ]
    zero, ten = Numbers(comparison(ONE_SEED).model_copy(update={"alphas": alphas})).alphas
    assert (zero.alpha, zero.hypervolume, ten.own["x"].estimate) == (0, None, 10)
    assert ten.hypervolume is not None
    assert ten.hypervolume.estimate == pytest.approx(36 / 121)


def test_three_values_and_no_methods() -> None:
    numbers = Numbers(make_result(("brief", "thorough", "plain"), prompts=6, layers=1))
    assert all(0 < method.hypervolume.estimate <= 1 for method in numbers.methods)
    assert Numbers(comparison({})).methods == []


def paragraph(better: float, seeds: int = 3) -> str:
    runs = {
        (name, seed): [(place + 0.1 * seed, place)]
        for name, place in (("mva", 5.0 + better), ("soup", 5.0))
        for seed in range(seeds)
    }
    return verdict(Numbers(comparison(runs, spread=1.0)))


def test_the_verdict_says_who_wins() -> None:
    assert "Against SOUP the difference is 0." in paragraph(1.0)
    assert "ahead with 3 of 3 seeds: MVA wins." in paragraph(1.0)
    assert "No method's estimate is higher than that of MVA." in paragraph(1.0)
    assert "ahead with 0 of 3 seeds: SOUP wins." in paragraph(-1.0)
    assert "The highest estimate is that of SOUP" in paragraph(-1.0)


def test_the_verdict_says_where_the_data_cannot_tell() -> None:
    assert f": {NO_DIFFERENCE}." in paragraph(0.0)
    assert "wins" not in paragraph(0.0)


def test_the_verdict_warns_of_one_seed() -> None:
    assert "With one seed" in paragraph(1.0, seeds=1)
    assert "With one seed" not in paragraph(1.0, seeds=2)


def test_the_verdict_without_the_subject() -> None:
    assert "no result for mva" in verdict(Numbers(comparison({("soup", 0): [(1, 1)]})))
    assert "no result for mva" in verdict(Numbers(comparison({("mva", 0): []})))


@pytest.mark.parametrize(("name", "one_trade_off"), [("smollm2", True), ("cautious", True), ("compatible", False)])
def test_values_that_are_nearly_one_are_said_of_the_committed_comparisons(name: str, one_trade_off: bool) -> None:
    """`brief` and `thorough` are one axis, `brief` and `positive` are not."""
    result = read_result(Path(__file__).parents[2] / f"docs/results/compare_{name}/comparison.json.gz")
    assert [line.startswith("'brief' is nearly a function of 'thorough'") for line in cautions(result)] == (
        [True] * one_trade_off
    )
