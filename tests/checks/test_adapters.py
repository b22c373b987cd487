"""Adapters that a config brings: refused at the line that names them, before anything is computed."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from mva_ray.checks.adapters import adapter_problems, fit_problems, other_bases
from mva_ray.checks.subject import Finding, Subject
from mva_ray.config import Draft, read_config
from mva_ray.config.document import Problem
from tests.support.tiny import make_gpt2, make_llama, random_adapter


def draft_of(
    directory: Path, model: Path, *adapters: Path | None, engine: dict[str, object] | None = None, **training: object
) -> Draft:
    """A config whose values bring these adapters, the n-th at its line."""
    values = [
        {"name": f"value_{index}", "reward": "mva_ray.rewards:brief"} | ({"adapter": str(adapter)} if adapter else {})
        for index, adapter in enumerate(adapters)
    ]
    splits = {split: {"path": f"{split}.jsonl"} for split in ("train", "search", "held_out")}
    config = {"name": "demo", "base_model": str(model), "prompts": splits, "values": values, "training": training}
    config |= {"engine": engine} if engine else {}
    (directory / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return read_config(directory / "run.yaml")


def with_blocks(draft: Draft, blocks: int) -> Draft:
    """The same config with coefficients per block of layers."""
    content = yaml.safe_load(draft.path.read_text())
    content["search"] = {"coefficients": "per_value_and_block", "blocks": blocks}
    draft.path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_config(draft.path)


def misfits(draft: Draft, base: Path) -> Iterable[Finding]:
    return fit_problems(Subject(draft, base_directory=base))


def texts(problems: Iterable[Finding]) -> list[str]:
    return [problem.text for problem in problems if isinstance(problem, Problem)]


def test_plain_lora_of_any_rank_and_modules_passes(tmp_path: Path, tiny_model: Path) -> None:
    adapters = [
        random_adapter(tmp_path / "wide", tiny_model, 1, r=7, alpha=3, use_rslora=True),
        random_adapter(tmp_path / "mlp", tiny_model, 1, r=2, alpha=4, target_modules=["gate_proj", "down_proj"]),
    ]
    draft = draft_of(tmp_path, tiny_model, adapters[0], None, adapters[1])
    assert texts(adapter_problems(Subject(draft))) == texts(misfits(draft, tiny_model)) == []


def test_conv1d_of_gpt2_fits_by_its_own_orientation(tmp_path: Path, tiny_gpt2: Path) -> None:
    """Its weights are [in, out], a linear layer's [out, in]; c_attn is not square."""
    adapter = random_adapter(tmp_path / "gpt2", tiny_gpt2, 1, r=2, alpha=4, target_modules=["c_attn"])
    assert texts(misfits(draft_of(tmp_path, tiny_gpt2, adapter, None), tiny_gpt2)) == []


def test_each_bad_adapter_is_refused_at_its_line(tmp_path: Path, tiny_model: Path) -> None:
    dora = random_adapter(tmp_path / "dora", tiny_model, 1, r=2, alpha=4, use_dora=True, modules_to_save=["lm_head"])
    draft = draft_of(tmp_path, tiny_model, dora, None, tmp_path / "nowhere")
    plain = "only plain LoRA (delta = scaling * B @ A on linear layers) can be blended"
    assert texts(adapter_problems(Subject(draft))) == [
        f"line 13, values[0].adapter: {dora}/adapter_config.json: modules_to_save is set: {plain}",
        f"line 13, values[0].adapter: {dora}/adapter_config.json: use_dora is set: {plain}",
        f"line 18, values[2].adapter: {tmp_path}/nowhere: not a PEFT adapter: needs adapter_config.json and "
        "adapter_model.safetensors",
    ]


@pytest.mark.parametrize(
    ("penalty", "rank", "refused"),
    [
        ("paper", 8, True),
        ({"on": "lora_a"}, 8, True),
        ("paper", 16, False),
        ("hsic", 8, False),
        ("orthogonal", 8, False),
        ("none", 8, False),
    ],
)
def test_another_rank_is_refused_where_the_penalty_pairs_rows_of_lora_a(
    tmp_path: Path, tiny_model: Path, penalty: object, rank: int, refused: bool
) -> None:
    """Training would find out when its first adapter is at its first step."""
    adapter = random_adapter(tmp_path / "adapter", tiny_model, 1, r=rank, alpha=4)
    line = (
        f"line 13, values[0].adapter: {adapter}: its rank is 8, and a penalty on lora_A needs that of training.lora.r "
        "(16): make them equal, or let the penalty compare deltas (penalty: hsic)"
    )
    draft = draft_of(tmp_path, tiny_model, adapter, None, penalty=penalty)
    assert texts(adapter_problems(Subject(draft))) == [line] * refused
    nothing_trained = draft_of(tmp_path, tiny_model, adapter, adapter, penalty=penalty)
    assert texts(adapter_problems(Subject(nothing_trained))) == []


@pytest.mark.parametrize(("limit", "refused"), [(37, True), (38, False)])
def test_ranks_that_add_up_beyond_the_servers_limit_are_refused(
    tmp_path: Path, tiny_model: Path, limit: int, refused: bool
) -> None:
    """Two adapters that are trained, at r = 16, and one of rank 6."""
    adapter = random_adapter(tmp_path / "adapter", tiny_model, 1, r=6, alpha=4)
    server = {"base_url": "http://host/v1", "model": "m", "max_lora_rank": limit, "adapters_dir": "exports"}
    line = (
        "line 23, engine.openai.max_lora_rank: the ranks of 3 adapters add up to 38, and the server takes 37: raise "
        "its limit (vLLM's --max-lora-rank) and max_lora_rank with it, or use adapters of lower rank"
    )
    draft = draft_of(tmp_path, tiny_model, adapter, None, None, engine={"openai": server})
    assert texts(adapter_problems(Subject(draft))) == [line] * refused


def test_an_adapter_of_another_architecture_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    other = make_gpt2(tmp_path / "other")
    adapter = random_adapter(tmp_path / "adapter", other, 1, r=2, alpha=4, target_modules=["c_attn"])
    [found] = texts(misfits(draft_of(tmp_path, tiny_model, adapter, None), tiny_model))
    assert found == (
        f"line 13, values[0].adapter: {adapter}: the base model has no linear layer transformer.h.0.attn.c_attn and 1 "
        "more: an adapter of another base model?"
    )


def test_an_adapter_of_another_size_is_refused_without_reading_weights(tmp_path: Path, tiny_model: Path) -> None:
    """Of the base model, config.json is enough."""
    adapter = random_adapter(tmp_path / "adapter", tiny_model, 1, r=2, alpha=4)
    config = json.loads((tiny_model / "config.json").read_text())
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "config.json").write_text(json.dumps(config | {"hidden_size": 64, "head_dim": 16}))
    [found] = texts(misfits(draft_of(tmp_path, tmp_path / "wide", adapter, None), tmp_path / "wide"))
    assert found == (
        f"line 13, values[0].adapter: {adapter}: model.layers.0.self_attn.k_proj and 7 more maps 32 to 16 features in "
        "the adapter and 64 to 32 in the base model: an adapter of another base model?"
    )


def test_where_no_value_brings_an_adapter_the_model_is_not_looked_at(tmp_path: Path, tiny_model: Path) -> None:
    assert texts(misfits(draft_of(tmp_path, tiny_model, None, None), tmp_path / "nowhere")) == []


@pytest.mark.parametrize(
    ("trained_on", "warned"),
    [
        ("{model}", False),
        ("/elsewhere/models/org--{name}", False),
        ("Org/{name}", False),
        (None, False),
        ("org/{name}-chat", True),
    ],
)
def test_another_base_model_is_a_line_not_an_error(
    tmp_path: Path, tiny_model: Path, trained_on: str | None, warned: bool
) -> None:
    adapter = random_adapter(tmp_path / "adapter", tiny_model, 1, r=2, alpha=4)
    name = trained_on and trained_on.format(model=tiny_model, name=tiny_model.name)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": name}))
    draft = draft_of(tmp_path, tiny_model, adapter, None)
    line = f"the adapter of 'value_0' was trained on {name}, and base_model is {tiny_model}"
    assert list(other_bases(Subject(draft))) == [line] * warned


def test_the_name_in_the_cache_is_the_hub_id(tmp_path: Path) -> None:
    """A model of the hub lies in the cache as org--name; adapters trained here name that directory."""
    model = make_llama(tmp_path / "models" / "org--tiny")
    adapter = random_adapter(tmp_path / "adapter", model, 1, r=2, alpha=4)
    assert list(other_bases(Subject(draft_of(tmp_path, Path("org/tiny"), adapter, None)))) == []


def test_more_blocks_than_layers_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    """The tiny model has two layers."""
    draft = draft_of(tmp_path, tiny_model, None, None)
    assert texts(misfits(with_blocks(draft, 2), tiny_model)) == []
    (problem,) = texts(misfits(with_blocks(draft, 3), tiny_model))
    assert problem.endswith(
        "search.blocks: 3 blocks of layers, and the base model has 2 layers: give at most that many"
    )


def test_a_block_in_which_an_adapter_has_nothing_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    """Brought or trained: its coefficient would do nothing."""
    adapter = random_adapter(tmp_path / "second", tiny_model, 1, r=2, alpha=4, layers_to_transform=[1])
    lora = {"target_modules": ["0.self_attn.q_proj"]}
    draft = with_blocks(draft_of(tmp_path, tiny_model, adapter, None, lora=lora), 2)
    brought, trained = texts(misfits(draft, tiny_model))
    assert "values[0].adapter: nothing is adapted in block 1 of 2, whose coefficient would do nothing" in brought
    assert "training.lora.target_modules: nothing is adapted in block 2 of 2" in trained
