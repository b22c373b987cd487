"""What one adapter's training depends on. Light: imports no torch, so that drivers and controllers start fast."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mva_ray.config.training import Training
from mva_ray.records import PreferencePair
from mva_ray.run_dir.stores import directory_at

METRICS_FILE = "training.jsonl"


@dataclass(frozen=True)
class TrainingJob:
    """All that one adapter's training depends on.

    Args:
        name: what people see; the value, for a value adapter.
        earlier: places of the frozen adapters that it is penalised against.
        start: place of the adapter whose weights it goes on from; None for a fresh one.
        output: place of the result; there only when complete.

    Places are directories by path or URL, see `directory_at`.
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

    @property
    def is_done(self) -> bool:
        return directory_at(self.output).exists()

    @property
    def partial(self) -> Path:
        """Where the output grows on this node until it is complete."""
        return directory_at(self.output).scratch

    def publish(self) -> None:
        """The partial output is complete."""
        directory_at(self.output).publish(self.partial)

    @property
    def scratch(self) -> Path:
        """The trainer's own files, gone when the output is complete."""
        return Path(self.output, "trainer")


def jobs_key(jobs: Sequence[TrainingJob]) -> str:
    """A short content hash: a checkpoint under it is one of exactly these jobs."""
    content = [
        {**asdict(job), "training": job.training.model_dump(), "pairs": [pair.content() for pair in job.pairs]}
        for job in jobs
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def against_finished(jobs: Sequence[TrainingJob]) -> list[TrainingJob]:
    """The jobs to train at once; where a kill came between publishing one output and the next, those are frozen."""
    finished = tuple(job.output for job in jobs if job.is_done)
    return [replace(job, earlier=job.earlier + finished) for job in jobs if not job.is_done]
