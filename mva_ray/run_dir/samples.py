"""The base model's own samples on disk: appended batch by batch, so that a killed run loses one batch at most."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mva_ray.records import Generation


class SampleStore:
    """A JSONL file with one line a batch of prompts, [prompts][completions]; a line cut short by a kill is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[list[Generation]]:
        """All samples stored, [prompts][completions], in the order they were appended."""
        if not self._path.exists():
            return []
        whole = self._path.read_bytes()
        complete = whole[: whole.rfind(b"\n") + 1]
        if len(complete) < len(whole):
            os.truncate(self._path, len(complete))
        batches = [json.loads(line) for line in complete.splitlines()]
        return [[Generation(**fields) for fields in generations] for batch in batches for generations in batch]

    def append(self, samples: Sequence[Sequence[Generation]]) -> None:
        """Store the samples of some more prompts, all of them or none; on disk when this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        batch = [[asdict(generation) for generation in generations] for generations in samples]
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(batch) + "\n")
            file.flush()
            os.fsync(file.fileno())
