"""A config that is right, on a tiny model, and what makes it extreme."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Settings = dict[str, Any]
SPLITS = ("train", "search", "held_out")


class Case(NamedTuple):
    """What the message names, and what changes the settings or the files beside them; a text it gives is the YAML."""

    key: str
    change: Callable[[Path, Settings], str | None]


def good(directory: Path, model: Path) -> Settings:
    """The settings of a config that is right, with its files in the directory."""
    for split in SPLITS:
        rows = [json.dumps({"prompt": f"What is {split} {number}?"}) for number in range(8)]
        (directory / f"{split}.jsonl").write_text("\n".join(rows))
    pairs = [{"prompt": f"Why {number}?", "chosen": "Because.", "rejected": "No."} for number in range(8)]
    (directory / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    return {
        "name": "extreme",
        "base_model": str(model),
        "prompts": {split: {"path": f"{split}.jsonl"} for split in SPLITS},
        "values": [
            {"name": "brief", "reward": "mva_ray.rewards:brief"},
            {"name": "given", "reward": "mva_ray.rewards:plain", "pairs": "pairs.jsonl"},
        ],
        "training": {"lora": {"r": 4}},
        "search": {"resources": {"num_cpus": 0.5}},
    }


def write(directory: Path, model: Path, case: Case) -> Path:
    """The config of a case, with all that it needs beside it."""
    settings = good(directory, model)
    text = case.change(directory, settings)
    path = directory / "extreme.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False) if text is None else text)
    return path


def put(key: str, value: Any, *without: str, names: str | None = None) -> Case:
    """One setting at a dotted key, a number in it being the index of a list; `without` these others."""

    def change(directory: Path, settings: Settings) -> None:
        *way, last = (int(part) if part.isdigit() else part for part in key.split("."))
        entry: Any = settings
        for part in way:
            entry = entry[part] if isinstance(part, int) else entry.setdefault(part, {})
        entry[last] = value
        for other in without:
            entry.pop(other, None)

    return Case(names or key, change)


def own_model(directory: Path, settings: Settings) -> Path:
    """A copy of the base model that may be changed."""
    copied = Path(shutil.copytree(settings["base_model"], directory / "model"))
    settings["base_model"] = "model"
    return copied
