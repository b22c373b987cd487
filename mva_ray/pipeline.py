"""The whole job, top to bottom: preference pairs, value adapters, search, held-out front, report."""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tqdm.auto import tqdm

from mva_ray.adapters.blocks import split_by_block
from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.hashes import delta_hash
from mva_ray.adapters.lora import copy_adapter
from mva_ray.checks.adapters import adapter_problems, fit_problems, other_bases
from mva_ray.checks.data import data_problems
from mva_ray.config import RunConfig, read_config
from mva_ray.config.values import Value
from mva_ray.constraints import constraint_values, is_measured
from mva_ray.data.conflict import within_prompt_correlation
from mva_ray.data.pairs import PairSet, best_against_worst
from mva_ray.data.source import read_pairs
from mva_ray.errors import ConfigError, RunError
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.known import KnownAnswers, earlier_candidates, summary
from mva_ray.evaluation.ray_actors import sample_all, scoring
from mva_ray.evaluation.ray_broker import Broker, engine_seconds, evaluate_all, evaluation_broker
from mva_ray.evaluation.row_limit import FIRST
from mva_ray.plan.changes import changed_settings
from mva_ray.plan.keys import Plan, make_plan
from mva_ray.records import AdapterRef, Coefficients, Evaluation, Generation, PreferencePair, rounded
from mva_ray.report import write_report
from mva_ray.run_dir.files import read_json, write_atomically, write_json
from mva_ray.run_dir.layout import check_writable
from mva_ray.run_dir.run_state import RunState
from mva_ray.run_dir.samples import SampleStore
from mva_ray.search.designs import in_blocks, reference_candidates
from mva_ray.search.proposer import make_proposer
from mva_ray.search.racing import Race
from mva_ray.search.ray_search import GenerationalSearcher, outcome_of, run_search
from mva_ray.stages.ray_session import ray_session
from mva_ray.stages.warm_start import earlier_runs, take_over, warm_start_problems
from mva_ray.table import ParetoTable
from mva_ray.training.job import TrainingJob
from mva_ray.training.ray_training import train_on_ray

log = logging.getLogger(__name__)


def explore(config_path: Path, run_dir: Path | None = None) -> Path:
    """Run the job of a config; what an earlier run in the same directory finished is kept.

    Args:
        config_path: a YAML file, see `RunConfig`.
        run_dir: `runs/<name of the config>` unless given.

    Returns:
        the run directory.

    Raises:
        ConfigError: with everything that is wrong with the config.
        RunError: where the job cannot go on; what was computed until then is kept.
    """
    draft = read_config(config_path)
    config = draft.finish([*data_problems(draft), *adapter_problems(draft), *warm_start_problems(draft, run_dir)])
    run_dir = (run_dir or Path("runs") / config.name).absolute()
    check_writable(run_dir)
    find_models(config, config_path)
    draft.finish(list(fit_problems(draft, local_directory(config.base_model))))
    for line in other_bases(config):
        log.warning(line)
    plan = make_plan(config)
    run = Run(config, plan, run_dir)
    run.announce_changes()
    for line in take_over(config, plan, run_dir):
        print(line)
    with run.timed("whole run"):
        with ray_session(config):
            pairs = run.preference_pairs()
            adapters = run.value_adapters(pairs)
            run.search(adapters)
        with run.timed("report"):
            write_report(run_dir)
    return run_dir


class Run:
    """One config, its plan and its directory; each method is a stage that keeps what is already there."""

    def __init__(self, config: RunConfig, plan: Plan, run_dir: Path) -> None:
        self._config = config
        self._plan = plan
        self._dir = run_dir
        self._table = ParetoTable(run_dir)

    def announce_changes(self) -> None:
        """Say what a changed config invalidates, and remember this one for the next time."""
        settings = json.loads(self._config.model_dump_json())
        before = read_json(self._dir / "plan.json")
        stages = self._plan.stages()
        if before is not None and before != {"stages": stages, "settings": settings}:
            for line in changed_settings(before["settings"], settings) or ["a prompt file, a model or a reward"]:
                print(f"changed since the last run: {line}")
            anew = [stage for stage, stage_key in stages.items() if before["stages"].get(stage) != stage_key]
            kept = [stage for stage in stages if stage not in anew]
            print(f"  invalid, computed anew: {', '.join(anew) or 'nothing'}\n  kept: {', '.join(kept) or 'nothing'}")
        write_json(self._dir / "plan.json", {"stages": stages, "settings": settings})

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the stage's wall time to `timings.json`: seconds spent on it in this directory so far."""
        started = time.monotonic()
        yield
        self._add_time(stage, time.monotonic() - started)

    def _add_time(self, stage: str, seconds: float) -> None:
        path = self._dir / "timings.json"
        timings = read_json(path) or {}
        timings[stage] = round(timings.get(stage, 0) + seconds, 1)
        write_json(path, timings)

    def preference_pairs(self) -> dict[str, tuple[PreferencePair, ...]]:
        """Pairs of every value: from its data, or from the base model's samples and its reward."""
        pairs = {value.name: read_pairs(value.pairs) for value in self._config.values if value.pairs}
        on_policy = [value for value in self._config.values if not value.pairs and not value.adapter]
        if on_policy:
            with self.timed("preference pairs"):
                samples = self._samples()
                scores = self._scores(samples)
            self._report_conflict(scores)
            kept = {value.name: best_against_worst(samples, scores[value.name], value.margin) for value in on_policy}
            self._report_pairs(on_policy, kept)
            pairs |= {name: pair_set.pairs for name, pair_set in kept.items()}
        for name, of_value in pairs.items():
            if len(of_value) < self._config.training.pairs_per_step:
                raise RunError(
                    f"value '{name}' has {len(of_value)} pairs, fewer than training.pairs_per_step "
                    f"({self._config.training.pairs_per_step}): lower its margin or add train prompts"
                )
        return pairs

    def value_adapters(self, pairs: Mapping[str, tuple[PreferencePair, ...]]) -> list[AdapterRef]:
        """One adapter a value, in the order of the config: brought with it, or trained against those before it."""
        config = self._config
        directories = {
            name: self._dir / "adapters" / f"{name}-{self._plan.adapters[name]}" for name in config.value_names
        }
        for value in config.values:
            if value.adapter and not directories[value.name].is_dir():
                copy_adapter(Path(value.adapter), directories[value.name])
        jobs = self._training_jobs(pairs, directories)
        if any(not Path(job.output).is_dir() for job in jobs):
            for name, seconds in train_with_progress(jobs, self._dir / "ray").items():
                self._add_time(f"adapter '{name}'", seconds)
        adapters = [AdapterRef(name, str(path), delta_hash(path)) for name, path in directories.items()]
        write_json(self._dir / "adapters.json", {ref.value: ref.path for ref in adapters})
        return adapters

    def search(self, adapters: Sequence[AdapterRef]) -> None:
        """Search on the search split, then score the front and the references again on the held-out split."""
        adapters = split_by_block(adapters, self._config.search.coefficients_per_value)
        settings = {split: self._setting(split, adapters) for split in ("search", "held_out")}
        hashes = {split: setting.prompts_hash for split, setting in settings.items()}
        values, limits = tuple(self._config.value_names), self._plan.constraints
        blocks = self._config.search.coefficients_per_value
        RunState(self._config.name, values, self._plan.context, hashes, limits, blocks).save(self._dir)
        earlier = earlier_runs(self._config)
        for directory, rows in earlier.items():
            print(summary(settings["search"], directory, rows))
        rows = [row for rows in earlier.values() for row in rows]
        warm = earlier_candidates(settings["search"], rows)
        if self._is_complete(settings, warm):
            return
        known = KnownAnswers([*rows, *self._table.evaluations(with_generations=True)])
        with evaluation_broker(self._config, adapters, settings, self._table.append, known) as broker:
            with self.timed("search"):
                self._evaluate(broker, settings["search"], warm, "warm start")
                self._search(broker, settings["search"], warm)
            with self.timed("held-out front"):
                setting = settings["held_out"]
                self._evaluate(broker, setting, self._wanted_on_held_out(setting), "held-out front")

    def _samples(self) -> list[list[Generation]]:
        prompts = self._plan.prompts["train"]
        store = SampleStore(self._dir / "samples" / f"{self._plan.samples}.jsonl")
        samples = store.read()
        if len(samples) == len(prompts):
            return samples
        width = max(1, 2 * self._rows // self._config.sampling.completions_per_prompt)
        with tqdm(total=len(prompts), initial=len(samples), desc="sampling pairs", unit="prompt") as bar:
            for drawn in sample_all(self._config, prompts[len(samples) :], width):
                store.append(drawn)
                samples += drawn
                bar.update(len(drawn))
        return samples

    def _scores(self, samples: Sequence[Sequence[Generation]]) -> dict[str, list[list[float]]]:
        """Every value's reward of every sample, [prompts][completions]."""
        files = {value: self._dir / "scores" / f"{value}-{key}.json" for value, key in self._plan.scores.items()}
        scores: dict[str, list[list[float]]] = {value: read_json(path) or [] for value, path in files.items()}
        missing = [value for value, table in scores.items() if not table]
        texts = [(row.prompt, row.completion) for rows in samples for row in rows]
        with scoring(self._config, missing, "the base model's samples") as score:
            for value in missing:
                numbers = iter(score(value, *zip(*texts, strict=True)))
                scores[value] = [[next(numbers) for _ in rows] for rows in samples]
                write_json(files[value], scores[value])
        return scores

    def _report_conflict(self, scores: Mapping[str, list[list[float]]]) -> None:
        correlation = within_prompt_correlation(scores)
        names = list(scores)
        count = sum(len(row) for row in scores[names[0]])
        write_json(
            self._dir / "conflict.json", {"values": names, "correlation": correlation.tolist(), "samples": count}
        )
        print(f"conflict: correlation of rewards within a prompt, on {count} samples of the base model")
        for row, name in enumerate(names):
            for column in range(row + 1, len(names)):
                print(f"  {name} and {names[column]}: {correlation[row, column]:+.2f}")

    def _report_pairs(self, values: Sequence[Value], kept: Mapping[str, PairSet]) -> None:
        summary = {}
        for value in values:
            pair_set = kept[value.name]
            summary[value.name] = {
                "prompts": pair_set.prompts,
                "pairs": len(pair_set.pairs),
                "ties": pair_set.ties,
                "margin": value.margin,
            }
            print(
                f"pairs of '{value.name}': {len(pair_set.pairs)} of {pair_set.prompts} prompts (margin {value.margin})"
            )
            path = self._dir / "pairs" / f"{value.name}-{self._plan.pairs[value.name]}.jsonl"
            write_atomically(path, "".join(json.dumps(asdict(pair)) + "\n" for pair in pair_set.pairs).encode())
        write_json(self._dir / "pairs.json", summary)

    def _training_jobs(
        self, pairs: Mapping[str, tuple[PreferencePair, ...]], directories: Mapping[str, Path]
    ) -> list[TrainingJob]:
        order = self._config.training_order
        return [
            TrainingJob(
                name=value.name,
                base_model=self._config.base_model,
                system_prompt=self._config.generation.system_prompt,
                pairs=pairs[value.name],
                earlier=tuple(str(directories[other.name]) for other in self._config.frozen_before(value)),
                training=self._config.training.for_pairs(len(pairs[value.name])),
                seed=self._config.seed + place,
                output=str(directories[value.name]),
            )
            for place, value in enumerate(order)
            if not value.adapter
        ]

    def _setting(self, split: str, adapters: Sequence[AdapterRef]) -> EvaluationSetting:
        return EvaluationSetting(
            context=self._plan.context,
            split=split,
            prompts=self._plan.prompts[split],
            values=tuple(self._config.value_names),
            base_model=f"{self._config.base_model} {self._plan.base_hash[:12]}",
            adapters={ref.value: ref.sha256 for ref in adapters},
            rewards=self._plan.rewards,
            seed=self._config.seed,
            generator=self._plan.generator,
            constraints=self._plan.constraints,
        )

    @property
    def _rows(self) -> int:
        """How many rows an evaluator answers at once, or begins with where that is for the engine to find."""
        return self._config.generation.batch_size or FIRST

    def _candidates_at_once(self, setting: EvaluationSetting) -> int:
        """As many as fill the rows of every evaluator."""
        return self._config.search.evaluators * -(-self._rows // len(setting.prompts))

    def _known(self, setting: EvaluationSetting) -> dict[Coefficients, Evaluation]:
        """Evaluations that need no repeating; a candidate that failed in an earlier run is tried again."""
        racing = self._config.search.racing is not None and setting.split == "search"
        rows = self._table.evaluations(setting.context, setting.split, with_generations=racing)
        return {
            tuple(row.coefficients.values()): row
            for row in rows
            if row.prompts_hash == setting.prompts_hash
            and row.status in ("ok", "stopped")
            and is_measured(row, setting.constraints)
        }

    def _is_complete(self, settings: Mapping[str, EvaluationSetting], warm: Sequence[Coefficients]) -> bool:
        if set(warm) - self._known(settings["search"]).keys():
            return False
        if self._searcher(settings["search"], warm).replay():
            return False
        held_out = settings["held_out"]
        return not set(self._wanted_on_held_out(held_out)) - self._known(held_out).keys()

    def _searcher(self, setting: EvaluationSetting, warm: Sequence[Coefficients]) -> GenerationalSearcher:
        """A searcher that was told the candidates of earlier runs, as far as they did not fail here."""
        config, known = self._config, self._known(setting)

        def constraints_of(evaluation: Evaluation) -> tuple[float, ...]:
            return constraint_values(evaluation, setting.constraints)

        references = self._references(config.search.convex_partitions)
        pending = self._candidates_at_once(setting)
        proposer = make_proposer(config.search, config.bounds, len(config.values), references, config.seed, pending)
        rows = {row: known[row] for row in warm if row in known and known[row].status == "ok"}
        proposer.tell([outcome_of(row, evaluation, constraints_of(evaluation)) for row, evaluation in rows.items()])
        racing = config.search.racing
        race = Race(len(setting.prompts), racing.block, racing.error_rate) if racing else None
        return GenerationalSearcher(proposer, known.get, constraints_of, race)

    def _references(self, convex_partitions: int) -> list[Coefficients]:
        """The candidates that every search begins with: all blocks of a value alike."""
        per_value = reference_candidates(len(self._config.values), convex_partitions)
        return [in_blocks(row, self._config.search.coefficients_per_value) for row in per_value]

    def _search(self, broker: Broker, setting: EvaluationSetting, warm: Sequence[Coefficients]) -> None:
        search, searcher = self._config.search, self._searcher(setting, warm)
        with tqdm(total=search.candidates, desc="search", unit="candidate") as bar:
            more = searcher.replay()
            bar.update(searcher.evaluated)
            if more:
                ahead = 2 * self._candidates_at_once(setting)
                run_search(searcher, broker, search.trials, ahead, self._dir / "ray", bar.update)
        self._add_time("engine at work in the search", engine_seconds(broker))
        if searcher.too_many_failed:
            raise RunError(f"the search stopped: {searcher.too_many_failed}")

    def _wanted_on_held_out(self, setting: EvaluationSetting) -> list[Coefficients]:
        """The base model, the single adapters and the front of the search."""
        front = self._table.front("search")[[f"w_{name}" for name in setting.adapters]].itertuples(index=False)
        references = self._references(1)[: len(setting.values) + 1]
        return list(dict.fromkeys(rounded(row) for row in [*references, *sorted(front)]))

    def _evaluate(
        self, broker: Broker, setting: EvaluationSetting, candidates: Sequence[Coefficients], what: str
    ) -> None:
        """Evaluate those that are not known yet; the broker records them."""
        known = self._known(setting)
        missing = [row for row in candidates if row not in known]
        done = evaluate_all(broker, setting.split, missing)
        for _ in tqdm(done, total=len(missing), desc=what, unit="candidate", disable=not missing):
            pass


def train_with_progress(jobs: Sequence[TrainingJob], storage: Path) -> dict[str, float]:
    """Train what is missing, in order. Seconds by job: a step's time since the step before belongs to its job.

    Raises:
        RunError: where a job failed; the outputs of those before it are kept.
    """
    seconds: dict[str, float] = defaultdict(float)
    before = time.monotonic()
    steps = sum(job.training.steps for job in jobs if not Path(job.output).is_dir())
    with tqdm(total=steps, desc="training", unit="step") as bar:

        def on_step(name: str, row: Mapping[str, float]) -> None:
            nonlocal before
            bar.set_description(f"training '{name}'")
            bar.set_postfix(loss=f"{row['loss']:.3f}", accuracy=f"{row['reward_accuracy']:.2f}")
            bar.update()
            now = time.monotonic()
            seconds[name] += now - before
            before = now

        train_on_ray(jobs, storage, on_step)
    return dict(seconds)


def find_models(config: RunConfig, config_path: Path) -> None:
    """Bring every model the config names to this machine before anything is computed.

    Raises:
        ConfigError: with all that cannot be had.
    """
    models = {"base_model": config.base_model}
    models |= {f"values[{i}].reward.model": v.reward.model for i, v in enumerate(config.values) if v.reward.model}
    models |= {f"constraints.{name}.reward.model": r.model for name, r in config.extra_rewards.items() if r.model}
    problems = []
    for setting, model in models.items():
        try:
            local_directory(model)
        except RunError as error:
            problems.append(f"{setting}: {error}")
    if problems:
        raise ConfigError(str(config_path), problems)
