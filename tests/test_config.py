"""Configs: every malformed one gets its exact message, all problems come at once, good ones load."""

import json
import pickle
import sys
from pathlib import Path

import pytest
import yaml

from mva_ray.config import PairSource, Resources, RunConfig, check_writable, load_config
from mva_ray.config_checks import import_function
from mva_ray.config_training import Penalty, Training
from mva_ray.data.check import load_checked_config
from mva_ray.errors import ConfigError

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

PROMPTS = {
    "train.jsonl": '{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "c"}\n',
    "search.jsonl": '{"prompt": "d"}\n{"prompt": "e"}\n',
    "held_out.jsonl": '{"prompt": "f"}\n{"prompt": "g"}\n',
}

REWARD_MODULE = """\
def fine(prompts, completions, **kwargs):
    return [0.0] * len(completions)

number = 3
"""

VALUE_KEYS = "name, reward, pairs, adapter, margin, bounds"
RUN_KEYS = "name, base_model, seed, prompts, generation, sampling, values, training, search, compare"
A_NAME = "a name of at most 32 lower-case letters, digits and _ that begins with a letter"
A_MODEL = "a hub id (org/name), a model directory or a .gguf file"
A_PENALTY = "hsic, paper, orthogonal, none or a mapping with kind and weight"
A_SOURCE = "the path of a JSONL, JSON, CSV or Parquet file or a mapping with path or hub"
TAKEN = "is taken by the Pareto table (its own columns, coefficients w_... and errors ..._se); choose another name"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with prompt files, reward modules, model directories and files that are none of these."""
    for name, text in PROMPTS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "config_test_rewards.py").write_text(REWARD_MODULE)
    (tmp_path / "config_test_broken.py").write_text("import no_such_library\n")
    (tmp_path / "config_test_raising.py").write_text("raise RuntimeError('no luck')\n")
    (tmp_path / "config_test_exiting.py").write_text("import sys; sys.exit('bye')\n")
    (tmp_path / "good.jsonl").write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n')
    (tmp_path / "notes.txt").write_text("not a model")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "empty_model").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path


def write(directory: Path, text: str) -> Path:
    path = directory / "run.yaml"
    path.write_text(text)
    return path


def problems_of(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_checked_config(write(directory, text))
    assert caught.value.source == str(directory / "run.yaml")
    assert caught.value.exit_code == 2
    return [problem.replace(str(directory), "DIR") for problem in caught.value.problems]


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
        "line 14, search: expected a mapping with candidates, population, bounds, convex_partitions, evaluators, "
        "resources, got 16",
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
        "candidates: 7",
        "line 14, search: candidates (7) must be at least population (8)",
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
}


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_config_gets_exactly_its_message(directory: Path, case: tuple[str, ...]) -> None:
    old, new, *messages = case
    assert GOOD.count(old) == 1
    assert problems_of(directory, GOOD.replace(old, new)) == messages


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        ("", ["DIR/train.jsonl has no prompts; at least 2 are needed"]),
        ('{"prompt": "a"}\n', ["DIR/train.jsonl has 1 prompt; at least 2 are needed"]),
        (
            '{"prompt": "a"}\n{"prompt": " "}\n',
            ["DIR/train.jsonl: line 2: expected a non-empty text for 'prompt', got \" \""],
        ),
        (
            '{"prompt": "a"}\n{"prompt": "f"}\n',
            [],
        ),
    ],
    ids=["empty", "one", "blank", "shared"],
)
def test_prompt_files_are_checked_with_the_config(directory: Path, content: str, messages: list[str]) -> None:
    (directory / "train.jsonl").write_text(content)
    expected = [f"line 4, prompts.train.path: {message}" for message in messages] or [
        "line 6, prompts.held_out.path: a prompt belongs to one split only, and these are in prompts.train too: 'f'"
    ]
    assert problems_of(directory, GOOD) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "DIR/pairs.jsonl has no pairs"),
        (
            '{"prompt": "p", "chosen": "c"}',
            "DIR/pairs.jsonl: line 1: expected a non-empty text for 'rejected', it is missing",
        ),
    ],
    ids=["empty", "incomplete"],
)
def test_pair_files_are_checked_with_the_config(directory: Path, content: str, message: str) -> None:
    (directory / "pairs.jsonl").write_text(content)
    text = GOOD.replace("    margin: 0.5", "    pairs: pairs.jsonl")
    assert problems_of(directory, text) == [f"line 12, values[1].pairs: {message}"]


BAD_PAIRS = '{"prompt": "p", "chosen": "c", "rejected": "c"}\n' * 2


def test_bad_rows_within_the_limit_are_no_problem(directory: Path) -> None:
    (directory / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n' * 2 + BAD_PAIRS)
    text = GOOD.replace("    margin: 0.5", "    pairs: {path: pairs.jsonl, max_bad_share: 0.5}")
    assert load_checked_config(write(directory, text)).values[1].pairs is not None
    assert problems_of(directory, text.replace("0.5}", "0.4}")) == [
        f"line 12, values[1].pairs: DIR/pairs.jsonl: {problem}"
        for problem in (
            "line 3: 'chosen' and 'rejected' are the same text",
            "line 4: 'chosen' and 'rejected' are the same text",
            "2 of 4 rows are bad, more than max_bad_share = 0.4",
        )
    ]


@pytest.mark.parametrize(
    ("split", "pair"),
    [
        ("search", {"prompt": " d", "chosen": "c", "rejected": "r"}),
        ("search", {"chosen": "\n\nHuman: d\n\nAssistant: c", "rejected": "\n\nHuman: d\n\nAssistant: r"}),
        ("held_out", {"prompt": [{"role": "user", "content": "d"}], "chosen": "c", "rejected": "r"}),
    ],
    ids=["text", "dialogue", "messages"],
)
def test_training_on_what_one_is_judged_by_is_a_problem(directory: Path, split: str, pair: dict[str, object]) -> None:
    """Also where the prompt is written as a dialogue, and where the config has other problems."""
    (directory / "pairs.jsonl").write_text(json.dumps(pair) + "\n" + json.dumps(pair))
    text = GOOD.replace("    margin: 0.5", "    pairs: pairs.jsonl").replace("candidates: 16", "candidates: 7")
    if split == "held_out":
        text = text.replace("search: {path: search.jsonl}", "search: {path: held_out.jsonl}", 1)
        text = text.replace("held_out: {path: held_out.jsonl}", "held_out: {path: search.jsonl}", 1)
    assert problems_of(directory, text) == [
        f"line 12, values[1].pairs: DIR/pairs.jsonl trains on prompts that prompts.{split} judges by: 'd'",
        "line 14, search: candidates (7) must be at least population (8)",
    ]


def test_train_prompts_may_be_those_of_the_pairs(directory: Path) -> None:
    (directory / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "c", "rejected": "r"}\n')
    load_checked_config(write(directory, GOOD.replace("    margin: 0.5", "    pairs: pairs.jsonl")))


def test_prompts_that_count_leaves_out_are_not_judged_by(directory: Path) -> None:
    (directory / "search.jsonl").write_text(PROMPTS["search.jsonl"] + '{"prompt": "p"}\n')
    text = GOOD.replace("    margin: 0.5", "    pairs: good.jsonl")
    assert len(problems_of(directory, text)) == 1
    load_checked_config(write(directory, text.replace("{path: search.jsonl}", "{path: search.jsonl, count: 2}")))


def test_all_problems_come_at_once_in_the_order_of_the_file(directory: Path) -> None:
    text = """\
name: demo
bse_model: org/model
prompts:
  train: {path: nowhere.jsonl}
  search: {path: search.jsonl, count: 5}
  held_out: {path: search.jsonl}
generation:
  max_new_tokens: 40
  max_new_tokens: many
values:
  - name: warm
    reward: no_such_module:reward
    bounds: [1, 0]
  - name: warm
    margin: -1
training:
  learning_rate: fast
search: {candidates: 4}
"""
    with pytest.raises(ConfigError) as caught:
        load_checked_config(write(directory, text))
    assert (
        str(caught.value).replace(str(directory), "DIR")
        == f"""\
DIR/run.yaml: 14 problems
  - base_model is missing: expected {A_MODEL}
  - line 2, bse_model: unknown key; did you mean 'base_model'?
  - line 4, prompts.train.path: DIR/nowhere.jsonl: no such file
  - line 5, prompts.search.count: 5 is more than the 2 prompts of DIR/search.jsonl
  - line 6, prompts.held_out.path: a prompt belongs to one split only, and these are in prompts.search too: \
'd' and 1 more
  - line 9, generation.max_new_tokens: given twice, first on line 8; keep one
  - line 9, generation.max_new_tokens: expected a whole number >= 1, got 'many'
  - line 12, values[0].reward: there is no module 'no_such_module': it is neither installed nor next to the config \
nor in the current directory
  - line 13, values[0].bounds: the lower bound 1 must be below the upper bound 0
  - line 14, values[1].name: values[0] is called 'warm' too; give each value its own name
  - line 14, values[1]: reward and pairs are missing: every value needs a reward to score candidates (without pairs \
of your own, they are made with it)
  - line 15, values[1].margin: expected a number >= 0, got -1
  - line 17, training.learning_rate: expected a number > 0, got 'fast'
  - line 18, search: candidates (4) must be at least population (8)"""
    )


def test_a_single_problem_is_one_line(directory: Path) -> None:
    path = write(directory, GOOD.replace("16", "0.5"))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: line 15, search.candidates: expected a whole number >= 1, got 0.5"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"name: \xff\xfe"), "not UTF-8 text; expected a YAML file"),
    ],
    ids=["missing", "directory", "binary"],
)
def test_unreadable_config(tmp_path: Path, make: object, problem: str) -> None:
    path = tmp_path / "run.yaml"
    assert callable(make)
    make(path)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.problems == [problem]


def test_good_config_and_defaults(directory: Path) -> None:
    config = load_checked_config(write(directory, GOOD))
    assert config.value_names == ["warm", "short"]
    assert config.bounds == [(0.0, 1.5), (-0.5, 2.0)]
    assert config.search.candidates == 16
    assert config.values[0].reward.source == "mva_ray.rewards:positive"
    assert config.values[0].reward.resources == Resources(num_cpus=0.1)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_any_number_of_values_from_two(directory: Path, count: int) -> None:
    values = [
        {"name": f"value_{index}", "reward": "mva_ray.rewards:brief", "bounds": [-index - 1, index + 1.5]}
        for index in range(count)
    ]
    config = load_checked_config(write(directory, yaml.safe_dump(yaml.safe_load(GOOD) | {"values": values})))
    assert config.value_names == [f"value_{index}" for index in range(count)]
    assert config.bounds == [(-index - 1.0, index + 1.5) for index in range(count)]


def test_relative_paths_become_absolute(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n')
    (directory / "configs").mkdir()
    text = GOOD.replace("{path: ", "{path: ../").replace("org/model", "../model")
    text = text.replace("    margin: 0.5", "    pairs: ../pairs.jsonl")
    write(directory / "configs", text)
    monkeypatch.chdir(directory / "model")
    config = load_checked_config(Path("../configs/run.yaml"))
    assert config.base_model == str(directory / "model")
    assert config.prompts.train.path == str(directory / "train.jsonl")
    assert config.values[1].pairs == PairSource(path=str(directory / "pairs.jsonl"))


def test_an_adapter_is_found_from_the_config_and_comes_first_in_training(directory: Path) -> None:
    config = load_config(write(directory, GOOD.replace("    margin: 0.5", "    adapter: mine")))
    assert config.values[1].adapter == str(directory / "mine")
    assert [value.name for value in config.training_order] == ["short", "warm"]
    assert config.value_names == ["warm", "short"]


@pytest.mark.parametrize(("written", "read"), [("model", "DIR/model"), ("model.gguf", "DIR/model.gguf"), ("gpt2",) * 2])
def test_base_models(directory: Path, written: str, read: str) -> None:
    config = load_config(write(directory, GOOD.replace("org/model", written)))
    assert config.base_model.replace(str(directory), "DIR") == read


def test_home_directory_is_known(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(directory))
    assert load_config(write(directory, GOOD.replace("org/model", "~/model"))).base_model == str(directory / "model")


def test_rewards_next_to_the_config_and_in_the_current_directory(
    directory: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "config_test_current.py").write_text(REWARD_MODULE)
    monkeypatch.chdir(elsewhere)
    path = sys.path.copy()
    text = GOOD.replace("mva_ray.rewards:brief", "config_test_rewards:fine")
    text = text.replace("mva_ray.rewards:positive", "{function: config_test_current:fine, batch_size: 2}")
    rewards = [value.reward for value in load_config(write(directory, text)).values]
    assert [reward.source for reward in rewards] == ["config_test_current:fine", "config_test_rewards:fine"]
    assert sys.path == path
    assert import_function(rewards[1].source, rewards[1].directory)(["p"], ["c"]) == [0.0]


def test_numbers_as_in_yaml_1_2(directory: Path) -> None:
    text = GOOD + "training: {learning_rate: 5e-4, beta: 1E+1, penalty: {weight: .5}, steps: 12}\nseed: 0\n"
    training = load_config(write(directory, text)).training
    assert (training.learning_rate, training.beta, training.penalty.weight, training.steps) == (5e-4, 10.0, 0.5, 12)


@pytest.mark.parametrize(
    ("training", "pairs", "steps"),
    [
        (Training(), 1000, 24),
        (Training(steps=7), 1000, 7),
        (Training(epochs=3, pairs_per_step=8), 10_000, 3750),
        (Training(epochs=0.1, pairs_per_step=3), 30, 1),
        (Training(epochs=0.5, pairs_per_step=64), 3, 1),
    ],
)
def test_epochs_are_steps_of_each_value(training: Training, pairs: int, steps: int) -> None:
    of_value = training.for_pairs(pairs)
    assert (of_value.steps, of_value.epochs) == (steps, None)
    assert of_value.for_pairs(1) == of_value
    assert pickle.loads(pickle.dumps(of_value)) == of_value


def test_words_that_yaml_1_1_takes_for_truth_are_text(directory: Path) -> None:
    config = load_config(write(directory, GOOD.replace("name: short", "name: no").replace("demo", "on")))
    assert (config.name, config.value_names) == ("on", ["warm", "no"])


def test_a_config_travels_and_does_not_change(directory: Path) -> None:
    config = load_config(write(directory, GOOD))
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1


def test_a_config_made_in_python_needs_no_files() -> None:
    config = RunConfig.model_validate(yaml.safe_load(GOOD.replace("org/model", "./nowhere")))
    assert config.base_model == "./nowhere"
    assert config.prompts.train.path == "train.jsonl"


def test_run_directory_is_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "runs" / "demo")
    assert list((tmp_path / "runs" / "demo").iterdir()) == []


def test_run_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run_dir = tmp_path / "file" / "runs" / "demo"
    with pytest.raises(ConfigError) as caught:
        check_writable(run_dir)
    existing = tmp_path / "file"
    assert str(caught.value) == (
        f"{run_dir}: the run directory cannot be written: Not a directory (what exists of it: {existing})"
    )


@pytest.mark.parametrize(
    ("written", "kind", "weight"),
    [
        ("orthogonal", "orthogonal", 0.5),
        ("none", "none", 0.0),
        ("{kind: paper}", "paper", 10.0),
        ("{kind: paper, weight: 3}", "paper", 3.0),
        ("{}", "hsic", 0.003),
        ("{kernel: rbf, sigma: 2, rows: 64, ramp_steps: 5}", "hsic", 0.003),
        ("{on: lora_a, normalised: false, weight: 1}", "hsic", 1.0),
    ],
)
def test_every_kind_of_penalty_has_its_own_weight(directory: Path, written: str, kind: str, weight: float) -> None:
    penalty = load_config(write(directory, GOOD + f"training: {{penalty: {written}}}\n")).training.penalty
    assert (penalty.kind, penalty.weight) == (kind, weight)
    assert Penalty.model_validate(penalty.model_dump()) == penalty
