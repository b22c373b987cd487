"""Built-in rewards: `f(prompts, completions, **kwargs) -> list[float]`, TRL's signature, higher is better.

A config names them as `mva_ray.rewards:positive`; a reward of your own has the same shape. All of them look at
the completion alone, take any text (empty, emoji, any language) and return finite numbers. The libraries are
loaded at the first call, so naming a reward costs nothing. `version` goes into the Pareto table: rewards that
were computed by different versions are not compared.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import version as installed_version
from math import log
from typing import Protocol, cast

CONTENT_WORD_ZIPF = 5.0
"""Words as frequent as this (once in 10,000 words) are mostly function words."""


class RewardFunction(Protocol):
    """A reward with the version of what computes it."""

    __name__: str
    version: str

    def __call__(self, prompts: list[str], completions: list[str], **kwargs: object) -> list[float]: ...


def computed_by(distribution: str) -> Callable[[Callable[..., list[float]]], RewardFunction]:
    """Sets `version` to the name and installed version of the distribution that computes the reward."""

    def mark(function: Callable[..., list[float]]) -> RewardFunction:
        reward = cast(RewardFunction, function)
        reward.version = f"{distribution} {installed_version(distribution)}"
        return reward

    return mark


@computed_by("vaderSentiment")
def positive(prompts: list[str], completions: list[str], **kwargs: object) -> list[float]:
    """Positive sentiment: VADER's compound score, -1 (negative) to 1 (positive), 0 for an empty completion.

    Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", 2014.
    """
    return [_sentiment(completion)["compound"] for completion in completions]


@computed_by("vaderSentiment")
def neutral(prompts: list[str], completions: list[str], **kwargs: object) -> list[float]:
    """Sober, matter-of-fact wording: VADER's share of neutral words, 0 to 1, 0 for an empty completion.

    Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", 2014.
    """
    return [_sentiment(completion)["neu"] for completion in completions]


@computed_by("wordfreq")
def plain(prompts: list[str], completions: list[str], **kwargs: object) -> list[float]:
    """Plain English: the mean Zipf frequency of the words, 0 (unknown or none) to about 7.7 (only "the").

    A Zipf frequency is log10 of the occurrences per billion words (van Heuven et al. 2014), counted by wordfreq
    (Speer 2022).
    """
    return [_mean(list(map(_zipf, _words(completion)))) for completion in completions]


@computed_by("wordfreq")
def thorough(prompts: list[str], completions: list[str], **kwargs: object) -> list[float]:
    """Much said: the number of distinct content words, 0 upwards.

    A content word is one with a Zipf frequency below 5 in English (van Heuven et al. 2014; wordfreq, Speer 2022).
    """
    return [float(sum(_zipf(word) < CONTENT_WORD_ZIPF for word in set(_words(text)))) for text in completions]


@computed_by("wordfreq")
def brief(prompts: list[str], completions: list[str], **kwargs: object) -> list[float]:
    """Few words: -log(1 + number of words), 0 (no word) downwards, so each further word costs less.

    Words are counted by wordfreq's tokenizer (Speer 2022), which leaves out punctuation.
    """
    return [-log(1 + len(_words(completion))) for completion in completions]


@cache
def _polarity_scores() -> Callable[[str], dict[str, float]]:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    scores: Callable[[str], dict[str, float]] = SentimentIntensityAnalyzer().polarity_scores
    return scores


def _sentiment(text: str) -> dict[str, float]:
    return _polarity_scores()(text)


def _words(text: str) -> list[str]:
    from wordfreq.tokens import tokenize

    return tokenize(text, "en")


def _zipf(word: str) -> float:
    from wordfreq import zipf_frequency

    return zipf_frequency(word, "en")


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0
