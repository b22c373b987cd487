"""DPO with the penalty on a tiny model, without Ray: what is written, what is logged, what the penalty changes."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import exp, log, sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from transformers import LlamaModel
from trl import DPOConfig, DPOTrainer

from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.adapters.hashes import WEIGHTS_FILE, adapter_hash
from mva_ray.adapters.lora import LoraFactors, load_factors
from mva_ray.adapters.prompting import prompt_ids
from mva_ray.config.training import Lora, PenaltySettings, Training
from mva_ray.errors import RunError
from mva_ray.maths.hsic import hsic
from mva_ray.records import PreferencePair
from mva_ray.training.dpo import PairTrainer, tokenise, trained_on
from mva_ray.training.job import METRICS_FILE, TrainingJob
from mva_ray.training.train import train_adapter
from tests.support.tiny import LLAMA_MODULES, load

STEPS = 4
PAIRS = tuple(
    PreferencePair(f"How do I bake {thing}?", f"You can bake {thing} in a pan.", f"Say {thing}, it is angry.")
    for thing in ("bread", "sky", "red light", "time", "air", "my friend")
)
Train = Callable[..., Path]


def job(model: Path, output: Path, seed: int = 5, **changes: Any) -> TrainingJob:
    """A job of 4 steps; further arguments are fields of `Training` or of the job."""
    settings: dict[str, Any] = {"steps": STEPS, "pairs_per_step": 2, "learning_rate": 1e-2, "lora": Lora(r=4, alpha=8)}
    settings |= {name: changes.pop(name) for name in list(changes) if name in Training.model_fields}
    fields: dict[str, Any] = {"name": "brief", "system_prompt": None, "pairs": PAIRS, "earlier": ()}
    return TrainingJob(
        base_model=str(model), training=Training(**settings), seed=seed, output=str(output), **(fields | changes)
    )


@pytest.fixture
def train(tiny_model: Path, tmp_path: Path) -> Train:
    """Train one adapter of the tiny model under a name and return its directory."""

    def run(name: str, **changes: Any) -> Path:
        train_adapter(job(tiny_model, tmp_path / name, **changes), lambda row: None)
        return tmp_path / name

    return run


@pytest.fixture(scope="module")
def first(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Mapping[str, float]]]:
    """A first adapter, and what was said while it was trained."""
    seen: list[Mapping[str, float]] = []
    directory = tmp_path_factory.mktemp("trained") / "adapter"
    train_adapter(job(tiny_model, directory), seen.append)
    return directory, seen


def metrics(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / METRICS_FILE).read_text().splitlines()]


def weighing(weight: float) -> PenaltySettings:
    return PenaltySettings(kind="paper", weight=weight)


def shared(one: LoraFactors, other: LoraFactors) -> float:
    return sum(hsic(one.a[name], other.a[name]).item() for name in one.a)


def test_the_adapter_is_a_plain_peft_directory(first: tuple[Path, list[Mapping[str, float]]], tiny_model: Path) -> None:
    directory, _ = first
    factors = load_factors(directory)
    assert factors.scaling == 2.0
    assert all(factor.abs().max() > 0 for factor in factors.b.values()), "nothing was learnt"
    peft_model = PeftModel.from_pretrained(load(tiny_model)[0], directory)
    saved = load_file(directory / WEIGHTS_FILE)
    loaded = {name: tensor for name, tensor in peft_model.state_dict().items() if "lora_" in name}
    assert len(saved) == len(loaded) == 2 * len(factors.a)
    for name, tensor in loaded.items():
        assert torch.equal(tensor, saved[name.replace(".default", "")])


def test_one_row_a_step_is_kept_and_said(first: tuple[Path, list[Mapping[str, float]]]) -> None:
    directory, seen = first
    rows = metrics(directory)
    assert rows == seen
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert all(set(row) == {"step", "loss", "hsic", "reward_accuracy", "reward_margin"} for row in rows)
    assert all(0 <= row["reward_accuracy"] <= 1 for row in rows)
    assert all(row["hsic"] == 0 for row in rows), "the first adapter has nothing to keep away from"


def test_training_starts_at_the_base_model_and_learns(first: tuple[Path, list[Mapping[str, float]]]) -> None:
    """Before the first step policy and reference are the same: loss ln 2, no margin. A wrong reference shows here."""
    rows = metrics(first[0])
    assert rows[0]["loss"] == pytest.approx(log(2), abs=1e-4)
    assert rows[0]["reward_margin"] == pytest.approx(0, abs=1e-3)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["reward_margin"] > 0


def test_the_seed_decides_the_weights(first: tuple[Path, list[Mapping[str, float]]], train: Train) -> None:
    """Whatever the state of the global generator: a resumed run trains the same adapter."""
    torch.manual_seed(12345)
    assert adapter_hash(train("again")) == adapter_hash(first[0])
    assert adapter_hash(train("other", seed=6)) != adapter_hash(first[0])


def dropping(share: float) -> Lora:
    return Lora(r=4, alpha=8, dropout=share)


def test_dropout_acts_and_is_seeded(first: tuple[Path, list[Mapping[str, float]]], train: Train) -> None:
    dropped = adapter_hash(train("one", lora=dropping(0.3)))
    assert dropped == adapter_hash(train("two", lora=dropping(0.3)))
    assert len({dropped, adapter_hash(train("less", lora=dropping(0.1))), adapter_hash(first[0])}) == 3


def test_nothing_is_dropped_from_the_reference(
    first: tuple[Path, list[Mapping[str, float]]], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an adapter that training goes on from; a fresh one changes nothing yet, whatever is dropped."""
    references: dict[str, list[float]] = {}
    original = PairTrainer._compute_loss

    def spy(self: Any, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        references.setdefault(self.args.output_dir, inputs["ref_chosen_logps"].tolist())
        return original(self, model, inputs, return_outputs)

    monkeypatch.setattr(PairTrainer, "_compute_loss", spy)
    on = {"start": str(first[0]), "steps": 1, "pairs_per_step": len(PAIRS)}
    losses = [metrics(train(f"on {share}", lora=dropping(share), **on))[0]["loss"] for share in (0.0, 0.3)]
    without, dropped = references.values()
    assert without == dropped
    assert losses[0] == pytest.approx(log(2), abs=1e-4)
    assert losses[1] != pytest.approx(log(2), abs=1e-4), "and the policy itself is dropped from"


def test_the_dropout_of_the_base_model_stays_off(tiny_gpt2: Path, tmp_path: Path) -> None:
    """GPT-2 has some by default; what is asked for is the adapter's."""
    config = tmp_path / "gpt2" / "config.json"
    shutil.copytree(tiny_gpt2, config.parent)
    adapters = []
    for share in (0.0, 0.5):
        content = json.loads(config.read_text()) | dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), share)
        config.write_text(json.dumps(content))
        lora = Lora(r=4, alpha=8, target_modules=["c_attn"])
        train_adapter(job(config.parent, tmp_path / str(share), lora=lora), lambda row: None)
        adapters.append(adapter_hash(tmp_path / str(share)))
    assert adapters[0] == adapters[1]


def test_the_penalty_is_logged_unweighted_and_loss_is_dpo_alone(
    first: tuple[Path, list[Mapping[str, float]]], train: Train
) -> None:
    """Rows of runs with different weights stay comparable."""
    directory, _ = first
    rows = metrics(train("second", earlier=(str(directory),), penalty=weighing(1000.0)))
    assert rows[0]["loss"] == pytest.approx(log(2), abs=1e-4)
    assert all(0 < row["hsic"] < 1 for row in rows)


def test_the_penalty_keeps_the_second_adapter_apart(
    first: tuple[Path, list[Mapping[str, float]]], train: Train
) -> None:
    """Weighted, it shrinks what the adapters share; at weight 0 it is logged and changes nothing."""
    directory, _ = first
    earlier, frozen = (str(directory),), load_factors(directory)
    weighted = train("weighted", earlier=earlier, penalty=weighing(1000.0))
    unweighted = train("unweighted", earlier=earlier, penalty=weighing(0.0))
    assert metrics(weighted)[0]["hsic"] == pytest.approx(metrics(unweighted)[0]["hsic"])
    assert metrics(weighted)[-1]["hsic"] < metrics(unweighted)[-1]["hsic"]
    assert shared(load_factors(weighted), frozen) < 0.9 * shared(load_factors(unweighted), frozen)
    assert adapter_hash(unweighted) == adapter_hash(directory), "without a weight the earlier adapter does not matter"


def test_earlier_adapters_are_not_changed_and_all_count(
    first: tuple[Path, list[Mapping[str, float]]], train: Train
) -> None:
    directory, _ = first
    before = adapter_hash(directory)
    second = train("second", earlier=(str(directory),), seed=6)
    both = train("third", earlier=(str(directory), str(second)), seed=7, steps=1, penalty=weighing(0.0))
    one = train("fourth", earlier=(str(directory),), seed=7, steps=1, penalty=weighing(0.0))
    assert adapter_hash(directory) == before
    assert metrics(both)[0]["hsic"] > metrics(one)[0]["hsic"] > 0


def test_a_diverging_run_is_an_error_that_names_the_value(tiny_model: Path, tmp_path: Path) -> None:
    """By a learning rate that no config may have."""
    diverging = job(tiny_model, tmp_path / "diverged")
    diverging = replace(diverging, training=diverging.training.model_copy(update={"learning_rate": 1e25}))
    with pytest.raises(RunError, match=r"training of 'brief' diverged at step 2: .*loss.* not finite; lower training"):
        train_adapter(diverging, lambda row: None)
    assert not (tmp_path / "diverged" / WEIGHTS_FILE).exists()


def test_resumed_at_any_checkpoint_it_ends_the_same(tiny_model: Path, tmp_path: Path) -> None:
    """In the middle of an epoch, at its end and in a later one: dropout, order of pairs, optimiser, metrics."""
    resumed: dict[str, Any] = {"steps": 8, "checkpoint_steps": 1, "lora": Lora(r=4, alpha=8, dropout=0.3)}
    kept: list[Path] = []

    def keep(part: Path) -> None:
        kept.append(part.rename(tmp_path / part.name))

    train_adapter(job(tiny_model, tmp_path / "whole", **resumed), lambda row: None, keep)
    assert [path.name for path in kept] == [f"checkpoint-{step}" for step in range(1, 8)]
    for checkpoint in kept:
        output = tmp_path / f"from-{checkpoint.name}"
        seen: list[Mapping[str, float]] = []
        torch.manual_seed(99)
        train_adapter(job(tiny_model, output, **resumed), seen.append, resume_from=checkpoint)
        assert adapter_hash(output) == adapter_hash(tmp_path / "whole")
        assert metrics(output) == metrics(tmp_path / "whole") == seen


def test_on_notice_there_is_a_checkpoint_between_those_that_are_due(tiny_model: Path, tmp_path: Path) -> None:
    """Asked once a step, but after the last: a node that is taken away loses no step, and workers ask equally often."""
    notice, kept = iter([False, True, False]), list[str]()
    due: dict[str, Any] = {"steps": 4, "checkpoint_steps": 100}
    each = job(tiny_model, tmp_path / "noticed", **due)
    train_adapter(each, lambda row: None, lambda part: kept.append(part.name), notice=notice.__next__)
    assert kept == ["checkpoint-2"]
    assert next(notice, None) is None


def test_earlier_adapters_of_another_rank_are_refused_by_the_papers_penalty_alone(
    first: tuple[Path, list[Mapping[str, float]]], train: Train
) -> None:
    earlier, wider = (str(first[0]),), Lora(r=8, alpha=8)
    with pytest.raises(RunError, match="another rank"):
        train("wider", earlier=earlier, lora=wider, penalty=weighing(1.0))
    rows = metrics(train("wide", earlier=earlier, lora=wider, steps=2))
    assert rows[0]["hsic"] == 0, "the delta begins at 0"
    assert 0 < rows[1]["hsic"] <= len(load_factors(first[0]).a)


def test_completions_that_were_cut_off_get_no_end_token(tiny_model: Path, tmp_path: Path) -> None:
    """Else the model would learn to stop where the token limit was."""
    tokenizer = load_tokenizer(str(tiny_model))
    pairs = tuple(
        PreferencePair("Hi?", "Say yes.", "Say no.", chosen_finished=chosen, rejected_finished=rejected)
        for chosen, rejected in ((True, True), (True, False), (False, True), (False, False))
    )
    rows = tokenise(job(tiny_model, tmp_path, pairs=pairs, system_prompt="Be kind."), tokenizer)
    for pair, row in zip(pairs, rows, strict=True):
        assert row["prompt_ids"] == prompt_ids(tokenizer, "Hi?", "Be kind.")
        chosen, rejected = tokenizer.decode(row["chosen_ids"]), tokenizer.decode(row["rejected_ids"])
        assert chosen == "Say yes." + "</s>" * pair.chosen_finished
        assert rejected == "Say no." + "</s>" * pair.rejected_finished


def test_pairs_whose_prompt_leaves_no_room_are_left_out(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    long = PreferencePair("Why? " * 60, "Say yes.", "Say no.")
    rows = tokenise(job(tiny_model, tmp_path, pairs=(PAIRS[0], long, PAIRS[1]), max_length=100), tokenizer)
    assert [row["prompt_ids"] for row in rows] == [prompt_ids(tokenizer, pair.prompt, None) for pair in PAIRS[:2]]
    with pytest.raises(RunError, match=r"no pair of 'brief' has a prompt under training\.max_length = 100 tokens"):
        tokenise(job(tiny_model, tmp_path, pairs=(long,), max_length=100), tokenizer)


def test_training_adds_nothing_to_what_the_model_sees(
    train: Train, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer must not render the template again, nor end completions by itself."""
    seen: list[str] = []
    tokenizer = load_tokenizer(str(tiny_model))
    original = PairTrainer._compute_loss

    def spy(self: Any, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        mask = inputs["attention_mask"][:, 0]
        used = (mask.sum(1) > 1) | (mask.sum(2) > 1)
        seen.extend(tokenizer.decode(ids[row]) for ids, row in zip(inputs["input_ids"], used, strict=True))
        return original(self, model, inputs, return_outputs)

    monkeypatch.setattr(PairTrainer, "_compute_loss", spy)
    pair = PreferencePair("Hi?", "Say yes.", "Say no.", rejected_finished=False)
    train("seen", pairs=(pair, pair), steps=1)
    assert set(seen) == {"<s>user Hi?</s><s>assistant Say yes.</s>Say no."}


def test_training_goes_on_from_an_adapter(first: tuple[Path, list[Mapping[str, float]]], train: Train) -> None:
    """DPO-SeqT: the second stage starts at the first one's weights, and that is its reference (loss ln 2)."""
    on = train("on", start=str(first[0]), seed=9, steps=1, learning_rate=1e-9)
    assert metrics(on)[0]["loss"] == pytest.approx(log(2), abs=1e-4)
    before, after = load_factors(first[0]), load_factors(on)
    assert all(torch.allclose(before.b[name], after.b[name], atol=1e-6) for name in before.b)


def test_weight_and_margin_of_a_pair_reach_the_loss(train: Train) -> None:
    """Before the first step h is 0: the loss of a pair is weight * -log sigmoid(-margin)."""
    pairs = tuple(replace(pair, weight=0.5, margin=2.0) for pair in PAIRS)
    loss = metrics(train("weighted", pairs=pairs, steps=1))[0]["loss"]
    assert loss == pytest.approx(0.5 * log(1 + exp(2.0)), abs=1e-4)


@pytest.mark.parametrize(("pairs_per_step", "workers", "needed"), [(4, 1, 20), (4, 2, 20), (1, 3, 15), (40, 1, 100)])
def test_what_is_never_trained_on_needs_no_reference(pairs_per_step: int, workers: int, needed: int) -> None:
    """And what is trained on is a fair draw: the sampler alone would take the longest ones."""
    rows = [{"length": place, "place": place} for place in range(100)]
    training = Training(steps=5, pairs_per_step=pairs_per_step, num_workers=workers)
    drawn = [trained_on(rows, training, seed) for seed in range(200)]
    assert drawn[0] == trained_on(rows, training, 0)
    for some in drawn:
        assert len({row["place"] for row in some}) == len(some) == needed
        assert some == sorted(some, key=lambda row: row["length"])
    mean = fmean(row["place"] for some in drawn for row in some)
    assert mean == pytest.approx(49.5, abs=4 * 29 / sqrt(200 * needed))


@pytest.mark.parametrize("native", [False, True])
def test_reference_and_steps_are_in_the_precision_of_the_cpu(
    train: Train, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    """Both in the same one: else the reward of an adapter that has learned nothing would not be 0."""
    seen: list[bool] = []
    forward = LlamaModel.forward

    def watched(model: LlamaModel, **inputs: Any) -> Any:
        seen.append(torch.is_autocast_enabled("cpu"))
        return forward(model, **inputs)

    monkeypatch.setattr("mva_ray.training.train.trains_in_bfloat16", lambda on_gpu: native)
    monkeypatch.setattr(LlamaModel, "forward", watched)
    rows = metrics(train("precise", steps=2, pairs_per_step=2))
    assert len(seen) == 1 + 2
    assert set(seen) == {native}
    assert rows[0]["loss"] == pytest.approx(log(2), abs=0.02 if native else 1e-6)


def test_only_pairs_that_are_trained_on_have_a_reference(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    computed = PairTrainer.compute_ref_log_probs

    def counted(trainer: PairTrainer, model: Any, inputs: Mapping[str, Any]) -> Any:
        asked.append(len(inputs["input_ids"]))
        return computed(trainer, model, inputs)

    monkeypatch.setattr(PairTrainer, "compute_ref_log_probs", counted)
    train("few", steps=2, pairs_per_step=2)
    assert sum(asked) == 4 < len(PAIRS)


@pytest.mark.usefixtures("float32_products")
def test_the_loss_curve_is_that_of_the_stock_trainer(train: Train, tiny_model: Path, tmp_path: Path) -> None:
    """TRL's own DPOTrainer on the same pairs, all of them in every step, is the independent reference."""
    settings: dict[str, Any] = {"steps": 5, "pairs_per_step": len(PAIRS), "learning_rate": 5e-3}
    ours = [row["loss"] for row in metrics(train("ours", **settings))]
    one = job(tiny_model, tmp_path / "stock", **settings)
    tokenizer = load_tokenizer(str(tiny_model))
    stock = DPOTrainer(
        model=load(tiny_model)[0],
        args=DPOConfig(
            output_dir=one.output,
            max_steps=5,
            per_device_train_batch_size=len(PAIRS),
            learning_rate=5e-3,
            beta=0.1,
            seed=one.seed,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            max_length=512,
        ),
        train_dataset=Dataset.from_list(
            [
                {
                    "prompt": [{"role": "user", "content": pair.prompt}],
                    "chosen": [{"role": "assistant", "content": pair.chosen}],
                    "rejected": [{"role": "assistant", "content": pair.rejected}],
                }
                for pair in PAIRS
            ]
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=list(LLAMA_MODULES), task_type="CAUSAL_LM"),
    )
    stock.train()
    theirs = [row["loss"] for row in stock.state.log_history if "rewards/margins" in row]
    assert ours == pytest.approx(theirs, abs=2e-4)
    assert ours[-1] < 0.6


def test_prompts_beyond_a_sliding_window_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    """The packed batch states its attention itself, and would see further than the model ever does."""
    shutil.copytree(tiny_model, tmp_path / "sliding")
    config = tmp_path / "sliding" / "config.json"
    config.write_text(
        json.dumps(
            json.loads(config.read_text())
            | {"model_type": "mistral", "sliding_window": 16, "architectures": ["MistralForCausalLM"]}
        )
    )
    with pytest.raises(
        RunError, match=r"training\.max_length is 512, beyond the model's attention window of 16 tokens"
    ):
        train_adapter(job(tmp_path / "sliding", tmp_path / "out"), lambda row: None)
