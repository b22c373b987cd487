"""Writes a candidate as something that peft and transformers load without us."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mva_ray.adapters.blocks import load_adapters
from mva_ray.adapters.export import compress, concatenate, merge_into, save_adapter
from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.hashes import model_hash
from mva_ray.errors import ConfigError
from mva_ray.export import Form
from mva_ray.export.candidate import Candidate
from mva_ray.export.card import model_card
from mva_ray.run_dir.files import whole_directory

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM's --max-lora-rank may be."""


def write(candidate: Candidate, form: Form, directory: Path, rank: int | None = None) -> list[str]:
    """Write a candidate, all of it or nothing; lines that say how it is used.

    Args:
        form: `adapter`, exact, with a rank that is the sum of the ranks; `compressed` to `rank`, with what is lost;
            `merged`, a whole model in the base model's own precision.
        directory: must not exist, or be empty.
        rank: of `compressed` alone.

    Raises:
        ConfigError: the form cannot be had of this candidate, or the base model is another one now.
    """
    _check(candidate, form, directory, rank)
    if form == "merged":
        return _write_merged(candidate, directory)
    factors = concatenate(load_adapters(candidate.base_model, candidate.adapters), candidate.coefficients)
    lost = 0.0
    if form == "compressed" and rank is not None:
        factors, lost = compress(factors, rank)
    with whole_directory(directory) as scratch:
        save_adapter(factors, scratch, candidate.base_model)
        (scratch / "README.md").write_text(model_card(candidate, form, lost), encoding="utf-8")
    return _how_to_serve(candidate, directory, len(next(iter(factors.a.values()))), lost)


def _check(candidate: Candidate, form: Form, directory: Path, rank: int | None) -> None:
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError("--out", [f"{directory} is not empty"])
    if (form == "compressed") != (rank is not None):
        raise ConfigError("--rank", ["belongs to --as compressed, which needs it"])
    if form != "merged" and not any(candidate.coefficients):
        raise ConfigError(candidate.evaluation.candidate, ["is the base model itself: there is no adapter in it"])
    here = model_hash(local_directory(candidate.base_model))[:12]
    if here not in candidate.evaluation.base_model:
        evaluated = candidate.evaluation.base_model
        raise ConfigError("base_model", [f"{candidate.base_model} is {here} now, and was evaluated as {evaluated}"])


def _write_merged(candidate: Candidate, directory: Path) -> list[str]:
    base = local_directory(candidate.base_model)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype="auto", use_safetensors=True)
    if any(candidate.coefficients):
        factors = concatenate(load_adapters(candidate.base_model, candidate.adapters), candidate.coefficients)
        try:
            merge_into(model, factors)
        except ValueError as error:
            raise ConfigError("--as merged", [f"{error}; --as adapter is exact"]) from error
    with whole_directory(directory) as scratch:
        model.save_pretrained(scratch, safe_serialization=True)
        AutoTokenizer.from_pretrained(base).save_pretrained(scratch)
        (scratch / "README.md").write_text(model_card(candidate, "merged", 0.0), encoding="utf-8")
    precision = str(next(model.parameters()).dtype).removeprefix("torch.")
    rounding = f", rounded to {precision}" if torch.finfo(getattr(torch, precision)).bits < 32 else ""
    return [f"merged model{rounding}: {directory}", f"vllm serve {directory}"]


def _how_to_serve(candidate: Candidate, directory: Path, rank: int, lost: float) -> list[str]:
    loss = f", {lost:.1%} of the delta lost" if lost else ", exact"
    most = next((each for each in VLLM_RANKS if each >= rank), None)
    if most is None:
        serve = f"vLLM takes ranks up to {VLLM_RANKS[-1]}: --as compressed --rank {VLLM_RANKS[-1]}, or --as merged"
    else:
        name = f"{candidate.evaluation.candidate}={directory.absolute()}"
        serve = f"vllm serve {candidate.base_model} --enable-lora --max-lora-rank {most} --lora-modules {name}"
    return [f"adapter of rank {rank}{loss}: {directory}", serve]
