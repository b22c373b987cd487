"""What one adapter's training depends on. Light: imports no torch, so that drivers and controllers start fast."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mva_ray.config.training import Training
from mva_ray.records import PreferencePair

METRICS_FILE = "training.jsonl"


@dataclass(frozen=True)
class TrainingJob:
    """All that one adapter's training depends on.

    Args:
        name: what people see; the value, for a value adapter.
        earlier: directories of the frozen adapters that it is penalised against.
        start: directory of the adapter whose weights it goes on from; None for a fresh one.
        output: directory of the result; there only when complete.
    """

    name: str
    base_model: str
    system_prompt: str | None
    pairs: tuple[PreferencePair, ...]
    earlier: tuple[str, ...]
    training: Training
    seed: int
    output: str
    start: str | None = None


def jobs_key(jobs: Sequence[TrainingJob]) -> str:
    """A short content hash: a checkpoint under it is one of exactly these jobs."""
    content = [{**asdict(job), "training": job.training.model_dump()} for job in jobs]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
