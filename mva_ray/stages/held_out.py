"""Stage 4, the held-out front: what the search found is scored again on prompts that it never saw."""

from mva_ray.records import Coefficients, rounded
from mva_ray.stages.evaluations import Evaluations
from mva_ray.stages.run import Run


def score_held_out(run: Run, evaluations: Evaluations) -> None:
    """Evaluate the base model, the single adapters and the front of the search, as far as they are not known."""
    evaluations.evaluate("held_out", _wanted(run, evaluations), "held-out front", stage="held-out front")


def _wanted(run: Run, evaluations: Evaluations) -> list[Coefficients]:
    weights = [f"w_{name}" for name in evaluations.settings["held_out"].adapters]
    front = evaluations.table.front("search")[weights].itertuples(index=False)
    references = evaluations.references()[: len(run.config.values) + 1]
    return list(dict.fromkeys(rounded(row) for row in [*references, *sorted(front)]))
