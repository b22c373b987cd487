"""What a run asks of its base model: an architecture, modules to adapt, positions to attend to."""

from collections.abc import Iterator
from pathlib import Path

from mva_ray.adapters.model_size import CONFIG_FILE, model_size
from mva_ray.checks.subject import Finding, Subject
from mva_ray.config.imports import did_you_mean
from mva_ray.errors import last_line


def is_understood(directory: Path) -> bool:
    """Whether config.json describes a causal language model."""
    return _misunderstood(directory) is None


def architecture_problems(subject: Subject) -> Iterator[Finding]:
    if cause := _misunderstood(subject.base):
        message = f"{subject.base / CONFIG_FILE} describes no causal language model: {cause}"
        yield subject.problem(("base_model",), message)


def target_problems(subject: Subject) -> Iterator[Finding]:
    """Names that adapt no module: PEFT passes over them where others do."""
    if not subject.config.trained_values:
        return
    size = model_size(subject.base)
    for index, target in enumerate(subject.config.training.lora.target_modules):
        if not size.adapted([target]):
            known = {name.rpartition(".")[2] for name in size.linear}
            hint = did_you_mean(target, known) or f"; there are {', '.join(sorted(known))}"
            location = ("training", "lora", "target_modules", index)
            yield subject.problem(location, f"the base model has no linear layer {target!r}{hint}")


def window_problems(subject: Subject) -> Iterator[Finding]:
    window, longest = model_size(subject.base).window, subject.config.training.max_length
    if subject.config.trained_values and window and longest > window:
        message = f"{longest} is beyond the base model's attention window of {window} tokens"
        yield subject.problem(("training", "max_length"), message)


def _misunderstood(directory: Path) -> str | None:
    try:
        model_size(directory)
    except Exception as error:  # whatever transformers makes of somebody's config.json
        return last_line(error)
    return None
