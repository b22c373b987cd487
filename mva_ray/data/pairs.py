"""Preference pairs made on-policy: the base model's own samples, best against worst by one value's reward."""

from collections.abc import Sequence
from dataclasses import dataclass

from mva_ray.records import Generation, PreferencePair


@dataclass(frozen=True)
class PairSet:
    """Pairs of one value, and how many prompts gave none because their rewards were closer than the margin."""

    pairs: tuple[PreferencePair, ...]
    prompts: int
    ties: int


def best_against_worst(
    samples: Sequence[Sequence[Generation]], rewards: Sequence[Sequence[float]], margin: float
) -> PairSet:
    """One pair a prompt: its sample with the highest reward against the one with the lowest.

    Args:
        samples: [prompts][completions] generations; the number of completions may differ.
        rewards: the same shape, higher is better, finite.
        margin: keep a pair only where the rewards differ by at least this much, and by more than 0.

    Returns:
        pairs in the order of the prompts; ties counts the prompts that gave none.
    """
    pairs = []
    for generations, scores in zip(samples, rewards, strict=True):
        if found := best_and_worst(scores, margin):
            best, worst = found
            pairs.append(_pair(generations[best], generations[worst], scores[best], scores[worst]))
    return PairSet(tuple(pairs), len(samples), len(samples) - len(pairs))


def best_and_worst(scores: Sequence[float], margin: float) -> tuple[int, int] | None:
    """Where the highest and the lowest score are, the first of equals; None where they differ by less than the margin.

    Equal scores are a tie at any margin; so are none, or one alone.
    """
    if not scores:
        return None
    best = max(range(len(scores)), key=scores.__getitem__)
    worst = min(range(len(scores)), key=scores.__getitem__)
    gap = scores[best] - scores[worst]
    return (best, worst) if gap > 0 and gap >= margin else None


def _pair(chosen: Generation, rejected: Generation, chosen_reward: float, rejected_reward: float) -> PreferencePair:
    return PreferencePair(
        prompt=chosen.prompt,
        chosen=chosen.completion,
        rejected=rejected.completion,
        chosen_finished=not chosen.truncated,
        rejected_finished=not rejected.truncated,
        chosen_reward=chosen_reward,
        rejected_reward=rejected_reward,
        chosen_ids=chosen.ids,
        rejected_ids=rejected.ids,
    )
