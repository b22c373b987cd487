"""The side files of a run directory. Each may be missing: then its part of the report is left out."""

import json
import os
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any | None:
    """The content of a JSON file, None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def training_curves(run_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """The training steps of each value of the current config, in the order they were trained.

    Only the name of the recorded adapter directory counts, so that a run directory can be moved.
    """
    curves = {}
    for value, adapter in (read_json(run_dir / "adapters.json") or {}).items():
        log = run_dir / "adapters" / Path(adapter).name / "training.jsonl"
        if log.is_file():
            curves[value] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return curves


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one move, so that a reader (or a kill) never meets half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
