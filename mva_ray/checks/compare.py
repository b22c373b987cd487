"""What `compare` does not take from a config: refused where it would change what is compared, else said."""

from collections.abc import Iterator

from mva_ray.checks.subject import Finding, Subject
from mva_ray.config.compare import PAIRED_METHODS
from mva_ray.config.document import Location


def compare_problems(subject: Subject) -> Iterator[Finding]:
    config = subject.config
    refused: dict[Location, tuple[bool, str]] = {
        ("search", "coefficients"): (
            config.search.coefficients != "per_value",
            "every method is compared with one coefficient a value: leave it at per_value",
        ),
        ("search", "answers"): (
            config.search.answers is not None,
            "every candidate of a comparison answers all prompts: leave it out",
        ),
        ("warm_start",): (bool(config.warm_start), "every method of a comparison starts anew: leave warm_start out"),
        ("training", "schedule"): (
            config.training.schedule != "sequential",
            "adapters of a comparison build on each other: leave it at sequential",
        ),
    }
    brought = [value.name for value in config.values if value.adapter]
    paired = [name for name in config.compare.methods if name in PAIRED_METHODS]
    refused["compare", "methods"] = (
        bool(brought and paired),
        f"{', '.join(paired)} train on pairs of every value, and {' and '.join(map(repr, brought))} "
        f"{'brings' if len(brought) == 1 else 'bring'} an adapter: leave them out, or give pairs in its place",
    )
    box = config.compare.box
    names = ", ".join(config.value_names)
    refused["compare", "box"] = (
        box is not None and set(box) != set(config.value_names),
        f"needs a reference point and an ideal for each value: {names}",
    )
    instructions = config.compare.instructions
    refused["compare", "instructions"] = (
        instructions is not None and set(instructions) != set(config.value_names),
        f"needs a sentence for each value: {names}",
    )
    yardsticks = [name for name in ("instructions", "best_of") if getattr(config.compare, name) is not None]
    refused["constraints",] = (
        bool(yardsticks and config.constraints),
        f"{' and '.join(f'compare.{name}' for name in yardsticks)} would not keep them: leave one or the other out",
    )
    for location, (is_there, message) in refused.items():
        if is_there:
            yield subject.problem(location, message)
    if not config.trained_values:
        yield "every value brings its adapter: seeds differ in how coefficients are searched, and penalties in nothing"
    if config.budget.limits:
        yield "budget is not used by compare: every method is given compare.candidates"
    for written, used in ((("seed",), "compare.seeds"), (("search", "candidates"), "compare.candidates")):
        if subject.draft.document.get(*written) is not None:
            yield f"{'.'.join(written)} is not used by compare: {used} is"
