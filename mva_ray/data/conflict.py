"""How much the values pull against each other, before anything is trained."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mva_ray.data.dialogues import Turns, same_prompt
from mva_ray.records import PreferencePair, Prompt

Judgement = tuple[Turns, str, str]
"""A prompt, the answer that is preferred and the other."""


@dataclass(frozen=True)
class Conflict:
    """What two values' pairs have in common.

    `prompts` both have; of the pairs of answers that both judge, `agree` are judged alike and `opposite` the other
    way round.
    """

    first: str
    second: str
    prompts: int
    agree: int
    opposite: int

    @property
    def opposite_share(self) -> float | None:
        """Of the pairs of answers that both judge; None where there are none."""
        judged = self.agree + self.opposite
        return self.opposite / judged if judged else None


def conflicts(pairs: Mapping[str, Iterable[PreferencePair]]) -> list[Conflict]:
    """How often each two values prefer opposite answers to the same prompt.

    Only the same two answers are compared. Repeated pairs count once; answers are compared without the space around
    them. A value that prefers both ways agrees and opposes.
    """
    judged = {
        value: {(same_prompt(pair.prompt), pair.chosen.strip(), pair.rejected.strip()) for pair in own}
        for value, own in pairs.items()
    }
    return [_conflict(first, second, judged[first], judged[second]) for first, second in combinations(judged, 2)]


def _conflict(first: str, second: str, one: set[Judgement], other: set[Judgement]) -> Conflict:
    prompts = {prompt for prompt, _, _ in one} & {prompt for prompt, _, _ in other}
    reversed_ = {(prompt, rejected, chosen) for prompt, chosen, rejected in other}
    return Conflict(first, second, len(prompts), len(one & other), len(one & reversed_))


def shared_prompts(prompts: Iterable[Prompt], others: Iterable[Prompt]) -> list[Prompt]:
    """The prompts that are among the others too, each once, in their own order."""
    known = {same_prompt(prompt) for prompt in others}
    shared: dict[Turns, Prompt] = {}
    for prompt in prompts if known else ():
        if (key := same_prompt(prompt)) in known:
            shared.setdefault(key, prompt)
    return list(shared.values())


def within_prompt_correlation(rewards: Mapping[str, Sequence[Sequence[float]]]) -> NDArray[np.float64]:
    """Pearson correlation of the values' rewards around each prompt's own mean.

    Negative: what one value likes of two answers to the same prompt, the other dislikes. Differences between
    prompts (one is harder to answer briefly than another) do not count.

    Args:
        rewards: per value [prompts][completions], the same shape for all.

    Returns:
        [values, values] in the order of the mapping; NaN-free: a value that never varies correlates 0 with others.
    """
    centred = np.array([_centred(table) for table in rewards.values()])
    spread = np.sqrt((centred**2).sum(axis=1))
    spread[spread == 0] = np.inf
    scaled = centred / spread[:, None]
    correlation: NDArray[np.float64] = scaled @ scaled.T
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _centred(table: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(row, dtype=float) - np.mean(row) for row in table])
