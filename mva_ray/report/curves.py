"""The training metrics that lie beside the adapters of a run directory."""

import json
from typing import Any

from mva_ray.run_dir.layout import ADAPTERS, RunDirectory
from mva_ray.run_dir.place import name_of
from mva_ray.run_dir.store import Directory


def training_curves(run: RunDirectory) -> dict[str, list[dict[str, Any]]]:
    """The training steps of each value of the current config, in the order they were trained.

    Only the name of the recorded adapter directory counts, so that a run directory can be moved.
    """
    curves = {}
    for value, adapter in (run.adapter_paths.read_object() or {}).items():
        directory = Directory(run.store, f"{ADAPTERS}/{name_of(adapter)}")
        log = directory.fetch() / "training.jsonl" if directory.exists() else None
        if log and log.is_file():
            curves[value] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return curves
