"""Writes the three prompt files of a config from the test split of a data set on the hub.

python tune_configs/prompts/from_hub.py hh|hh_chat|safe_rlhf DIRECTORY

Of dialogues, those with one question are taken, in an order drawn with a fixed seed; what is also in the training split
is left out, since adapters are trained on it. `hh` writes Anthropic's own form, for base models, the others plain text,
for models with a chat template.
"""

import json
import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

SIZES = {"train": 256, "search": 256, "held_out": 512}
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


def first_turns(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What a person asks in each row: its `prompt`, or the only question of its dialogue `chosen`."""
    for row in rows:
        if "prompt" in row:
            yield row["prompt"].strip()
        elif row["chosen"].count(HUMAN) == 1:
            yield row["chosen"].partition(HUMAN)[2].partition(ASSISTANT)[0].strip()


def splits(test: Iterable[str], trained: Iterable[str], seed: int = 0) -> dict[str, list[str]]:
    """Distinct prompts of `test` that are not in `trained`, as many for each split as SIZES says."""
    known = set(trained)
    left = sorted({prompt for prompt in test if prompt} - known)
    random.Random(seed).shuffle(left)
    if len(left) < sum(SIZES.values()):
        raise SystemExit(f"only {len(left)} prompts are left, {sum(SIZES.values())} are needed")
    prompts = iter(left)
    return {split: [next(prompts) for _ in range(size)] for split, size in SIZES.items()}


def write(directory: Path, prompts: Mapping[str, Iterable[str]], form: str) -> None:
    """One JSONL file a split; `form` has {} where the prompt goes."""
    directory.mkdir(parents=True, exist_ok=True)
    for split, texts in prompts.items():
        lines = (json.dumps({"prompt": form.format(text)}) + "\n" for text in texts)
        (directory / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def _read(name: str, split: str) -> Iterator[str]:
    from datasets import load_dataset

    if name in ("hh", "hh_chat"):
        for part in ("helpful-base", "harmless-base"):
            yield from first_turns(load_dataset("Anthropic/hh-rlhf", data_dir=part, split=split))
    else:
        data_set = "PKU-Alignment/PKU-SafeRLHF-10K" if split == "train" else "PKU-Alignment/PKU-SafeRLHF"
        yield from first_turns(load_dataset(data_set, split=split))


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] not in ("hh", "hh_chat", "safe_rlhf"):
        raise SystemExit(__doc__)
    name, directory = sys.argv[1:]
    form = f"{HUMAN} {{}}{ASSISTANT}" if name == "hh" else "{}"
    write(Path(directory), splits(_read(name, "test"), _read(name, "train")), form)


if __name__ == "__main__":
    main()
