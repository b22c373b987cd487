"""Runs with adapters that are there, of tiny models: what export and server take."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mva_ray.adapters.fetch import shared_model
from mva_ray.adapters.hashes import delta_hash, model_hash
from mva_ray.adapters.parts import split_by_block
from mva_ray.records import AdapterRef
from mva_ray.run_dir.stores import store_at
from mva_ray.table import ParetoTable
from tests.support.evaluations import make_run, ok
from tests.support.tiny import random_adapter

VALUES = ("positive", "brief")
W = (-0.7, 1.6)
MODULES = {"llama": ("q_proj", "v_proj", "down_proj"), "gpt2": ("c_attn", "c_fc")}


def make_trained_run(run: Path, model: Path, w: Mapping[str, float] | None = None, blocks: int = 1) -> list[Path]:
    """A run of two adapters of ranks 4 and 2, with candidates `mixed` and `base`; the adapters' directories."""
    gpt2 = json.loads((model / "config.json").read_text())["model_type"] == "gpt2"
    modules, options = MODULES["gpt2" if gpt2 else "llama"], {"fan_in_fan_out": True} if gpt2 else {}
    paths = [
        random_adapter(run / "adapters" / f"{value}-key", model, i, 4 - 2 * i, 8, list(modules), bool(i), **options)
        for i, value in enumerate(VALUES)
    ]
    whole = [AdapterRef(value, str(path), delta_hash(path)) for value, path in zip(VALUES, paths, strict=True)]
    parts = split_by_block(whole, blocks)
    coefficients = w or dict(zip(VALUES, W, strict=True))
    row = replace(
        ok("mixed", coefficients, dict.fromkeys(VALUES, 0.25)),
        adapters={part.value: part.sha256 for part in parts},
        base_model=f"tiny {model_hash(model)[:12]}",
        rewards=dict.fromkeys(VALUES, "package.module:function@1.0"),
    )
    make_run(run, [row, replace(row, candidate="base", coefficients=dict.fromkeys(coefficients, 0.0))], VALUES, blocks)
    settings = {
        "name": "demo",
        "base_model": str(model),
        "values": [{"name": value, "pairs": None, "adapter": None} for value in VALUES],
        "search": {"candidates": 24},
    }
    stages = {f"adapter '{value}'": "key" for value in VALUES}
    (run / "plan.json").write_text(json.dumps({"stages": stages, "settings": settings}))
    return paths


def move_to(url: str, run: Path, model: Path) -> None:
    """A trained run as it would be at a URL, with a copy of its base model; nothing of both stays on this disk."""
    store = store_at(url)
    shared_model(str(model), store)
    for adapter in (run / "adapters").iterdir():
        store.publish(adapter, f"adapters/{adapter.name}")
    for path in filter(Path.is_file, run.rglob("*")):
        store.write(path.relative_to(run).as_posix(), path.read_bytes())
    for directory in (run, model):
        shutil.rmtree(directory)


def add_candidates(
    run: Path, candidates: Mapping[str, tuple[Sequence[float], Sequence[float]]], split: str = "held_out"
) -> None:
    """Candidates of a trained run: their coefficients and mean rewards, one a value each."""
    table = ParetoTable(run)
    first = table.current(with_generations=True)[0]
    rows = [
        replace(
            first,
            candidate=name,
            split=split,
            prompts_hash=f"{split}-prompts",
            coefficients=dict(zip(VALUES, w, strict=True)),
            reward_mean=dict(zip(VALUES, rewards, strict=True)),
            generations=tuple(
                replace(one, rewards={value: mean + sign * 0.05 for value, mean in zip(VALUES, rewards, strict=True)})
                for sign, one in zip((-1, 1), first.generations, strict=True)
            ),
        )
        for name, (w, rewards) in candidates.items()
    ]
    table.append(rows)
