"""The plan of a run: every setting changes exactly the stages that depend on it, so that nothing else is repeated."""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mva_ray.config import RunConfig
from mva_ray.constraints import Limit
from mva_ray.plan.changes import changed_settings
from mva_ray.plan.keys import Plan, _training, key, make_plan, token_marks
from tests.support.endings import END, OTHER, OTHER_TOKEN, adding_ends, ending
from tests.support.tiny import make_llama, random_adapter

Settings = dict[str, Any]
SAMPLED = {"samples", "pairs 'warm'", "pairs 'brief'"}
TRAINED_ON_SAMPLES = SAMPLED | {"adapter 'warm'", "adapter 'brief'", "evaluations"}
ADAPTERS = {"adapter 'given'", "adapter 'warm'", "adapter 'brief'"}
MADE = SAMPLED | ADAPTERS | {"evaluations"}


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path) -> Settings:
    """Three values: the first with pairs of its own, the others with pairs made on-policy."""
    for name in ("train", "search", "held_out"):
        lines = [json.dumps({"prompt": f"{name} {number}"}) for number in range(4)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n')
    return {
        "name": "demo",
        "base_model": str(tiny_model),
        "prompts": {split: {"path": str(tmp_path / f"{split}.jsonl")} for split in ("train", "search", "held_out")},
        "values": [
            {"name": "given", "reward": "mva_ray.rewards:plain", "pairs": str(tmp_path / "pairs.jsonl")},
            {"name": "warm", "reward": "mva_ray.rewards:positive"},
            {"name": "brief", "reward": "mva_ray.rewards:brief"},
        ],
        "generation": {},
        "sampling": {},
        "training": {"lora": {}},
        "search": {"coefficients": "per_value_and_block"},
    }


def plan(settings: Settings) -> Plan:
    return make_plan(RunConfig.model_validate(settings))


def edited(settings: Settings, path: str, setting: Any) -> Settings:
    """A copy with the setting at a dotted path, such as values.1.margin."""
    result = copy.deepcopy(settings)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner: Any = result
    for part in parents:
        inner = inner[part]
    inner[last] = setting
    return result


def changed(before: Plan, after: Plan) -> set[str]:
    old, new = before.stages(), after.stages()
    return {stage for stage in old.keys() | new.keys() if old.get(stage) != new.get(stage)}


@pytest.mark.parametrize(
    ("path", "setting", "expected"),
    [
        ("name", "other", set()),
        ("seed", 1, MADE),
        ("prompts.train.count", 3, TRAINED_ON_SAMPLES),
        ("prompts.search.count", 3, set()),
        ("prompts.held_out.count", 3, set()),
        ("generation.max_new_tokens", 41, MADE),
        ("generation.system_prompt", "Be kind.", MADE),
        ("generation.batch_size", 32, set()),
        ("generation.temperature", 0.7, {"evaluations"}),
        ("sampling.completions_per_prompt", 5, TRAINED_ON_SAMPLES),
        ("sampling.temperature", 0.9, TRAINED_ON_SAMPLES),
        ("sampling.top_k", 20, TRAINED_ON_SAMPLES),
        ("values.0.margin", 0.5, set()),
        ("values.1.margin", 0.5, {"pairs 'warm'", "adapter 'warm'", "adapter 'brief'", "evaluations"}),
        ("values.2.margin", 0.5, {"pairs 'brief'", "adapter 'brief'", "evaluations"}),
        ("values.1.bounds", [-0.5, 2.0], set()),
        ("values.0.reward", "mva_ray.rewards:neutral", {"evaluations"}),
        ("values.2.reward", "mva_ray.rewards:neutral", {"pairs 'brief'", "adapter 'brief'", "evaluations"}),
        (
            "values.2.reward",
            {"function": "mva_ray.rewards:brief", "batch_size": 3, "resources": {"num_cpus": 2.0}},
            set(),
        ),
        ("training.steps", 25, ADAPTERS | {"evaluations"}),
        ("training.epochs", 2.0, ADAPTERS | {"evaluations"}),
        ("training.pairs_per_step", 2, ADAPTERS | {"evaluations"}),
        ("training.learning_rate", 1e-4, ADAPTERS | {"evaluations"}),
        ("training.beta", 0.2, ADAPTERS | {"evaluations"}),
        ("training.penalty", "paper", ADAPTERS | {"evaluations"}),
        ("training.max_length", 100, ADAPTERS | {"evaluations"}),
        ("training.num_workers", 2, ADAPTERS | {"evaluations"}),
        ("training.checkpoint_steps", 5, set()),
        ("training.max_staleness", 1, set()),
        ("training.schedule", "concurrent", ADAPTERS | {"evaluations"}),
        ("training.lora.r", 8, ADAPTERS | {"evaluations"}),
        ("training.lora.dropout", 0.1, ADAPTERS | {"evaluations"}),
        ("training.lora.target_modules", ["q_proj"], ADAPTERS | {"evaluations"}),
        ("search.method", "nsga2", set()),
        ("search.candidates", 30, set()),
        ("search.population", 4, set()),
        ("search.bounds", [-1.0, 2.0], set()),
        ("search.convex_partitions", 2, set()),
        ("search.coefficients", "per_value", {"evaluations"}),
        ("search.blocks", 2, {"evaluations"}),
        ("search.answers", 100, set()),
        ("search.evaluators", 2, set()),
        ("search.resources", {"num_cpus": 2.0}, set()),
        ("search.resources", {"num_gpus": 1.0}, {"evaluations"}),
        ("training.resources", {"num_gpus": 1.0}, set()),
    ],
)
def test_a_setting_changes_exactly_what_depends_on_it(
    settings: Settings, path: str, setting: Any, expected: set[str]
) -> None:
    """Too few: a stale result is kept. Too many: hours of training are thrown away."""
    assert changed(plan(settings), plan(edited(settings, path, setting))) == expected


def test_every_setting_has_a_line_above() -> None:
    """A new setting has to say what it invalidates."""
    [mark] = test_a_setting_changes_exactly_what_depends_on_it.pytestmark
    tested = {path for path, _, _ in mark.args[1]}
    sections = {
        name: RunConfig.model_fields[name].annotation for name in ("generation", "sampling", "training", "search")
    }
    settings = {f"{name}.{field}" for name, section in sections.items() for field in section.model_fields}  # type: ignore[union-attr]
    assert settings - {"training.lora", "generation.top_k", "search.operators"} <= tested


def test_sampled_candidates_depend_on_how_they_are_sampled(settings: Settings) -> None:
    sampled = edited(settings, "generation", {"temperature": 0.7})
    assert changed(plan(sampled), plan(edited(sampled, "generation.top_k", 5))) == {"evaluations"}


def test_the_same_settings_give_the_same_plan(settings: Settings) -> None:
    assert plan(settings) == plan(copy.deepcopy(settings))


def test_defaults_written_out_change_nothing(settings: Settings) -> None:
    written = edited(edited(settings, "training.steps", 24), "seed", 0)
    assert plan(written) == plan(settings)


def write_pairs(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "r", "rejected": "c"}\n')


def write_prompts(split: str) -> Callable[[Settings, Path], None]:
    def write(settings: Settings, tmp_path: Path) -> None:
        path = tmp_path / f"{split}.jsonl"
        path.write_text(path.read_text().replace(f"{split} 2", "another"))

    return write


def write_model(settings: Settings, tmp_path: Path) -> None:
    settings["base_model"] = str(make_llama(tmp_path / "model", seed=8))


def swap_values(settings: Settings, tmp_path: Path) -> None:
    settings["values"][1:] = reversed(settings["values"][1:])


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (write_pairs, {"pairs 'given'", *ADAPTERS, "evaluations"}),
        (write_prompts("train"), TRAINED_ON_SAMPLES),
        (write_prompts("search"), set()),
        (write_model, MADE),
        (swap_values, {"adapter 'warm'", "adapter 'brief'", "evaluations"}),
    ],
    ids=["pairs", "train prompts", "search prompts", "model", "order of values"],
)
def test_contents_decide_not_names(
    settings: Settings, tmp_path: Path, edit: Callable[[Settings, Path], None], expected: set[str]
) -> None:
    """A file that is edited in place counts as another one."""
    before = plan(settings)
    edit(settings, tmp_path)
    assert changed(before, plan(settings)) == expected


def test_a_file_under_another_name_is_the_same(settings: Settings, tmp_path: Path) -> None:
    before = plan(settings)
    for name in ("pairs", "train"):
        (tmp_path / f"{name}.jsonl").rename(tmp_path / f"moved_{name}.jsonl")
    settings["values"][0]["pairs"] = str(tmp_path / "moved_pairs.jsonl")
    settings["prompts"]["train"]["path"] = str(tmp_path / "moved_train.jsonl")
    assert plan(settings) == before


def test_only_settings_that_change_the_pairs_train_anew(settings: Settings, tmp_path: Path) -> None:
    """Their key hashes the pairs themselves, so that it covers the file, every setting of the source and the reader."""
    rows = [{"prompt": "p", "response": str(n), "kind": n, "short": -n} for n in range(3)]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"bad": "row"}\n')
    source = {"path": str(tmp_path / "scores.jsonl"), "attribute": "kind", "max_bad_share": 0.5}
    before = plan(edited(settings, "values.0.pairs", source))
    same = {"format": "scores", "min_difference": 2.0, "limit": 5, "max_bad_share": 0.3}
    assert plan(edited(settings, "values.0.pairs", source | same)) == before
    other = plan(edited(settings, "values.0.pairs", source | {"attribute": "short"}))
    assert changed(before, other) == {"pairs 'given'", *ADAPTERS, "evaluations"}


@pytest.fixture
def with_adapter(settings: Settings, tmp_path: Path, tiny_model: Path) -> Settings:
    """The last value brings an adapter."""
    directory = random_adapter(tmp_path / "mine", tiny_model, seed=1, r=2, alpha=4)
    settings["values"][2]["adapter"] = str(directory)
    return settings


def test_an_adapter_that_is_brought_comes_before_those_that_are_trained(with_adapter: Settings) -> None:
    """All others are penalised against it, whatever its place; it needs no pairs."""
    stages = plan(with_adapter).stages()
    names = ["samples", "pairs 'given'", "pairs 'warm'", *(f"adapter '{name}'" for name in ("brief", "given", "warm"))]
    assert list(stages) == [*names, "evaluations"]


def rewrite(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda path, model: random_adapter(path, model, seed=2, r=2, alpha=4), ADAPTERS | {"evaluations"}),
        (lambda path, model: rewrite(path / "adapter_config.json", lora_alpha=8), ADAPTERS | {"evaluations"}),
        (lambda path, model: rewrite(path / "adapter_config.json", use_rslora=True), ADAPTERS | {"evaluations"}),
        (lambda path, model: rewrite(path / "adapter_config.json", lora_dropout=0.5), set()),
    ],
    ids=["other weights", "other alpha", "rsLoRA", "other dropout"],
)
def test_what_an_adapter_adds_is_its_key(
    with_adapter: Settings, tmp_path: Path, tiny_model: Path, edit: Callable[[Path, Path], None], expected: set[str]
) -> None:
    """The same weights with another scale are another adapter."""
    before = plan(with_adapter)
    edit(tmp_path / "mine", tiny_model)
    assert changed(before, plan(with_adapter)) == expected


def test_training_settings_do_not_change_an_adapter_that_is_brought(with_adapter: Settings) -> None:
    found = changed(plan(with_adapter), plan(edited(with_adapter, "training.steps", 25)))
    assert found == {"adapter 'given'", "adapter 'warm'", "evaluations"}


def test_search_prompts_are_told_apart_by_their_own_hash(settings: Settings) -> None:
    """They are in no key: an evaluation names its prompts itself, and those of the old prompts are kept beside."""
    before, after = plan(settings), plan(edited(settings, "prompts.search.count", 3))
    assert before.prompts["search"] == tuple(f"search {number}" for number in range(4))
    assert after.prompts["search"] == before.prompts["search"][:3]
    assert after.context == before.context


def test_constraints_and_earlier_runs_invalidate_nothing(settings: Settings) -> None:
    """They decide what is feasible and where the search begins, not what an evaluation is."""
    limits = {"base_nll": {"max": 3.5}, "fluency": {"min": 3.0, "reward": "mva_ray.rewards:plain"}}
    after = plan({**settings, "constraints": limits, "warm_start": ["runs/earlier"]})
    assert changed(plan(settings), after) == set()
    assert after.constraints["base_nll"] == Limit(max=3.5)
    assert after.constraints["fluency"] == Limit(min=3.0, reward=after.rewards["given"]), "the same reward has one name"


@pytest.mark.parametrize(
    ("path", "setting", "same"),
    [
        ("generation.max_new_tokens", 41, False),
        ("generation.system_prompt", "Be kind.", False),
        ("generation.batch_size", 2, True),
        ("search.bounds", [-1.0, 2.0], True),
        ("prompts.search.count", 3, True),
        ("values.1.reward", "mva_ray.rewards:neutral", True),
        ("training.steps", 25, True),
        ("seed", 1, True),
    ],
)
def test_the_generator_is_what_answers_depend_on_besides_the_blend(
    settings: Settings, path: str, setting: Any, same: bool
) -> None:
    assert (plan(settings).generator == plan(edited(settings, path, setting)).generator) is same


def test_an_edited_reward_scores_anew(settings: Settings, tmp_path: Path) -> None:
    """The reward's version is part of its name in the plan and in the table."""
    source = "def score(prompts, completions, **kwargs):\n    return [{}.0] * len(completions)\n"
    plans = []
    for number in (1, 2):
        module = f"plan_test_rewards_{number}"
        (tmp_path / f"{module}.py").write_text(source.format(number))
        raw = edited(settings, "values.1.reward", f"{module}:score")
        plans.append(make_plan(RunConfig.model_validate(raw, context={"directory": tmp_path})))
    names = [each.rewards["warm"].partition(" ") for each in plans]
    assert names[0][2] != names[1][2]
    assert plans[0].scores["warm"] != plans[1].scores["warm"]
    assert plans[0].scores["brief"] == plans[1].scores["brief"]


def test_stages_come_in_the_order_of_the_run(settings: Settings) -> None:
    values = ("given", "warm", "brief")
    assert list(plan(settings).stages()) == [
        "samples",
        *(f"pairs '{value}'" for value in values),
        *(f"adapter '{value}'" for value in values),
        "evaluations",
    ]


def test_keys_are_short_and_depend_on_every_part() -> None:
    assert key("a", 1) == key("a", 1)
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    assert len({key("a", "b"), key("ab"), key("b", "a"), key(["a", "b"]), key("a", None), key("a")}) == 6
    assert len(key("a")) == 12


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"training": {"steps": 24, "lora": {"r": 16}}}, {"training": {"steps": 30, "lora": {"r": 8}}}, None),
        ({"a": None}, {"a": "x"}, ['a: null -> "x"']),
        ({"a": 1}, {"b": [1, 2]}, ["a: 1 -> null", "b: null -> [1, 2]"]),
        ({"a": {"b": 1}}, {"a": 2}, ['a: {"b": 1} -> 2']),
    ],
)
def test_changed_settings_are_one_line_each(
    before: Mapping[str, Any], after: Mapping[str, Any], lines: list[str] | None
) -> None:
    expected = ["training.lora.r: 16 -> 8", "training.steps: 24 -> 30"] if lines is None else lines
    assert changed_settings(before, after) == expected


@pytest.mark.parametrize("schedule", ["sequential", "concurrent"])
def test_only_trainings_that_earlier_versions_did_otherwise_have_other_keys(settings: Settings, schedule: str) -> None:
    """Their dropout had no effect; without any, an adapter of hours ago is what it would be today."""
    config = RunConfig.model_validate(edited(settings, "training.schedule", schedule))
    left_out = {"checkpoint_steps"} | ({"schedule", "max_staleness"} if schedule == "sequential" else set())
    assert _training(config) == config.training.model_dump(exclude=left_out)
    dropping = RunConfig.model_validate(edited(settings, "training.lora.dropout", 0.1))
    assert _training(dropping) != dropping.training.model_dump(exclude={"checkpoint_steps", *left_out})
    assert _training(dropping)["dropout"] == "acts"


def test_only_models_whose_tokens_earlier_versions_took_wrong_have_other_keys(
    tiny_model: Path, tiny_gpt2: Path, tmp_path: Path
) -> None:
    """Their prompts ended with an end token, or their answers with one that the model does not end its turns with."""
    assert token_marks(tiny_model) == token_marks(tiny_gpt2) == token_marks(tmp_path) == ({}, {})
    gemma_like = ending(tiny_model, tmp_path / "gemma", OTHER_TOKEN, [OTHER, END])
    assert token_marks(gemma_like) == ({}, {"answers_end": END})
    assert token_marks(adding_ends(tiny_gpt2, tmp_path / "adding")) == ({"prompts_end": False}, {})
