"""Training on Ray Train with one and two workers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mva_ray.adapters.lora import load_factors
from mva_ray.config import Lora, Training
from mva_ray.errors import RunError
from mva_ray.records import PreferencePair
from mva_ray.training.job import METRICS_FILE, TrainingJob
from mva_ray.training.ray_training import train_on_ray

pytestmark = pytest.mark.usefixtures("local_ray")

PAIRS = tuple(
    PreferencePair(f"Why is {word} blue?", "Say yes.", "Because light") for word in ("it", "sky", "tea", "ink")
)


def job(output: Path, model: str, num_workers: int) -> TrainingJob:
    training = Training(steps=3, pairs_per_step=2, lora=Lora(r=2, alpha=4), num_workers=num_workers)
    return TrainingJob("first", model, None, PAIRS, (), training, 0, str(output))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_train_one_adapter(tiny_model: Path, tmp_path: Path, num_workers: int) -> None:
    """The adapter and a row of metrics a step are there, and the driver has seen every step."""
    seen: list[float] = []
    train_on_ray(
        job(tmp_path / "adapter", str(tiny_model), num_workers), tmp_path / "ray", lambda row: seen.append(row["step"])
    )
    rows = [json.loads(line) for line in (tmp_path / "adapter" / METRICS_FILE).read_text().splitlines()]
    assert [row["step"] for row in rows] == seen == [1, 2, 3]
    assert set(rows[0]) == {"step", "loss", "hsic", "reward_accuracy", "reward_margin"}
    assert any(factor.abs().max() > 0 for factor in load_factors(tmp_path / "adapter").b.values())


def test_a_failing_worker_is_one_clear_line(tiny_model: Path, tmp_path: Path) -> None:
    """An earlier adapter that is gone ends training with the cause, not with Ray's wrapping."""
    broken = replace(job(tmp_path / "adapter", str(tiny_model), 1), earlier=(str(tmp_path / "gone"),))
    with pytest.raises(RunError, match=r"training of 'first' failed: .*gone: not a PEFT adapter"):
        train_on_ray(broken, tmp_path / "ray", lambda row: None)
