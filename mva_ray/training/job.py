"""What one value's training depends on. Light: imports no torch, so that drivers and controllers start fast."""

from dataclasses import dataclass

from mva_ray.config import Training
from mva_ray.records import AdapterRef, PreferencePair

METRICS_FILE = "training.jsonl"


@dataclass(frozen=True)
class TrainingJob:
    """All that one value's training depends on."""

    value: str
    base_model: str
    system_prompt: str | None
    pairs: tuple[PreferencePair, ...]
    earlier: tuple[AdapterRef, ...]
    training: Training
    seed: int
    output: str
