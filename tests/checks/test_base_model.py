"""What a config asks of its base model: each check alone, with what is right beside what is not."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from mva_ray.checks.base_model import (
    architecture_problems,
    is_understood,
    rank_problems,
    target_problems,
    weight_problems,
    window_problems,
)
from mva_ray.checks.subject import Finding, Purpose, Subject
from mva_ray.config import read_config
from mva_ray.config.document import Problem
from tests.support.extreme import write
from tests.support.extreme.case import Case, Settings, own_model
from tests.support.extreme.models import config, cut_short, pickled

Change = Callable[[Path, Settings], object]
SubjectOf = Callable[..., Subject]
MISTRAL = {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}


@pytest.fixture
def subject_of(tmp_path: Path, tiny_model: Path) -> SubjectOf:
    """A config that is right but for what changes its settings and its own copy of the base model."""

    def make(change: Change, purpose: Purpose = Purpose.EXPLORE) -> Subject:
        def on_copy(directory: Path, settings: Settings) -> None:
            change(own_model(directory, settings), settings)

        draft = read_config(write(tmp_path, tiny_model, Case("", on_copy)))
        return Subject(draft, purpose, base_directory=tmp_path / "model")

    return make


def texts(findings: Iterable[Finding]) -> list[str]:
    return [finding.text if isinstance(finding, Problem) else finding for finding in findings]


def training(**written: Any) -> Change:
    return lambda _, settings: settings.update(training=written)


def brought(model: Path, settings: Settings) -> None:
    """Nothing is trained: both values bring an adapter."""
    for value in settings["values"]:
        value.pop("pairs", None)
        value["adapter"] = "anywhere"


def test_a_model_that_is_right_is_right_for_all(subject_of: SubjectOf) -> None:
    subject = subject_of(lambda model, settings: None)
    assert is_understood(subject)
    checks = (architecture_problems, weight_problems, target_problems, window_problems, rank_problems)
    assert [texts(check(subject)) for check in checks] == [[]] * len(checks)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (config(pad_token_id=300), "its pad_token_id is 300, beyond its 300 embeddings"),
        (config(pad_token_id=299), None),
        (config(pad_token_id=-1), None),
        (config(architectures=["LlamaForSequenceClassification"]), "it is a llama (LlamaForSequenceClassification)"),
        (config(is_encoder_decoder=True), "it is a llama (LlamaForCausalLM)"),
        (
            config(model_type="unheard_of"),
            "it is a unheard_of (LlamaForCausalLM), which the installed transformers does not know",
        ),
    ],
)
def test_what_is_no_decoder_is_said(subject_of: SubjectOf, change: Callable[[Path], object], cause: str | None) -> None:
    found = texts(architecture_problems(subject_of(lambda model, _: change(model))))
    assert bool(found) is bool(cause)
    assert all("describes no causal language model" in text and str(cause) in text for text in found)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_plan_needs_no_weights(subject_of: SubjectOf, purpose: Purpose) -> None:
    """Where something is computed it does."""
    subject = subject_of(lambda model, _: (model / "model.safetensors").unlink(), purpose)
    (found,) = weight_problems(subject)
    assert isinstance(found, str) is (purpose in (Purpose.DRY_RUN, Purpose.DATA_CHECK))
    assert "has no weights (model.safetensors)" in str(found)


@pytest.mark.parametrize(("change", "said"), [(cut_short, "is cut short: "), (pickled, "is a pickle, which may run")])
def test_weights_that_cannot_be_read_are_named(
    subject_of: SubjectOf, change: Callable[[Path], object], said: str
) -> None:
    (found,) = texts(weight_problems(subject_of(lambda model, _: change(model))))
    assert said in found


def test_weights_without_an_output_layer_are_refused(subject_of: SubjectOf) -> None:
    """transformers would make one up, of random numbers."""
    from safetensors.torch import load_file, save_file

    def behead(model: Path, _: Settings) -> None:
        tensors = load_file(model / "model.safetensors")
        save_file({name: tensors[name] for name in tensors if name != "lm_head.weight"}, model / "model.safetensors")

    (found,) = texts(weight_problems(subject_of(behead)))
    assert found.endswith("has no output layer (lm_head.weight), and its embeddings are not tied to one")


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        (
            training(lora={"r": 4, "target_modules": ["q_proj", "v_porj"]}),
            target_problems,
            "training.lora.target_modules[1]: the base model has no linear layer 'v_porj'; did you mean 'v_proj'?",
        ),
        (training(lora={"r": 17}), rank_problems, "training.lora.r: 17 is above 16, the smaller side of "),
        (training(lora={"r": 16}), rank_problems, None),
    ],
)
def test_adapters_have_to_fit(
    subject_of: SubjectOf, change: Change, check: Callable[[Subject], Iterable[Finding]], said: str | None
) -> None:
    found = texts(check(subject_of(change)))
    assert bool(found) is bool(said)
    assert all(str(said) in text for text in found)


@pytest.mark.parametrize(("window", "refused"), [(511, True), (512, False), (None, False)])
def test_pairs_have_to_fit_into_the_window(subject_of: SubjectOf, window: int | None, refused: bool) -> None:
    def change(model: Path, _: Settings) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | MISTRAL | {"sliding_window": window}))

    found = texts(window_problems(subject_of(change)))
    assert bool(found) is refused
    assert all("training.max_length: 512 is beyond the base model's attention window of 511" in text for text in found)


@pytest.mark.parametrize("check", [target_problems, window_problems, rank_problems])
def test_nothing_is_asked_for_what_is_not_trained(
    subject_of: SubjectOf, check: Callable[[Subject], Iterable[Finding]]
) -> None:
    def change(model: Path, settings: Settings) -> None:
        brought(model, settings)
        config(**MISTRAL, sliding_window=8)(model)
        settings["training"] = {"lora": {"r": 100, "target_modules": ["no_such"]}}

    assert texts(check(subject_of(change))) == []
