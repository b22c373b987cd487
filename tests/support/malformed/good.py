"""A config that is right, and phrases of the messages that its mistakes get."""

GOOD = """\
name: demo
base_model: org/model
prompts:
  train: {path: train.jsonl}
  search: {path: search.jsonl}
  held_out: {path: held_out.jsonl}
values:
  - name: warm
    reward: mva_ray.rewards:positive
  - name: short
    reward: mva_ray.rewards:brief
    margin: 0.5
    bounds: [-0.5, 2]
search:
  candidates: 16
"""

VALUE_KEYS = "name, reward, pairs, adapter, margin, bounds"
RUN_KEYS = (
    "name, base_model, seed, prompts, generation, engine, sampling, values, training, search, budget, prices, "
    "compare, constraints, device, resources_timeout, warm_start"
)
A_NAME = "a name of at most 32 lower-case letters, digits and _ that begins with a letter"
A_MODEL = "a hub id (org/name), a model directory or a .gguf file"
A_PENALTY = "hsic, paper, orthogonal, none or a mapping with kind and weight"
A_SOURCE = "the path of a JSONL, JSON, CSV or Parquet file or a mapping with path or hub"
TAKEN = (
    "is taken by the Pareto table (its own columns, coefficients w_..., pseudo-weights pseudo_... and errors ..._se);"
    " choose another name"
)
