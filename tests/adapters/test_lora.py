"""Reading PEFT directories: exact factors and scaling; everything that is not plain LoRA is refused with its reason."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mva_ray.adapters.hashes import WEIGHTS_FILE, adapter_hash, delta_hash
from mva_ray.adapters.lora import copy_adapter, load_factors
from mva_ray.errors import ConfigError
from tests.support.tiny import LLAMA_MODULES, random_adapter


def problems_of(directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_factors(directory)
    return caught.value.problems


@pytest.fixture
def adapter(tmp_path: Path, tiny_model: Path) -> Path:
    return random_adapter(tmp_path / "adapter", tiny_model, seed=1, r=4, alpha=6)


def edit(adapter: Path, **settings: Any) -> Path:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return adapter


def test_factors_are_the_files_tensors_by_module_name(adapter: Path) -> None:
    factors = load_factors(adapter)
    tensors = load_file(adapter / WEIGHTS_FILE)
    modules = {f"model.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in LLAMA_MODULES}
    assert set(factors.a) == set(factors.b) == modules
    for module in modules:
        assert torch.equal(factors.a[module], tensors[f"base_model.model.{module}.lora_A.weight"])
        assert torch.equal(factors.b[module], tensors[f"base_model.model.{module}.lora_B.weight"])
        assert factors.a[module].shape == (4, 32)
        assert factors.b[module].shape[1] == 4


def test_scaling_is_alpha_over_r_and_over_its_root_for_rslora(tmp_path: Path, tiny_model: Path) -> None:
    plain = random_adapter(tmp_path / "plain", tiny_model, seed=1, r=4, alpha=6)
    stabilised = random_adapter(tmp_path / "rs", tiny_model, seed=1, r=4, alpha=6, use_rslora=True)
    assert load_factors(plain).scaling == 1.5
    assert load_factors(stabilised).scaling == 3.0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"use_dora": True}, "use_dora is set"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is set"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern is set"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern is set"),
        ({"bias": "lora_only"}, "bias is trained"),
        ({"lora_bias": True}, "lora_bias is set"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices is set"),
    ],
)
def test_what_peft_writes_beyond_plain_lora_is_refused(
    tmp_path: Path, tiny_model: Path, options: dict[str, Any], problem: str
) -> None:
    """Blending such an adapter as B @ A would silently be another model than the one that was trained."""
    adapter = random_adapter(tmp_path / "adapter", tiny_model, seed=1, r=4, alpha=8, **options)
    [found] = problems_of(adapter)
    assert found.startswith(problem)
    assert "can be blended" in found


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora", "loftq", "corda", "lora_ga", "something_new"])
def test_initialisations_that_change_the_base_weights_are_refused(adapter: Path, init: str) -> None:
    """PiSSA and OLoRA take their first B @ A out of the base weights: the adapter does not fit the base as it is."""
    [found] = problems_of(edit(adapter, init_lora_weights=init))
    assert found.startswith(f"init_lora_weights is {init!r}")
    assert "convert the adapter to plain LoRA" in found


@pytest.mark.parametrize("init", [True, False, "gaussian", "eva", "orthogonal", "mica"])
def test_initialisations_that_leave_the_base_alone_are_read(adapter: Path, init: bool | str) -> None:
    assert load_factors(edit(adapter, init_lora_weights=init)).scaling == 1.5


@pytest.mark.parametrize(
    "settings",
    [
        {"kasa_config": {"beta": 1e-4}},
        {"arrow_config": {"top_k": 1}},
        {"alora_invocation_tokens": [3]},
        {"use_qalora": True},
        {"target_parameters": ["mlp.experts.gate_up_proj"]},
        {"layer_replication": [[0, 2]]},
        {"of_a_later_peft": 1},
    ],
)
def test_settings_whose_effect_is_not_known_are_refused(adapter: Path, settings: dict[str, Any]) -> None:
    """What a later PEFT adds is refused too, until someone has read what it does."""
    [key] = settings
    assert problems_of(edit(adapter, **settings)) == [
        f"{key} is set: only plain LoRA (delta = scaling * B @ A on linear layers) can be blended"
    ]


def test_every_setting_of_an_adapter_as_peft_saves_it_is_known(adapter: Path) -> None:
    """Defaults that are not empty, such as qalora_group_size, are no reason to refuse."""
    assert len(json.loads((adapter / "adapter_config.json").read_text())) > 30
    load_factors(adapter)


def test_all_problems_come_at_once_and_name_the_file(adapter: Path) -> None:
    edit(adapter, use_dora=True, bias="all", rank_pattern={"q_proj": 2})
    with pytest.raises(ConfigError) as caught:
        load_factors(adapter)
    assert caught.value.source == str(adapter / "adapter_config.json")
    assert len(caught.value.problems) == 3


def test_other_peft_methods_are_refused(adapter: Path) -> None:
    assert problems_of(edit(adapter, peft_type="LOHA")) == ["peft_type is 'LOHA': only LORA adapters can be blended"]


def test_weights_that_are_no_lora_factors_are_refused(adapter: Path) -> None:
    """A LoRA on an embedding has factors of other names, and no linear layer to hook."""
    tensors = load_file(adapter / WEIGHTS_FILE)
    tensors["base_model.model.model.embed_tokens.lora_embedding_A"] = torch.ones(4, 300)
    save_file(tensors, adapter / WEIGHTS_FILE)
    [found] = problems_of(adapter)
    assert "model.embed_tokens.lora_embedding_A" in found


def test_resized_embeddings_are_refused_by_name(adapter: Path) -> None:
    tensors = load_file(adapter / WEIGHTS_FILE)
    save_file(tensors | {"base_model.model.model.embed_tokens.weight": torch.ones(4, 3)}, adapter / WEIGHTS_FILE)
    [found] = problems_of(adapter)
    assert "embed_tokens.weight" in found
    assert "were embeddings resized, or trained?" in found


def test_factors_that_do_not_belong_together_are_refused(adapter: Path) -> None:
    """A file of another rank than its settings would be blended at a wrong scale."""
    names = [f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora" for layer in (0, 1)]
    tensors = load_file(adapter / WEIGHTS_FILE)
    del tensors[f"{names[0]}_B.weight"]
    tensors[f"{names[1]}_A.weight"] = torch.full((4, 32), torch.nan)
    for factor, shape in (("A", (2, 32)), ("B", (16, 2))):
        tensors[f"{names[1].replace('q_proj', 'k_proj')}_{factor}.weight"] = torch.ones(shape)
    save_file(tensors, adapter / WEIGHTS_FILE)
    assert problems_of(adapter) == [
        "model.layers.0.self_attn.q_proj has only one of lora_A and lora_B",
        "model.layers.1.self_attn.k_proj has factors [2, 32] and [16, 2], which are not of rank r = 4",
        "model.layers.1.self_attn.q_proj has factors that are not finite",
    ]


@pytest.mark.parametrize("rank", [None, 0, "4"])
def test_a_rank_that_is_none_is_refused(adapter: Path, rank: object) -> None:
    assert problems_of(edit(adapter, r=rank)) == [f"expected a number > 0 for r, got {rank!r}"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("adapter_config.json", b"{", "not valid JSON: "),
        ("adapter_config.json", b"[]", "expected the settings of a PEFT adapter, a JSON object"),
        (WEIGHTS_FILE, b"PK", "no safetensors file: "),
    ],
)
def test_damaged_files_are_refused(adapter: Path, name: str, content: bytes, problem: str) -> None:
    (adapter / name).write_bytes(content)
    [found] = problems_of(adapter)
    assert found.startswith(problem)


def test_pickled_weights_are_refused(adapter: Path) -> None:
    (adapter / WEIGHTS_FILE).rename(adapter / "adapter_model.bin")
    [found] = problems_of(adapter)
    assert found == "adapter_model.bin is a pickle, which may run code when it is read: save it as safetensors"


@pytest.mark.parametrize("missing", ["adapter_config.json", WEIGHTS_FILE])
def test_half_a_directory_is_refused(adapter: Path, missing: str) -> None:
    (adapter / missing).unlink()
    assert problems_of(adapter) == [f"not a PEFT adapter: needs adapter_config.json and {WEIGHTS_FILE}"]


def test_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no adapter")
    assert problems_of(tmp_path / "nothing") == problems_of(tmp_path / "file") == problems_of(tmp_path)


def test_the_hash_is_that_of_the_weights_alone(tmp_path: Path, tiny_model: Path) -> None:
    one, same, other = (
        random_adapter(tmp_path / name, tiny_model, seed, r=2, alpha=2)
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    (same / "training.jsonl").write_text("{}\n")
    assert adapter_hash(one) == adapter_hash(same) != adapter_hash(other)


def test_the_hash_of_the_delta_is_that_of_weights_and_scale(adapter: Path) -> None:
    before = delta_hash(adapter)
    assert delta_hash(edit(adapter, lora_dropout=0.5, base_model_name_or_path="other")) == before
    assert len({before, *(delta_hash(edit(adapter, lora_alpha=alpha)) for alpha in (7, 8))}) == 3


def test_a_copy_has_the_same_factors_and_nothing_else(adapter: Path, tmp_path: Path) -> None:
    """What a copy that was interrupted left is gone."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "half").touch()
    copy = copy_adapter(adapter, tmp_path / "mine")
    assert sorted(path.name for path in copy.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert delta_hash(copy) == delta_hash(adapter)
