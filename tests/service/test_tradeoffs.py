"""What neighbours cost each other and how sure a front is, on rewards whose answers are known."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mva_ray.errors import ConfigError
from mva_ray.records import Evaluation
from mva_ray.service.show import show
from mva_ray.service.tradeoffs import tradeoffs
from tests.support.evaluations import VALUES, answered, failed, make_run

N = 30
WEIGHTS = {"positive": 1.0, "brief": 0.5}


def row(name: str, positive: float, brief: float, noise: float = 0.0, seed: int = 0) -> Evaluation:
    """Means as given; noise of its own on top of what all candidates share, prompt by prompt."""
    shared, own = np.random.default_rng(9).normal(size=(N, 2)), np.random.default_rng(seed).normal(size=(N, 2))
    rewards = [positive, brief] + (shared - shared.mean(axis=0)) + noise * (own - own.mean(axis=0))
    return answered(name, WEIGHTS, [dict(zip(VALUES[:2], each, strict=True)) for each in rewards.tolist()])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three on the front, of which the last two are nearly alike; one just behind, one far behind."""
    run = tmp_path_factory.mktemp("run")
    rows = [
        row("short", 0.0, 4.6),
        row("middle", 2.0, 0.0, 0.5, seed=1),
        row("long", 2.01, -0.01, 0.5, seed=2),
        row("behind", 1.9, -0.05, 0.5, seed=3),
        row("hopeless", -9.0, -9.0, 0.5, seed=4),
        failed("broken", WEIGHTS),
    ]
    make_run(run, rows, VALUES[:2])
    return run


def test_rates_of_neighbours(run: Path) -> None:
    """From short to middle: 2 of positive for 4.6 of brief; the noise that all share counts for nothing."""
    found = tradeoffs(run)
    by_pair = {(step.start, step.to): step for step in found.steps}
    assert set(by_pair) == {("short", "middle"), ("middle", "long")}
    step = by_pair["short", "middle"]
    (rate,) = step.rates
    assert (rate.gained, rate.lost, step.told_apart) == ("positive", "brief", True)
    assert rate.cost.estimate == pytest.approx(2.3)
    assert rate.cost.low is not None
    assert rate.cost.high is not None
    assert 2.05 < rate.cost.low < 2.3 < rate.cost.high < 2.6
    assert step.differences["positive"].estimate == pytest.approx(2)
    alike = by_pair["middle", "long"]
    assert not alike.told_apart
    assert (alike.rates[0].cost.low, alike.rates[0].cost.high) == (None, None)


def test_members_and_contenders(run: Path) -> None:
    members = {member.candidate: member for member in tradeoffs(run).members}
    assert [name for name, member in members.items() if member.on_front] == ["long", "middle", "short"]
    assert members["middle"].alike == ("long",)
    assert members["short"].alike == ()
    assert members["short"].probability == 1
    assert 0.3 < members["middle"].probability < 1
    assert 0 < members["behind"].probability < 0.5
    assert "hopeless" not in members
    assert "broken" not in members


def test_steps_from_one_candidate(run: Path) -> None:
    assert [(step.start, step.to) for step in tradeoffs(run, start="sh").steps] == [("short", "middle")]
    with pytest.raises(ConfigError, match="candidate 'hopeless': no such candidate"):
        tradeoffs(run, start="hopeless")


def test_it_depends_on_the_rewards_alone(run: Path) -> None:
    assert tradeoffs(run) == tradeoffs(run)


def test_as_text_and_as_json(run: Path) -> None:
    out, text = io.StringIO(), io.StringIO()
    show(tradeoffs(run), "json", out)
    parsed = json.loads(out.getvalue())
    assert parsed["members"][0]["candidate"] == "long"
    assert parsed["steps"][0]["rates"][0]["cost"].keys() == {"estimate", "low", "high"}
    show(tradeoffs(run), "table", text)
    assert "short -> middle: 1 of positive costs 2.30 of brief (95 %: 2." in text.getvalue()
    assert "middle -> long: cannot be told apart; 1 of positive costs" in text.getvalue()
    assert "off the front, but on it on some prompts: behind" in text.getvalue()


@pytest.mark.parametrize("k", [3, 5])
def test_more_values(tmp_path: Path, k: int) -> None:
    """Each candidate is best in one value: a tree of k - 1 steps, each gains one value and costs another."""
    values = VALUES[:k]
    random = np.random.default_rng(0)
    rows = []
    for index, name in enumerate(values):
        rewards = np.eye(k)[index] * (index + 1) + random.normal(scale=0.05, size=(N, k))
        rows.append(
            answered(
                name, dict.fromkeys(values, 1.0), [dict(zip(values, each, strict=True)) for each in rewards.tolist()]
            )
        )
    make_run(tmp_path, rows, values)
    found = tradeoffs(tmp_path)
    assert len(found.steps) == k - 1
    for step in found.steps:
        assert step.told_apart
        assert step.gained == step.to
        cost = {rate.lost: rate.cost.estimate for rate in step.rates}
        expected = (values.index(step.start) + 1) / (values.index(step.to) + 1)
        assert cost[step.start] == pytest.approx(expected, rel=0.1)


def test_a_front_of_one_and_none(tmp_path: Path) -> None:
    make_run(tmp_path / "one", [row("alone", 0, 0)], VALUES[:2])
    found = tradeoffs(tmp_path / "one")
    assert (found.steps, [member.probability for member in found.members]) == ((), [1])
    make_run(tmp_path / "none", [failed("a", WEIGHTS)], VALUES[:2])
    with pytest.raises(ConfigError, match="there is no candidate on the front"):
        tradeoffs(tmp_path / "none")


def test_an_answer_without_a_reward_is_damage(tmp_path: Path) -> None:
    good = row("good", 0, 0)
    texts = tuple(replace(scored, rewards={"positive": 1.0}) for scored in good.generations)
    make_run(tmp_path, [replace(good, generations=texts)], VALUES[:2])
    with pytest.raises(Exception, match="good has not a reward of every value for all 30 prompts"):
        tradeoffs(tmp_path)
