"""The whole job on a tiny model, as a user starts it: a process of its own, killed with SIGKILL and started again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import ray
import yaml

from mva_ray.adapters.hashes import WEIGHTS_FILE
from mva_ray.checks.reward_trial import PROBES
from mva_ray.config import load_config
from mva_ray.plan.keys import make_plan
from mva_ray.records import SPENT_COLUMNS
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.stores import directory_at, store_at
from mva_ray.stages.adapters import value_adapters
from mva_ray.stages.evaluations import Evaluations
from mva_ray.stages.held_out import score_held_out
from mva_ray.stages.pairs import preference_pairs
from mva_ray.stages.ray_session import RaySession
from mva_ray.stages.run import Run
from mva_ray.stages.search import search
from mva_ray.table import ParetoTable
from tests.support.tiny import random_adapter

VALUES = ["brief", "thorough"]
PATIENCE_S = 400
REWARDS = """
import json
from pathlib import Path

import mva_ray.rewards

def _noted(function, prompts, completions):
    with Path(__file__).with_name("scored.jsonl").open("a") as file:
        file.writelines(json.dumps(text) + "\\n" for text in zip(prompts, completions))
    return function(prompts=prompts, completions=completions)

def brief(prompts, completions, **kwargs):
    return _noted(mva_ray.rewards.brief, prompts, completions)

def thorough(prompts, completions, **kwargs):
    return _noted(mva_ray.rewards.thorough, prompts, completions)
"""
"""They write down what they score."""
SEARCH = {
    "candidates": 10,
    "population": 4,
    "convex_partitions": 2,
    "bounds": [-0.5, 1.5],
    "answers": 50,
}
pytestmark = pytest.mark.timeout(600)


def write_config(directory: Path, model: Path, **changes: object) -> Path:
    """A complete small job: 24 train, 6 search and 6 held-out prompts, 10 candidates that answer 4 or all."""
    subjects = ["bread", "the sky", "a friend", "red light", "the stove", "time"]
    questions = [
        "Why is {} blue?",
        "What should I say to {}?",
        "How do I bake {}?",
        "Because {}?",
        "Is {} more?",
        "{}!",
    ]
    prompts = [question.format(subject) for question in questions for subject in subjects]
    splits = {"train": prompts[:24], "search": prompts[24:30], "held_out": prompts[30:]}
    for split, rows in splits.items():
        (directory / f"{split}.jsonl").write_text("".join(json.dumps({"prompt": row}) + "\n" for row in rows))
    (directory / "noted_rewards.py").write_text(REWARDS)
    config = {
        "name": "tiny",
        "base_model": str(model),
        "prompts": {split: {"path": f"{split}.jsonl"} for split in splits},
        "generation": {"max_new_tokens": 12, "batch_size": 4},
        "values": [{"name": value, "reward": f"noted_rewards:{value}"} for value in VALUES],
        "training": {"steps": 3, "pairs_per_step": 2, "learning_rate": 1e-2, "lora": {"r": 4, "alpha": 8}},
        "search": SEARCH,
    }
    path = directory / "tiny.yaml"
    path.write_text(yaml.safe_dump({**config, **changes}))
    return path


def start(config: Path, run_dir: Path | str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mva_ray.explore", "--config", str(config), "--run", str(run_dir)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(config: Path, run_dir: Path | str) -> str:
    """Run to the end; its output."""
    process = start(config, run_dir)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    return output


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert process.poll() is None, f"it ended too early: {process.communicate()[0]}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_when(reached: Callable[[], bool], config: Path, run_dir: Path | str) -> None:
    """Start the job and end it with SIGKILL as soon as it has got so far."""
    process = start(config, run_dir)
    wait_until(reached, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def table_of(run_dir: Path | str) -> pd.DataFrame:
    """All that a table says but for when and how long."""
    frame = ParetoTable(run_dir).frame().drop(columns=["seconds", *SPENT_COLUMNS, "created_at"])
    return frame.sort_values(["split", "candidate"], ignore_index=True)


def evaluations_made(run_dir: Path | str) -> int:
    return len(ParetoTable(run_dir).evaluations())


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, Path, str]:
    """The config, run directory and output of one undisturbed run."""
    directory = tmp_path_factory.mktemp("job")
    config = write_config(directory, tiny_model)
    return config, directory / "run", finish(config, directory / "run")


def test_a_run_leaves_everything_a_user_looks_for(job: tuple[Path, Path, str]) -> None:
    """Table, front, plot, report and adapters are there, and the output names them."""
    _, run_dir, output = job
    frame = ParetoTable(run_dir).frame()
    search = frame[frame["split"] == "search"]
    assert len(search) >= 10, "ten that answer four prompts; what answers are left may go to others that answer all"
    assert search["n_prompts"].sum() <= SEARCH["answers"]
    assert set(frame["status"]) == {"ok", "partial"}
    assert search["kind"].tolist().count("single") == 2
    assert {"base", "ones", "convex", "search"} <= set(search["kind"])
    assert len(ParetoTable(run_dir).front()) >= 1
    for name in ("front.png", "report.html", "pairs.json", "conflict.json", "timings.json"):
        assert (run_dir / name).stat().st_size > 0
    assert f"report: {run_dir / 'report.html'}" in output
    assert "brief and thorough:" in output
    assert not list((run_dir / "adapters").glob("*.partial"))


def test_a_finished_run_is_not_computed_again(job: tuple[Path, Path, str]) -> None:
    """There is no Ray here that could do it, and the table stays as it is."""
    path, run_dir, _ = job
    before = table_of(run_dir)
    config = load_config(path)
    run = Run(config, make_plan(config), RunDirectory(run_dir))
    with Evaluations(run, value_adapters(run, preference_pairs(run))) as evaluations:
        search(run, evaluations)
        score_held_out(run, evaluations)
    assert not ray.is_initialized()
    pd.testing.assert_frame_equal(table_of(run_dir), before)


def test_killed_in_every_stage_the_table_is_the_same(job: tuple[Path, Path, str], tmp_path: Path) -> None:
    """SIGKILL during pairs, training and search in turn; the final table equals that of the undisturbed run."""
    config, undisturbed, _ = job
    run_dir = tmp_path / "run"

    def batches() -> int:
        return sum(len(path.read_text().splitlines()) for path in (run_dir / "samples").glob("*.jsonl"))

    def adapters() -> int:
        return len([path for path in (run_dir / "adapters").glob("*") if path.suffix != ".partial"])

    kill_when(lambda: 0 < batches() < 24, config, run_dir)
    assert 0 < batches() < 24, "the kill came too late to be during the pairs"
    kill_when(lambda: adapters() == 1 and bool(list((run_dir / "adapters").glob("*.partial"))), config, run_dir)
    assert adapters() == 1, "the kill came too late to be during training"
    kill_when(lambda: evaluations_made(run_dir) > 0, config, run_dir)
    interrupted = evaluations_made(run_dir)
    assert 0 < interrupted < 10, "the kill came too late to be during the search"
    finish(config, run_dir)
    pd.testing.assert_frame_equal(table_of(run_dir), table_of(undisturbed))
    assert evaluations_made(run_dir) == evaluations_made(undisturbed), "something was evaluated twice"


def test_at_a_url_a_killed_run_ends_with_the_same_front_to_the_bit(job: tuple[Path, Path, str], s3: str) -> None:
    """Everything is in the bucket: what goes on needs neither the first process nor its node's files."""
    config, on_disk, _ = job
    kill_when(lambda: evaluations_made(s3) > 0, config, s3)
    assert 0 < evaluations_made(s3) < 10, "the kill came too late to be during the search"
    output = finish(config, s3)
    pd.testing.assert_frame_equal(table_of(s3), table_of(on_disk))
    pd.testing.assert_frame_equal(front_of(s3), front_of(on_disk), check_exact=True)
    assert evaluations_made(s3) == evaluations_made(on_disk), "something was evaluated twice"
    names = store_at(s3).names("adapters")
    assert names == store_at(on_disk).names("adapters")
    for name in names:
        one, other = (directory_at(f"{place}/adapters/{name}").fetch() for place in (s3, on_disk))
        assert (one / WEIGHTS_FILE).read_bytes() == (other / WEIGHTS_FILE).read_bytes()
    assert f"report: {s3}/report.html" in output
    assert {"front.png", "report.html", "run.json", "table"} <= set(store_at(s3).names(""))
    assert "lease.json" not in store_at(s3).names("")


def front_of(run_dir: Path | str) -> pd.DataFrame:
    return ParetoTable(run_dir).front().drop(columns=["seconds", *SPENT_COLUMNS, "created_at"]).reset_index(drop=True)


def test_a_changed_config_says_what_it_invalidates(
    job: tuple[Path, Path, str], tiny_model: Path, tmp_path: Path
) -> None:
    """More candidates: samples, pairs and adapters are kept and only new candidates are evaluated."""
    run_dir = shutil.copytree(job[1], tmp_path / "run")
    made = evaluations_made(run_dir)
    output = finish(write_config(tmp_path, tiny_model, search=SEARCH | {"candidates": 12, "answers": 60}), run_dir)
    assert "changed since the last run: search.candidates: 10 -> 12" in output
    assert "invalid, computed anew: nothing" in output
    frame = ParetoTable(run_dir).frame("search")
    assert len(frame) >= 12, "with those of the earlier search"
    assert made < evaluations_made(run_dir) <= made + 8


def test_a_budget_ends_the_search_cleanly_and_a_larger_one_goes_on(
    job: tuple[Path, Path, str], tiny_model: Path, tmp_path: Path
) -> None:
    """In the end it is the table of the run without a budget, and no answer was paid for twice."""
    undone = shutil.ignore_patterns("table", "search.json", "spent.json", "report.html")
    run_dir = shutil.copytree(job[1], tmp_path / "run", ignore=undone)
    config = write_config(tmp_path, tiny_model, budget={"answers": 55}, prices={"cpu_hour": 36})
    output = finish(config, run_dir)
    assert "the search ends: budget.answers is used up" in output
    assert "budget: answers " in output
    assert "in money" in output
    assert 'id="spent"' in (run_dir / "report.html").read_text()
    begun = evaluations_made(run_dir)
    assert begun < evaluations_made(job[1])
    assert 0 < answers_paid(run_dir) <= 55
    assert (ParetoTable(run_dir).frame("held_out")["status"] == "ok").all()
    assert "the search ends" in finish(config, run_dir)
    assert evaluations_made(run_dir) == begun
    finish(write_config(tmp_path, tiny_model, budget={"answers": 1000}), run_dir)
    search = table_of(job[1]).query("split == 'search'").reset_index(drop=True)
    pd.testing.assert_frame_equal(table_of(run_dir).query("split == 'search'").reset_index(drop=True), search)
    assert answers_paid(run_dir, "search") == answers_paid(job[1], "search")


def answers_paid(run_dir: Path, split: str | None = None) -> float:
    return sum(row.spent.answers for row in ParetoTable(run_dir).evaluations(split=split))


def scored(directory: Path) -> set[tuple[str, str]]:
    """Every prompt and completion that a reward has scored, but for those that it is tried on."""
    lines = (directory / "scored.jsonl").read_text().splitlines()
    return {tuple(json.loads(line)) for line in lines} - set(PROBES)


def test_a_run_that_starts_from_another_repeats_nothing(
    job: tuple[Path, Path, str], tiny_model: Path, tmp_path: Path
) -> None:
    """Other bounds: nothing is sampled or trained, no text is scored twice, every earlier candidate is in the table."""
    earlier = job[1]
    search = {"candidates": 8, "population": 4, "bounds": [-1.5, 2.5]}
    config = write_config(tmp_path, tiny_model, search=search, warm_start=[str(earlier)])
    output = finish(config, tmp_path / "run")
    complete = ParetoTable(earlier).frame("search").query("status == 'ok'")
    assert f"warm start from {earlier}: {len(complete)} candidates" in output
    assert "training '" not in output
    assert "sampling pairs" not in output
    after = ParetoTable(tmp_path / "run").frame("search")
    weights = ["w_brief", "w_thorough"]
    both = complete.merge(after, on=weights, suffixes=("", "_again"))
    assert len(both) == len(complete)
    for value in VALUES:
        pd.testing.assert_series_equal(both[value], both[f"{value}_again"], check_names=False)
    assert len(after) > len(complete)
    assert (after[weights].abs() > 1.5).any(axis=None), "the new bounds are searched"
    assert not scored(tmp_path) & scored(job[0].parent)


def test_an_adapter_that_is_brought_is_not_trained_and_another_is_kept_apart_from_it(
    tiny_model: Path, tmp_path: Path
) -> None:
    adapter = random_adapter(
        tmp_path / "mine", tiny_model, seed=3, r=3, alpha=2, target_modules=["q_proj", "down_proj"], use_rslora=True
    )
    pairs = [{"prompt": f"Why is {word} blue?", "chosen": "Say yes.", "rejected": "Because light"} for word in "abc"]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    values = [
        {"name": "thorough", "reward": "mva_ray.rewards:thorough", "pairs": "pairs.jsonl"},
        {"name": "brief", "reward": "mva_ray.rewards:brief", "adapter": str(adapter)},
    ]
    config = load_config(write_config(tmp_path, tiny_model, values=values))
    with RaySession(RunDirectory(tmp_path / "run").store) as session:
        run = Run(config, make_plan(config), RunDirectory(tmp_path / "run"), session.start)
        refs = value_adapters(run, preference_pairs(run))
    trained, brought = (Path(ref.path) for ref in refs)
    assert [ref.value for ref in refs] == ["thorough", "brief"]
    assert brought.parent == trained.parent == tmp_path / "run" / "adapters"
    assert (brought / WEIGHTS_FILE).read_bytes() == (adapter / WEIGHTS_FILE).read_bytes()
    steps = [json.loads(line) for line in (trained / "training.jsonl").read_text().splitlines()]
    assert any(step["hsic"] != 0 for step in steps), "it was not penalised against the one that was brought"


def test_where_every_adapter_is_brought_nothing_is_sampled_or_trained(tiny_model: Path, tmp_path: Path) -> None:
    """There is no Ray here that could do it."""
    config = load_config(write_config(tmp_path, tiny_model, values=brought(tmp_path, tiny_model)))
    run = Run(config, make_plan(config), RunDirectory(tmp_path / "run"))
    pairs = preference_pairs(run)
    assert pairs == {}
    refs = value_adapters(run, pairs)
    assert [ref.value for ref in refs] == VALUES
    assert value_adapters(run, pairs) == refs


def brought(directory: Path, model: Path) -> list[dict[str, str]]:
    """Two values whose adapters are there already."""
    return [
        {"name": name, "reward": f"mva_ray.rewards:{name}", "adapter": str(path)}
        for seed, name in enumerate(VALUES)
        for path in [random_adapter(directory / name, model, seed, r=seed + 2, alpha=4)]
    ]


def test_a_search_with_coefficients_per_block_of_layers(tiny_model: Path, tmp_path: Path) -> None:
    """References are alike in all blocks, others need not be."""
    values = brought(tmp_path, tiny_model)
    search = {"candidates": 9, "population": 4, "convex_partitions": 1, "bounds": [-0.5, 1.5]}
    search |= {"coefficients": "per_value_and_block", "blocks": 2}
    run_dir = tmp_path / "run"
    output = finish(write_config(tmp_path, tiny_model, values=values, search=search), run_dir)
    frame = ParetoTable(run_dir).frame("search")
    weights = frame[[f"w_{value}_block{block}" for value in VALUES for block in (1, 2)]]
    assert (len(frame), set(frame["status"])) == (9, {"ok"})
    assert frame["kind"].tolist().count("single") == 2
    assert weights[frame["kind"] == "base"].to_numpy().tolist() == [[0, 0, 0, 0]]
    assert (weights["w_brief_block1"] != weights["w_brief_block2"])[frame["kind"] == "search"].any()
    assert "w1 to w2: coefficients of the blocks of layers" in output
    assert "2 blocks of layers" in (run_dir / "report.html").read_text()


@pytest.mark.parametrize("stage", ["samples", "search"])
def test_a_server_that_is_down_ends_the_run_with_one_line(tiny_model: Path, tmp_path: Path, stage: str) -> None:
    """No candidate has failed: the table stays empty, and the run goes on when the server is back."""
    server = {"base_url": "http://127.0.0.1:9/v1", "model": "tiny", "adapters_dir": "exports", "attempts": 1}
    values = {"values": brought(tmp_path, tiny_model)} if stage == "search" else {}
    config = write_config(tmp_path, tiny_model, engine={"openai": server}, **values)
    process = start(config, tmp_path / "run")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, output
    assert output.splitlines()[-1].startswith("error: the server at http://127.0.0.1:9/v1 fails: ConnectError")
    assert "Traceback" not in output
    assert evaluations_made(tmp_path / "run") == 0


def test_an_adapter_that_cannot_be_blended_ends_it_before_anything_starts(tiny_model: Path, tmp_path: Path) -> None:
    adapter = random_adapter(tmp_path / "dora", tiny_model, seed=3, r=4, alpha=2, use_dora=True)
    values = [{"name": name, "reward": f"mva_ray.rewards:{name}", "adapter": str(adapter)} for name in VALUES]
    process = start(write_config(tmp_path, tiny_model, values=values), tmp_path / "run")
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert output.count("use_dora is set: only plain LoRA") == 2
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()
