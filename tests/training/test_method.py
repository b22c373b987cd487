"""A way to train is its loss and its data: penalty, metrics, checkpoints and files come to any of them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from trl import SFTConfig, SFTTrainer

from mva_ray.adapters.hashes import WEIGHTS_FILE
from mva_ray.adapters.lora import load_factors
from mva_ray.config.training import Lora, PenaltySettings, Training
from mva_ray.records import PreferencePair
from mva_ray.training.dpo import Dpo
from mva_ray.training.job import METRICS_FILE, TrainingJob
from mva_ray.training.method import Method, method_of
from mva_ray.training.penalised import Penalised
from mva_ray.training.train import train_adapter

PAIRS = tuple(PreferencePair(f"Why is {thing} blue?", "Because light.", "Say no.") for thing in ("it", "sky", "tea"))


class Likelihood(SFTTrainer):
    """SFT that says its loss, as a method's own trainer does."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = super().compute_loss(*args, **kwargs)
        self._metrics["train"]["nll"].append(loss.item())
        return loss


class PenalisedLikelihood(Penalised, Likelihood):
    """Keeps each step's losses, before and after the penalty."""

    losses: ClassVar[list[tuple[float, float]]] = []

    def compute_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        total = super().compute_loss(*args, **kwargs)
        self.losses.append((self._metrics["train"]["nll"][-1], total.item()))
        return total

    def batch_prompts(self) -> list[str]:
        return ["a prompt"]


class Sft:
    columns: ClassVar[Mapping[str, str]] = {"loss": "nll", "hsic": "hsic"}

    def trainer(
        self, job: TrainingJob, model: Any, tokenizer: Any, arguments: Mapping[str, Any], **options: Any
    ) -> Penalised:
        texts = [{"text": f"{pair.prompt} {pair.chosen}"} for pair in job.pairs]
        return PenalisedLikelihood(
            model=model,
            args=SFTConfig(max_length=32, **arguments),
            train_dataset=Dataset.from_list(texts),
            processing_class=tokenizer,
            **options,
        )


@pytest.fixture
def sft(monkeypatch: pytest.MonkeyPatch) -> None:
    """The config asks for SFT."""
    method: Method = Sft()
    monkeypatch.setattr("mva_ray.training.train.method_of", lambda training: method)
    monkeypatch.setattr(PenalisedLikelihood, "losses", [])


def rows(output: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(output, METRICS_FILE).read_text().splitlines()]


def test_dpo_is_what_is_trained() -> None:
    method: Method = method_of(Training())
    assert isinstance(method, Dpo)


@pytest.mark.usefixtures("sft")
def test_another_method_is_penalised_logged_resumed_and_saved_alike(tiny_model: Path, tmp_path: Path) -> None:
    weight = 1000.0
    training = Training(
        steps=4,
        pairs_per_step=2,
        learning_rate=1e-2,
        checkpoint_steps=2,
        lora=Lora(r=4, alpha=8),
        penalty=PenaltySettings(kind="paper", weight=weight),
    )
    first = TrainingJob("first", str(tiny_model), None, PAIRS, (), training, 3, str(tmp_path / "first"))
    train_adapter(first, lambda row: None)
    assert all(own == total for own, total in PenalisedLikelihood.losses), (
        "the first adapter has nothing to keep away from"
    )
    PenalisedLikelihood.losses.clear()

    second = replace(first, name="second", earlier=(first.output,), output=str(tmp_path / "second"))
    seen: list[Mapping[str, float]] = []
    kept: list[Path] = []
    train_adapter(second, seen.append, lambda part: kept.append(part.rename(tmp_path / part.name)))
    assert rows(second.output) == seen
    assert [set(row) for row in seen] == [{"step", "loss", "hsic"}] * 4
    assert seen[-1]["hsic"] < seen[0]["hsic"]
    for row, (own, total) in zip(seen, PenalisedLikelihood.losses, strict=True):
        assert row["hsic"] > 0
        assert (row["loss"], total) == pytest.approx((own, own + weight * row["hsic"]), rel=1e-4)

    resumed = replace(second, output=str(tmp_path / "resumed"))
    train_adapter(resumed, lambda row: None, resume_from=kept[0])
    assert rows(resumed.output) == seen
    whole, again = (load_factors(Path(each.output)) for each in (second, resumed))
    assert all(torch.equal(whole.a[name], again.a[name]) for name in whole.a)
    assert not Path(resumed.output, "trainer").exists()
    assert Path(resumed.output, WEIGHTS_FILE).is_file()
