"""`mva-ray explore --dry-run`: checks all that can be checked offline and prints the plan, computing nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from mva_ray.adapters.fetch import known_directory
from mva_ray.adapters.memory import (
    BFLOAT16,
    FLOAT32,
    adapter_parameters,
    classifier_parameters,
    generation_bytes,
    readable,
    training_bytes,
)
from mva_ray.adapters.model_size import ModelSize
from mva_ray.checks.resources import endless_limits, shortages
from mva_ray.config import RunConfig
from mva_ray.config.engine import OpenAiServer
from mva_ray.config.reward import Resources
from mva_ray.errors import ConfigError
from mva_ray.evaluation.row_limit import FIRST
from mva_ray.placement.capacity import Bundle, Capacity, total
from mva_ray.placement.needs import evaluator_needs, reward_needs, training_needs
from mva_ray.placement.ray_cluster import capacity_there, on_cluster
from mva_ray.plan.forecast import Forecast, Lengths, make_forecast
from mva_ray.records import Spent
from mva_ray.run_dir.spending import EVALUATIONS, HOUR, TRAINING, Prices, amount

BYTES_A_TOKEN = 5
"""Of text on disk: four letters and their share of everything around them."""

UNKNOWN = "unknown"


def dry_run(config_path: Path, run_dir: Path | str | None) -> None:
    """Print what `explore` would do with the same arguments.

    Raises:
        ConfigError: with everything that is wrong with the config; of what this machine lacks, after the plan.
    """
    forecast, warnings = make_forecast(config_path, run_dir)
    console = Console(highlight=False)
    console.print(f"run: {forecast.run_dir}", soft_wrap=True)
    for table in (_stages(forecast), _lengths(forecast), _models(forecast)):
        console.print(table)
    if forecast.size:
        console.print(_memory(forecast, forecast.size))
    console.print(_actors(forecast))
    capacity = capacity_there()
    lacking, may_grow = shortages(forecast.config, capacity, on_cluster()), capacity.types is None
    for line in [
        *_notes(forecast, capacity),
        *_costs(forecast),
        *endless_limits(forecast.config),
        *warnings,
        *(lacking if may_grow else ()),
    ]:
        console.print(f"- {line}")
    if lacking and not may_grow:
        raise ConfigError(str(config_path), lacking)
    console.print("nothing was computed; the same command without --dry-run does it")


def _table(title: str, *columns: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def _stages(forecast: Forecast) -> Table:
    table = _table("Plan", "stage", "key", "state", "work")
    for stage in forecast.stages():
        table.add_row(stage.name, stage.key or UNKNOWN, stage.state, stage.work)
    return table


def _lengths(forecast: Forecast) -> Table:
    how = "by the model's tokenizer" if forecast.measured else "estimated: 4 a 3 words, without the chat template"
    table = _table(f"Tokens ({how})", "text", "number", "mean", "longest", numbers=("number", "mean", "longest"))
    rows: dict[str, Lengths] = {f"{split} prompts": lengths for split, lengths in forecast.prompts.items()}
    rows |= {f"pairs '{name}'": lengths for name, lengths in forecast.pairs.items()}
    for name, lengths in rows.items():
        table.add_row(name, f"{lengths.number:,}", f"{lengths.mean:,.0f}", f"{lengths.longest:,}")
    return table


def _models(forecast: Forecast) -> Table:
    table = _table("Models", "model", "parameters", "where", numbers=("parameters",))
    config, lora = forecast.config, forecast.config.training.lora
    parameters = f"{forecast.size.parameters:,}" if forecast.size else UNKNOWN
    table.add_row("base", parameters, _place(config.base_model))
    for name, reward in config.rewards.items():
        if reward.model:
            table.add_row(f"reward '{name}'", _reward_parameters(reward.model), _place(reward.model))
    if forecast.size:
        trained = adapter_parameters(forecast.size, lora)
        table.add_row("each adapter", f"{trained:,}", f"r = {lora.r} on {', '.join(lora.target_modules)}")
    return table


def _place(model: str) -> str:
    return str(known_directory(model) or f"not here yet: mva-ray fetch {model}")


def _reward_parameters(model: str) -> str:
    directory = known_directory(model)
    return f"{classifier_parameters(directory):,}" if directory else UNKNOWN


def _memory(forecast: Forecast, size: ModelSize) -> Table:
    """Both processors: the run may be meant for another machine."""
    table = _table("Memory, about", "", "GPU, bfloat16", "CPU, float32", numbers=("GPU, bfloat16", "CPU, float32"))
    phases = {"training worker": _training_memory}
    if not forecast.config.engine.openai:
        phases["evaluator"] = _generation_memory
    for name, parts_of in phases.items():
        gpu, cpu = parts_of(forecast, size, BFLOAT16), parts_of(forecast, size, FLOAT32)
        table.add_row(f"each {name}", readable(sum(gpu.values())), readable(sum(cpu.values())), style="bold")
        for part, size_of in gpu.items():
            table.add_row(f"  {part}", readable(size_of), readable(cpu[part]))
    return table


def _training_memory(forecast: Forecast, size: ModelSize, number: int) -> Mapping[str, int]:
    """On a GPU the least that training can do with, gradient checkpointing; on a CPU without, as training does it."""
    training = forecast.config.training
    tokens = training.pairs_at_once * forecast.longest_pair
    return training_bytes(size, training.lora, tokens, number, number == BFLOAT16, len(forecast.config.values) - 1)


def _generation_memory(forecast: Forecast, size: ModelSize, number: int) -> Mapping[str, int]:
    config = forecast.config
    return generation_bytes(
        size,
        config.training.lora,
        config.generation.batch_size or FIRST,
        max(lengths.longest for lengths in forecast.prompts.values()),
        config.generation.max_new_tokens,
        number,
        len(config.values),
    )


def _actors(forecast: Forecast) -> Table:
    """The processes that Ray places; the phases follow one another, the actors of one run at the same time."""
    table = _table("Processes", "phase", "process", "CPUs", "GPUs", "work", numbers=("CPUs", "GPUs"))
    config = forecast.config
    trained = [value.name for value in config.training_order if not value.adapter]
    if trained:
        order = ", then " if config.training.schedule == "sequential" else " and, at once, "
        process = f"{config.training_workers} x training worker"
        table.add_row("training", process, *_each(config.training.resources), order.join(trained))
    answers = forecast.sampled + sum(forecast.answers.values())
    resources = config.search.resources
    table.add_row(
        "search", f"{config.search.evaluators} x evaluator", *_each(resources), f"{answers:,} answers at most"
    )
    for name, reward in config.rewards.items():
        table.add_row("search", f"reward '{name}'", *_each(reward.resources), reward.source)
    return table


def _each(resources: Resources) -> tuple[str, str]:
    return f"{resources.num_cpus:g}", f"{resources.num_gpus:g}"


def _notes(forecast: Forecast, capacity: Capacity) -> Iterator[str]:
    yield from _where(forecast.config, capacity)
    yield f"coefficients: {_coefficients(forecast.config)}"
    yield f"engine: {_engine(forecast.config.engine.openai)}"
    if forecast.size is None:
        fetch = f"mva-ray fetch {forecast.config.base_model}"
        yield f"the base model is not here: its parameters, memory and keys are unknown until `{fetch}`"
    if any(value.pairs and value.pairs.hub for value in forecast.config.values):
        yield "data sets of the hub are not read here, so there are no keys: `mva-ray data check` reads them"
    for directory, count in _earlier_counts(forecast.config).items():
        yield f"warm start from {directory}: {count} evaluations; what they answer is not generated again"
    yield f"disk: about {readable(_disk(forecast))} in the run directory" + (
        "" if forecast.size else ", without adapters"
    )


def _where(config: RunConfig, capacity: Capacity) -> Iterator[str]:
    """What there is, and what of it goes unused or may be too little."""
    yield f"there are {capacity.describe('CPU')} and {capacity.describe('GPU')}"
    if capacity.types is None:
        yield (
            "what the cluster may start is not known here: what it lacks is waited for, "
            f"{config.resources_timeout:g} seconds at most (resources_timeout)"
        )
    if config.engine.openai:
        return
    if config.search.resources.num_gpus:
        yield "an evaluator computes on one GPU: a model too large for it needs a server (engine: openai)"
    elif capacity.possible("GPU"):
        yield "search.resources asks for no GPU: answers are generated on CPUs"
    classifiers = [name for name, reward in config.rewards.items() if reward.model and not reward.resources.num_gpus]
    if classifiers and capacity.possible("GPU"):
        yield f"no GPU is asked for by the rewards {', '.join(classifiers)}: they score on CPUs"


def _costs(forecast: Forecast) -> Iterator[str]:
    """What the run will cost at most in answers and tokens; hours at the pace of what was spent here so far."""
    config, so_far = forecast.config, forecast.spending
    answers = forecast.sampled + sum(forecast.answers.values())
    most = Spent(answers, answers * config.generation.max_new_tokens)
    yield f"answers in all, at most: {so_far.text(most)}" + (" for tokens, hours besides" if so_far.prices else "")
    phases = {TRAINING: training_needs(config) if config.trained_values else []}
    phases[EVALUATIONS] = [*evaluator_needs(config), *reward_needs(config, config.rewards)]
    for phase, bundles in phases.items():
        if bundles:
            yield f"an hour of {phase} reserves {_hour(total(bundles), so_far.prices)}"
    if so_far.phases:
        yield f"spent here so far: {so_far.text(so_far.total)}"
    if so_far.candidates:
        held, left = so_far.phases[EVALUATIONS], sum(forecast.answers.values()) - so_far.shares.answers
        pace = replace(held, answers=0, tokens=0).times(max(0, left) / so_far.shares.answers)
        yield f"at that pace, the evaluations that are left: {so_far.text(replace(pace, answers=max(0, left)))} at most"
    for limit, most_of_it in config.budget.limits.items():
        yield f"budget.{limit}: {amount(limit, so_far.used(limit))} of {amount(limit, most_of_it)} used"
    if (limit_of_answers := config.budget.answers) and so_far.total.answers + answers > limit_of_answers:
        yield f"budget.answers ({limit_of_answers:,}) may end the search early"


def _hour(reserved: Bundle, prices: Prices | None) -> str:
    spent = Spent(gpu_seconds=HOUR * reserved.get("GPU", 0), cpu_seconds=HOUR * reserved.get("CPU", 0))
    amounts = " and ".join(f"{number:g} {kind}" for kind, number in reserved.items()) or "nothing"
    return f"{amounts}, {prices.cost(spent):,.4g} in money" if prices else amounts


def _earlier_counts(config: RunConfig) -> dict[str, int]:
    """How many evaluations each run to start from has."""
    if not config.warm_start:
        return {}
    from mva_ray.table import ParetoTable

    return {directory: len(ParetoTable(directory).evaluations()) for directory in config.warm_start}


def _coefficients(config: RunConfig) -> str:
    blocks = config.search.coefficients_per_value
    where = f", for each value and each of {blocks} blocks of layers" if blocks > 1 else ", one a value"
    return f"{len(config.bounds)}{where}"


def _engine(server: OpenAiServer | None) -> str:
    if server is None:
        return "our own, in the evaluators"
    return (
        f"model {server.model} at {server.base_url}, not asked here; at most {server.max_loras} candidates at a time "
        f"go through {server.adapters_dir}"
    )


def _disk(forecast: Forecast) -> float:
    """Adapters in float32, samples twice (they are in pairs too), and every evaluated prompt and answer."""
    config = forecast.config
    adapter = FLOAT32 * adapter_parameters(forecast.size, config.training.lora) if forecast.size else 0
    new = config.generation.max_new_tokens
    tokens = 2.0 * forecast.sampled * (forecast.prompts["train"].mean + new)
    tokens += sum(count * (forecast.prompts[split].mean + new) for split, count in forecast.answers.items())
    return len(config.values) * adapter + BYTES_A_TOKEN * tokens
