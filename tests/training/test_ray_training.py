"""Training on Ray Train: several jobs in one run or at once, workers and runs that are killed, jobs that fail."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from mva_ray.adapters.hashes import adapter_hash
from mva_ray.adapters.lora import load_factors
from mva_ray.config.training import Lora, Training
from mva_ray.errors import RunError
from mva_ray.records import PreferencePair
from mva_ray.training.job import METRICS_FILE, TrainingJob
from mva_ray.training.ray_training import train_on_ray
from tests.support.kill import checkpoint_step, kill_training_worker, last_checkpoint
from tests.support.tiny import make_llama

pytestmark = [pytest.mark.usefixtures("three_cpus"), pytest.mark.timeout(600)]

STEPS = 40
PAIRS = tuple(
    PreferencePair(f"Why is {word} blue?", "Say yes.", "Because light") for word in ("it", "sky", "tea", "ink", "air")
)
Seen = list[tuple[str, float]]


@pytest.fixture(scope="module")
def three_cpus() -> Iterator[None]:
    """A Ray of this process with a CPU for each of three workers, whatever the machine has."""
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
    yield
    ray.shutdown()


def job(output: Path, model: Path, **changes: Any) -> TrainingJob:
    """A job that is called as its output; dropout makes it depend on the state of the random generator."""
    settings: dict[str, Any] = {"steps": STEPS, "checkpoint_steps": 7, "pairs_per_step": 2, "learning_rate": 1e-2}
    training = Training(**settings | changes, lora=Lora(r=2, alpha=4, dropout=0.2))
    return TrainingJob(output.name, str(model), None, PAIRS, (), training, 0, str(output))


def rows(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / METRICS_FILE).read_text().splitlines()]


def noting(seen: Seen, do: Callable[[str, float], None] = lambda name, step: None) -> Callable[..., None]:
    def on_step(name: str, row: Mapping[str, float]) -> None:
        seen.append((name, row["step"]))
        do(name, row["step"])

    return on_step


def test_workers_train_all_jobs_in_one_run(tiny_model: Path, tmp_path: Path) -> None:
    """Each adapter has a row of metrics a step, the second meets the first, the driver has seen every step."""
    seen: Seen = []
    first = job(tmp_path / "first", tiny_model, steps=3, num_workers=2)
    second = replace(first, name="second", earlier=(first.output,), seed=1, output=str(tmp_path / "second"))
    train_on_ray([first, second], tmp_path / "ray", noting(seen))
    assert seen == [(name, step) for name in ("first", "second") for step in (1, 2, 3)]
    for name in ("first", "second"):
        metrics = rows(tmp_path / name)
        assert [row["step"] for row in metrics] == [1, 2, 3]
        assert set(metrics[0]) == {"step", "loss", "hsic", "reward_accuracy", "reward_margin"}
        assert any(factor.abs().max() > 0 for factor in load_factors(tmp_path / name).b.values())
    assert [any(row["hsic"] > 0 for row in rows(tmp_path / name)) for name in ("first", "second")] == [False, True]
    assert not list(tmp_path.glob("*.partial"))


def test_a_killed_worker_changes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """SIGKILL at a random step of the second job: weights and metrics are bit for bit those of an undisturbed run."""
    results = {}
    for name, victim in (("undisturbed", 0), ("killed", random.randrange(10, STEPS - 10))):
        first = job(tmp_path / name / "first", tiny_model)
        second = replace(first, name="second", earlier=(first.output,), output=str(tmp_path / name / "second"))
        kept: list[int] = []
        seen: Seen = []

        def kill(value: str, step: float, victim: int = victim, kept: list[int] = kept) -> None:
            if (value, step) == ("second", victim):
                kill_training_worker()
                kept.append(checkpoint_step(tmp_path / "ray"))

        train_on_ray([first, second], tmp_path / "ray", noting(seen, kill))
        assert len(kept) == (1 if victim else 0)
        assert all(step > 0 for step in kept), "the kill came before the first checkpoint"
        assert seen == [(value, step) for value in ("first", "second") for step in range(1, STEPS + 1)]
        assert not list((tmp_path / "ray").iterdir()), "checkpoints are left"
        results[name] = [(adapter_hash(Path(each.output)), rows(Path(each.output))) for each in (first, second)]
    assert results["killed"] == results["undisturbed"]


LONG = 400
START = """
import sys, ray
from pathlib import Path
from tests.training.test_ray_training import long_job
from mva_ray.training.ray_training import train_on_ray
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
output, model = map(Path, sys.argv[1:])
train_on_ray([long_job(output, model)], output.parent / "ray", lambda name, row: None)
"""


def long_job(output: Path, model: Path) -> TrainingJob:
    return job(output, model, steps=LONG, checkpoint_steps=40)


def test_a_killed_run_goes_on_at_the_last_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    """What the checkpoint says of step 1 is changed after the kill, and must be what the next run says of it."""
    arguments = [sys.executable, "-c", START, str(tmp_path / "out"), str(tiny_model)]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not checkpoint_step(tmp_path / "ray"):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(2)
    checkpoint = last_checkpoint(tmp_path / "ray")
    assert checkpoint
    [path] = checkpoint.glob("*/trainer_state.json")
    state = json.loads(path.read_text())
    state["log_history"][0]["dpo_loss"] = 42.0
    path.write_text(json.dumps(state))
    seen: Seen = []
    train_on_ray([long_job(tmp_path / "out", tiny_model)], tmp_path / "ray", noting(seen))
    assert [step for _, step in seen] == list(range(1, LONG + 1))
    assert [row["step"] for row in rows(tmp_path / "out")] == list(range(1, LONG + 1))
    assert rows(tmp_path / "out")[0]["loss"] == 42.0


def test_a_failing_job_names_its_pairs_and_the_others_are_trained(tmp_path: Path) -> None:
    """A token whose embedding is NaN makes the loss of one pair NaN: what needs that adapter fails, nothing else."""
    model = make_llama(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    tokens = PreTrainedTokenizerFast.from_pretrained(model)("Zzz~").input_ids
    weights["model.embed_tokens.weight"][tokens[-1]] = float("nan")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    sound = job(tmp_path / "sound", model, steps=4)
    broken = replace(
        job(tmp_path / "broken", model, steps=4), pairs=(*PAIRS, PreferencePair("Zzz~", "Say yes.", "Because light"))
    )
    after = replace(sound, name="after", earlier=(broken.output,), output=str(tmp_path / "after"))
    with pytest.raises(RunError, match=r"training of 'broken' diverged at step \d: .*not finite; .*: .*Zzz~"):
        train_on_ray([broken, after, sound], tmp_path / "ray", lambda name, row: None)
    assert (tmp_path / "sound" / METRICS_FILE).is_file()
    assert not (tmp_path / "broken").exists()
    assert not (tmp_path / "after").exists()


def test_values_that_are_trained_together_are_kept_apart_and_survive_a_kill(tiny_model: Path, tmp_path: Path) -> None:
    """Three at once, undisturbed and with one worker killed, end bit for bit the same and penalised."""
    results = {}
    for name, victim in (("undisturbed", 0), ("killed", random.randrange(10, STEPS - 10))):
        jobs = [
            replace(
                job(tmp_path / name / value, tiny_model, schedule="concurrent", max_staleness=2),
                seed=seed,
            )
            for seed, value in enumerate("abc")
        ]
        kept: list[int] = []
        seen: Seen = []

        def kill(value: str, step: float, victim: int = victim, kept: list[int] = kept) -> None:
            if (value, step) == ("b", victim):
                kill_training_worker(place=1)
                kept.append(checkpoint_step(tmp_path / "ray"))

        train_on_ray(jobs, tmp_path / "ray", noting(seen, kill))
        assert len(kept) == (1 if victim else 0)
        for value in "abc":
            assert [step for of, step in seen if of == value] == list(range(1, STEPS + 1))
        results[name] = [(adapter_hash(Path(each.output)), rows(Path(each.output))) for each in jobs]
    assert results["killed"] == results["undisturbed"]
    assert len({weights for weights, _ in results["killed"]}) == 3
    for _, metrics in results["killed"]:
        assert metrics[0]["hsic"] == 0, "all deltas are 0 before the first step"
        assert any(row["hsic"] > 0 for row in metrics)
        assert [row["staleness"] for row in metrics[:10]] == [0, 1, 2, 2, 2, 2, 2, 0, 1, 2]
