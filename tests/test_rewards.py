"""The built-in rewards: known numbers, direction, range, any text."""

import math
import subprocess
import sys
from importlib.metadata import version

import pytest

from mva_ray import rewards
from mva_ray.rewards import RewardFunction, brief, neutral, plain, positive, thorough

ALL = [positive, neutral, plain, thorough, brief]
ODD_TEXTS = [
    "",
    "   \n",
    "😀🎉",
    "...!?",
    "今日はとても良い天気です",
    "Ένα δύο τρία",
    "\x00\ud7ff",
    "a" * 5000,
    "1,234.50",
]


def score(reward: RewardFunction, text: str) -> float:
    [number] = reward(["any prompt"], [text])
    return number


@pytest.mark.parametrize("reward", ALL, ids=lambda reward: reward.__name__)
def test_any_text_gets_one_finite_number_each(reward: RewardFunction) -> None:
    numbers = reward(["a prompt"] * len(ODD_TEXTS), ODD_TEXTS, completion_ids=None, trainer_state=object())
    assert [type(number) for number in numbers] == [float] * len(ODD_TEXTS)
    assert all(map(math.isfinite, numbers))


@pytest.mark.parametrize("reward", ALL, ids=lambda reward: reward.__name__)
def test_no_completions_no_numbers(reward: RewardFunction) -> None:
    assert reward([], []) == []


@pytest.mark.parametrize("reward", ALL, ids=lambda reward: reward.__name__)
def test_an_empty_completion_scores_zero(reward: RewardFunction) -> None:
    assert score(reward, "") == 0.0


@pytest.mark.parametrize("reward", ALL, ids=lambda reward: reward.__name__)
def test_order_is_kept_and_the_batch_does_not_matter(reward: RewardFunction) -> None:
    texts = ["I love it.", "This is terrible, awful news.", "Photosynthesis converts light."]
    assert reward(["p"] * 3, texts) == [score(reward, text) for text in texts]


@pytest.mark.parametrize(
    ("reward", "better", "worse"),
    [
        (positive, "I love this wonderful day.", "I hate this horrible day."),
        (neutral, "The train leaves at nine.", "I love this wonderful, beautiful day!"),
        (plain, "you can do that with a cup of water", "utilise hydration receptacles judiciously"),
        (thorough, "Photosynthesis converts sunlight into glucose.", "It is what it is and that is that."),
        (brief, "Yes.", "Yes, and there is a great deal more to say about it."),
    ],
)
def test_higher_is_better(reward: RewardFunction, better: str, worse: str) -> None:
    assert score(reward, better) > score(reward, worse)


def test_positive_and_neutral_stay_in_their_ranges() -> None:
    texts = ["great " * 200, "awful " * 200, "table chair", "good and bad"]
    assert all(-1 <= number <= 1 for number in positive(["p"] * 4, texts))
    assert all(0 <= number <= 1 for number in neutral(["p"] * 4, texts))
    assert score(neutral, "table chair") == 1.0


def test_plain_is_the_mean_zipf_frequency() -> None:
    the, unknown = score(plain, "the"), score(plain, "qzxvkjw")
    assert the > 7.5
    assert unknown == 0.0
    assert score(plain, "the qzxvkjw") == pytest.approx(the / 2)


def test_thorough_counts_distinct_content_words() -> None:
    assert score(thorough, "The glucose and the chlorophyll, and the glucose again") == 2.0


@pytest.mark.parametrize(("text", "words"), [("one", 1), ("One, two; three!", 3)])
def test_brief_is_minus_the_log_of_the_words(text: str, words: int) -> None:
    assert score(brief, text) == pytest.approx(-math.log(1 + words))


def test_versions_name_the_library() -> None:
    assert positive.version == neutral.version == f"vaderSentiment {version('vaderSentiment')}"
    assert plain.version == thorough.version == brief.version == f"wordfreq {version('wordfreq')}"


def test_every_reward_says_what_it_measures() -> None:
    assert all("0" in (reward.__doc__ or "") for reward in ALL)
    assert rewards.__doc__


def test_naming_a_reward_loads_neither_library_nor_torch() -> None:
    code = (
        "import sys, mva_ray.rewards\n"
        "print([name for name in ('torch', 'vaderSentiment', 'wordfreq', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
