"""Exported candidates, loaded by nothing but peft and transformers, against models that were really merged."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from mva_ray.adapters.export import compress, concatenate
from mva_ray.adapters.lora import load_factors
from mva_ray.errors import ConfigError
from mva_ray.export.candidate import find
from mva_ray.export.write import write
from tests.support.runs import VALUES, move_to
from tests.support.runs import make_trained_run as make
from tests.support.tiny import load, merged

ATOL = 1e-4
W = (-0.7, 1.6)
IDS = torch.tensor([[5, 9, 2, 30, 7, 11]])


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest, tiny_model: Path, tiny_gpt2: Path) -> Path:
    return tiny_model if request.param == "llama" else tiny_gpt2


@torch.no_grad()
def logits(model: Any) -> Tensor:
    found: Tensor = model(IDS).logits
    return found


def test_an_adapter_gives_the_merged_models_logits(model: Path, tmp_path: Path) -> None:
    paths = make(tmp_path / "run", model)
    lines = write(find(tmp_path / "run", "mixed"), "adapter", tmp_path / "out")
    found = logits(PeftModel.from_pretrained(load(model)[0], tmp_path / "out"))
    assert (found - logits(merged(load(model)[0], paths, W))).abs().max() < ATOL
    assert "adapter of rank 6, exact" in lines[0]
    assert f"--max-lora-rank 8 --lora-modules mixed={tmp_path / 'out'}" in lines[1]


def test_a_whole_model_needs_nothing_else(model: Path, tmp_path: Path) -> None:
    paths = make(tmp_path / "run", model)
    write(find(tmp_path / "run", "mixed"), "merged", tmp_path / "out")
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval())
    assert (found - logits(merged(load(model)[0], paths, W))).abs().max() < ATOL
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("Hi").input_ids


def test_the_base_model_is_a_model_and_no_adapter(tiny_model: Path, tmp_path: Path) -> None:
    make(tmp_path / "run", tiny_model)
    base = find(tmp_path / "run", "base")
    with pytest.raises(ConfigError, match="is the base model itself"):
        write(base, "adapter", tmp_path / "out")
    write(base, "merged", tmp_path / "out")
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval())
    assert torch.equal(found, logits(load(tiny_model)[0]))


def test_coefficients_of_blocks_of_layers(tiny_model: Path, tmp_path: Path) -> None:
    """By hand: the first layer has the coefficients of block 1, the second and what follows those of block 2."""
    w = {"positive_block1": 1.5, "positive_block2": -0.5, "brief_block1": 0.0, "brief_block2": 2.0}
    paths = make(tmp_path / "run", tiny_model, w, blocks=2)
    write(find(tmp_path / "run", "mixed"), "merged", tmp_path / "out")
    expected = load(tiny_model)[0]
    for value, path in zip(VALUES, paths, strict=True):
        factors = load_factors(path)
        for name in factors.a:
            weight = w[f"{value}_block{1 if '.0.' in name else 2}"]
            with torch.no_grad():
                expected.get_submodule(name).weight += weight * factors.scaling * factors.b[name] @ factors.a[name]
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert (logits(found) - logits(expected)).abs().max() < ATOL


def test_compressed_to_its_own_rank_it_is_exact_and_below_it_says_what_is_lost(
    tiny_model: Path, tmp_path: Path
) -> None:
    factors = concatenate([load_factors(path) for path in make(tmp_path / "run", tiny_model)], W)
    same, lost = compress(factors, 6)
    assert lost == 0
    for name in factors.a:
        assert torch.allclose(same.b[name] @ same.a[name], factors.b[name] @ factors.a[name], atol=1e-5)
    less, lost = compress(factors, 3)
    deltas = {name: factors.b[name] @ factors.a[name] for name in factors.a}
    missed = sum(float((deltas[name] - less.b[name] @ less.a[name]).square().sum()) for name in deltas)
    assert lost == pytest.approx((missed / sum(float(d.square().sum()) for d in deltas.values())) ** 0.5, rel=1e-3)
    for name, delta in deltas.items():  # no other matrix of that rank is nearer
        best = torch.linalg.svdvals(delta.double())[3:].square().sum().sqrt()
        assert float((delta - less.b[name] @ less.a[name]).norm()) == pytest.approx(float(best), rel=1e-3)
    lines = write(find(tmp_path / "run", "mixed"), "compressed", tmp_path / "out", rank=3)
    assert f"adapter of rank 3, {lost:.1%} of the delta lost" in lines[0]
    assert f"{lost:.2%} of the delta is lost" in (tmp_path / "out" / "README.md").read_text()
    assert PeftModel.from_pretrained(load(tiny_model)[0], tmp_path / "out").peft_config["default"].r == 3


def test_the_card_says_what_it_is(tiny_model: Path, tmp_path: Path) -> None:
    make(tmp_path / "run", tiny_model)
    write(find(tmp_path / "run", "mixed"), "adapter", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for text in (f"base_model: {tiny_model}", "library_name: peft", "| positive | -0.7 |", "0.25 ± 0.031", "@1.0"):
        assert text in card


@pytest.mark.parametrize(
    ("name", "problem"), [("nobody", "no such candidate"), ("", "2 candidates begin with it"), ("mix", None)]
)
def test_a_candidate_by_its_name_or_its_beginning(
    tiny_model: Path, tmp_path: Path, name: str, problem: str | None
) -> None:
    make(tmp_path, tiny_model)
    if problem is None:
        assert find(tmp_path, name).evaluation.candidate == "mixed"
    else:
        with pytest.raises(ConfigError, match=problem):
            find(tmp_path, name)


def test_what_was_not_evaluated_is_not_exported(tiny_model: Path, tmp_path: Path) -> None:
    """Another adapter under the same name, or another base model, would carry rewards that are not its own."""
    paths = make(tmp_path / "run", tiny_model)
    candidate = find(tmp_path / "run", "mixed")
    other = replace(candidate, evaluation=replace(candidate.evaluation, base_model="tiny 0123456789ab"))
    with pytest.raises(ConfigError, match="was evaluated as tiny 0123456789ab"):
        write(other, "adapter", tmp_path / "out")
    settings = json.loads((paths[0] / "adapter_config.json").read_text())
    (paths[0] / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 99}))
    with pytest.raises(ConfigError, match="the adapter of 'positive' is not the one that mixed was evaluated with"):
        find(tmp_path / "run", "mixed")


def test_at_a_url_the_base_model_is_the_runs_own_copy(tiny_model: Path, s3: str, tmp_path: Path) -> None:
    """The directory that the config named was that of a job, on a head that is gone."""
    model = shutil.copytree(tiny_model, tmp_path / "job" / "model")
    paths = make(tmp_path / "run", model)
    expected = logits(merged(load(model)[0], paths, W))
    move_to(s3, tmp_path / "run", model)
    write(find(s3, "mixed"), "adapter", tmp_path / "out")
    base = json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"]
    found = logits(PeftModel.from_pretrained(load(Path(base))[0], tmp_path / "out"))
    assert (found - expected).abs().max() < ATOL
    write(find(s3, "mixed"), "merged", tmp_path / "whole")
    assert (logits(AutoModelForCausalLM.from_pretrained(tmp_path / "whole").eval()) - expected).abs().max() < ATOL


def test_a_base_model_that_is_gone_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    make(tmp_path / "run", model)
    shutil.rmtree(model)
    with pytest.raises(ConfigError, match=f"base_model: {model} is not there"):
        write(find(tmp_path / "run", "mixed"), "adapter", tmp_path / "out")


@pytest.mark.parametrize(("form", "rank"), [("adapter", 4), ("merged", 4), ("compressed", None)])
def test_a_rank_belongs_to_what_is_compressed(tiny_model: Path, tmp_path: Path, form: Any, rank: int | None) -> None:
    make(tmp_path / "run", tiny_model)
    with pytest.raises(ConfigError, match="belongs to --as compressed"):
        write(find(tmp_path / "run", "mixed"), form, tmp_path / "out", rank)


def test_nothing_is_overwritten(tiny_model: Path, tmp_path: Path) -> None:
    make(tmp_path / "run", tiny_model)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        write(find(tmp_path / "run", "mixed"), "adapter", tmp_path / "out")
