"""The command line: what it prints, its exit codes, and that a query loads nothing heavy."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from mva_ray.cli import DEFAULT_MODEL, app, main
from mva_ray.errors import ConfigError
from tests.support.evaluations import VALUES, make_run, trade_off

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path, [*trade_off(2, "search"), *trade_off(2)], VALUES[:2])
    return tmp_path


def python(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *args], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


def fake_module(monkeypatch: pytest.MonkeyPatch, name: str, **functions: object) -> None:
    module = ModuleType(name)
    for key, function in functions.items():
        setattr(module, key, function)
    monkeypatch.setitem(sys.modules, name, module)


def test_pareto_prints_the_front(run: Path) -> None:
    result = CliRunner().invoke(app, ["pareto", str(run)])
    assert result.exit_code == 0
    assert "held-out prompts" in result.stdout
    assert "beyond" in result.stdout


def test_pareto_options_reach_the_query(run: Path) -> None:
    options = ["--all", "--split", "search", "--where", "w_brief < 0 or status = 'failed'", "--sort=-candidate"]
    result = CliRunner().invoke(app, ["pareto", str(run), *options, "--limit", "5", "--format", "json"])
    rows = json.loads(result.stdout)
    assert [(row["candidate"], row["split"], row["status"]) for row in rows] == [
        ("broken", "search", "failed"),
        ("beyond", "search", "ok"),
    ]


def test_the_ranking_is_told_beside_the_json(run: Path) -> None:
    result = CliRunner().invoke(app, ["pareto", str(run), "--prefer", "brief=1", "--format", "json"])
    assert json.loads(result.stdout)[0]["candidate"] == "only-brief"
    assert (
        result.stderr == "best for positive=0, brief=1: only-brief (augmented Chebyshev, normalised over the front)\n"
    )


def test_wishes_reach_the_query(run: Path) -> None:
    def first(*options: str) -> str:
        result = CliRunner().invoke(app, ["pareto", str(run), *options, "--format", "json"])
        return str(json.loads(result.stdout)[0]["candidate"])

    assert first("--at", "positive=0.1,brief=0.1") == "ones"
    assert first("--from", "beyond", "--improve", "brief", "--allow", "positive=0.5") == "only-positive"
    assert first("--from", "base", "--improve", "brief", "--keep", "positive") == "ones"
    assert first("--presets", "0") == "beyond"


def test_every_problem_of_the_options_is_told_at_once(run: Path) -> None:
    result = python("-m", "mva_ray", "pareto", str(run), "--at", "polite=1", "--all", "--sort", "x")
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "error: pareto: 4 problems"
    assert lines[1] == "  - --at: 'polite' is not a value of this run; choose from positive, brief"
    assert [line.split()[1] for line in lines[2:]] == ["--all:", "--sort:", "--sort:"]


def test_runs_side_by_side(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    make_run(other, trade_off(2), VALUES[:2])
    result = CliRunner().invoke(app, ["pareto", str(run), str(other), "--format", "json"])
    assert {row["run"] for row in json.loads(result.stdout)} == {str(run), str(other)}


@pytest.mark.parametrize("command", [["tradeoffs"], ["diff"], ["history"]])
@pytest.mark.parametrize("as_json", [False, True])
def test_questions_about_a_front(run: Path, command: list[str], as_json: bool) -> None:
    names = ["beyond", "ones"] if command == ["diff"] else []
    result = CliRunner().invoke(app, [*command, str(run), *names, *(["--format", "json"] if as_json else [])])
    assert result.exit_code == 0, result.output
    assert (json.loads(result.stdout)["run"] == str(run)) if as_json else ("prompts" in result.stdout)


def test_export_takes_every_wish(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def find(place: str, name: str) -> None:
        found.append(name)
        raise ConfigError(place, ["found"])

    fake_module(monkeypatch, "mva_ray.export.candidate", find=find)
    fake_module(monkeypatch, "mva_ray.export.write", write=None)
    for wish in (
        ["--candidate", "bey"],
        ["--prefer", "brief=1"],
        ["--at", "positive=0.1,brief=0.1"],
        ["--from", "beyond", "--improve", "brief", "--allow", "positive=0.5"],
        ["--preset", "preset1", "--within", "0"],
    ):
        CliRunner().invoke(app, ["export", str(run), "--out", str(tmp_path / "out"), *wish])
    assert found == ["beyond", "only-brief", "ones", "only-positive", "beyond"]
    result = CliRunner().invoke(app, ["export", str(run), "--out", str(tmp_path / "out")])
    assert str(result.exception) == "wish: needs --candidate, --prefer, --at, --from with --improve, or --preset"


def test_pareto_writes_a_file(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["pareto", str(run), "--format", "json", "--output", str(tmp_path / "front.json")])
    assert result.output == ""
    assert len(json.loads((tmp_path / "front.json").read_text())) == 4


def test_an_expected_error_is_one_line_without_traceback(tmp_path: Path) -> None:
    result = python("-m", "mva_ray", "pareto", str(tmp_path / "nowhere"))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"error: {tmp_path / 'nowhere'}: not a run directory: run.json is missing; "
        "give the directory that mva_ray.explore printed\n"
    )


@pytest.mark.parametrize(
    "args",
    [
        ["pareto"],
        ["pareto", "x", "--format", "xml"],
        ["pareto", "x", "--split", "train"],
        ["pareto", "x", "--limit", "-1"],
        ["pareto", "x", "--colour"],
        ["explore"],
        ["nonsense"],
    ],
)
def test_usage_errors_exit_2(args: list[str]) -> None:
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage:" in result.stderr


def test_a_reader_that_goes_away_is_no_error(run: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-m", "mva_ray", "pareto", str(run), "--all", "--format", "csv"]
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, timeout=60)
    os.close(writer)
    assert result.stderr == ""


def test_main_turns_errors_into_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mva_ray.errors import RunError

    def fail(config: Path, run_dir: Path | None) -> None:
        raise RunError("13 of 24 candidates failed: reward_raised")

    fake_module(monkeypatch, "mva_ray.pipeline", explore=fail)
    monkeypatch.setattr(sys, "argv", ["mva-ray", "explore", "--config", "x.yaml"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: 13 of 24 candidates failed: reward_raised\n"


def test_explore_fetch_and_report_pass_their_arguments_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []

    def explore(config: Path, run_dir: str | None) -> str:
        calls.append((config, run_dir))
        return "run"

    fake_module(monkeypatch, "mva_ray.pipeline", explore=explore)
    fake_module(monkeypatch, "mva_ray.adapters.fetch", fetch=lambda model: Path("cache") / model)
    fake_module(monkeypatch, "mva_ray.report", write_report=lambda run_dir: f"{run_dir}/report.html")
    runner = CliRunner()
    runner.invoke(app, ["explore", "--config", "a.yaml"])
    runner.invoke(app, ["explore", "--config", "a.yaml", "--run", "runs/b"])
    assert calls == [(Path("a.yaml"), None), (Path("a.yaml"), "runs/b")]

    def dry_run(config: Path, run_dir: Path | None) -> None:
        calls.append((config, run_dir, "dry"))

    fake_module(monkeypatch, "mva_ray.plan.dry_run", dry_run=dry_run)
    runner.invoke(app, ["explore", "--config", "c.yaml", "--dry-run"])
    assert calls[2:] == [(Path("c.yaml"), None, "dry")]
    assert runner.invoke(app, ["fetch"]).stdout == f"cache/{DEFAULT_MODEL}\n"
    assert runner.invoke(app, ["fetch", "org/other"]).stdout == "cache/org/other\n"
    assert runner.invoke(app, ["report", "runs/b"]).stdout == "runs/b/report.html\n"


def test_data_check_passes_its_config_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_module(monkeypatch, "mva_ray.checks.show_data", show_data=lambda config, output: output.write(f"{config}\n"))
    assert CliRunner().invoke(app, ["data", "check", "--config", "a.yaml"]).stdout == "a.yaml\n"


def test_a_query_imports_nothing_heavy(run: Path) -> None:
    script = """
import sys
from mva_ray.cli import app
heavy = {"torch", "ray", "transformers", "peft", "trl", "pymoo", "matplotlib", "plotly"}
print(sorted({"pandas", "duckdb", "deltalake", *heavy} & set(sys.modules)), file=sys.stderr)
app(sys.argv[1:], standalone_mode=False)
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    result = python("-c", script, "pareto", str(run), "--where", "positive > 0")
    assert result.stderr == "[]\n[]\n"
