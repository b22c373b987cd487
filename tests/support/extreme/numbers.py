"""Numbers beyond all that could be meant."""

from tests.support.extreme.case import Case, put

HUGE = 10**30

NUMBERS: dict[str, Case] = {
    "steps for ever": put("training.steps", HUGE),
    "steps for months": put("training.steps", 10**8),
    "endless epochs": put("training.epochs", 1e300),
    "many epochs": put("training.epochs", 20_000),
    "a step of all pairs there are": put("training.pairs_per_step", 10**6),
    "a step of more than 31 bits": put("training.pairs_per_step", HUGE),
    "learning rate of another universe": put("training.learning_rate", 1e300),
    "learning rate above 1": put("training.learning_rate", 2),
    "infinite beta": put("training.beta", 1e300),
    "penalty of any size": put("training.penalty", {"weight": 1e300}, names="training.penalty.weight"),
    "ramp for ever": put("training.penalty", {"ramp_steps": HUGE}, names="training.penalty.ramp_steps"),
    "bandwidth of everything": put(
        "training.penalty", {"kernel": "rbf", "sigma": 1e300}, names="training.penalty.sigma"
    ),
    "rows of no delta": put("training.penalty", {"kernel": "rbf", "rows": 10**9}, names="training.penalty.rows"),
    "pairs of any length": put("training.max_length", 10**9),
    "pairs of one token": put("training.max_length", 1),
    "rank of no layer": put("training.lora.r", 10**9),
    "rank above the dimension": put("training.lora.r", 64),
    "alpha of any size": put("training.lora.alpha", HUGE),
    "workers for all of us": put("training.num_workers", 10**6),
    "more workers than CPUs": put("training.num_workers", 9_999),
    "checkpoints never": put("training.checkpoint_steps", HUGE),
    "staleness for ever": put("training", {"schedule": "concurrent", "max_staleness": HUGE}, names="max_staleness"),
    "ten million candidates": put("search.candidates", 10**7),
    "candidates of more than 31 bits": put("search.candidates", HUGE),
    "a population of all": put("search.population", 10**9, names="search"),
    "bounds of all floats": put("search.bounds", [-1e308, 1e308]),
    "bounds far above one": put("search.bounds", [0, 1000]),
    "bounds far below zero": put("search.bounds", [-1000, 1]),
    "bounds of nothing": put("search.bounds", [0, 1e-9]),
    "a value's bounds of all floats": put("values.0.bounds", [-1e308, 1e308], names="values[0].bounds"),
    "a value's bounds of nothing": put("values.1.bounds", [0.5, 0.5 + 1e-12], names="values[1].bounds"),
    "references of all kinds": put("search.convex_partitions", 10**6),
    "evaluators for all of us": put("search.evaluators", 10**6),
    "more evaluators than CPUs": put("search.evaluators", 9_999),
    "more CPUs than there are": put("search.resources.num_cpus", 9_999, names="search.evaluators"),
    "CPUs of all floats": put("search.resources.num_cpus", 1e300),
    "more GPUs than there are": put("search.resources.num_gpus", 64, names="GPU"),
    "GPUs of all floats": put("search.resources.num_gpus", 1e300),
    "answers for all of us": put("search.answers", 10**6, names="search.answers"),
    "answers of more than 31 bits": put("search.answers", HUGE, names="search.answers"),
    "answers of any length": put("generation.max_new_tokens", 10**9),
    "answers beyond all positions": put("generation.max_new_tokens", 100_000),
    "answers a little beyond the positions": put("generation.max_new_tokens", 256),
    "temperature of a star": put("generation.temperature", 1e300),
    "tokens beyond 31 bits": put("generation", {"temperature": 1.0, "top_k": HUGE}, names="generation.top_k"),
    "a batch of any size": put("generation.batch_size", 10**9),
    "samples of any number": put("sampling.completions_per_prompt", 10**9),
    "samples of a star": put("sampling.temperature", 1e300),
    "seed of more than 31 bits": put("seed", HUGE),
    "seeds of more than 31 bits": put("compare.seeds", [0, HUGE], names="compare.seeds[1]"),
    "a comparison of all candidates": put("compare.candidates", 10**9),
    "a lattice of any size": put("compare.weight_partitions", 10**6),
    "alphas of any size": put("compare.alphas", [1e300], names="compare.alphas[0]"),
    "margin of all floats": put("values.0.margin", 1e300, names="values[0].margin"),
    "limit of more than 31 bits": put("values.1.pairs", {"path": "pairs.jsonl", "limit": HUGE}, names="limit"),
    "two hundred values": put(
        "values", [{"name": f"value_{index}", "reward": "mva_ray.rewards:brief"} for index in range(200)]
    ),
    "batches of a reward of any size": put(
        "values.0.reward", {"function": "mva_ray.rewards:brief", "batch_size": 10**9}, names="reward.batch_size"
    ),
    "texts of a reward of any length": put(
        "values.0.reward", {"function": "mva_ray.rewards:brief", "max_length": 10**9}, names="reward.max_length"
    ),
    "a server of any patience": put(
        "engine.openai",
        {"base_url": "http://host/v1", "model": "m", "adapters_dir": "exports", "timeout": 1e300},
        names="engine.openai.timeout",
    ),
    "a server of any concurrency": put(
        "engine.openai",
        {"base_url": "http://host/v1", "model": "m", "adapters_dir": "exports", "concurrency": 10**9},
        names="engine.openai.concurrency",
    ),
    "attempts for ever": put(
        "engine.openai",
        {"base_url": "http://host/v1", "model": "m", "adapters_dir": "exports", "attempts": 10**9},
        names="engine.openai.attempts",
    ),
}
