"""The dry run: every problem at once, the plan of a config by hand, what an earlier run left, and nothing written."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from transformers import MistralConfig

from mva_ray.config.training import Training
from mva_ray.errors import ConfigError
from mva_ray.explore import main
from mva_ray.placement.capacity import Capacity, NodeType
from mva_ray.placement.ray_cluster import capacity_there
from mva_ray.plan.dry_run import dry_run
from mva_ray.plan.forecast import Forecast, Lengths, make_forecast
from mva_ray.run_dir.stores import store_at
from tests.support.evaluations import make_run, trade_off
from tests.support.tiny import load, make_classifier, random_adapter

SPLITS = ("train", "search", "held_out")


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path) -> dict[str, Any]:
    """Pairs that are given, pairs to be sampled, an adapter that is brought."""
    for split, count in zip(SPLITS, (12, 5, 4), strict=True):
        rows = [json.dumps({"prompt": f"How is {split} {number}?"}) for number in range(count)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows))
    pair = json.dumps({"prompt": "Why is the sky blue?", "chosen": "Because.", "rejected": "No."})
    (tmp_path / "pairs.jsonl").write_text("\n".join([pair] * 10))
    adapter = random_adapter(tmp_path / "mine", tiny_model, seed=1, r=2, alpha=4)
    return {
        "name": "demo",
        "base_model": str(tiny_model),
        "prompts": {split: {"path": f"{split}.jsonl"} for split in SPLITS},
        "generation": {"max_new_tokens": 7},
        "values": [
            {"name": "given", "reward": "mva_ray.rewards:plain", "pairs": "pairs.jsonl"},
            {"name": "brief", "reward": "mva_ray.rewards:brief"},
            {"name": "mine", "reward": "mva_ray.rewards:positive", "adapter": str(adapter)},
        ],
        "training": {"epochs": 2, "pairs_per_step": 4, "lora": {"r": 4}},
        "search": {"candidates": 9, "population": 4},
    }


def write(directory: Path, settings: dict[str, Any]) -> Path:
    path = directory / "demo.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path


def forecast(directory: Path, settings: dict[str, Any]) -> Forecast:
    return make_forecast(write(directory, settings), directory / "run")[0]


def problems_of(directory: Path, settings: dict[str, Any]) -> Sequence[str]:
    with pytest.raises(ConfigError) as caught:
        make_forecast(write(directory, settings), directory / "run")
    return caught.value.problems


def test_the_plan_by_hand(tmp_path: Path, settings: dict[str, Any]) -> None:
    """12 prompts x 4 samples; 10 pairs twice in steps of 4; 9 candidates on 5 and at most 9 on 4 prompts."""
    found = forecast(tmp_path, settings)
    stages = {stage.name: (stage.state, stage.work) for stage in found.stages()}
    assert list(stages) == [
        "samples",
        "pairs 'given'",
        "pairs 'brief'",
        "adapter 'mine'",
        "adapter 'given'",
        "adapter 'brief'",
        "search",
        "held-out front",
    ]
    assert stages["samples"] == ("new", "48 answers, at most 336 tokens")
    assert stages["pairs 'given'"] == ("given", "10 pairs")
    assert stages["pairs 'brief'"] == ("new", "at most 12 pairs, best against worst")
    assert stages["adapter 'mine'"] == ("given", f"copied from {tmp_path / 'mine'}")
    assert stages["adapter 'given'"][1].startswith("5 steps of 4 pairs, 2 epochs, about ")
    assert stages["adapter 'brief'"][1].startswith("6 steps of 4 pairs, at most 2 epochs, about ")
    assert stages["search"] == ("new", "9 candidates on 5 prompts: 45 answers, at most 315 tokens")
    assert stages["held-out front"] == (
        "new",
        "at most 9 candidates on 4 prompts: 36 answers, at most 252 tokens",
    )


def test_the_plan_of_a_budget_in_answers(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Nine candidates on 4 of 5 prompts leave 5 of 41 answers, which a tenth may give: ten may be held out."""
    settings["search"]["answers"] = 41
    settings["search"]["method"] = "surrogate"
    stages = {stage.name: stage.work for stage in forecast(tmp_path, settings).stages()}
    on_few = "at most 9 candidates on 4 of 5 prompts each, the best of them and of others on all"
    assert stages["search"] == f"{on_few}: 41 answers, at most 287 tokens"
    assert stages["held-out front"] == "at most 10 candidates on 4 prompts: 40 answers, at most 280 tokens"


def test_tokens_are_those_of_the_models_tokenizer(tmp_path: Path, settings: dict[str, Any]) -> None:
    tokenizer: Any = load(Path(settings["base_model"]))[1]
    found = forecast(tmp_path, settings)
    message = [{"role": "user", "content": "Why is the sky blue?"}]
    prompt = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    ids = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (prompt, "Because.", "No.")]
    assert found.measured
    row = sum(ids) + 2
    assert found.pairs["given"] == Lengths(10, row, row)
    assert found.pairs["brief"].longest == found.prompts["train"].longest + 2 * 7


def test_long_pairs_are_cut_as_training_cuts_them(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Each completion by itself, where it reaches max_length with its prompt: two tokens of each are left."""
    del settings["values"][1]
    prompt = forecast(tmp_path, settings)._count_prompt("Why is the sky blue?")
    settings["training"]["max_length"] = prompt + 2
    assert forecast(tmp_path, settings).pairs["given"] == Lengths(10, prompt + 4, prompt + 4)


def test_what_an_earlier_run_left_is_kept(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Samples of a killed run count as far as they got; its last line is left alone."""
    plan = forecast(tmp_path, settings).plan
    assert plan is not None
    samples = tmp_path / "run" / "samples" / f"{plan.samples}.jsonl"
    samples.parent.mkdir(parents=True)
    samples.write_text("[[], [], []]\n[[], []]\n[[], [")
    (tmp_path / "run" / "adapters" / f"given-{plan.adapters['given']}").mkdir(parents=True)
    states = {stage.name: stage.state for stage in forecast(tmp_path, settings).stages()}
    assert states["samples"] == "5 of 12 kept"
    assert states["adapter 'given'"] == "kept"
    assert states["adapter 'brief'"] == "new"
    assert samples.read_text().endswith("[[], [")


def test_without_the_model_the_rest_is_still_there(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MVA_RAY_CACHE", str(tmp_path / "cache"))
    del settings["values"][2]
    found = forecast(tmp_path, settings | {"base_model": "org/absent"})
    assert (found.size, found.measured, found.plan) == (None, False, None)
    assert {stage.key for stage in found.stages()} == {None}
    assert found.pairs["given"].longest == round(5 * 4 / 3) + 1 + 1
    dry_run(write(tmp_path, settings | {"base_model": "org/absent"}), None)
    output = capsys.readouterr().out
    assert "not here yet: mva-ray fetch org/absent" in output
    assert "unknown until `mva-ray fetch org/absent`" in output.replace("\n", "")


def test_config_json_alone_gives_sizes_and_no_keys(tmp_path: Path, settings: dict[str, Any], tiny_model: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    found = forecast(tmp_path, settings | {"base_model": str(tmp_path / "bare")})
    assert found.size == forecast(tmp_path, settings).size
    assert (found.plan, found.measured) == (None, False)


def test_data_sets_of_the_hub_are_not_asked_for(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest of the plan is there all the same, and memory is what the longest pairs allowed would take."""
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **kwargs: pytest.fail("the hub was asked"))
    settings["values"][0]["pairs"] = {"hub": "org/pairs"}
    settings["training"]["max_length"] = 77
    found = forecast(tmp_path, settings)
    work = {stage.name: stage.work for stage in found.stages()}
    assert work["pairs 'given'"] == "read from org/pairs (train)"
    assert work["adapter 'given'"] == "2 epochs in steps of 4 pairs"
    assert (found.plan, found.longest_pair) == (None, 154)
    dry_run(write(tmp_path, settings), tmp_path / "run")
    assert "`mva-ray data check` reads them" in " ".join(capsys.readouterr().out.split())


def test_all_problems_come_at_once(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["values"][0]["pairs"] = "nowhere.jsonl"
    settings["values"][2]["adapter"] = "nothing"
    settings["search"]["candidates"] = 1
    assert [problem.partition(":")[0] for problem in problems_of(tmp_path, settings)] == [
        "line 15, values[0].pairs",
        "line 20, values[2].adapter",
        "line 26, search",
    ]


def test_modules_that_are_not_there_are_a_problem(tmp_path: Path, settings: dict[str, Any]) -> None:
    """PEFT passes over a name that fits nothing as long as another one fits."""
    settings["training"]["lora"]["target_modules"] = ["q_proj", "v_porj", "c_attn"]
    assert problems_of(tmp_path, settings) == [
        "line 28, training.lora.target_modules[1]: the base model has no linear layer 'v_porj'; did you mean 'v_proj'?",
        "line 29, training.lora.target_modules[2]: the base model has no linear layer 'c_attn'; there are down_proj, "
        "gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj",
    ]


def test_pairs_longer_than_the_attention_window_are_a_problem(tmp_path: Path, settings: dict[str, Any]) -> None:
    (tmp_path / "narrow").mkdir()
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 9}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    MistralConfig(**small, **heads, sliding_window=100).save_pretrained(tmp_path / "narrow")
    settings["values"].pop()
    settings["training"]["max_length"] = 101
    assert problems_of(tmp_path, settings | {"base_model": "narrow"}) == [
        "line 23, training.max_length: 101 is beyond the base model's attention window of 100 tokens"
    ]


def test_a_model_that_is_none_is_a_problem(tmp_path: Path, settings: dict[str, Any]) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "abacus"}')
    [found] = problems_of(tmp_path, settings | {"base_model": "odd"})
    assert found.startswith(
        f"line 2, base_model: {tmp_path / 'odd' / 'config.json'} describes no causal language model"
    )


def test_the_output_fits_80_columns_and_nothing_is_written(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    settings["values"][1]["reward"] = {"model": str(make_classifier(tmp_path / "judge", 1)), "resources": {}}
    path = write(tmp_path, settings)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("sys.argv", ["explore", "--config", str(path), "--run", "r", "--dry-run"])
    assert main() == 0
    output = capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
    assert max(len(line.rstrip()) for line in output.splitlines()[1:]) <= 80
    for title in ("Plan", "Tokens (by the model's tokenizer)", "Models", "Memory, about", "Processes"):
        assert title in output
    assert "given, then brief" in output


def test_a_bad_config_exits_2(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings["values"][0]["pairs"] = "nowhere.jsonl"
    monkeypatch.setattr("sys.argv", ["explore", "--config", str(write(tmp_path, settings)), "--dry-run"])
    assert main() == 2
    assert "values[0].pairs" in capsys.readouterr().err


def there(monkeypatch: pytest.MonkeyPatch, capacity: Capacity) -> None:
    for module in ("plan.dry_run", "checks.subject"):
        monkeypatch.setattr(f"mva_ray.{module}.capacity_there", lambda: capacity)


def test_what_the_machine_lacks_is_refused_after_the_plan(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan says how large a machine would have to be; on a cluster that may grow, it is a line of it."""
    there(monkeypatch, Capacity(({"CPU": 2.0, "GPU": 1.0},)))
    settings["training"]["num_workers"] = 3
    settings["search"]["resources"] = {"num_cpus": 0.5, "num_gpus": 0.0}
    line = "training.num_workers need 3 CPU, this machine has 2"
    with pytest.raises(ConfigError) as caught:
        dry_run(write(tmp_path, settings), tmp_path / "run")
    assert caught.value.problems == [line]
    output = " ".join(capsys.readouterr().out.split())
    assert "each training worker" in output
    assert "- search.resources asks for no GPU: answers are generated on CPUs" in output
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    there(monkeypatch, Capacity(({"CPU": 2.0, "GPU": 1.0},), None))
    dry_run(write(tmp_path, settings), tmp_path / "run")
    output = " ".join(capsys.readouterr().out.split())
    assert "- training.num_workers need 3 CPU, the cluster has 2 CPU" in output
    assert "- what the cluster may start is not known here" in output


def test_gpus_that_may_be_started_are_asked_for(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A head without GPUs, and workers that nobody has asked for yet."""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    there(monkeypatch, Capacity(({"CPU": 2.0},), (NodeType({"CPU": 8.0, "GPU": 1.0}, 2),)))
    dry_run(write(tmp_path, settings), tmp_path / "run")
    output = " ".join(capsys.readouterr().out.split())
    assert "1 x evaluator 1 1 " in output
    assert "1 x training worker 1 1 " in output
    assert "- there are 2 CPU (16 more may be started) and 0 GPU (2 more may be started)" in output
    assert "- an evaluator computes on one GPU: a model too large for it needs a server" in output


def test_fewer_pairs_than_a_step_takes_are_a_problem(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings["training"]["pairs_per_step"] = 13
    assert problems_of(tmp_path, settings) == [
        "line 23, training.pairs_per_step: 13 is more than the 10 of values[0].pairs: lower it, or give more",
        "line 23, training.pairs_per_step: 13 is more than the 12 of prompts.train, which give a pair each: lower it, "
        "or give more",
    ]


def test_what_constraints_and_earlier_runs_bring_is_said(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "earlier", trade_off(2), ("positive", "brief"))
    limits = {"base_nll": {"max": 3.5}, "fluency": {"min": 3, "reward": "mva_ray.rewards:plain"}}
    settings |= {"constraints": limits, "warm_start": ["earlier"]}
    dry_run(write(tmp_path, settings), tmp_path / "run")
    output = "".join(capsys.readouterr().out.split())  # a long path is broken over lines
    assert "reward'fluency'0.10mva_ray.rewards:plain" in output
    assert f"-warmstartfrom{tmp_path / 'earlier'}:{len(trade_off(2))}evaluations" in output


def test_a_run_at_a_url_that_starts_from_another_is_planned_and_nothing_is_written(
    tmp_path: Path, settings: dict[str, Any], s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(f"{s3}/earlier", trade_off(2), ("positive", "brief"))
    settings["warm_start"] = [f"{s3}/earlier"]
    dry_run(write(tmp_path, settings), f"{s3}/run")
    output = " ".join(capsys.readouterr().out.split())
    assert output.startswith(f"run: {s3}/run ")
    assert f"- warm start from {s3}/earlier: {len(trade_off(2))} evaluations" in output
    assert store_at(s3).names("") == ["earlier"]
    settings["warm_start"] = [f"{s3}/nothing"]
    (problem,) = problems_of(tmp_path, settings)
    assert f"warm_start[0]: {s3}/nothing is no run directory: it has no run.json" in problem


def test_coefficients_are_counted_and_more_blocks_than_layers_refused(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    dry_run(write(tmp_path, settings), tmp_path / "run")
    assert "- coefficients: 3, one a value" in capsys.readouterr().out
    settings["search"] |= {"coefficients": "per_value_and_block", "blocks": 2}
    dry_run(write(tmp_path, settings), tmp_path / "run")
    assert "- coefficients: 6, for each value and each of 2 blocks of layers" in capsys.readouterr().out
    settings["search"]["blocks"] = 3
    (problem,) = problems_of(tmp_path, settings)
    assert "search.blocks: 3 blocks of layers, and the base model has 2 layers" in problem


def test_the_engine_is_said_and_a_server_needs_no_memory_here(
    tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    dry_run(write(tmp_path, settings), tmp_path / "run")
    own = " ".join(capsys.readouterr().out.split())
    settings["engine"] = {"openai": {"base_url": "http://host:8000/v1", "model": "demo", "adapters_dir": "exports"}}
    dry_run(write(tmp_path, settings), tmp_path / "run")
    asking = " ".join(capsys.readouterr().out.split())
    assert "- engine: our own, in the evaluators" in own
    assert "each evaluator" in own
    assert "- engine: model demo at http://host:8000/v1, not asked here; at most 8 candidates at a time" in asking
    assert "each evaluator" not in asking
    assert not (tmp_path / "exports").exists()


def test_this_machine_is_asked_without_starting_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert capacity_there().there("CPU") >= 1
    assert not ray.is_initialized()


def test_nothing_of_the_models_code_is_loaded(tmp_path: Path, settings: dict[str, Any]) -> None:
    """It takes seconds and half a gigabyte; an adapter's numbers are looked at with torch, so none is brought here."""
    settings["values"].pop()
    script = "import sys; from mva_ray.explore import show_plan; from pathlib import Path; show_plan(Path(sys.argv[1]))"
    script += "; print(sorted({'torch', 'transformers', 'peft', 'pandas', 'datasets'} & set(sys.modules)))"
    command = [sys.executable, "-c", script, str(write(tmp_path, settings))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert "by the model's tokenizer" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_steps_need_no_number_of_pairs(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Samples give at most one pair a prompt; with `steps`, fewer pairs are seen more often."""
    settings["training"] = {"steps": 6, "pairs_per_step": 4}
    found = forecast(tmp_path, settings)
    work = {stage.name: stage.work for stage in found.stages()}
    assert found.training(found.config.values[1]) == Training(steps=6, pairs_per_step=4)
    assert work["adapter 'brief'"].startswith("6 steps of 4 pairs, at least 2 epochs, ")
