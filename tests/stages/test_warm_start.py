"""The runs to start from: read whole, and what they have is taken over."""

from pathlib import Path

from mva_ray.checks.runs import warm_start_problems
from mva_ray.checks.subject import Subject
from mva_ray.config import RunConfig, read_config
from mva_ray.plan.keys import Plan
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.stages.run import Run
from mva_ray.stages.warm_start import earlier_runs, take_over
from tests.support.evaluations import VALUES, make_run, trade_off
from tests.support.malformed.good import GOOD


def draft_of(directory: Path, *runs: str) -> Path:
    path = directory / "run.yaml"
    path.write_text(f"{GOOD}warm_start: [{', '.join(runs)}]\n")
    return path


def test_all_rows_of_every_run_are_read_with_their_texts(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_run(tmp_path / name, trade_off(2), VALUES[:2])
    draft = read_config(draft_of(tmp_path, "one", "two"))
    assert list(warm_start_problems(Subject(draft))) == []
    found = earlier_runs(draft.finish())
    assert list(found) == [str(tmp_path / "one"), str(tmp_path / "two")]
    assert [row.candidate for row in found[str(tmp_path / "one")]] == [row.candidate for row in trade_off(2)]
    assert len(found[str(tmp_path / "two")][0].generations) == 2


def test_a_run_that_has_evaluated_nothing_is_no_problem(tmp_path: Path) -> None:
    make_run(tmp_path / "one", [], VALUES[:2])
    draft = read_config(draft_of(tmp_path, "one"))
    assert list(warm_start_problems(Subject(draft))) == []
    assert earlier_runs(draft.finish()) == {str(tmp_path / "one"): []}


def test_without_earlier_runs_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert earlier_runs(RunConfig.model_construct(warm_start=[])) == {}


PLAN = Plan(
    base_hash="b",
    prompts={},
    rewards={},
    samples="5a",
    scores={"warm": "5c0", "brief": "5c1"},
    pairs={},
    adapters={"warm": "ada", "brief": "adb"},
    context="c",
    generator="g",
    constraints={},
)


def leave(run_dir: Path, *files: str) -> None:
    for file in files:
        (run_dir / file).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / file).write_text(f"{run_dir.name} {file}")


def test_samples_scores_and_adapters_of_the_same_key_are_taken_over(tmp_path: Path) -> None:
    """Under the value's name of now; what is here already, or has another key, is left alone."""
    leave(tmp_path / "one", "samples/5a.jsonl", "scores/friendly-5c0.json", "scores/brief-999.json")
    leave(
        tmp_path / "two", "adapters/warm-ada/weights", "adapters/warm-ada/training.jsonl", "adapters/brief-000/weights"
    )
    leave(tmp_path / "two", "samples/5a.jsonl", "adapters/brief-adb/weights")
    run = tmp_path / "run"
    leave(run, "adapters/brief-adb/weights")
    config = RunConfig.model_construct(warm_start=[str(tmp_path / name) for name in ("one", "two", "none")])
    assert list(take_over(Run(config, PLAN, RunDirectory(run)))) == [
        f"taken over from {tmp_path / 'one'}: samples, scores 'warm'",
        f"taken over from {tmp_path / 'two'}: adapter 'warm'",
    ]
    found = {str(path.relative_to(run)): path.read_text() for path in run.rglob("*") if path.is_file()}
    assert found == {
        "samples/5a.jsonl": "one samples/5a.jsonl",
        "scores/warm-5c0.json": "one scores/friendly-5c0.json",
        "adapters/warm-ada/weights": "two adapters/warm-ada/weights",
        "adapters/warm-ada/training.jsonl": "two adapters/warm-ada/training.jsonl",
        "adapters/brief-adb/weights": "run adapters/brief-adb/weights",
    }
    assert list(take_over(Run(config, PLAN, RunDirectory(run)))) == []


def test_results_are_taken_over_from_a_disk_to_a_url_and_back(s3: str, tmp_path: Path) -> None:
    leave(tmp_path / "one", "samples/5a.jsonl", "scores/brief-5c1.json", "adapters/warm-ada/weights")
    for place, earlier in ((s3, tmp_path / "one"), (tmp_path / "two", s3)):
        config = RunConfig.model_construct(warm_start=[str(earlier)])
        run = Run(config, PLAN, RunDirectory(place))
        assert list(take_over(run)) == [f"taken over from {earlier}: samples, scores 'brief', adapter 'warm'"]
        assert list(take_over(run)) == []
        assert run.directory.scores("brief", "5c1").read() == b"one scores/brief-5c1.json"
        assert (run.directory.adapter("warm", "ada").fetch() / "weights").read_text() == "one adapters/warm-ada/weights"


def test_a_copy_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    leave(tmp_path / "one", "adapters/warm-ada/weights")
    leave(tmp_path / "run", "adapters/warm-ada.partial/half")
    config = RunConfig.model_construct(warm_start=[str(tmp_path / "one")])
    assert len(list(take_over(Run(config, PLAN, RunDirectory(tmp_path / "run"))))) == 1
    assert [path.name for path in (tmp_path / "run" / "adapters").rglob("*")] == ["warm-ada", "weights"]
