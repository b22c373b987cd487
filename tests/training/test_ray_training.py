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
def test_workers_train_all_jobs_in_one_run(tiny_model: Path, tmp_path: Path, num_workers: int) -> None:
    """Each adapter has a row of metrics a step, the second meets the first, the driver has seen every step."""
    seen: list[tuple[str, float]] = []
    first = job(tmp_path / "first", str(tiny_model), num_workers)
    second = replace(first, name="second", earlier=(first.output,), seed=1, output=str(tmp_path / "second"))
    train_on_ray([first, second], tmp_path / "ray", lambda name, row: seen.append((name, row["step"])))
    assert seen == [(name, step) for name in ("first", "second") for step in (1, 2, 3)]
    for name, _ in seen:
        rows = [json.loads(line) for line in (tmp_path / name / METRICS_FILE).read_text().splitlines()]
        assert [row["step"] for row in rows] == [1, 2, 3]
        assert set(rows[0]) == {"step", "loss", "hsic", "reward_accuracy", "reward_margin"}
        assert all((row["hsic"] > 0) == (name == "second") for row in rows)
        assert any(factor.abs().max() > 0 for factor in load_factors(tmp_path / name).b.values())
    assert not list(tmp_path.glob("*.partial"))


def test_a_failing_job_is_one_clear_line_and_those_before_it_are_kept(tiny_model: Path, tmp_path: Path) -> None:
    """An earlier adapter that is gone ends training with the cause, not with Ray's wrapping."""
    first = job(tmp_path / "first", str(tiny_model), 1)
    broken = replace(first, name="second", earlier=(str(tmp_path / "gone"),), output=str(tmp_path / "second"))
    with pytest.raises(RunError, match=r"training of 'second' failed: .*gone: not a PEFT adapter"):
        train_on_ray([first, broken], tmp_path / "ray", lambda name, row: None)
    assert (tmp_path / "first" / METRICS_FILE).is_file()
    assert not (tmp_path / "second").exists()
