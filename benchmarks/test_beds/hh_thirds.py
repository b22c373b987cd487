"""Anthropic's HH pairs in three parts by prompt, so that nothing is judged by what it was trained on.

python -m benchmarks.test_beds.hh_thirds helpful=…/pairs.jsonl.gz harmless=…/pairs.jsonl.gz --out hh

For each value: `VALUE/reward.jsonl` for `mva-ray reward train --held-out 0.3333`, which trains on the first third and
is judged on the last, `VALUE/pairs.jsonl`, the second third, for DPO, and `VALUE/last.jsonl`, the pairs of the last
third. Of the last third of all values together, `search.jsonl` and `held_out.jsonl`: prompts, of each value in turn,
of one question that leaves room for an answer; `train.jsonl` are such prompts of the second third. A prompt is in one
part, whatever other pairs there are.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.adapters.fetch import SMOLLM2
from mva_ray.adapters.prompting import messages, prompt_ids
from mva_ray.config.values import PairSource
from mva_ray.data.source import read_pairs
from mva_ray.records import PreferencePair
from mva_ray.reward_model.train import split_by_prompt

SPLITS = ("train", "search", "held_out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("values", nargs="+", metavar="VALUE=PAIRS")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=40, help="of the search, and held out")
    parser.add_argument("--longest-prompt", type=int, default=96, help="tokens")
    options = parser.parse_args()
    each = options.prompts // len(options.values)
    tokenizer = load_tokenizer(SMOLLM2)
    prompts: dict[str, list[list[str]]] = {split: [] for split in SPLITS}
    for named in options.values:
        value, _, path = named.partition("=")
        parts = thirds(path, options.out / value)
        second, last = (short_prompts(tokenizer, part, options.longest_prompt) for part in parts)
        if len(second) < each or len(last) < 2 * each:
            raise SystemExit(f"{value}: {len(second)} and {len(last)} short prompts, {each} and {2 * each} wanted")
        for split, some in zip(SPLITS, (second, last[:each], last[each : 2 * each]), strict=True):
            prompts[split].append(some)
    for split, of_values in prompts.items():
        in_turn = chain.from_iterable(zip(*of_values, strict=False))  # as many of each
        write(options.out / f"{split}.jsonl", ({"prompt": prompt} for prompt in in_turn))


def thirds(path: str, out: Path) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Write a value's three parts; the second and the last."""
    known, last = split_by_prompt(read_pairs(PairSource(path=path, max_bad_share=0.01)), 1 / 3)
    second, first = split_by_prompt(known, 2 / 3)
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("reward", [*first, *last]), ("pairs", second), ("last", last)):
        write(out / f"{name}.jsonl", map(as_row, part))
    print(f"{out}: {len(first)}, {len(second)} and {len(last)} pairs")
    return second, last


def short_prompts(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair], longest: int) -> list[str]:
    """Those that are one question."""
    dialogues = [messages(pair.prompt) for pair in pairs]
    asked = dict.fromkeys(turns[0]["content"] for turns in dialogues if len(turns) == 1)
    return [prompt for prompt in asked if len(prompt_ids(tokenizer, prompt, None)) <= longest]


def as_row(pair: PreferencePair) -> dict[str, Any]:
    return {"prompt": messages(pair.prompt), "chosen": pair.chosen, "rejected": pair.rejected}


def write(path: Path, rows: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
