"""Configs with one mistake each, and the exact messages that they get."""

from mva_ray.config.search import Search

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
    "name, base_model, seed, prompts, generation, engine, sampling, values, training, search, compare, constraints, "
    "warm_start"
)
A_NAME = "a name of at most 32 lower-case letters, digits and _ that begins with a letter"
A_MODEL = "a hub id (org/name), a model directory or a .gguf file"
A_PENALTY = "hsic, paper, orthogonal, none or a mapping with kind and weight"
A_SOURCE = "the path of a JSONL, JSON, CSV or Parquet file or a mapping with path or hub"
TAKEN = "is taken by the Pareto table (its own columns, coefficients w_... and errors ..._se); choose another name"

MALFORMED = {
    # The file as YAML
    "empty file": (GOOD, "", "the file is empty; expected the keys of a run, such as name and base_model"),
    "only a comment": (GOOD, "# later\n", "the file is empty; expected the keys of a run, such as name and base_model"),
    "a list": (GOOD, "- name: demo\n", "expected a mapping (key: value) at the top, got a list"),
    "a text": (GOOD, "demo\n", "expected a mapping (key: value) at the top, got a single value"),
    "yaml syntax": (
        "base_model: org/model",
        "base_model: org: model",
        "line 2: not valid YAML: mapping values are not allowed here",
    ),
    "yaml indentation": (
        "  candidates: 16",
        "  candidates: 16\n population: 4",
        "line 16: not valid YAML: expected <block end>, but found '<block mapping start>'",
    ),
    "yaml tag": (
        "name: demo",
        "name: !!python/name:os.system x",
        "line 1: not valid YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/name:os.system'",
    ),
    "two documents": (
        "search:\n",
        "---\nsearch:\n",
        "line 14: not valid YAML: but found another document",
    ),
    "control character": (
        "demo",
        "de\x01mo",
        "not valid YAML: unacceptable character #x0001: special characters are not allowed",
    ),
    "contains itself": (
        "search:\n",
        "seed: &a [*a]\nsearch:\n",
        "an entry contains itself (an alias inside its own anchor)",
    ),
    "key twice": (
        "    margin: 0.5",
        "    margin: 0.5\n    margin: 0.7",
        "line 13, values[1].margin: given twice, first on line 12; keep one",
    ),
    # Keys
    "unknown key, near": (
        "candidates: 16",
        "candidate: 16",
        "line 15, search.candidate: unknown key; did you mean 'candidates'?",
    ),
    "unknown key, far": ("search:\n", "xyz: 1\nsearch:\n", f"line 14, xyz: unknown key; known keys: {RUN_KEYS}"),
    "unknown key in a value": (
        "    margin: 0.5",
        "    margn: 0.5",
        "line 12, values[1].margn: unknown key; did you mean 'margin'?",
    ),
    "key that is a number": ("search:\n", "7: 1\nsearch:\n", f"line 14, 7: unknown key; known keys: {RUN_KEYS}"),
    "no name": ("name: demo\n", "", f"name is missing: expected {A_NAME}"),
    "no base model": ("base_model: org/model\n", "", f"base_model is missing: expected {A_MODEL}"),
    "no held-out prompts": (
        "  held_out: {path: held_out.jsonl}\n",
        "",
        "line 3, prompts: held_out is missing: expected a mapping with path, count",
    ),
    "no values": (
        GOOD[GOOD.index("values:") : GOOD.index("search:\n")],
        "",
        "values is missing: expected a list of at least 2 values, each with name and reward",
    ),
    # Types and ranges
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
    "racing that is just switched on": (
        "search:\n  candidates: 16",
        "search:\n  racing: true\n  candidates: 16",
        "line 15, search.racing: expected a mapping with block, error_rate, got true",
    ),
    "racing after every prompt and with certainty": (
        "search:\n  candidates: 16",
        "search:\n  racing: {block: 1, error_rate: 0}\n  candidates: 16",
        "line 15, search.racing.block: expected a whole number >= 2, got 1",
        "line 15, search.racing.error_rate: expected a number > 0 and < 1, got 0",
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
    # Bounds
    "bounds upside down": (
        "bounds: [-0.5, 2]",
        "bounds: [2, -0.5]",
        "line 13, values[1].bounds: the lower bound 2 must be below the upper bound -0.5",
    ),
    "empty bounds": (
        "candidates: 16",
        "bounds: [1, 1]",
        "line 15, search.bounds: the lower bound 1 must be below the upper bound 1",
    ),
    "one bound": ("[-0.5, 2]", "[2]", "line 13, values[1].bounds: expected [lower, upper], two numbers, got [2]"),
    "three bounds": (
        "[-0.5, 2]",
        "[0, 1, 2]",
        "line 13, values[1].bounds: expected [lower, upper], two numbers, got [0, 1, 2]",
    ),
    "bounds of texts": (
        "[-0.5, 2]",
        "[low, '2']",
        "line 13, values[1].bounds: expected [lower, upper], two numbers, got ['low', '2']",
    ),
    "infinite bounds": (
        "[-0.5, 2]",
        "[0, .inf]",
        "line 13, values[1].bounds: expected [lower, upper], two numbers, got [0, inf]",
    ),
    # Names of values
    "two values with one name": (
        "name: short",
        "name: warm",
        "line 10, values[1].name: values[0] is called 'warm' too; give each value its own name",
    ),
    "name of a column": ("name: short", "name: split", f"line 10, values[1].name: 'split' {TAKEN}"),
    "name of a coefficient": ("name: short", "name: w_short", f"line 10, values[1].name: 'w_short' {TAKEN}"),
    "name of a standard error": ("name: short", "name: short_se", f"line 10, values[1].name: 'short_se' {TAKEN}"),
    "name with a hyphen": (
        "name: short",
        "name: not-long",
        f"line 10, values[1].name: expected {A_NAME}, got 'not-long'",
    ),
    # Rewards
    "neither reward nor pairs": (
        "    reward: mva_ray.rewards:brief\n",
        "",
        "line 10, values[1]: reward and pairs are missing: every value needs a reward to score candidates "
        "(without pairs of your own, they are made with it)",
    ),
    "pairs without reward": (
        "    reward: mva_ray.rewards:brief\n",
        "    pairs: pairs.jsonl\n",
        "line 10, values[1]: reward is missing: every value needs one to score candidates",
        "line 11, values[1].pairs: DIR/pairs.jsonl: no such file",
    ),
    "adapter without reward": (
        "    reward: mva_ray.rewards:brief\n    margin: 0.5\n",
        "    adapter: mine\n",
        "line 10, values[1]: reward is missing: every value needs one to score candidates",
    ),
    "adapter with pairs and margin": (
        "    margin: 0.5",
        "    margin: 0.5\n    pairs: train.jsonl\n    adapter: mine",
        "line 10, values[1]: pairs and margin would train an adapter, and 'adapter' brings one: keep one",
        "line 13, values[1].pairs: DIR/train.jsonl: line 1: expected a non-empty text for 'chosen', it is missing",
        "line 13, values[1].pairs: DIR/train.jsonl: line 2: expected a non-empty text for 'chosen', it is missing",
        "line 13, values[1].pairs: DIR/train.jsonl: line 3: expected a non-empty text for 'chosen', it is missing",
    ),
    "adapter with margin": (
        "    margin: 0.5",
        "    margin: 0.5\n    adapter: mine",
        "line 10, values[1]: margin would train an adapter, and 'adapter' brings one: keep one",
    ),
    "adapter that is a list": (
        "    margin: 0.5",
        "    adapter: [mine]",
        "line 12, values[1].adapter: expected a PEFT LoRA directory, got ['mine']",
    ),
    "empty reward": (
        "reward: mva_ray.rewards:brief",
        "reward:",
        "line 11, values[1].reward: expected package.module:function or a mapping with function or model, got nothing",
    ),
    "reward without colon": (
        "mva_ray.rewards:brief",
        "mva_ray.rewards.brief",
        "line 11, values[1].reward: expected package.module:function, such as mva_ray.rewards:positive, got "
        "'mva_ray.rewards.brief'",
    ),
    "reward of no module": (
        "mva_ray.rewards:brief",
        "no_such_module.rewards:brief",
        "line 11, values[1].reward: there is no module 'no_such_module': it is neither installed nor next to the "
        "config nor in the current directory",
    ),
    "reward module needs a library": (
        "mva_ray.rewards:brief",
        "config_test_broken:brief",
        "line 11, values[1].reward: the module 'config_test_broken' does not import: ModuleNotFoundError: No module "
        "named 'no_such_library'",
    ),
    "reward module raises": (
        "mva_ray.rewards:brief",
        "config_test_raising:brief",
        "line 11, values[1].reward: the module 'config_test_raising' does not import: RuntimeError: no luck",
    ),
    "reward module exits": (
        "mva_ray.rewards:brief",
        "config_test_exiting:brief",
        "line 11, values[1].reward: the module 'config_test_exiting' does not import: SystemExit: bye",
    ),
    "reward misspelt": (
        "mva_ray.rewards:brief",
        "mva_ray.rewards:breif",
        "line 11, values[1].reward: the module 'mva_ray.rewards' has no 'breif'; did you mean 'brief'?",
    ),
    "reward not callable": (
        "mva_ray.rewards:brief",
        "{function: config_test_rewards:number}",
        "line 11, values[1].reward.function: 'number' in the module 'config_test_rewards' is not a function",
    ),
    "reward with two sources": (
        "mva_ray.rewards:brief",
        "{function: mva_ray.rewards:brief, model: org/model}",
        "line 11, values[1].reward: give exactly one of 'function' (package.module:function) and 'model' (id or "
        "directory)",
    ),
    "reward without source": (
        "mva_ray.rewards:brief",
        "{batch_size: 4}",
        "line 11, values[1].reward: give exactly one of 'function' (package.module:function) and 'model' (id or "
        "directory)",
    ),
    "reward resources": (
        "mva_ray.rewards:brief",
        "{function: mva_ray.rewards:brief, resources: {gpus: 1}}",
        "line 11, values[1].reward.resources.gpus: unknown key; did you mean 'num_gpus'?",
    ),
    # The penalty
    "a penalty of no kind": (
        "search:\n",
        "training: {penalty: orthogonl}\nsearch:\n",
        "line 14, training.penalty: expected hsic, paper, orthogonal or none, got 'orthogonl'",
    ),
    "empty penalty": (
        "search:\n",
        "training: {penalty: }\nsearch:\n",
        f"line 14, training.penalty: expected {A_PENALTY}, got nothing",
    ),
    "penalty that is a number": (
        "search:\n",
        "training: {penalty: 7}\nsearch:\n",
        f"line 14, training.penalty: expected {A_PENALTY}, got 7",
    ),
    "penalty of a misspelt kind": (
        "search:\n",
        "training: {penalty: {kind: hsci}}\nsearch:\n",
        "line 14, training.penalty.kind: expected hsic, paper, orthogonal or none, got 'hsci'",
    ),
    "penalty with a misspelt key": (
        "search:\n",
        "training: {penalty: {knd: hsic}}\nsearch:\n",
        "line 14, training.penalty.knd: unknown key; did you mean 'kind'?",
    ),
    "penalty that rewards": (
        "search:\n",
        "training: {penalty: {weight: -1}}\nsearch:\n",
        "line 14, training.penalty.weight: expected a number >= 0, got -1",
    ),
    "bandwidth": (
        "search:\n",
        "training: {penalty: {kernel: rbf, sigma: mean}}\nsearch:\n",
        "line 14, training.penalty.sigma: expected a number > 0 or median, got 'mean'",
    ),
    "bandwidth of 0": (
        "search:\n",
        "training: {penalty: {kernel: rbf, sigma: 0}}\nsearch:\n",
        "line 14, training.penalty.sigma: expected a number > 0 or median, got 0",
    ),
    "kernel": (
        "search:\n",
        "training: {penalty: {kernel: cubic}}\nsearch:\n",
        "line 14, training.penalty.kernel: expected linear or rbf, got 'cubic'",
    ),
    "penalty on nothing known": (
        "search:\n",
        "training: {penalty: {on: lora_b}}\nsearch:\n",
        "line 14, training.penalty.on: expected lora_a or delta, got 'lora_b'",
    ),
    "too few rows": (
        "search:\n",
        "training: {penalty: {kernel: rbf, rows: 3}}\nsearch:\n",
        "line 14, training.penalty.rows: expected a whole number >= 4, got 3",
    ),
    "no weight": (
        "search:\n",
        "training: {penalty: {normalised: false}}\nsearch:\n",
        "line 14, training.penalty: weight is missing: HSIC that is not normalised depends on the model's scale",
    ),
    "settings of another kind": (
        "search:\n",
        "training: {penalty: {kind: paper, kernel: rbf, rows: 64}}\nsearch:\n",
        "line 14, training.penalty: kernel and rows would have no effect on paper: leave it out",
    ),
    "bandwidth without rbf": (
        "search:\n",
        "training: {penalty: {sigma: 1}}\nsearch:\n",
        "line 14, training.penalty: sigma would have no effect on hsic with kernel linear on delta: leave it out",
    ),
    "too low a rank for its rows to be samples": (
        "search:\n",
        "training: {penalty: {on: lora_a}, lora: {r: 2}}\nsearch:\n",
        "line 14, training: lora.r (2) must be at least 4 for HSIC on lora_a: its rows are the samples",
    ),
    # Pairs
    "pairs of no file": (
        "    margin: 0.5",
        "    pairs: 3",
        f"line 12, values[1].pairs: expected {A_SOURCE}, got 3",
    ),
    "pairs of a file and the hub": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, hub: org/pairs}",
        "line 12, values[1].pairs: give exactly one of 'path' (a file) and 'hub' (a data set, org/name)",
    ),
    "pairs of nothing": (
        "    margin: 0.5",
        "    pairs: {limit: 3}",
        "line 12, values[1].pairs: give exactly one of 'path' (a file) and 'hub' (a data set, org/name)",
    ),
    "a file as data set": (
        "    margin: 0.5",
        "    pairs: {hub: ./good.jsonl}",
        "line 12, values[1].pairs.hub: expected the id of a data set on the hub (org/name), got './good.jsonl'; "
        "a local file is a path",
    ),
    "unknown format": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, format: hh}",
        "line 12, values[1].pairs.format: expected one of auto, pairs, dialogues, safe_rlhf, scores, got 'hh'",
    ),
    "unknown preference": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, preference: best}",
        "line 12, values[1].pairs.preference: expected one of better, safer, got 'best'",
    ),
    "revision of a file": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, revision: main}",
        "line 12, values[1].pairs: revision belongs to a data set of the hub",
    ),
    "preference of dialogues": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, format: dialogues, preference: safer}",
        "line 12, values[1].pairs: preference belongs to format safe_rlhf",
    ),
    "attribute and preference": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, attribute: honesty, preference: safer}",
        "line 12, values[1].pairs: attribute belongs to format scores",
    ),
    "difference of nothing": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, min_difference: 1}",
        "line 12, values[1].pairs: min_difference belongs to an attribute",
    ),
    "all rows may be bad": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, max_bad_share: 1}",
        "line 12, values[1].pairs.max_bad_share: expected a number >= 0 and < 1, got 1",
    ),
    "missing file in a mapping": (
        "    margin: 0.5",
        "    pairs: {path: other.jsonl, limit: 2}",
        "line 12, values[1].pairs: DIR/other.jsonl: no such file",
    ),
    "an attribute that is not there": (
        "    margin: 0.5",
        "    pairs: {path: good.jsonl, format: scores}",
        "line 12, values[1].pairs: DIR/good.jsonl: it has scores: add `attribute:`, the name of the score to make "
        "pairs by",
    ),
    # The engine
    "unknown engine": (
        "search:\n",
        "engine: {vllm: {model: m}}\nsearch:\n",
        "line 14, engine.vllm: unknown key; known keys: openai",
    ),
    "engine by name": (
        "search:\n",
        "engine: openai\nsearch:\n",
        "line 14, engine: expected a mapping with openai, got 'openai'",
    ),
    "a server without anything": (
        "search:\n",
        "engine:\n  openai: {}\nsearch:\n",
        "line 15, engine.openai: base_url is missing: expected a URL such as https://host/v1",
        "line 15, engine.openai: model is missing: expected a text",
        "line 15, engine.openai: adapters_dir is missing: expected a directory that the server sees under the same "
        "path",
    ),
    "all that is wrong with a server": (
        "search:\n",
        "engine:\n  openai:\n    base_url: localhost:8000/v1\n    model: ''\n    api_key_env: my-key\n"
        "    adapters_dir: notes.txt\n    max_loras: 0\n    max_lora_rank: high\n    timeout: 0\n    url: x\nsearch:\n",
        "line 16, engine.openai.base_url: expected a URL such as https://host/v1, got 'localhost:8000/v1'",
        "line 17, engine.openai.model: expected a text, got ''",
        "line 18, engine.openai.api_key_env: expected an environment variable, got 'my-key'",
        "line 19, engine.openai.adapters_dir: DIR/notes.txt is a file; expected a directory that the server sees under "
        "the same path",
        "line 20, engine.openai.max_loras: expected a whole number >= 1, got 0",
        "line 21, engine.openai.max_lora_rank: expected a whole number >= 1, got 'high'",
        "line 22, engine.openai.timeout: expected a number > 0, got 0",
        "line 23, engine.openai.url: unknown key; known keys: base_url, model, api_key_env, concurrency, timeout, "
        "attempts, adapters_dir, max_loras, max_lora_rank",
    ),
    # Models
    "missing .gguf": ("org/model", "other.gguf", "line 2, base_model: there is no file DIR/other.gguf"),
    "missing directory": (
        "org/model",
        "./other",
        f"line 2, base_model: there is no directory DIR/other; expected {A_MODEL}",
    ),
    "neither hub id nor path": (
        "org/model",
        "models/other/latest",
        "line 2, base_model: 'models/other/latest' is no hub id (org/name), and there is no such directory or .gguf "
        "file next to the config",
    ),
    "directory without config": (
        "org/model",
        "empty_model",
        "line 2, base_model: DIR/empty_model is no model directory: it has no config.json",
    ),
    "model that is a file": (
        "org/model",
        "notes.txt",
        f"line 2, base_model: DIR/notes.txt is a file; expected {A_MODEL}",
    ),
    "empty base model": ("org/model", "''", f"line 2, base_model: expected {A_MODEL}, got ''"),
    "missing reward model": (
        "mva_ray.rewards:brief",
        "{model: ./judge}",
        f"line 11, values[1].reward.model: there is no directory DIR/judge; expected {A_MODEL}",
    ),
    # Prompt files
    "missing prompt file": (
        "train.jsonl",
        "other.jsonl",
        "line 4, prompts.train.path: DIR/other.jsonl: no such file",
    ),
    "prompt file is a directory": (
        "train.jsonl",
        "model",
        "line 4, prompts.train.path: DIR/model: cannot be read: Is a directory",
    ),
    "more prompts than the file has": (
        "{path: train.jsonl}",
        "{path: train.jsonl, count: 9}",
        "line 4, prompts.train.count: 9 is more than the 3 prompts of DIR/train.jsonl",
    ),
    "one prompt": (
        "{path: train.jsonl}",
        "{path: train.jsonl, count: 1}",
        "line 4, prompts.train.count: expected a whole number >= 2, got 1",
    ),
    "a split twice": (
        "held_out.jsonl",
        "search.jsonl",
        "line 6, prompts.held_out.path: a prompt belongs to one split only, and these are in prompts.search too: 'd' "
        "and 1 more",
    ),
    "race with one block": (
        "  candidates: 16",
        "  candidates: 16\n  racing: {error_rate: 0.1}",
        "line 16, search.racing: block 8 leaves nothing to race for: there are 2 search prompts",
    ),
    # Constraints
    "constraints that are a list": (
        "search:\n",
        "constraints: [base_nll]\nsearch:\n",
        "line 14, constraints: expected a mapping of names to min and max, got ['base_nll']",
    ),
    "constraint that is a number": (
        "search:\n",
        "constraints: {base_nll: 3.5}\nsearch:\n",
        "line 14, constraints.base_nll: expected a mapping with min, max, reward, got 3.5",
    ),
    "constraint without a bound": (
        "search:\n",
        "constraints:\n  base_nll: {}\nsearch:\n",
        "line 15, constraints.base_nll: give 'min', 'max' or both",
    ),
    "constraint of nothing": (
        "search:\n",
        "constraints:\n  base_nll:\nsearch:\n",
        "line 15, constraints.base_nll: expected a mapping with min, max, reward, got nothing",
    ),
    "constraint upside down": (
        "search:\n",
        "constraints:\n  tokens: {min: 40, max: 20}\nsearch:\n",
        "line 15, constraints.tokens: min (40) must be below max (20)",
    ),
    "constraint with a text": (
        "search:\n",
        "constraints:\n  tokens: {min: few}\nsearch:\n",
        "line 15, constraints.tokens.min: expected a number, got 'few'",
    ),
    "constraint that is infinite": (
        "search:\n",
        "constraints:\n  tokens: {max: .inf}\nsearch:\n",
        "line 15, constraints.tokens.max: expected a number, got inf",
    ),
    "constraint with a misspelt key": (
        "search:\n",
        "constraints:\n  tokens: {mx: 5}\nsearch:\n",
        "line 15, constraints.tokens.mx: unknown key; did you mean 'max'?",
    ),
    "constraint on a misspelt metric": (
        "search:\n",
        "constraints:\n  base_nl: {max: 3.5}\nsearch:\n",
        "line 15, constraints.base_nl: there is no metric and no value 'base_nl'; did you mean 'base_nll'?",
    ),
    "constraint on nothing of the run": (
        "search:\n",
        "constraints:\n  fluency: {min: 0.1}\nsearch:\n",
        "line 15, constraints.fluency: there is no metric and no value 'fluency'; a constraint is on a metric (tokens, "
        "truncated, repetition, distinct, base_nll), a value (warm, short) or brings a reward",
    ),
    "constraint whose name is a number": (
        "search:\n",
        "constraints:\n  7: {min: 0.1}\nsearch:\n",
        "line 15, constraints.7: expected a name, got 7",
    ),
    "constraint that a server cannot measure": (
        "search:\n",
        "constraints: {base_nll: {max: 3.5}}\n"
        "engine: {openai: {base_url: http://host/v1, model: tiny, adapters_dir: exports}}\nsearch:\n",
        "line 14, constraints.base_nll: only our own engine measures it: leave 'engine.openai' out",
    ),
    "constraint that brings the reward of a metric": (
        "search:\n",
        "constraints:\n  distinct: {min: 0.1, reward: mva_ray.rewards:plain}\nsearch:\n",
        "line 15, constraints.distinct: 'distinct' is a metric of the run already: leave 'reward' out, or choose "
        "another name",
    ),
    "constraint that brings the reward of a value": (
        "search:\n",
        "constraints:\n  warm: {min: 0.1, reward: mva_ray.rewards:plain}\nsearch:\n",
        "line 15, constraints.warm: 'warm' is a value of the run already: leave 'reward' out, or choose another name",
    ),
    "constraint under the name of a column": (
        "search:\n",
        "constraints:\n  seconds: {min: 0.1, reward: mva_ray.rewards:plain}\nsearch:\n",
        f"line 15, constraints.seconds: 'seconds' {TAKEN}",
    ),
    "constraint with a reward under a bad name": (
        "search:\n",
        "constraints:\n  Plain words: {min: 0.1, reward: mva_ray.rewards:plain}\nsearch:\n",
        f"line 15, constraints.Plain words: expected {A_NAME}, got 'Plain words'",
    ),
    "constraint with a misspelt reward": (
        "search:\n",
        "constraints:\n  plain: {min: 0.1, reward: mva_ray.rewards:plein}\nsearch:\n",
        "line 15, constraints.plain.reward: the module 'mva_ray.rewards' has no 'plein'; did you mean 'plain'?",
    ),
    "constraint with an empty reward": (
        "search:\n",
        "constraints:\n  plain: {min: 0.1, reward: {}}\nsearch:\n",
        "line 15, constraints.plain.reward: give exactly one of 'function' (package.module:function) and 'model' (id "
        "or directory)",
    ),
    # Coefficients
    "unknown coefficients": (
        "candidates: 16",
        "coefficients: per_layer",
        "line 15, search.coefficients: expected per_value or per_value_and_block, got 'per_layer'",
    ),
    "one block": (
        "candidates: 16",
        "coefficients: per_value_and_block\n  blocks: 1",
        "line 16, search.blocks: expected a whole number >= 2, got 1",
    ),
    "blocks without their coefficients": (
        "candidates: 16",
        "blocks: 2",
        "line 14, search: blocks belongs to coefficients: per_value_and_block",
    ),
    "blocks of one coefficient": (
        "candidates: 16",
        "coefficients: per_value\n  blocks: 2",
        "line 14, search: blocks belongs to coefficients: per_value_and_block",
    ),
    "value under the name of a coefficient": (
        GOOD,
        GOOD.replace("name: short", "name: warm_block2") + "  coefficients: per_value_and_block\n",
        "line 10, values[1].name: 'warm_block2' is the name of a coefficient of 'warm', one for each block; choose "
        "another name",
    ),
    # Warm start
    "warm start that is a text": (
        "search:\n",
        "warm_start: runs/earlier\nsearch:\n",
        "line 14, warm_start: expected a list of run directories, got 'runs/earlier'",
    ),
    "warm start with a number": (
        "search:\n",
        "warm_start: [7]\nsearch:\n",
        "line 14, warm_start: expected a list of run directories, got [7]",
    ),
    "warm start from nowhere": (
        "search:\n",
        "warm_start: [runs/earlier]\nsearch:\n",
        "line 14, warm_start[0]: DIR/runs/earlier is no run directory: there is no such directory",
    ),
    "warm start from no run": (
        "search:\n",
        "warm_start: [model]\nsearch:\n",
        "line 14, warm_start[0]: DIR/model is no run directory: it has no run.json",
    ),
}
