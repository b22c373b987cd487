"""What a run asks of its base model: an architecture, modules to adapt, positions to attend to."""

from collections.abc import Iterator
from pathlib import Path

from mva_ray.adapters.model_size import (
    CONFIG_FILE,
    has_weights,
    is_plain,
    model_config,
    model_size,
    weight_shapes,
)
from mva_ray.checks.subject import Finding, Purpose, Subject
from mva_ray.config.imports import did_you_mean
from mva_ray.errors import last_line

LONGEST_CAUSE = 300
"""Characters of what transformers says, which lists all that it knows."""


def is_understood(subject: Subject) -> bool:
    """Whether the base model is a causal language model, as far as its files tell; it may have no weights at all."""
    return not _unreadable(subject) and _misunderstood(subject.base) is None


def architecture_problems(subject: Subject) -> Iterator[Finding]:
    """A config.json of something else, or of weights that neither training nor the engine reads."""
    if _unreadable(subject):
        return
    if cause := _misunderstood(subject.base):
        message = f"{subject.base / CONFIG_FILE} describes no causal language model: {cause}"
        yield subject.problem(("base_model",), message)
    elif method := _quantised(subject.base):
        message = f"{subject.base} is quantised ({method}): take the model with its weights as they were before"
        yield subject.problem(("base_model",), message)


def weight_problems(subject: Subject) -> Iterator[Finding]:
    """Weights that are not there, cut short, or pickled; for a plan alone, a model may have none yet."""
    problems = list(subject.broken_weights)
    if pickled := _pickled(subject.base):
        problems.append(f"{pickled} is a pickle, which may run code when it is read: save it as safetensors")
    elif not has_weights(subject.base):
        line = f"{subject.base} has no weights (model.safetensors)"
        if subject.purpose in (Purpose.DRY_RUN, Purpose.DATA_CHECK):
            yield f"{line}: explore and compare refuse it as it is"
        else:
            problems.append(line)
    elif not problems and _is_headless(subject.base):
        problems.append(f"{subject.base} has no output layer (lm_head.weight), and its embeddings are not tied to one")
    yield from (subject.problem(("base_model",), line) for line in problems)


def engine_problems(subject: Subject) -> Iterator[Finding]:
    """An architecture that our engine cannot run; a server may."""
    if subject.config.engine.openai or is_plain(model_config(subject.base)) or _quantised(subject.base):
        return
    from mva_ray.adapters import architecture

    for line in architecture.engine_problems(subject.base):
        yield subject.problem(("base_model",), line)


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


def rank_problems(subject: Subject) -> Iterator[Finding]:
    """A rank above the smaller side of a module: more numbers than a full change of it, for nothing more."""
    size, lora = model_size(subject.base), subject.config.training.lora
    narrow = {name: min(shape) for name, shape in size.adapted(lora.target_modules).items() if min(shape) < lora.r}
    if subject.config.trained_values and narrow:
        name, side = min(narrow.items(), key=lambda item: item[1])
        message = f"{lora.r} is above {side}, the smaller side of {name}: a change of it has no higher rank"
        yield subject.problem(("training", "lora", "r"), message)


OTHER_HEADS = ("Classification", "QuestionAnswering", "MaskedLM", "NextSentencePrediction", "MultipleChoice")
"""How architectures end whose output layer gives no next token: transformers would make one up, of random numbers."""


def _misunderstood(directory: Path) -> str | None:
    try:
        config = model_config(directory)
        if config.get("is_encoder_decoder") or str(config.get("architectures")).endswith(
            tuple(f"{head}']" for head in OTHER_HEADS)
        ):
            return _kind(directory)
        pad, rows = config.get("pad_token_id"), model_size(directory).vocabulary
        if is_plain(config) and isinstance(pad, int) and pad >= rows:
            return f"its pad_token_id is {pad}, beyond its {rows} embeddings, and transformers does not load that"
    except Exception as error:  # whatever transformers makes of somebody's config.json
        if "does not recognize this architecture" in str(error):
            return f"{_kind(directory)}, which the installed transformers does not know"
        return (
            _kind(directory) if "Unrecognized configuration class" in str(error) else last_line(error)[:LONGEST_CAUSE]
        )
    return None


def _kind(directory: Path) -> str:
    config = model_config(directory)
    return f"it is a {config.get('model_type')} ({', '.join(config.get('architectures') or ['no architecture'])})"


def _is_headless(directory: Path) -> bool:
    try:
        config = model_config(directory)
    except ValueError:
        return False
    return is_plain(config) and not config["tie_word_embeddings"] and "lm_head.weight" not in weight_shapes(directory)


def _pickled(directory: Path) -> Path | None:
    """Weights in PyTorch's format, where there are no others."""
    return next(iter(sorted(directory.glob("*model*.bin"))), None) if not has_weights(directory) else None


def _unreadable(subject: Subject) -> bool:
    """Weights are wrong whatever they are of: to look further takes seconds, and nothing of it would count."""
    return bool(subject.broken_weights or _pickled(subject.base))


def _quantised(directory: Path) -> str | None:
    settings = model_config(directory).get("quantization_config")
    return str(settings.get("quant_method", "quantization_config")) if isinstance(settings, dict) else None
