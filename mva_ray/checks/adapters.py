"""Adapters that a config brings: what is wrong with them, before anything is computed."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mva_ray.adapters.model_size import ModelSize, model_size
from mva_ray.adapters.parts import block_of
from mva_ray.checks.subject import Finding, Subject
from mva_ray.config import Draft, RunConfig
from mva_ray.config.document import Location, Problem
from mva_ray.config.values import Value
from mva_ray.errors import ConfigError

if TYPE_CHECKING:
    from mva_ray.adapters.lora import LoraFactors


def adapter_problems(subject: Subject) -> Iterator[Finding]:
    """Directories that are no plain LoRA in safetensors, that the penalty cannot compare with what is trained, or
    whose ranks are too much for the server that answers."""
    found = list(_bad_adapters(subject.draft))
    yield from found
    if subject.draft.config and not found:
        yield from _beyond_the_server(subject.draft, subject.draft.config)


def _bad_adapters(draft: Draft) -> Iterator[Problem]:
    for location, directory in _brought(draft):
        try:
            _factors(directory)
            problems = [f"{directory}: {line}" for line in _incomparable(draft.config, directory)]
        except ConfigError as error:
            problems = [f"{error.source}: {problem}" for problem in error.problems]
        yield from (draft.document.problem(location, problem) for problem in problems)


def fit_problems(subject: Subject) -> Iterator[Finding]:
    """Adapters whose modules the base model does not have, or has in other shapes; blocks that are none of its layers.

    Adapters that cannot be read are passed over.
    """
    brought, in_blocks = dict(_readable(subject.draft)), subject.config.search.coefficients_per_value > 1
    if not brought and not in_blocks:
        return
    size = model_size(subject.base)
    for location, (directory, factors) in brought.items():
        for problem in _misfits(factors, size.linear):
            yield subject.problem(location, f"{directory}: {problem}")
    if in_blocks:
        yield from _block_problems(subject, size, {location: list(lora.a) for location, (_, lora) in brought.items()})


def other_bases(subject: Subject) -> Iterator[Finding]:
    """A line for each adapter that says it was trained on a model of another name than the config's."""
    ours = subject.config.base_model
    for value in subject.config.values:
        base = _trained_on(value)
        if base and _name(base) != _name(ours):
            yield f"the adapter of '{value.name}' was trained on {base}, and base_model is {ours}"


def _trained_on(value: Value) -> str | None:
    """None where no adapter is brought, or none that can be read."""
    if value.adapter is None:
        return None
    with suppress(ConfigError):
        base: str | None = _settings(Path(value.adapter)).get("base_model_name_or_path")
        return base
    return None


def _brought(draft: Draft) -> Iterator[tuple[Location, Path]]:
    values = draft.document.get("values")
    for index in range(len(values) if isinstance(values, list) else 0):
        location = ("values", index, "adapter")
        if directory := draft.file_at(*location):
            yield location, directory


def _readable(draft: Draft) -> Iterator[tuple[Location, tuple[Path, "LoraFactors"]]]:
    for location, directory in _brought(draft):
        with suppress(ConfigError):
            yield location, (directory, _factors(directory))


def _factors(directory: Path) -> "LoraFactors":
    from mva_ray.adapters.lora import load_factors

    return load_factors(directory)


def _settings(directory: Path) -> dict[str, Any]:
    from mva_ray.adapters.lora import read_settings

    return read_settings(directory)


def _incomparable(config: RunConfig | None, directory: Path) -> Iterator[str]:
    """Penalties on the rows of lora_A pair them one by one."""
    if config is None or not config.trained_values:
        return
    penalty, trained = config.training.penalty, config.training.lora.r
    rank = _settings(directory)["r"]
    if rank != trained and (penalty.kind == "paper" or (penalty.kind == "hsic" and penalty.on == "lora_a")):
        yield (
            f"its rank is {rank}, and a penalty on lora_A needs that of training.lora.r ({trained}): make them equal, "
            "or let the penalty compare deltas (penalty: hsic)"
        )


def _beyond_the_server(draft: Draft, config: RunConfig) -> Iterator[Problem]:
    """A server gets a candidate as one adapter, whose rank is the sum of the ranks."""
    if (server := config.engine.openai) is None:
        return
    trained = config.training.lora.r
    ranks = [_settings(Path(value.adapter))["r"] if value.adapter else trained for value in config.values]
    if sum(ranks) > server.max_lora_rank:
        message = (
            f"the ranks of {len(ranks)} adapters add up to {sum(ranks)}, and the server takes {server.max_lora_rank}: "
            "raise its limit (vLLM's --max-lora-rank) and max_lora_rank with it, or use adapters of lower rank"
        )
        yield draft.document.problem(("engine", "openai", "max_lora_rank"), message)


def _misfits(factors: "LoraFactors", shapes: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    from mva_ray.adapters.lora import and_more

    if missing := sorted(factors.a.keys() - shapes.keys()):
        yield f"the base model has no linear layer {and_more(missing)}: an adapter of another base model?"
    known = sorted(factors.a.keys() & shapes.keys())
    found = {name: (factors.a[name].shape[1], len(factors.b[name])) for name in known}
    if odd := [name for name, shape in found.items() if shape != shapes[name]]:
        (had, gave), (takes, gives) = found[odd[0]], shapes[odd[0]]
        yield (
            f"{and_more(odd)} maps {had} to {gave} features in the adapter and {takes} to {gives} in the base model: "
            "an adapter of another base model?"
        )


def _block_problems(subject: Subject, size: ModelSize, modules: dict[Location, list[str]]) -> Iterator[Problem]:
    """More blocks than layers, and blocks in which an adapter has nothing: their coefficients would do nothing."""
    config = subject.config
    blocks = config.search.coefficients_per_value
    if blocks > size.layers:
        message = f"{blocks} blocks of layers, and the base model has {size.layers} layers: give at most that many"
        yield subject.problem(("search", "blocks"), message)
        return
    if config.trained_values:
        targets = config.training.lora.target_modules
        modules = modules | {("training", "lora", "target_modules"): list(size.adapted(targets))}
    for location, names in modules.items():
        if names and (empty := set(range(blocks)) - {block_of(name, size.layers, blocks) for name in names}):
            message = f"nothing is adapted in block {min(empty) + 1} of {blocks}, whose coefficient would do nothing"
            yield subject.problem(location, message)


def _name(model: str) -> str:
    """The last part of a hub id or a path, also of one in the cache (org--name)."""
    return model.rstrip("/").replace("--", "/").rpartition("/")[2].lower()
