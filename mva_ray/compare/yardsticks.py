"""What needs no training: the base model, asked in words for what is wanted, and the best of several of its answers.

Neither makes a model to keep. They say what a user has without any: prompting for the price of a longer prompt,
best-of-n for n answers in place of one, chosen by the very rewards that it is judged by.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, islice
from typing import TypeVar

import numpy as np
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from tqdm.auto import tqdm

from mva_ray.compare.methods import written
from mva_ray.compare.results import Candidate, MethodResult, Record
from mva_ray.errors import CandidateFailure, DamagedFile, RunError
from mva_ray.evaluation.ray_direct import answer_all, sample_all, scoring
from mva_ray.maths.pareto import front_mask
from mva_ray.plan.keys import key
from mva_ray.records import JUDGING, Generation
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.search.references import lattice
from mva_ray.stages.run import Run


class Answers(Record):
    """To the prompts of one split, [prompts][answers] each; rewards by value, higher is better."""

    completions: list[list[str]]
    truncated: list[list[bool]]
    rewards: dict[str, list[list[FiniteFloat]]]

    def means(self, picked: Sequence[int]) -> dict[str, float]:
        """Of the answer picked for each prompt."""
        return {value: float(np.mean(_picked(rows, picked))) for value, rows in self.rewards.items()}


Answered = Mapping[str, Answers]
"""By split."""
T = TypeVar("T")
_KEPT = TypeAdapter(dict[str, dict[str, Answers]])


def yardsticks(run: Run, common: RunDirectory) -> list[MethodResult]:
    """Those that the config asks for, for its seed; answers are kept in `common`, where all seeds find them."""
    measured = _Measured(run, common)
    wanted = run.config.compare
    found = []
    if wanted.instructions:
        asked = wishes(wanted.instructions)
        found.append(
            _result(
                run,
                "prompting",
                "Prompting (yardstick)",
                "the base model, with a sentence after the prompt for one value, two or all; no adapter",
                lambda: prompting(measured.prompting(asked)),
            )
        )
    if wanted.best_of:
        n = wanted.best_of
        names = run.config.value_names
        weights = lattice(len(names), wanted.weight_partitions)
        preferences = [dict(zip(names, row, strict=True)) for row in weights]
        found.append(
            _result(
                run,
                "best_of_n",
                f"Best of {n} (yardstick)",
                f"of {n} sampled answers of the base model to each prompt, that of the highest preference-weighted "
                f"reward: {n} times the answers, and the rewards at hand",
                lambda: best_of(measured.samples(n), preferences),
            )
        )
    return found


def wishes(instructions: Mapping[str, str]) -> dict[str, str]:
    """What is asked for, by what it is called: each value, each two, and all."""
    sizes = sorted({1, 2, len(instructions)})
    groups = chain.from_iterable(combinations(instructions, size) for size in sizes)
    return {" and ".join(group): " ".join(instructions[value] for value in group) for group in groups}


def prompting(answered: Mapping[str, Answered]) -> list[Candidate]:
    """A candidate for each wish, by what it is called; there is one answer to each prompt."""
    return [
        _candidate(label, of_wish, {split: [0] * len(one.completions) for split, one in of_wish.items()})
        for label, of_wish in answered.items()
    ]


def best_of(answered: Answered, preferences: Sequence[Mapping[str, float]]) -> list[Candidate]:
    """A candidate for each preference: for each prompt the answer with the highest weighted reward.

    Args:
        preferences: weights by value, for rewards in standard deviations over all answers to the search prompts.
    """
    units = {value: float(np.std(rows)) or 1.0 for value, rows in answered["search"].rewards.items()}

    def picked(answers: Answers, preference: Mapping[str, float]) -> list[int]:
        parts = [weight / units[value] * np.array(answers.rewards[value]) for value, weight in preference.items()]
        return [int(place) for place in np.argmax(np.sum(parts, axis=0), axis=1)]

    return [
        _candidate(
            written(list(preference.values())),
            answered,
            {split: picked(answers, preference) for split, answers in answered.items()},
            preference,
        )
        for preference in preferences
    ]


def _candidate(
    label: str, answered: Answered, picked: Mapping[str, Sequence[int]], preference: Mapping[str, float] | None = None
) -> Candidate:
    held_out, places = answered["held_out"], picked["held_out"]
    return Candidate(
        label=label,
        preference=dict(preference or {}),
        rewards={value: _picked(rows, places) for value, rows in held_out.rewards.items()},
        search_means=answered["search"].means(picked["search"]),
        completions=_picked(held_out.completions, places),
        cut_off=float(np.mean(_picked(held_out.truncated, places))),
    )


def _picked(rows: Sequence[Sequence[T]], places: Sequence[int]) -> list[T]:
    return [row[place] for row, place in zip(rows, places, strict=True)]


def _result(run: Run, name: str, title: str, description: str, found: Callable[[], list[Candidate]]) -> MethodResult:
    """With the candidates that none other dominates on the search prompts, as of all methods; or why there are none."""
    candidates, failures = [], []
    try:
        candidates = found()
    except RunError as error:
        failures.append(str(error))
    means = [[candidate.search_means[value] for value in run.config.value_names] for candidate in candidates]
    best: list[bool] = front_mask(means).tolist() if candidates else []
    return MethodResult(
        name=name,
        title=title,
        description=description,
        seed=run.config.seed,
        candidates=[candidate for candidate, on_front in zip(candidates, best, strict=True) if on_front],
        failures=failures,
        evaluations=len(candidates),
        yardstick=True,
    )


def _asked_for(labels: Iterable[str], prompts: Mapping[str, Sequence[str]]) -> list[tuple[str, str, str]]:
    """Label, split and prompt of everything that is asked, in that order."""
    return [(label, split, prompt) for label in labels for split, of_split in prompts.items() for prompt in of_split]


def arranged(
    labels: Sequence[str],
    prompts: Mapping[str, Sequence[str]],
    rows: Sequence[Sequence[Generation]],
    rewards: Mapping[str, Sequence[Sequence[float]]],
) -> dict[str, dict[str, Answers]]:
    """The answers by what was asked for, and by split.

    Args:
        prompts: by split.
        rows: [labels * prompts][answers], label after label and split after split.
        rewards: of each value, as `rows`.

    Raises:
        ValueError: there are more or fewer rows than were asked for.
    """
    found = {
        label: {
            split: Answers(completions=[], truncated=[], rewards={value: [] for value in rewards}) for split in prompts
        }
        for label in labels
    }
    for (label, split, _), row, *numbers in zip(_asked_for(labels, prompts), rows, *rewards.values(), strict=True):
        answers = found[label][split]
        answers.completions.append([one.completion for one in row])
        answers.truncated.append([one.truncated for one in row])
        for value, of_row in zip(rewards, numbers, strict=True):
            answers.rewards[value].append(list(of_row))
    return found


class _Measured:
    """The base model's answers to both splits with their rewards; those that are kept are not asked for again."""

    def __init__(self, run: Run, common: RunDirectory) -> None:
        self._run, self._common = run, common
        self._prompts = {split: run.plan.prompts[split] for split in JUDGING}

    def prompting(self, asked: Mapping[str, str]) -> Mapping[str, Answered]:
        def answer() -> Iterator[list[Generation]]:
            prompts = [f"{prompt} {words}" for words in asked.values() for prompt in self._every]
            for batch in answer_all(self._run.shared, prompts, self._run.rows):
                for one in batch:
                    if isinstance(one, CandidateFailure):
                        raise RunError(f"no answer: {one.message}")
                    yield [one]

        return self._kept("prompting", list(asked.items()), list(asked), answer)

    def samples(self, n: int) -> Answered:
        config = self._run.shared
        sampling = config.sampling.model_copy(update={"completions_per_prompt": n})

        def sample() -> Iterator[list[Generation]]:
            width = max(1, 2 * self._run.rows // n)
            asking = config.model_copy(update={"sampling": sampling})
            return chain.from_iterable(sample_all(asking, self._every, width))

        drawn = [sampling.model_dump(), config.seed]
        return self._kept("best_of", drawn, ["samples"], sample)["samples"]

    @property
    def _every(self) -> list[str]:
        return list(chain.from_iterable(self._prompts.values()))

    def _kept(
        self, name: str, asked: object, labels: Sequence[str], answers: Callable[[], Iterator[list[Generation]]]
    ) -> dict[str, dict[str, Answers]]:
        plan = self._run.plan
        file = self._common.yardstick(name, key(plan.generator, self._prompts, dict(plan.rewards), asked))
        if kept := file.read_object():
            try:
                return _KEPT.validate_python(kept)
            except ValidationError:
                raise DamagedFile(file.place, "it has no answers with their rewards") from None
        asked_for = _asked_for(labels, self._prompts)
        rows = list(tqdm(answers(), total=len(asked_for), desc=f"yardstick {name.replace('_', ' ')}", unit="prompt"))
        rewards = self._rewards([prompt for *_, prompt in asked_for], [[one.completion for one in row] for row in rows])
        found = arranged(labels, self._prompts, rows, rewards)
        file.write_json(_KEPT.dump_python(found))
        return found

    def _rewards(self, prompts: Sequence[str], completions: Sequence[Sequence[str]]) -> dict[str, list[list[float]]]:
        """Of every value, [prompts][answers]: rewards see the prompt without the words that came after it."""
        names = self._run.config.value_names
        prompts = [prompt for prompt, row in zip(prompts, completions, strict=True) for _ in row]
        texts = list(chain.from_iterable(completions))
        with scoring(self._run.shared, names, "the base model's answers") as score:
            numbers = {name: iter(score(name, prompts, texts)) for name in names}
        return {name: [list(islice(of_name, len(row))) for row in completions] for name, of_name in numbers.items()}
