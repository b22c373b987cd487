"""Rewards by name and from classifiers: right numbers, typed failures, versions that change when scores may."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mva_ray import rewards as built_in
from mva_ray.config.reward import RewardSettings
from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.reward import ClassifierReward, load_reward, reward_problems, reward_version, score
from tests.support.tiny import CHAT_TEMPLATE, PROMPTS, SENTENCES, make_classifier, make_gpt2

pytestmark = pytest.mark.usefixtures("float32_products")
COMPLETIONS = ("Yes.", "", "You can bake bread in a covered pan on the stove.", "no no no no")
MODULE = """\
def double(prompts, completions, **kwargs):
    assert isinstance(prompts, list) and isinstance(completions, list)
    return [2 * len(text) for text in completions]
"""


class Returns:
    """A reward that returns what it is told."""

    version = "1"
    truncated = 0

    def __init__(self, result: Any) -> None:
        self._result = result

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        if isinstance(self._result, BaseException):
            raise self._result
        result: list[float] = self._result
        return result


@pytest.fixture
def next_to_config(tmp_path: Path) -> Callable[[str, str], RewardSettings]:
    """Writes a module beside a config and gives the settings that a config there would."""

    def settings(module: str, source: str) -> RewardSettings:
        (tmp_path / f"{module}.py").write_text(source)
        return RewardSettings.model_validate({"function": f"{module}:double"}, context={"directory": tmp_path})

    return settings


def classifier(directory: Path, **settings: Any) -> RewardSettings:
    return RewardSettings(model=str(directory), **({"label": 0} | settings))


def failure_of(result: Any, completions: Sequence[str] = COMPLETIONS) -> tuple[str, str]:
    with pytest.raises(CandidateFailure) as caught:
        score(Returns(result), PROMPTS, completions)
    return caught.value.kind, caught.value.message


def test_a_function_by_name() -> None:
    reward = load_reward(RewardSettings(function="mva_ray.rewards:brief"))
    expected = built_in.brief(prompts=list(PROMPTS), completions=list(COMPLETIONS))
    assert score(reward, PROMPTS, COMPLETIONS) == expected
    assert reward.truncated == 0


def test_a_function_next_to_the_config(next_to_config: Callable[[str, str], RewardSettings]) -> None:
    """It gets lists by TRL's names; whole numbers become floats."""
    reward = load_reward(next_to_config("reward_test_near", MODULE))
    scores = score(reward, PROMPTS, COMPLETIONS)
    assert scores == [8.0, 0.0, 98.0, 22.0]
    assert all(type(number) is float for number in scores)


def test_a_function_that_changes_its_arguments_changes_nothing_else(
    next_to_config: Callable[[str, str], RewardSettings],
) -> None:
    source = "def double(prompts, completions, **kwargs):\n    completions.sort()\n    return [0.0] * len(prompts)\n"
    completions = ["b", "a", "d", "c"]
    score(load_reward(next_to_config("reward_test_rude", source)), PROMPTS, completions)
    assert completions == ["b", "a", "d", "c"]


def test_the_version_of_a_function_names_its_library_and_hashes_its_source(
    next_to_config: Callable[[str, str], RewardSettings],
) -> None:
    """Rows scored by another version are not compared: edit a reward and its evaluations are made anew."""
    one = reward_version(next_to_config("reward_test_v1", MODULE))
    same = reward_version(next_to_config("reward_test_v2", MODULE))
    edited = reward_version(next_to_config("reward_test_v3", MODULE.replace("2 *", "3 *")))
    assert one == same != edited
    versioned = reward_version(next_to_config("reward_test_v4", f"{MODULE}\ndouble.version = 'scale 7'\n"))
    assert versioned.startswith("scale 7 ")
    settings = RewardSettings(function="mva_ray.rewards:positive")
    assert reward_version(settings).startswith("vaderSentiment ")
    assert load_reward(settings).version == reward_version(settings)


def test_a_reward_that_raises_fails_the_candidate_with_the_cause_in_one_line() -> None:
    assert failure_of(ValueError("no such word\nand more")) == ("reward_raised", "ValueError: no such word")
    assert failure_of(KeyError("x")) == ("reward_raised", "KeyError: 'x'")
    assert failure_of(None)[0] == "reward_raised"
    assert failure_of(1.5)[0] == "reward_raised"


@pytest.mark.parametrize("count", [0, 3, 5])
def test_a_wrong_number_of_scores_fails_the_candidate(count: int) -> None:
    assert failure_of([1.0] * count) == ("reward_length", f"returned {count} scores for 4 completions")


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), -float("inf"), None, "1.5", 10**400, [1.0], torch.tensor([1.0, 2.0])]
)
def test_what_is_no_finite_number_fails_the_candidate_and_says_where(number: object) -> None:
    """Each of these would otherwise spoil a mean, or the whole search, much later."""
    kind, message = failure_of([0.0, 0.0, number, 0.0])
    assert kind == "reward_not_finite"
    assert message == f"returned {number!r} for completion 2"


def test_numbers_of_other_libraries_are_numbers() -> None:
    scores = score(Returns([torch.tensor(0.5), True, 2, np.float32(8)]), PROMPTS, COMPLETIONS)
    assert scores == [0.5, 1.0, 2.0, 8.0]
    assert score(Returns(torch.tensor([1.0, 2.0, 3.0, 4.0])), PROMPTS, COMPLETIONS) == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("label", [0, 1])
def test_a_classifier_scores_a_batch_as_one_by_one(tiny_classifier: Path, label: int) -> None:
    """Padding must not reach the logits: prompts and completions of very different lengths, in batches of 3."""
    prompts, completions = (*PROMPTS, *SENTENCES[:3]), (*COMPLETIONS, *SENTENCES[3:])
    scores = score(load_reward(classifier(tiny_classifier, label=label, batch_size=3)), prompts, completions)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_classifier).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_classifier)
    for number, prompt, completion in zip(scores, prompts, completions, strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(prompt, completion, return_tensors="pt")).logits[0]
        assert number == pytest.approx(logits[label].item(), abs=1e-4)
    assert len({round(number, 3) for number in scores}) == len(scores), "the classifier sees no difference"


def test_a_classifier_is_the_same_but_for_rounding_where_products_are_in_bfloat16(
    tiny_classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for native in (False, True):
        monkeypatch.setattr("mva_ray.adapters.base_model._multiplies_bfloat16", lambda native=native: native)
        found[native] = np.array(score(load_reward(classifier(tiny_classifier)), PROMPTS, COMPLETIONS))
    assert (found[True] != found[False]).any(), "nothing was computed in bfloat16"
    assert np.abs(found[True] - found[False]).max() < 0.02 * np.ptp(found[False])


def test_a_classifier_whose_tokenizer_pads_in_front_scores_no_text_by_its_company(tmp_path: Path) -> None:
    """GPT-2 has a position for every place: padded in front, a short text would move on beside a long one."""
    model = AutoModelForSequenceClassification.from_pretrained(make_gpt2(tmp_path / "base"), num_labels=1)
    model.save_pretrained(tmp_path / "classifier")
    AutoTokenizer.from_pretrained(tmp_path / "base", padding_side="left").save_pretrained(tmp_path / "classifier")
    reward = load_reward(classifier(tmp_path / "classifier"))
    [alone] = reward(["Hi"], ["Bread"])
    assert reward(["Hi", SENTENCES[0]], ["Bread", SENTENCES[1]])[0] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        (None, "None"),
        (1.5, "1.5"),
        ({0.0: 1, 1.0: 2, 2.0: 3, 3.0: 4}, "{0.0: 1, 1.0: 2, 2.0: 3, 3.0: 4}"),
        ({1.0, 2.0, 3.0, 4.0}, "{1.0, 2.0, 3.0, 4.0}"),
        ("1234", "'1234'"),
        (b"1234", "b'1234'"),
    ],
)
def test_what_is_no_list_of_numbers_is_said_to_be_none(returned: object, shown: str) -> None:
    """The keys of a mapping would be scores, silently, and so would the bytes of a text."""
    assert failure_of(returned) == ("reward_raised", f"returned {shown}, expected a list of numbers")


@pytest.mark.filterwarnings("error")
def test_an_async_reward_is_said_to_be_one(next_to_config: Callable[[str, str], RewardSettings]) -> None:
    reward = load_reward(next_to_config("reward_test_async", f"async {MODULE}"))
    with pytest.raises(CandidateFailure) as caught:
        score(reward, PROMPTS, COMPLETIONS)
    assert caught.value.message == "is async: it returned a coroutine, expected a list of numbers"


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError("no time")])
def test_a_reward_that_would_end_the_process_fails_the_candidate(error: BaseException) -> None:
    kind, message = failure_of(error)
    assert (kind, message) == ("reward_raised", f"{type(error).__name__}: {error}")


def test_a_changed_neighbour_is_another_version(
    next_to_config: Callable[[str, str], RewardSettings], tmp_path: Path
) -> None:
    """One that it imports, and one that this one imports; not one that nobody asks for."""
    alone = reward_version(next_to_config("reward_test_alone", MODULE))
    helper, lexicon, stranger = (tmp_path / f"reward_test_{name}.py" for name in ("words", "lists", "else"))
    for file, source in ((helper, "import reward_test_lists\nBAD = 1\n"), (lexicon, ""), (stranger, "")):
        file.write_text(source)
    settings = next_to_config("reward_test_helped", f"from reward_test_words import BAD\n{MODULE}")
    versions = [reward_version(settings)]
    for file in (helper, lexicon):
        file.write_text(f"{file.read_text()}# changed\n")
        versions.append(reward_version(settings))
    assert len({alone, *versions}) == 4
    stranger.write_text("# changed\n")
    assert reward_version(settings) == versions[-1]


def test_a_version_without_neighbours_is_what_it_always_was(
    next_to_config: Callable[[str, str], RewardSettings],
) -> None:
    """Run directories outlive versions: the hash of the module's own source."""
    for settings, file in (
        (next_to_config("reward_test_own", f"import math\n{MODULE}"), None),
        (RewardSettings(function="mva_ray.rewards:positive"), built_in.__file__),
    ):
        source = Path(file) if file else settings.directory / "reward_test_own.py"  # type: ignore[operator]
        digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
        assert reward_version(settings).rpartition(" ")[2] == digest


def test_a_model_without_a_score_head_is_refused(tiny_model: Path) -> None:
    """transformers would make one up: a language model, or a reward of a class of its own, would score at random."""
    with pytest.raises(ValueError, match=r"is no sequence classifier: it has no score\.weight"):
        load_reward(classifier(tiny_model))


def test_a_classifier_with_one_label(tmp_path: Path) -> None:
    directory = make_classifier(tmp_path, num_labels=1)
    assert len(score(load_reward(classifier(directory)), PROMPTS, COMPLETIONS)) == len(PROMPTS)


def test_no_completions_at_all_are_no_scores(tiny_classifier: Path) -> None:
    assert score(load_reward(classifier(tiny_classifier)), [], []) == []


def test_a_label_the_classifier_does_not_have_is_refused(tiny_classifier: Path) -> None:
    with pytest.raises(ValueError, match=r"label 2: .* has 2 labels"):
        load_reward(classifier(tiny_classifier, label=2))


def test_which_of_several_logits_is_the_reward_has_to_be_said(tiny_classifier: Path, tmp_path: Path) -> None:
    """The first of two may well be "bad"; where there is one, there is no question."""
    unsaid = RewardSettings(model=str(tiny_classifier))
    problem = f"{tiny_classifier} has 2 labels: say with 'label' which one is the reward: 0 (LABEL_0), 1 (LABEL_1)"
    assert reward_problems(unsaid) == [problem]
    with pytest.raises(ValueError, match="say with 'label' which one"):
        load_reward(unsaid)
    assert reward_problems(classifier(tiny_classifier, label=1)) == []
    assert reward_problems(classifier(tiny_classifier, label=2)) == [f"label 2: {tiny_classifier} has 2 labels"]
    assert reward_problems(RewardSettings(model=str(make_classifier(tmp_path, num_labels=1)))) == []
    assert reward_problems(RewardSettings(function="mva_ray.rewards:brief")) == []
    assert reward_problems(RewardSettings(model="org/that-is-not-here")) == []


def test_damaged_settings_of_a_classifier_are_one_line(tmp_path: Path) -> None:
    directory = make_classifier(tmp_path, num_labels=1)
    (directory / "config.json").write_text('{"id2label": ')
    [line] = reward_problems(classifier(directory))
    assert line.startswith(f"the settings of {directory} cannot be read: Expecting value")


@pytest.fixture(params=["in a file", "in the settings"])
def chatting(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A classifier whose tokenizer has a chat template."""
    directory = make_classifier(tmp_path, num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(directory, save_jinja_files=request.param == "in a file")
    assert (directory / "chat_template.jinja").exists() == (request.param == "in a file")
    return directory


def test_a_classifier_reads_the_chat_template_that_it_has(chatting: Path) -> None:
    """As it was trained, with the special tokens that the template writes and no others."""
    scores = score(load_reward(RewardSettings(model=str(chatting), batch_size=3)), PROMPTS, COMPLETIONS)
    model = AutoModelForSequenceClassification.from_pretrained(chatting).eval()
    tokenizer = AutoTokenizer.from_pretrained(chatting)
    for number, prompt, completion in zip(scores, PROMPTS, COMPLETIONS, strict=True):
        chat = f"<s>user {prompt}</s><s>assistant {completion}</s>"
        with torch.inference_mode():
            [logits] = model(**tokenizer(chat, return_tensors="pt", add_special_tokens=False)).logits
        assert number == pytest.approx(logits[0].item(), abs=1e-4)


def test_a_chat_template_can_be_left_alone_and_changes_the_version(chatting: Path, tmp_path: Path) -> None:
    """Without it, texts and version are those of a classifier that has none."""
    pairs = RewardSettings(model=str(chatting), chat_template=False)
    bare = RewardSettings(model=str(make_classifier(tmp_path / "bare", num_labels=1)))
    assert score(load_reward(pairs), PROMPTS, COMPLETIONS) == score(load_reward(bare), PROMPTS, COMPLETIONS)
    assert reward_version(RewardSettings(model=str(chatting))).startswith("label 0, 512 tokens, chat template, ")
    assert reward_version(pairs).startswith("label 0, 512 tokens, ")
    assert "template" not in reward_version(pairs) + reward_version(bare)
    asked = RewardSettings(model=bare.model, chat_template=True)
    assert reward_problems(asked) == [f"{bare.model} has no chat template: leave 'chat_template: true' out"]


def test_inputs_that_are_cut_are_counted_and_keep_the_end(tiny_classifier: Path) -> None:
    """The completion is at the end, and it is what is judged."""
    limit = 12
    reward = ClassifierReward(classifier(tiny_classifier, max_length=limit, batch_size=2))
    tokenizer = AutoTokenizer.from_pretrained(tiny_classifier)
    lengths = [len(ids) for ids in tokenizer(list(PROMPTS), list(COMPLETIONS))["input_ids"]]
    too_long = sum(length > limit for length in lengths)
    assert 0 < too_long < len(PROMPTS)
    score(reward, PROMPTS, COMPLETIONS)
    assert reward.truncated == too_long
    score(reward, PROMPTS, COMPLETIONS)
    assert reward.truncated == 2 * too_long
    ends = ["word " * 30 + end for end in ("yes.", "no.")]
    assert len(set(score(reward, ["Hi", "Hi"], ends))) == 2


def test_a_tokenizer_without_pad_token_still_batches(tiny_classifier: Path, tmp_path: Path) -> None:
    directory = make_classifier(tmp_path, num_labels=2)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(directory)
    with_pad, without = (
        score(load_reward(classifier(path)), PROMPTS, COMPLETIONS) for path in (tiny_classifier, directory)
    )
    assert without == pytest.approx(with_pad, abs=1e-4)


def test_the_version_of_a_classifier_changes_with_all_that_changes_its_scores(tmp_path: Path) -> None:
    one, other = (make_classifier(tmp_path / str(seed), num_labels=2, seed=seed) for seed in (1, 2))
    versions = [
        reward_version(settings)
        for settings in (
            classifier(one),
            classifier(other),
            classifier(one, label=1),
            classifier(one, max_length=64),
        )
    ]
    assert len(set(versions)) == 4
    assert reward_version(classifier(one, batch_size=3)) == versions[0], "the batch size changes no score"
    assert load_reward(classifier(one, label=1)).version == versions[2]
