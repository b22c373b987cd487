"""Configs: every malformed one gets its exact message, all problems come at once, good ones load."""

import json
import pickle
import sys
from pathlib import Path

import pytest
import yaml

from mva_ray.checks.data import pair_problems, prompt_problems
from mva_ray.checks.rewards import Trials
from mva_ray.checks.subject import Subject
from mva_ray.config import RunConfig, load_config, read_config
from mva_ray.config.document import Problem
from mva_ray.config.imports import import_function
from mva_ray.config.reward import Resources
from mva_ray.config.training import PenaltySettings, Training
from mva_ray.config.values import PairSource
from mva_ray.errors import ConfigError
from mva_ray.run_dir.layout import RunDirectory
from tests.support.malformed import MALFORMED
from tests.support.malformed.good import A_MODEL, GOOD

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


def load_checked_config(path: Path) -> RunConfig:
    """The config, its data files and its reward functions alone are looked at."""
    subject = Subject(read_config(path))
    with Trials(subject) as trials:
        found = [*prompt_problems(subject), *pair_problems(subject), *trials.findings(refused=False)]
    return subject.draft.finish([problem for problem in found if isinstance(problem, Problem)])


def problems_of(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_checked_config(write(directory, text))
    assert caught.value.source == str(directory / "run.yaml")
    assert caught.value.exit_code == 2
    return [problem.replace(str(directory), "DIR") for problem in caught.value.problems]


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
    text = GOOD.replace("    margin: 0.5", "    pairs: pairs.jsonl").replace("candidates: 16", "candidates: 1")
    if split == "held_out":
        text = text.replace("search: {path: search.jsonl}", "search: {path: held_out.jsonl}", 1)
        text = text.replace("held_out: {path: held_out.jsonl}", "held_out: {path: search.jsonl}", 1)
    assert problems_of(directory, text) == [
        f"line 12, values[1].pairs: DIR/pairs.jsonl trains on prompts that prompts.{split} judges by: 'd'",
        "line 14, search: candidates (1) must be at least population (2)",
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
search: {candidates: 1}
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
  - line 18, search: candidates (1) must be at least population (2)"""
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
    RunDirectory(tmp_path / "runs" / "demo").store.check_usable()
    assert list((tmp_path / "runs" / "demo").iterdir()) == []


def test_run_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run_dir = tmp_path / "file" / "runs" / "demo"
    with pytest.raises(ConfigError) as caught:
        RunDirectory(run_dir).store.check_usable()
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
    assert PenaltySettings.model_validate(penalty.model_dump()) == penalty


CONSTRAINTS = """\
constraints:
  base_nll: {max: 3.5}
  tokens: {min: 4, max: 30}
  warm: {min: 0.2}
  fluency: {reward: mva_ray.rewards:plain, min: 3}
"""


def test_constraints_are_on_metrics_values_and_rewards_of_their_own(directory: Path) -> None:
    config = load_config(write(directory, GOOD + CONSTRAINTS))
    assert {name: (limit.min, limit.max) for name, limit in config.constraints.items()} == {
        "base_nll": (None, 3.5),
        "tokens": (4, 30),
        "warm": (0.2, None),
        "fluency": (3, None),
    }
    assert list(config.rewards) == ["warm", "short", "fluency"]
    assert config.extra_rewards["fluency"].source == "mva_ray.rewards:plain"
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_run_to_start_from_is_found_from_the_config(directory: Path) -> None:
    (directory / "runs" / "earlier").mkdir(parents=True)
    (directory / "runs" / "earlier" / "run.json").write_text("{}")
    config = load_config(write(directory, GOOD + "warm_start: [runs/earlier]\n"))
    assert config.warm_start == [str(directory / "runs" / "earlier")]
