"""Training on Ray Train: several jobs in one run or at once, workers and runs that are killed, jobs that fail.

A start of Ray Train takes 20 s and more: what can happen in one run does, and what an undisturbed run gives is trained
without Ray Train.
"""

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.actor import ActorHandle
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from mva_ray.adapters.hashes import adapter_hash
from mva_ray.adapters.lora import load_factors
from mva_ray.config.training import Lora, Training
from mva_ray.errors import RunError
from mva_ray.records import PreferencePair
from mva_ray.training.job import METRICS_FILE, TrainingJob
from mva_ray.training.ray_exchange import exchange_on, start_board
from mva_ray.training.ray_training import train_on_ray
from mva_ray.training.setup import prepare_torch
from mva_ray.training.train import train_adapter
from tests.support.kill import checkpoint_step, kill_training_worker, last_checkpoint
from tests.support.tiny import make_llama

pytestmark = [pytest.mark.usefixtures("three_cpus"), pytest.mark.timeout(600)]

STEPS = 40
LONG = 200
CPUS = 3
PAIRS = tuple(
    PreferencePair(f"Why is {word} blue?", "Say yes.", "Because light") for word in ("it", "sky", "tea", "ink", "air")
)
Seen = list[tuple[str, float]]


@pytest.fixture(scope="module")
def three_cpus() -> Iterator[None]:
    """A Ray of this process with a CPU for each of three workers, whatever the machine has."""
    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
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


@dataclass(frozen=True)
class Survived:
    """What came of `jobs_of` a model whose run was killed, and the run after it whose worker was.

    `undisturbed` and `weights` are hash and rows of the adapters that nothing was wrong with, by name.
    """

    directory: Path
    weights: dict[str, tuple[str, list[dict[str, float]]]]
    undisturbed: dict[str, tuple[str, list[dict[str, float]]]]
    seen: Seen
    killed_at: list[int]
    error: str


def jobs_of(directory: Path, model: Path) -> list[TrainingJob]:
    """A long job, two that are sound, one that diverges and one that needs its adapter."""
    first = job(directory / "first", model, steps=LONG, checkpoint_steps=40)
    second = replace(job(directory / "second", model), earlier=(first.output,))
    sound = job(directory / "sound", model, steps=4)
    pairs = (*PAIRS, PreferencePair("Zzz~", "Say yes.", "Because light"))
    broken = replace(job(directory / "broken", model, steps=4), pairs=pairs)
    after = replace(sound, name="after", earlier=(broken.output,), output=str(directory / "after"))
    return [first, second, broken, after, sound]


START = """
import sys, ray
from pathlib import Path
from tests.training.test_ray_training import CPUS, jobs_of
from mva_ray.training.ray_training import train_on_ray
ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
directory, model = map(Path, sys.argv[1:])
train_on_ray(jobs_of(directory, model), directory / "ray", lambda name, row: None)
"""


@pytest.fixture(scope="module")
def survived(three_cpus: None, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Survived:
    """SIGKILL for the run in its first job, and for the worker of the next run at a random step of its second job."""
    root = tmp_path_factory.mktemp("survived")
    model, directory, storage = without_a_token(root / "model"), root / "out", root / "out" / "ray"
    kill_the_run(directory, model)
    say_of_the_first_step(storage, 42.0)
    seen: Seen = []
    victim, killed_at = random.randrange(10, STEPS - 10), []

    def kill(name: str, step: float) -> None:
        if (name, step) == ("second", victim):
            kill_training_worker()
            killed_at.append(checkpoint_step(storage))

    jobs = jobs_of(directory, model)
    with pytest.raises(RunError) as failed:
        train_on_ray(jobs, storage, noting(seen, kill))
    names = ("first", "second", "sound")
    alone = [each for each in jobs_of(root / "alone", model) if each.name in names]
    train_without_ray(alone)
    return Survived(
        directory,
        {name: result(directory / name) for name in names},
        {name: result(root / "alone" / name) for name in names},
        seen,
        killed_at,
        str(failed.value),
    )


def without_a_token(directory: Path) -> Path:
    """A tiny model in which the embedding of "~" is NaN."""
    model = make_llama(directory)
    weights = load_file(model / "model.safetensors")
    tokens = PreTrainedTokenizerFast.from_pretrained(model)("Zzz~").input_ids
    weights["model.embed_tokens.weight"][tokens[-1]] = float("nan")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    return model


def kill_the_run(directory: Path, model: Path) -> None:
    """A run in a process of its own, that ends by SIGKILL when it has a checkpoint."""
    process = subprocess.Popen([sys.executable, "-c", START, str(directory), str(model)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not checkpoint_step(directory / "ray"):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(2)


def say_of_the_first_step(storage: Path, loss: float) -> None:
    """Change what the last checkpoint says of step 1."""
    checkpoint = last_checkpoint(storage)
    assert checkpoint
    [path] = checkpoint.glob("*/trainer_state.json")
    state = json.loads(path.read_text())
    state["log_history"][0]["dpo_loss"] = loss
    path.write_text(json.dumps(state))


def train_without_ray(jobs: Sequence[TrainingJob]) -> None:
    """In this process, with the threads and the precision of a worker."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    prepare_torch(CPUS)
    try:
        for each in jobs:
            train_adapter(each, lambda row: None)
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def result(adapter: Path) -> tuple[str, list[dict[str, float]]]:
    return adapter_hash(adapter), rows(adapter)


def test_a_killed_run_goes_on_at_the_last_checkpoint(survived: Survived) -> None:
    """What the checkpoint says of step 1 was changed after the kill, and is what the next run says of it."""
    assert [step for name, step in survived.seen if name == "first"] == list(range(1, LONG + 1))
    weights, metrics = survived.weights["first"]
    assert [row["step"] for row in metrics] == list(range(1, LONG + 1))
    assert metrics[0]["loss"] == 42.0
    assert (weights, metrics[1:]) == (survived.undisturbed["first"][0], survived.undisturbed["first"][1][1:])


def test_a_killed_worker_changes_nothing(survived: Survived) -> None:
    """Weights and metrics of the second job are bit for bit those of an undisturbed training."""
    assert len(survived.killed_at) == 1
    assert all(step > 0 for step in survived.killed_at), "the kill came before the first checkpoint"
    assert [step for name, step in survived.seen if name == "second"] == list(range(1, STEPS + 1))
    assert survived.weights["second"] == survived.undisturbed["second"]
    assert any(row["hsic"] > 0 for row in survived.weights["second"][1])
    assert not list((survived.directory / "ray").iterdir()), "checkpoints are left"


def test_a_failing_job_names_its_pairs_and_the_others_are_trained(survived: Survived) -> None:
    """A token whose embedding is NaN makes the loss of one pair NaN: what needs that adapter fails, nothing else."""
    assert re.search(r"training of 'broken' diverged at step \d: .*not finite; .*: .*Zzz~", survived.error)
    assert survived.weights["sound"] == survived.undisturbed["sound"]
    assert not (survived.directory / "broken").exists()
    assert not (survived.directory / "after").exists()
    assert list(dict.fromkeys(name for name, _ in survived.seen if name != "broken")) == ["first", "second", "sound"]


@ray.remote(num_cpus=1)
def train_beside(others: list[str], board: ActorHandle, each: TrainingJob) -> None:
    """One of several at once, without Ray Train."""
    prepare_torch(1)
    train_adapter(each, lambda row: None, exchange=exchange_on(board, each.name, others, each.training))


def test_values_that_are_trained_together_are_kept_apart_and_survive_a_kill(tiny_model: Path, tmp_path: Path) -> None:
    """Three at once with one worker killed end bit for bit as three that nobody disturbs, and penalised."""

    def jobs_in(directory: Path) -> list[TrainingJob]:
        concurrent = {"schedule": "concurrent", "max_staleness": 2}
        return [replace(job(directory / name, tiny_model, **concurrent), seed=seed) for seed, name in enumerate("abc")]

    seen: Seen = []
    victim, killed_at = random.randrange(10, STEPS - 10), []

    def kill(name: str, step: float) -> None:
        if (name, step) == ("b", victim):
            kill_training_worker(place=1)
            killed_at.append(checkpoint_step(tmp_path / "ray"))

    train_on_ray(jobs_in(tmp_path / "killed"), tmp_path / "ray", noting(seen, kill))
    assert len(killed_at) == 1
    for name in "abc":
        assert [step for of, step in seen if of == name] == list(range(1, STEPS + 1))

    board, alone = start_board(), jobs_in(tmp_path / "alone")
    ray.get([train_beside.remote([name for name in "abc" if name != each.name], board, each) for each in alone])
    killed, undisturbed = ([result(tmp_path / run / name) for name in "abc"] for run in ("killed", "alone"))
    assert killed == undisturbed
    assert len({weights for weights, _ in killed}) == 3
    for _, metrics in killed:
        assert metrics[0]["hsic"] == 0, "all deltas are 0 before the first step"
        assert any(row["hsic"] > 0 for row in metrics)
        assert [row["staleness"] for row in metrics[:10]] == [0, 1, 2, 2, 2, 2, 2, 0, 1, 2]
