"""Configs with one mistake each and the messages that they get: types and ranges."""

from mva_ray.config.search import Search
from tests.support.malformed.good import A_MODEL, A_NAME, GOOD, VALUE_KEYS

TYPES = {
    "text for a number": (
        "margin: 0.5",
        "margin: high",
        "line 12, values[1].margin: expected a number >= 0, got 'high'",
    ),
    "quoted number": ("margin: 0.5", 'margin: "0.5"', "line 12, values[1].margin: expected a number >= 0, got '0.5'"),
    "negative margin": ("margin: 0.5", "margin: -1", "line 12, values[1].margin: expected a number >= 0, got -1"),
    "infinite margin": ("margin: 0.5", "margin: .inf", "line 12, values[1].margin: expected a number >= 0, got inf"),
    "no margin": ("margin: 0.5", "margin:", "line 12, values[1].margin: expected a number >= 0, got nothing"),
    "fraction for a count": (
        "candidates: 16",
        "candidates: 1.5",
        "line 15, search.candidates: expected a whole number >= 1, got 1.5",
    ),
    "truth value for a count": (
        "candidates: 16",
        "candidates: true",
        "line 15, search.candidates: expected a whole number >= 1, got true",
    ),
    "number for a mapping": (
        "search:\n  candidates: 16",
        "search: 16",
        f"line 14, search: expected a mapping with {', '.join(Search.model_fields)}, got 16",
    ),
    "unknown search method": (
        "search:\n  candidates: 16",
        "search:\n  method: bayes\n  candidates: 16",
        "line 15, search.method: expected one of nsga2, nsga3, unsga3, sms_emoa, rvea, ctaea, agemoea2, surrogate, "
        "grid, random, sobol, got 'bayes'",
    ),
    "population of a design": (
        "search:\n",
        "search:\n  method: grid\n  population: 8\n",
        "line 14, search: method grid proposes all candidates at once; leave population out",
    ),
    "operators of a surrogate": (
        "search:\n",
        "search:\n  method: surrogate\n  operators: {mutation: {eta: 10}}\n",
        "line 14, search: method surrogate has no operators; leave them out",
    ),
    "crossover that is no probability": (
        "search:\n",
        "search:\n  operators: {crossover: {prob: 1.5}}\n",
        "line 15, search.operators.crossover.prob: expected a number >= 0 and <= 1, got 1.5",
    ),
    "mutation index too small": (
        "search:\n",
        "search:\n  operators: {mutation: {eta: 0}}\n",
        "line 15, search.operators.mutation.eta: expected a number >= 1 and <= 100, got 0",
    ),
    "unknown operator": (
        "search:\n",
        "search:\n  operators: {crossing: {eta: 3}}\n",
        "line 15, search.operators.crossing: unknown key; known keys: crossover, mutation",
    ),
    "a population of one": (
        "search:\n",
        "search:\n  method: nsga2\n  population: 1\n",
        "line 14, search: method nsga2 needs a population of at least 2",
    ),
    "fewer directions than values": (
        "search:\n",
        "  - {name: third, reward: mva_ray.rewards:plain}\nsearch:\n  method: nsga3\n  population: 2\n",
        "search.method nsga3 needs a population of at least the number of values (3), got 2",
    ),
    "answers that are half a number": (
        "search:\n  candidates: 16",
        "search:\n  answers: 99.5\n  candidates: 16",
        "line 15, search.answers: expected a whole number >= 1, got 99.5",
    ),
    "answers for a method that has none": (
        "search:\n  candidates: 16",
        "search:\n  method: sobol\n  answers: 32\n  candidates: 16",
        "line 14, search: method sobol has all candidates answer all prompts; leave answers out",
    ),
    "mapping for a text": ("org/model", "{a: b}", f"line 2, base_model: expected {A_MODEL}, got a mapping"),
    "bad run name": ("name: demo", "name: My Run", f"line 1, name: expected {A_NAME}, got 'My Run'"),
    "text for a value": (
        "search:\n",
        "  - humor\nsearch:\n",
        f"line 14, values[2]: expected a mapping with {VALUE_KEYS}, got 'humor'",
    ),
    "list with a number": (
        "search:\n",
        "training: {lora: {target_modules: [q_proj, 3]}}\nsearch:\n",
        "line 14, training.lora.target_modules: expected a list of module names, got ['q_proj', 3]",
    ),
    "no modules": (
        "search:\n",
        "training: {lora: {target_modules: []}}\nsearch:\n",
        "line 14, training.lora.target_modules: expected a list of module names, got []",
    ),
    "dropout of 1": (
        "search:\n",
        "training:\n  lora:\n    dropout: 1\nsearch:\n",
        "line 16, training.lora.dropout: expected a number >= 0 and < 1, got 1",
    ),
    "one value only": (
        GOOD[GOOD.index("  - name: short") : GOOD.index("search:\n")],
        "",
        "line 7, values: expected a list of at least 2 values, each with name and reward, got "
        "[{'name': 'warm', 'reward': 'mva_ray.rewards:positive'}]",
    ),
    "fewer candidates than a generation": (
        "candidates: 16",
        "candidates: 1",
        "line 14, search: candidates (1) must be at least population (2)",
    ),
    "concurrent on several workers": (
        "search:\n",
        "training: {schedule: concurrent, num_workers: 2}\nsearch:\n",
        "line 14, training: num_workers is 2, but schedule: concurrent gives every value one worker; "
        "leave num_workers out",
    ),
    "concurrent and epochs": (
        "search:\n",
        "training: {schedule: concurrent, epochs: 3}\nsearch:\n",
        "line 14, training: schedule: concurrent trains all values for the same number of steps; "
        "give steps in place of epochs",
    ),
    "steps and epochs": (
        "search:\n",
        "training: {steps: 24, epochs: 3}\nsearch:\n",
        "line 14, training: give 'steps' (optimiser steps) or 'epochs' (passes over a value's pairs), not both",
    ),
}
