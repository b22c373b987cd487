"""What a run will compute, as content hashes: a stage whose key is known already is not computed again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mva_ray.adapters.ends import read_ends
from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.hashes import delta_hash, model_hash
from mva_ray.adapters.prompting import added_after
from mva_ray.adapters.tokenizer_file import has_tokenizer, read_tokenizer
from mva_ray.config import RunConfig
from mva_ray.config.reward import RewardSettings
from mva_ray.constraints import Limit, Limits
from mva_ray.data.files import split_prompts
from mva_ray.data.source import pairs_hash, read_pairs
from mva_ray.evaluation.reward import reward_version
from mva_ray.records import SPLITS


@dataclass(frozen=True)
class Plan:
    """Keys of all stages; each hashes everything the stage's result depends on.

    `scores`, `pairs` (of those that are trained) and `adapters` (in the order of training) are per value; `context`
    and `generator` are those of `Evaluation`. `rewards` maps each value to its reward's name and version, `prompts`
    each split to its prompts. Constraints are in no key: whether a candidate keeps them is derived.
    """

    base_hash: str
    prompts: Mapping[str, tuple[str, ...]]
    rewards: Mapping[str, str]
    samples: str
    scores: Mapping[str, str]
    pairs: Mapping[str, str]
    adapters: Mapping[str, str]
    context: str
    generator: str
    constraints: Limits

    def stages(self) -> dict[str, str]:
        """Every stage by the name people see, with its key."""
        named = {"samples": self.samples}
        named |= {f"pairs '{value}'": key for value, key in self.pairs.items()}
        named |= {f"adapter '{value}'": key for value, key in self.adapters.items()}
        return named | {"evaluations": self.context}


def make_plan(config: RunConfig) -> Plan:
    """Read prompts, hash models and rewards, and derive every key. Computes nothing expensive."""
    base = local_directory(config.base_model)
    base_hash = model_hash(base)
    prompt_mark, answer_mark = token_marks(base)
    prompts = {split: tuple(split_prompts(config.prompts, split)) for split in SPLITS}
    rewards = {value.name: _version(value.reward) for value in config.values}
    model = {
        "base": base_hash,
        "max_new_tokens": config.generation.max_new_tokens,
        "system_prompt": config.generation.system_prompt,
    } | prompt_mark
    samples = key(model, prompts["train"], config.sampling.model_dump(), config.seed)
    scores = {value: key(samples, reward) for value, reward in rewards.items()}
    pairs = {
        value.name: pairs_hash(read_pairs(value.pairs)) if value.pairs else key(scores[value.name], value.margin)
        for value in config.values
        if not value.adapter
    }
    adapters: dict[str, str] = {}
    together = list(pairs.items()) if config.training.schedule == "concurrent" else []
    for value in config.training_order:
        others = [adapters[other.name] for other in config.frozen_before(value)] + together
        adapters[value.name] = (
            delta_hash(Path(value.adapter))[:12]
            if value.adapter
            else key(model | answer_mark, pairs[value.name], _training(config), config.seed, others)
        )
    answering = model | answer_mark | _drawing(config) | _precision(config)
    blocks = config.search.coefficients_per_value
    context = key(answering, adapters, rewards, *([blocks] if blocks > 1 else []))
    return Plan(base_hash, prompts, rewards, samples, scores, pairs, adapters, context, key(answering), _limits(config))


def key(*parts: Any) -> str:
    """A short content hash of JSON-serialisable parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def token_marks(base: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What sets apart the keys of models whose prompts, or answers, earlier versions ended with another token.

    All other models keep the keys that they had.
    """
    if not has_tokenizer(base):
        return {}, {}
    tokenizer = read_tokenizer(base)
    turn = read_ends(base, tokenizer).turn
    ended_prompts = tokenizer.chat_template is None and added_after(tokenizer) > 0
    return (
        {"prompts_end": False} if ended_prompts else {},
        {"answers_end": turn} if turn != tokenizer.eos_token_id else {},
    )


def _version(reward: RewardSettings) -> str:
    return f"{reward.source} {reward_version(reward)}"


def _drawing(config: RunConfig) -> dict[str, Any]:
    """What answers depend on besides where they are sampled."""
    wanted = config.generation
    return {"temperature": wanted.temperature, "top_k": wanted.top_k, "seed": config.seed} if wanted.temperature else {}


def _precision(config: RunConfig) -> dict[str, Any]:
    """Of answers: float32 where evaluators have no GPU, which leaves their keys as they were before there were any."""
    return {"dtype": "bfloat16"} if config.search.resources.num_gpus else {}


def _limits(config: RunConfig) -> Limits:
    return {
        name: Limit(wanted.min, wanted.max, _version(wanted.reward) if wanted.reward else None)
        for name, wanted in config.constraints.items()
    }


def _training(config: RunConfig) -> dict[str, Any]:
    """The settings that an adapter depends on: checkpoints count where they limit how old other adapters may be."""
    training, left_out = config.training, {"checkpoint_steps"}
    if training.schedule == "sequential":
        left_out |= {"schedule", "max_staleness"}
    elif training.max_staleness:
        left_out = set()
    return training.model_dump(exclude=left_out) | training.marks
