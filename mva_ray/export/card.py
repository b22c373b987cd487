"""The README.md of an exported candidate, as the hub shows it."""

from mva_ray.export.candidate import Candidate

FORMS = {
    "adapter": "A LoRA adapter (PEFT), the exact sum of the value adapters.",
    "compressed": "A LoRA adapter (PEFT), the nearest of its rank: {lost:.2%} of the delta is lost.",
    "merged": "A whole model: the sum of the value adapters is merged into the base model's weights.",
}


def model_card(candidate: Candidate, form: str, lost: float) -> str:
    """Values, coefficients, rewards with their errors, data, seed and base model, in Markdown."""
    row, settings = candidate.evaluation, candidate.settings
    values = [str(value["name"]) for value in settings["values"]]
    coefficients = "\n".join(f"| {name} | {weight:g} |" for name, weight in row.coefficients.items())
    rewards = "\n".join(
        f"| {value} | {row.reward_mean[value]:.4g} ± {row.reward_se[value]:.2g} | `{row.rewards[value]}` |"
        for value in values
    )
    origins = "\n".join(f"- {value['name']}: {_origin(value)}" for value in settings["values"])
    library = "transformers" if form == "merged" else "peft"
    return f"""---
base_model: {candidate.base_model}
library_name: {library}
pipeline_tag: text-generation
---

# {settings["name"]}: candidate {row.candidate}

{FORMS[form].format(lost=lost)} One of the trade-offs between {" and ".join(values)} that a search found.

| value adapter | coefficient |
| --- | ---: |
{coefficients}

Mean reward on {row.n_prompts} {row.split.replace("_", "-")} prompts, ± standard error; higher is better:

| value | reward | scored by |
| --- | ---: | --- |
{rewards}

Where the preferences come from:

{origins}

Base model {row.base_model}, seed {row.seed}. Its licence is the base model's; see its own page.
"""


def _origin(value: object) -> str:
    assert isinstance(value, dict)
    if value.get("adapter"):
        return f"an adapter that was brought, {value['adapter']}"
    pairs = value.get("pairs")
    if not pairs:
        return "pairs of the base model's own samples, by this reward"
    where = {key: part for key, part in pairs.items() if part and key in ("path", "hub", "subset", "split", "format")}
    return "pairs of " + ", ".join(f"{key} {part}" for key, part in where.items())
