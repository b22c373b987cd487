"""The training metrics that lie beside the adapters of a run directory."""

import json
from pathlib import Path
from typing import Any

from mva_ray.run_dir.layout import RunDirectory


def training_curves(run: RunDirectory) -> dict[str, list[dict[str, Any]]]:
    """The training steps of each value of the current config, in the order they were trained.

    Only the name of the recorded adapter directory counts, so that a run directory can be moved.
    """
    curves = {}
    for value, adapter in (run.adapter_paths.read_object() or {}).items():
        log = run.adapters / Path(adapter).name / "training.jsonl"
        if log.is_file():
            curves[value] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return curves
