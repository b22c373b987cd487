"""Adapters that a config brings: what is wrong with them, before anything is computed."""

from collections.abc import Iterator
from pathlib import Path

from mva_ray.adapters.blocks import block_of
from mva_ray.adapters.lora import LoraFactors, and_more, load_factors, read_settings
from mva_ray.config import Draft, RunConfig
from mva_ray.config.document import Location, Problem
from mva_ray.errors import ConfigError


def adapter_problems(draft: Draft) -> Iterator[Problem]:
    """Directories that are no plain LoRA in safetensors, that the penalty cannot compare with what is trained, or
    whose ranks are too much for the server that answers."""
    found = list(_bad_adapters(draft))
    yield from found
    if draft.config and not found:
        yield from _beyond_the_server(draft, draft.config)


def _bad_adapters(draft: Draft) -> Iterator[Problem]:
    for location, directory in _brought(draft):
        try:
            load_factors(directory)
            problems = [f"{directory}: {line}" for line in _incomparable(draft.config, directory)]
        except ConfigError as error:
            problems = [f"{error.source}: {problem}" for problem in error.problems]
        yield from (draft.document.problem(location, problem) for problem in problems)


def fit_problems(draft: Draft, base: Path) -> Iterator[Problem]:
    """Adapters whose modules the base model does not have, or has in other shapes; blocks that are none of its layers.

    Args:
        draft: without `adapter_problems`.
        base: the base model's directory; its config.json is enough.
    """
    from mva_ray.adapters.base_model import linear_shapes, load_skeleton

    brought = list(_brought(draft))
    in_blocks = draft.config is not None and draft.config.search.coefficients_per_value > 1
    if not brought and not in_blocks:
        return
    model = load_skeleton(base)
    shapes = linear_shapes(model)
    for location, directory in brought:
        for problem in _misfits(load_factors(directory), shapes):
            yield draft.document.problem(location, f"{directory}: {problem}")
    if draft.config and in_blocks:
        layers = model.config.get_text_config().num_hidden_layers
        yield from _block_problems(draft, draft.config, list(shapes), layers)


def other_bases(config: RunConfig) -> Iterator[str]:
    """A line for each adapter that says it was trained on a model of another name than the config's."""
    for value in config.values:
        if value.adapter:
            base = read_settings(Path(value.adapter)).get("base_model_name_or_path")
            if base and _name(base) != _name(config.base_model):
                yield f"the adapter of '{value.name}' was trained on {base}, and base_model is {config.base_model}"


def _brought(draft: Draft) -> Iterator[tuple[Location, Path]]:
    values = draft.document.get("values")
    for index in range(len(values) if isinstance(values, list) else 0):
        location = ("values", index, "adapter")
        if directory := draft.file_at(*location):
            yield location, directory


def _incomparable(config: RunConfig | None, directory: Path) -> Iterator[str]:
    """Penalties on the rows of lora_A pair them one by one."""
    if config is None or all(value.adapter for value in config.values):
        return
    penalty, trained = config.training.penalty, config.training.lora.r
    rank = read_settings(directory)["r"]
    if rank != trained and (penalty.kind == "paper" or (penalty.kind == "hsic" and penalty.on == "lora_a")):
        yield (
            f"its rank is {rank}, and a penalty on lora_A needs that of training.lora.r ({trained}): make them equal, "
            "or let the penalty compare deltas (penalty: hsic)"
        )


def _beyond_the_server(draft: Draft, config: RunConfig) -> Iterator[Problem]:
    """A server gets a candidate as one adapter, whose rank is the sum of the ranks."""
    trained = config.training.lora.r
    ranks = [read_settings(Path(value.adapter))["r"] if value.adapter else trained for value in config.values]
    if (server := config.engine.openai) and sum(ranks) > server.max_lora_rank:
        message = (
            f"the ranks of {len(ranks)} adapters add up to {sum(ranks)}, and the server takes {server.max_lora_rank}: "
            "raise its limit (vLLM's --max-lora-rank) and max_lora_rank with it, or use adapters of lower rank"
        )
        yield draft.document.problem(("engine", "openai", "max_lora_rank"), message)


def _misfits(factors: LoraFactors, shapes: dict[str, tuple[int, int]]) -> Iterator[str]:
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


def _block_problems(draft: Draft, config: RunConfig, linear: list[str], layers: int) -> Iterator[Problem]:
    """More blocks than layers, and blocks in which an adapter has nothing: their coefficients would do nothing."""
    from mva_ray.adapters.base_model import adapted

    blocks = config.search.coefficients_per_value
    if blocks > layers:
        message = f"{blocks} blocks of layers, and the base model has {layers} layers: give at most that many"
        yield draft.document.problem(("search", "blocks"), message)
        return
    modules = {location: list(load_factors(directory).a) for location, directory in _brought(draft)}
    if any(not value.adapter for value in config.values):
        modules["training", "lora", "target_modules"] = adapted(linear, config.training.lora.target_modules)
    for location, names in modules.items():
        if names and (empty := set(range(blocks)) - {block_of(name, layers, blocks) for name in names}):
            message = f"nothing is adapted in block {min(empty) + 1} of {blocks}, whose coefficient would do nothing"
            yield draft.document.problem(location, message)


def _name(model: str) -> str:
    """The last part of a hub id or a path, also of one in the cache (org--name)."""
    return model.rstrip("/").replace("--", "/").rpartition("/")[2].lower()
