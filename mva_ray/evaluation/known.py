"""What earlier evaluations answer already: nothing is generated or scored twice, in this run or in those before it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.records import ENGINE_METRICS, Coefficients, Evaluation, Generation, rounded

BlendKey = frozenset[tuple[str, float]]
"""A candidate by what it is made of: the hash of each adapter and its coefficient, where that is not 0."""

BASE_MODEL = "of another base model"
GENERATION = "with other generation settings"
UNNAMED = "of an earlier version, which did not record its generation settings"
ADAPTERS = "with other adapters"
PROMPTS = "on other prompts"


class KnownAnswer(NamedTuple):
    """A completion that need not be generated again, with the metrics that its text alone does not tell."""

    generation: Generation
    metrics: dict[str, float]


class KnownAnswers:
    """Completions by (generator, blend, prompt) and rewards by (version, prompt, completion).

    So more prompts generate the new ones only, another value or reward scores what is there, and a candidate is known
    whatever the bounds, the names of the values or the run that evaluated it. Not safe for threads.

    Args:
        evaluations: with their generations; where two answer the same prompt, the later one counts, unless only the
            earlier one has the engine's metrics.
    """

    def __init__(self, evaluations: Iterable[Evaluation] = ()) -> None:
        self._answers: dict[tuple[str, BlendKey], dict[str, KnownAnswer]] = {}
        self._rewards: dict[tuple[str, str, str], float] = {}
        for evaluation in evaluations:
            self.learn(evaluation)

    def learn(self, evaluation: Evaluation) -> None:
        """Take in all answers and rewards of a row; a failed one has none, a partial one those it was asked for."""
        answers = self._answers.setdefault((evaluation.generator, _blend_in(evaluation)), {})
        for row in evaluation.generations:
            prompt, completion = row.generation.prompt, row.generation.completion
            kept = {name: number for name, number in row.metrics.items() if name in ENGINE_METRICS}
            if prompt not in answers or answers[prompt].metrics.keys() <= kept.keys():
                answers[prompt] = KnownAnswer(row.generation, kept)
            for name, number in (row.metrics | row.rewards).items():
                if version := evaluation.rewards.get(name):
                    self._rewards[version, prompt, completion] = number

    def answers(self, setting: EvaluationSetting, coefficients: Sequence[float]) -> Mapping[str, KnownAnswer]:
        """The answers of a candidate by prompt, of any split, that have all engine metrics of the setting."""
        if not setting.generator:
            return {}
        blend = blend_of(zip(setting.adapters.values(), coefficients, strict=True))
        answers, needs = self._answers.get((setting.generator, blend), {}), set(setting.engine_metrics)
        return {prompt: answer for prompt, answer in answers.items() if needs <= answer.metrics.keys()}

    def keep_answer(self, setting: EvaluationSetting, coefficients: Sequence[float], answer: KnownAnswer) -> None:
        """Remember what a candidate has just answered."""
        blend = blend_of(zip(setting.adapters.values(), coefficients, strict=True))
        self._answers.setdefault((setting.generator, blend), {})[answer.generation.prompt] = answer

    def keep_reward(self, version: str, prompt: str, completion: str, number: float) -> None:
        self._rewards[version, prompt, completion] = number

    def reward(self, version: str, prompt: str, completion: str) -> float | None:
        """What that version of a reward gave; None where it did not score this completion."""
        return self._rewards.get((version, prompt, completion))


def blend_of(coefficients: Iterable[tuple[str, float]]) -> BlendKey:
    """Adapters' hashes with coefficients, as a key that every run has: what is left out and the order do not count."""
    total: dict[str, float] = {}
    for sha, coefficient in coefficients:
        total[sha] = total.get(sha, 0.0) + coefficient
    return frozenset((sha, number) for sha, number in zip(total, rounded(total.values()), strict=True) if number)


def earlier_candidates(setting: EvaluationSetting, evaluations: Iterable[Evaluation]) -> list[Coefficients]:
    """The candidates that ok rows of earlier runs evaluated, as coefficients of this run's adapters, each once.

    Args:
        setting: of the search split of this run.
        evaluations: of earlier runs, with their generations.
    """
    usable = (row for row in evaluations if row.status == "ok" and mismatch(setting, row) is None)
    return list(dict.fromkeys(_coefficients(setting, row) for row in usable))


def mismatch(setting: EvaluationSetting, row: Evaluation) -> str | None:
    """Why a candidate of an earlier run says nothing about this one; None where some of its answers count."""
    if row.base_model.rpartition(" ")[2] != setting.base_model.rpartition(" ")[2]:
        return BASE_MODEL
    if row.generator != setting.generator:
        return GENERATION if row.generator else UNNAMED
    if not {sha for sha, _ in _blend_in(row)} <= set(setting.adapters.values()):
        return ADAPTERS
    if set(setting.prompts).isdisjoint(scored.generation.prompt for scored in row.generations):
        return PROMPTS
    return None


def summary(setting: EvaluationSetting, name: str, evaluations: Sequence[Evaluation]) -> str:
    """One line on an earlier run: how many of its candidates are known here, and why others are not."""
    done = [row for row in evaluations if row.status == "ok"]
    known = len(earlier_candidates(setting, done))
    reasons = {_blend_in(row): mismatch(setting, row) for row in done}
    reasons |= dict.fromkeys((_blend_in(row) for row in done if mismatch(setting, row) is None), None)
    left_out = [f"{count} {reason}" for reason, count in Counter(filter(None, reasons.values())).items()]
    line = f"warm start from {name}: {known} candidate{'' if known == 1 else 's'}"
    return f"{line}; not used: {', '.join(left_out)}" if left_out else line if done else f"{line}, nothing evaluated"


def _coefficients(setting: EvaluationSetting, row: Evaluation) -> Coefficients:
    """Two values may share one adapter: the first of them takes its coefficient."""
    left = dict(_blend_in(row))
    return rounded(left.pop(sha, 0.0) for sha in setting.adapters.values())


def _blend_in(row: Evaluation) -> BlendKey:
    return blend_of((row.adapters[name], coefficient) for name, coefficient in row.coefficients.items())
