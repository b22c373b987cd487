"""What a run takes over from earlier ones, counted: only missing answers are generated, only missing rewards scored.

Each test makes an earlier run by a stand-in for the broker that asks `KnownAnswers` first, and counts what is left.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.adapters.parts import split_by_block
from mva_ray.constraints import Limit
from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.evaluate import EvaluationSetting, failed, succeeded
from mva_ray.evaluation.known import KnownAnswers, blend_of, earlier_candidates, mismatch, summary
from mva_ray.records import AdapterRef, Coefficients, Evaluation, Generation
from mva_ray.table import ParetoTable

SETTING = EvaluationSetting(
    context="then",
    split="search",
    prompts=("p0", "p1", "p2"),
    values=("warm", "brief"),
    base_model="org/tiny 0123",
    adapters={"warm": "sha-w", "brief": "sha-b"},
    rewards={"warm": "m:warm 1", "brief": "m:brief 1"},
    seed=0,
    generator="tiny 40",
)
CANDIDATES = [(0.0, 0.0), (1.0, 0.0), (0.5, -0.25), (1.5, 1.2)]


@dataclass
class Work:
    """What had to be computed, and the rows that came of it."""

    generated: list[tuple[Coefficients, str]] = field(default_factory=list)
    scored: list[tuple[str, str]] = field(default_factory=list)
    rows: list[Evaluation] = field(default_factory=list)


def evaluate(setting: EvaluationSetting, candidates: Sequence[Coefficients], known: KnownAnswers) -> Work:
    """Every candidate on every prompt, as the broker does it: what is known is neither generated nor scored."""
    work = Work()
    for candidate in candidates:
        answers = known.answers(setting, candidate)
        work.generated += [(candidate, prompt) for prompt in setting.prompts if prompt not in answers]
        generations = [
            answers[prompt].generation
            if prompt in answers
            else Generation(prompt, f"{candidate} on {prompt}", 5, False)
            for prompt in setting.prompts
        ]
        versions = {**setting.rewards, **setting.extra_rewards}
        rewards = {
            name: [_score(work, known, version, row) for row in generations] for name, version in versions.items()
        }
        metrics = {name: rewards[name] for name in setting.extra_rewards} | {"base_nll": [1.5] * len(generations)}
        work.rows.append(succeeded(setting, candidate, generations, rewards, 1.0, metrics))
    return work


def _score(work: Work, known: KnownAnswers, version: str, row: Generation) -> float:
    reward = known.reward(version, row.prompt, row.completion)
    if reward is None:
        work.scored.append((version, row.prompt))
    return len(row.completion) if reward is None else reward


@pytest.fixture
def earlier() -> list[Evaluation]:
    return evaluate(SETTING, CANDIDATES, KnownAnswers()).rows


def again(setting: EvaluationSetting, earlier: Sequence[Evaluation], more: Sequence[Coefficients] = ()) -> Work:
    """A run that starts with the earlier candidates and then evaluates more."""
    return evaluate(setting, [*earlier_candidates(setting, earlier), *more], KnownAnswers(earlier))


def test_an_earlier_run_computed_everything() -> None:
    work = evaluate(SETTING, CANDIDATES, KnownAnswers())
    assert len(work.generated) == len(CANDIDATES) * 3
    assert len(work.scored) == len(CANDIDATES) * 3 * 2


def test_the_same_run_again_computes_nothing_and_gets_the_same_rows(earlier: list[Evaluation]) -> None:
    work = again(SETTING, earlier)
    assert (work.generated, work.scored) == ([], [])
    assert [replace(row, created_at=old.created_at) for row, old in zip(work.rows, earlier, strict=True)] == earlier


def test_rows_that_went_through_the_table_answer_alike(earlier: list[Evaluation], tmp_path: Path) -> None:
    ParetoTable(tmp_path).append(earlier)
    work = again(SETTING, ParetoTable(tmp_path).evaluations(with_generations=True))
    assert (len(work.rows), work.generated, work.scored) == (4, [], [])


def test_a_larger_c_keeps_every_point(earlier: list[Evaluation]) -> None:
    work = again(SETTING, earlier, more=[(3.0, 2.0)])
    assert [(row.coefficients["warm"], row.coefficients["brief"]) for row in work.rows[:-1]] == CANDIDATES
    assert {candidate for candidate, _ in work.generated} == {(3.0, 2.0)}
    assert len(work.scored) == 3 * 2


def test_narrower_bounds_keep_every_point_also_those_outside(earlier: list[Evaluation]) -> None:
    """Bounds are no part of what makes an evaluation valid: (1.5, 1.2) still counts where they end at 1."""
    assert earlier_candidates(SETTING, earlier) == CANDIDATES
    assert again(SETTING, earlier).generated == []


def test_more_prompts_generate_the_new_ones_alone(earlier: list[Evaluation]) -> None:
    setting = replace(SETTING, prompts=("p3", *SETTING.prompts, "p4"))
    work = again(setting, earlier)
    assert work.generated == [(candidate, prompt) for candidate in CANDIDATES for prompt in ("p3", "p4")]
    assert len(work.scored) == len(CANDIDATES) * 2 * 2
    assert [row.n_prompts for row in work.rows] == [5] * 4
    assert [scored.generation.prompt for scored in work.rows[0].generations] == list(setting.prompts)


def test_fewer_prompts_compute_nothing(earlier: list[Evaluation]) -> None:
    work = again(replace(SETTING, prompts=("p2", "p0")), earlier)
    assert (work.generated, work.scored) == ([], [])


def test_another_value_scores_its_reward_alone(earlier: list[Evaluation]) -> None:
    """Old candidates are the new ones with that coefficient 0, wherever the value stands in the config."""
    setting = replace(
        SETTING,
        values=("plain", "warm", "brief"),
        adapters={"plain": "sha-p", **SETTING.adapters},
        rewards={"plain": "m:plain 1", **SETTING.rewards},
    )
    assert earlier_candidates(setting, earlier) == [(0.0, *candidate) for candidate in CANDIDATES]
    work = again(setting, earlier)
    assert work.generated == []
    assert work.scored == [("m:plain 1", prompt) for _ in CANDIDATES for prompt in SETTING.prompts]


def test_a_value_that_is_left_out_keeps_the_candidates_that_did_without_it(earlier: list[Evaluation]) -> None:
    setting = replace(SETTING, values=("warm",), adapters={"warm": "sha-w"}, rewards={"warm": SETTING.rewards["warm"]})
    assert earlier_candidates(setting, earlier) == [(0.0,), (1.0,)]
    assert (again(setting, earlier).generated, again(setting, earlier).scored) == ([], [])


def test_a_changed_reward_scores_again_and_generates_nothing(earlier: list[Evaluation]) -> None:
    work = again(replace(SETTING, rewards={**SETTING.rewards, "brief": "m:brief 2"}), earlier)
    assert work.generated == []
    assert work.scored == [("m:brief 2", prompt) for _ in CANDIDATES for prompt in SETTING.prompts]


def test_a_reward_that_becomes_a_constraint_needs_no_scoring(earlier: list[Evaluation]) -> None:
    limits = {"fluency": Limit(min=0.1, reward="m:brief 1"), "base_nll": Limit(max=3.5)}
    work = again(replace(SETTING, constraints=limits), earlier)
    assert (work.generated, work.scored) == ([], [])
    assert work.rows[0].metrics["fluency"] == work.rows[0].reward_mean["brief"]
    assert again(replace(SETTING, rewards={**SETTING.rewards, "brief": "m:fluency 1"}), work.rows).generated == []


def test_a_constraint_becomes_a_value_without_scoring(earlier: list[Evaluation]) -> None:
    constrained = replace(SETTING, constraints={"fluency": Limit(min=0.1, reward="m:fluency 1")})
    rows = again(constrained, earlier).rows
    setting = replace(SETTING, values=("warm", "fluency"), rewards={"warm": "m:warm 1", "fluency": "m:fluency 1"})
    assert again(setting, rows).scored == []


def test_other_names_and_another_order_of_the_values_change_nothing(earlier: list[Evaluation]) -> None:
    setting = replace(
        SETTING,
        values=("short", "kind"),
        adapters={"short": "sha-b", "kind": "sha-w"},
        rewards={"short": "m:brief 1", "kind": "m:warm 1"},
    )
    assert earlier_candidates(setting, earlier) == [(brief, warm) for warm, brief in CANDIDATES]
    assert (again(setting, earlier).generated, again(setting, earlier).scored) == ([], [])


def test_prompts_that_change_the_split_are_known(earlier: list[Evaluation]) -> None:
    assert again(replace(SETTING, split="held_out"), earlier).generated == []


def test_a_retrained_adapter_keeps_what_does_not_use_it(earlier: list[Evaluation]) -> None:
    setting = replace(SETTING, adapters={"warm": "sha-w", "brief": "another"})
    assert earlier_candidates(setting, earlier) == [(0.0, 0.0), (1.0, 0.0)]
    assert again(setting, earlier, more=[(0.5, -0.25)]).generated == [((0.5, -0.25), p) for p in SETTING.prompts]


@pytest.mark.parametrize("change", [{"generator": "tiny 80"}, {"base_model": "org/tiny 4567", "generator": "other"}])
def test_another_generator_generates_everything(earlier: list[Evaluation], change: dict[str, str]) -> None:
    setting = replace(SETTING, **change)  # type: ignore[arg-type]
    assert earlier_candidates(setting, earlier) == []
    assert len(evaluate(setting, CANDIDATES, KnownAnswers(earlier)).generated) == len(CANDIDATES) * 3


def test_rows_without_a_generator_answer_nothing(earlier: list[Evaluation]) -> None:
    unnamed = [replace(row, generator="") for row in earlier]
    for setting in (SETTING, replace(SETTING, generator="")):
        assert KnownAnswers(unnamed).answers(setting, CANDIDATES[0]) == {}


def test_a_partial_candidate_goes_on_where_it_was(earlier: list[Evaluation]) -> None:
    two = {value: [scored.rewards[value] for scored in earlier[2].generations[:2]] for value in SETTING.values}
    texts = [scored.generation for scored in earlier[2].generations[:2]]
    partial = succeeded(SETTING, CANDIDATES[2], texts, two, 1.0, {"base_nll": [1.5, 1.5]})
    assert earlier_candidates(SETTING, [partial]) == [], "it is not completed unasked"
    work = evaluate(SETTING, [CANDIDATES[2]], KnownAnswers([partial]))
    assert work.generated == [(CANDIDATES[2], "p2")]
    assert work.scored == [("m:warm 1", "p2"), ("m:brief 1", "p2")]


def test_a_failed_candidate_answers_nothing() -> None:
    row = failed(SETTING, CANDIDATES[1], CandidateFailure("reward_raised", "x"), 1.0)
    assert earlier_candidates(SETTING, [row]) == []
    assert KnownAnswers([row]).answers(SETTING, CANDIDATES[1]) == {}


def test_an_answer_without_a_metric_that_is_needed_is_not_known(earlier: list[Evaluation]) -> None:
    bare = [
        replace(row, generations=tuple(replace(scored, metrics={}) for scored in row.generations)) for row in earlier
    ]
    limited = replace(SETTING, constraints={"base_nll": Limit(max=3.5)})
    assert KnownAnswers(bare).answers(limited, CANDIDATES[0]) == {}
    assert len(KnownAnswers(bare).answers(SETTING, CANDIDATES[0])) == 3
    for rows in ([*bare, *earlier], [*earlier, *bare]):
        known = KnownAnswers(rows).answers(limited, CANDIDATES[0])
        assert known["p0"].metrics == {"base_nll": 1.5}
    assert KnownAnswers(bare).reward("m:warm 1", "p0", known["p0"].generation.completion) is not None


def test_the_later_of_two_answers_counts(earlier: list[Evaluation]) -> None:
    first = earlier[0].generations[0]
    other = replace(first, generation=replace(first.generation, completion="otherwise"))
    later = replace(earlier[0], generations=(other,))
    answers = KnownAnswers([*earlier, later]).answers(SETTING, CANDIDATES[0])
    assert answers["p0"].generation.completion == "otherwise"
    assert set(answers) == set(SETTING.prompts)


def test_two_values_with_one_adapter_are_one_blend() -> None:
    assert blend_of([("a", 0.5), ("b", 0), ("a", 0.25)]) == blend_of([("a", 0.75)])
    assert blend_of([("a", 0.5), ("a", -0.5)]) == blend_of([]) == frozenset()
    setting = replace(SETTING, adapters={"warm": "sha-w", "brief": "sha-w"})
    row = evaluate(setting, [(0.5, 0.25)], KnownAnswers()).rows
    assert earlier_candidates(setting, row) == [(0.75, 0.0)]
    assert evaluate(setting, [(0.75, 0.0)], KnownAnswers(row)).generated == []


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(-3, 3)), max_size=6), st.randoms())
def test_a_blend_does_not_depend_on_order_or_on_what_is_left_out(
    pairs: list[tuple[str, float]], rng: random.Random
) -> None:
    distinct = list(dict(pairs).items())
    shuffled = [*distinct, ("unused", 0.00001)]
    rng.shuffle(shuffled)
    assert blend_of(shuffled) == blend_of(distinct)


def test_candidates_come_once_in_the_order_of_their_rows(earlier: list[Evaluation]) -> None:
    held_out = [replace(row, split="held_out") for row in earlier[::-1]]
    assert earlier_candidates(SETTING, [*earlier, *held_out]) == CANDIDATES


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "warm start from runs/a: 4 candidates"),
        (
            {"base_model": "org/other 99"},
            "warm start from runs/a: 0 candidates; not used: 4 of another base model",
        ),
        (
            {"generator": "tiny 80"},
            "warm start from runs/a: 0 candidates; not used: 4 with other generation settings",
        ),
        (
            {"adapters": {"warm": "sha-w", "brief": "new"}},
            "warm start from runs/a: 2 candidates; not used: 2 with other adapters",
        ),
        (
            {"adapters": {"warm": "new", "brief": "new too"}},
            "warm start from runs/a: 1 candidate; not used: 3 with other adapters",
        ),
        ({"prompts": ("q",)}, "warm start from runs/a: 0 candidates; not used: 4 on other prompts"),
    ],
    ids=["all", "base model", "generation", "one adapter", "adapters", "prompts"],
)
def test_one_line_says_what_an_earlier_run_gives(
    earlier: list[Evaluation], change: dict[str, object], line: str
) -> None:
    assert summary(replace(SETTING, **change), "runs/a", earlier) == line  # type: ignore[arg-type]


def test_one_line_of_several_reasons(earlier: list[Evaluation]) -> None:
    rows = [replace(earlier[0], generator=""), replace(earlier[1], base_model="x 1"), *earlier[2:]]
    assert summary(SETTING, "runs/a", rows) == (
        "warm start from runs/a: 2 candidates; not used: 1 of an earlier version, which did not record its "
        "generation settings, 1 of another base model"
    )
    held_out = [replace(row, split="held_out", prompts_hash="h") for row in earlier]
    others = [
        replace(
            row, generations=tuple(replace(g, generation=replace(g.generation, prompt="q")) for g in row.generations)
        )
        for row in held_out
    ]
    assert summary(SETTING, "runs/a", [*others, *earlier]) == "warm start from runs/a: 4 candidates", (
        "of one split, known"
    )
    nothing = "warm start from runs/a: 0 candidates, nothing evaluated"
    assert (
        summary(SETTING, "runs/a", []) == summary(SETTING, "runs/a", [replace(earlier[0], status="partial")]) == nothing
    )


def test_a_base_model_under_another_path_is_the_same(earlier: list[Evaluation]) -> None:
    """Its content hash decides."""
    assert mismatch(replace(SETTING, base_model="/elsewhere 0123"), earlier[0]) is None


def test_coefficients_per_block_and_per_value_do_not_mix() -> None:
    """Nor do two and three blocks; the base model, which has no adapter, answers for all of them."""

    def setting(blocks: int) -> EvaluationSetting:
        refs = split_by_block([AdapterRef(value, "", sha) for value, sha in SETTING.adapters.items()], blocks)
        return replace(SETTING, adapters={ref.value: ref.sha256 for ref in refs})

    for then, now in ((1, 2), (2, 1), (2, 3)):
        candidates = [(0.0,) * 2 * then, (1.0,) * 2 * then, (0.5,) * then + (0.0,) * then]
        rows = evaluate(setting(then), candidates, KnownAnswers()).rows
        assert earlier_candidates(setting(now), rows) == [(0.0,) * 2 * now]
        work = again(setting(now), rows, more=[(1.0,) * 2 * now])
        assert {candidate for candidate, _ in work.generated} == {(1.0,) * 2 * now}
        assert earlier_candidates(setting(then), rows) == candidates
        assert len({row.candidate for row in [*rows, *work.rows]}) == len(rows) + len(work.rows)
