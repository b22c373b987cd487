"""`mva-ray data check`: what a config's prompts and pairs hold, before anything is computed."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.prompting import pair_lengths
from mva_ray.adapters.tokenizer_file import read_tokenizer
from mva_ray.checks.check import examine
from mva_ray.checks.subject import Purpose, Subject
from mva_ray.config import RunConfig, read_config
from mva_ray.data.files import split_prompts
from mva_ray.data.source import PairData, read_source
from mva_ray.data.tables import bad_row_table, conflict_table, length_table, overlap_table, pair_table
from mva_ray.errors import ConfigError, last_line
from mva_ray.records import SPLITS

ON_POLICY = "pairs made by explore, from the base model's own samples and the value's reward"


def show_data(path: Path, output: TextIO) -> None:
    """Print tables of all that can be read.

    Raises:
        ConfigError: with every problem of the config and its data, after the tables.
    """
    draft = read_config(path)
    found = examine(Subject(draft, Purpose.DATA_CHECK))
    if draft.config is not None:
        console = Console(file=output, highlight=False)
        _print_tables(draft.config, console)
        for line in found.warnings:
            console.print(f"- {line}", markup=False)
    found.finish()


def _print_tables(config: RunConfig, console: Console) -> None:
    data = _readable_pairs(config)
    pairs = {value: of_value.pairs for value, of_value in data.items()}
    if data:
        console.print(pair_table(data))
    if any(of_value.rejected for of_value in data.values()):
        console.print(bad_row_table(data))
    for value in config.values:
        if value.pairs is None:
            source = f"none, its adapter is {value.adapter}" if value.adapter else ON_POLICY
            console.print(f"{value.name}: {source}", markup=False)
    if data:
        _print_lengths(config, data, console)
    console.print(overlap_table(pairs, _readable_prompts(config)))
    if len(data) > 1:
        console.print(conflict_table(pairs))


def _readable_pairs(config: RunConfig) -> dict[str, PairData]:
    data = {}
    for value in config.values:
        if value.pairs is not None:
            with suppress(ConfigError):
                data[value.name] = read_source(value.pairs)
    return data


def _readable_prompts(config: RunConfig) -> dict[str, list[str]]:
    prompts = {}
    for split in SPLITS:
        with suppress(ConfigError):
            prompts[split] = split_prompts(config.prompts, split)
    return prompts


def _print_lengths(config: RunConfig, data: Mapping[str, PairData], console: Console) -> None:
    try:
        lengths = _lengths(config, data)
    except Exception as error:  # what is wrong with a tokenizer or a template is said by the checks
        console.print(f"tokens are not counted: {last_line(error)}", markup=False)
    else:
        console.print(length_table(lengths, config.training.max_length))


def _lengths(config: RunConfig, data: Mapping[str, PairData]) -> dict[str, NDArray[np.int64]]:
    tokenizer = read_tokenizer(local_directory(config.base_model))
    system_prompt = config.generation.system_prompt
    return {value: pair_lengths(tokenizer, of_value.pairs, system_prompt) for value, of_value in data.items()}
