"""SIGKILL for the workers of a Ray Train run that this process drives, and what they left behind."""

import json
import os
import signal
from pathlib import Path

import psutil


def kill_training_worker(place: int = 0) -> None:
    """End one of the workers, the oldest first, as the kernel would when memory is short."""
    processes = psutil.Process().children(recursive=True)
    workers = sorted((process for process in processes if "RayTrainWorker" in process.name()), key=lambda p: p.pid)
    os.kill(workers[place].pid, signal.SIGKILL)
    workers[place].wait(10)


def last_checkpoint(storage: Path) -> Path | None:
    """The last complete checkpoint of the one run in Ray Train's storage."""
    for snapshot in storage.glob("*/checkpoint_manager_snapshot.json"):
        last = json.loads(snapshot.read_text())["latest_checkpoint_result"]
        return snapshot.parent / last["checkpoint_dir_name"] if last else None
    return None


def checkpoint_step(storage: Path) -> int:
    """The step of the last complete checkpoint, 0 where there is none."""
    checkpoint = last_checkpoint(storage)
    states = list(checkpoint.glob("*/trainer_state.json")) if checkpoint else []
    return max((json.loads(state.read_text())["global_step"] for state in states), default=0)
