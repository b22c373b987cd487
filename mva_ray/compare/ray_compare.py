"""Methods x seeds on one config: train what they need, evaluate alike, write one report. Every step can be resumed."""

from pathlib import Path

from mva_ray.checks.check import check
from mva_ray.checks.subject import Purpose
from mva_ray.compare.report import write_comparison
from mva_ray.compare.report_numbers import cautions
from mva_ray.compare.results import ComparisonResult, write_result
from mva_ray.compare.seed import SeedResult, compare_seed
from mva_ray.compare.wins import judge_methods
from mva_ray.config import RunConfig
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.stages.ray_session import RaySession


def compare(config_path: Path, directory: Path | str | None = None) -> str:
    """Run the comparison of a config; what an earlier one in the same directory finished is kept.

    After each seed the report is written anew, of the seeds so far.

    Args:
        config_path: a YAML file, see `RunConfig` and its section `compare`.
        directory: path or URL, `runs/<name of the config>_compare` unless given.

    Returns:
        the directory, absolute, with `report.html`, `README.md` and the result itself.

    Raises:
        ConfigError: with everything that is wrong with the config.
        RunError: where nothing can be compared, or the judge fails; what was computed until then is kept.
    """
    config, warnings = check(config_path, Purpose.COMPARE, directory)
    for line in warnings:
        print(line)
    own = RunDirectory(directory or config.own_comparison)
    own.store.check_usable()
    with own.store.locked(), RaySession(own.store) as session:
        session.start()
        seeds: list[SeedResult] = []
        for seed in config.compare.seeds:
            seeds.append(compare_seed(config, seed, own))
            result = _result(config, f"mva-ray compare --config {config_path}", seeds)
            _write(result, own)
    if config.compare.judge:
        result = _judged(result, config, own)
        _write(result, own)
    for line in cautions(result):
        print(line)
    return own.place


def _write(result: ComparisonResult, own: RunDirectory) -> None:
    write_result(result, own.comparison)
    write_comparison(result, own.place)


def _result(config: RunConfig, command: str, seeds: list[SeedResult]) -> ComparisonResult:
    methods = set(config.compare.methods)
    return ComparisonResult(
        name=config.name,
        base_model=config.base_model,
        command=command,
        values=config.value_names,
        seeds=config.compare.seeds[: len(seeds)],
        prompts=seeds[0].prompts,
        prompts_hash=seeds[0].prompts_hash,
        subject="mva" if "mva" in methods else config.compare.methods[0],
        baselines=[name for name in ("soup", "mva_no_hsic", "mva_no_extrapolation") if name in methods],
        box=config.compare.box,
        preferences=_preferences(config.value_names),
        base=seeds[0].base,
        methods=[run for seed in seeds for run in seed.methods],
        singles=[single for seed in seeds for single in seed.singles],
        interference=[shared for seed in seeds for shared in seed.interference],
        alphas=[alpha for seed in seeds for alpha in seed.alphas],
    )


def _preferences(values: list[str]) -> list[dict[str, float]]:
    """All values alike, then each in turn three times as much as all others together."""
    rest = len(values) - 1
    mostly = [{value: 0.75 if value == wanted else 0.25 / rest for value in values} for wanted in values]
    return [dict.fromkeys(values, 1 / len(values)), *mostly]


def _judged(result: ComparisonResult, config: RunConfig, own: RunDirectory) -> ComparisonResult:
    assert config.compare.judge is not None
    judge = judge_methods(result, result.preferences[0], config.compare.judge, own.judge)
    return result.model_copy(update={"judge": judge})
