"""What is explored: a model of two layers, a few prompts, two values, with a budget in answers or without."""

import json
from pathlib import Path

import yaml

PLAIN = {"candidates": 16, "population": 4, "convex_partitions": 2, "bounds": [-0.5, 1.5], "evaluators": 2}
FEW = PLAIN | {"evaluators": 1, "answers": 80}
SUBJECTS = ("bread", "the sky", "a friend", "red light", "the stove", "time")
QUESTIONS = ("Why is {} blue?", "What should I say to {}?", "How do I bake {}?", "Because {}?", "Is {} more?", "{}!")
SPLITS = {"train": "pairs", "search": "search", "held_out": "held_out"}
"""The stage that answers each split's prompts."""


def prompts() -> dict[str, list[str]]:
    """24 train, 6 search and 6 held-out prompts."""
    every = [question.format(subject) for question in QUESTIONS for subject in SUBJECTS]
    return {"train": every[:24], "search": every[24:30], "held_out": every[30:]}


def stages() -> dict[str, str]:
    """The stage of every prompt."""
    return {prompt: SPLITS[split] for split, of_split in prompts().items() for prompt in of_split}


def write_work(directory: Path) -> dict[bool, Path]:
    """The configs, with a budget in answers and without, with all that they name beside them."""
    from tests.support.tiny import make_llama

    if not directory.exists():
        make_llama(directory / "model")
    for split, of_split in prompts().items():
        (directory / f"{split}.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in of_split))
    return {answers: _write_config(directory, answers) for answers in (False, True)}


def _write_config(directory: Path, answers: bool) -> Path:
    config = {
        "name": "answers" if answers else "plain",
        "base_model": "model",
        "prompts": {split: {"path": f"{split}.jsonl"} for split in SPLITS},
        "generation": {"max_new_tokens": 12, "batch_size": 4},
        "values": [{"name": name, "reward": f"mva_ray.rewards:{name}"} for name in ("brief", "thorough")],
        "training": {
            "steps": 8,
            "checkpoint_steps": 2,
            "pairs_per_step": 2,
            "learning_rate": 1e-2,
            "lora": {"r": 4, "alpha": 8},
        },
        "search": (FEW if answers else PLAIN) | {"resources": {"num_cpus": 0.5}},
    }
    path = directory / f"{config['name']}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
