"""Stage 1, preference pairs: of the values' own data, or made of the base model's samples and the values' rewards."""

import json
from collections.abc import Mapping, Sequence

from tqdm.auto import tqdm

from mva_ray.config.values import Value
from mva_ray.data.conflict import within_prompt_correlation
from mva_ray.data.pairs import PairSet, best_against_worst
from mva_ray.data.source import read_pairs
from mva_ray.errors import DamagedFile, RunError
from mva_ray.records import Generation, PreferencePair, Spent
from mva_ray.run_dir.spending import PAIRS
from mva_ray.stages.run import Run

Pairs = dict[str, tuple[PreferencePair, ...]]
Scores = dict[str, list[list[float]]]
"""Every value's reward of every sample, [prompts][completions]."""


def preference_pairs(run: Run) -> Pairs:
    """The pairs of every value that is trained.

    Raises:
        RunError: a value has fewer than a training step takes, or its reward cannot score the samples.
    """
    config = run.config
    pairs = {value.name: read_pairs(value.pairs) for value in config.values if value.pairs}
    on_policy = [value for value in config.values if not value.pairs and not value.adapter]
    if on_policy:
        with run.timed("preference pairs"):
            samples = _samples(run)
            scores = _scores(run, samples)
        _report_conflict(run, scores)
        kept = {value.name: best_against_worst(samples, scores[value.name], value.margin) for value in on_policy}
        _report_pairs(run, on_policy, kept)
        pairs |= {name: pair_set.pairs for name, pair_set in kept.items()}
    for name, of_value in pairs.items():
        if len(of_value) < config.training.pairs_per_step:
            raise RunError(
                f"value '{name}' has {len(of_value)} pairs, fewer than training.pairs_per_step "
                f"({config.training.pairs_per_step}): lower its margin or add train prompts"
            )
    return pairs


def _samples(run: Run) -> list[list[Generation]]:
    prompts, store = run.plan.prompts["train"], run.directory.samples(run.plan.samples)
    samples = store.read()
    if len(samples) == len(prompts):
        return samples
    from mva_ray.evaluation.ray_direct import sample_all  # Ray takes seconds to import, and may not be needed

    run.start_ray()
    width = max(1, 2 * run.rows // run.config.sampling.completions_per_prompt)
    with tqdm(total=len(prompts), initial=len(samples), desc="sampling pairs", unit="prompt") as bar:
        reserving = run.meter.reserving(PAIRS)
        for drawn in sample_all(run.shared, prompts[len(samples) :], width, reserving):
            store.append(drawn)
            answers = [answer for of_prompt in drawn for answer in of_prompt]
            run.meter.add(PAIRS, Spent(len(answers), sum(answer.tokens for answer in answers)))
            samples += drawn
            bar.update(len(drawn))
    return samples


def _scores(run: Run, samples: Sequence[Sequence[Generation]]) -> Scores:
    files = {value: run.directory.scores(value, key) for value, key in run.plan.scores.items()}
    scores: Scores = {value: file.read_list() or [] for value, file in files.items()}
    for value, table in scores.items():
        if table and [len(row) for row in table] != [len(row) for row in samples]:
            raise DamagedFile(files[value].place, f"it has no reward for each of {len(samples)} prompts' samples")
    missing = [value for value, table in scores.items() if not table]
    if missing:
        from mva_ray.evaluation.ray_direct import scoring

        run.start_ray()
        prompts, completions = zip(*((row.prompt, row.completion) for rows in samples for row in rows), strict=True)
        with scoring(run.shared, missing, "the base model's samples", run.meter.reserving(PAIRS)) as score:
            for value in missing:
                numbers = iter(score(value, prompts, completions))
                scores[value] = [[next(numbers) for _ in generations] for generations in samples]
                files[value].write_json(scores[value])
    return scores


def _report_conflict(run: Run, scores: Scores) -> None:
    correlation = within_prompt_correlation(scores)
    names = list(scores)
    count = sum(len(row) for row in scores[names[0]])
    run.directory.conflict.write_json({"values": names, "correlation": correlation.tolist(), "samples": count})
    print(f"conflict: correlation of rewards within a prompt, on {count} samples of the base model")
    for row, name in enumerate(names):
        for column in range(row + 1, len(names)):
            print(f"  {name} and {names[column]}: {correlation[row, column]:+.2f}")


def _report_pairs(run: Run, values: Sequence[Value], kept: Mapping[str, PairSet]) -> None:
    counts = {}
    for value in values:
        of_value = kept[value.name]
        found, prompts = len(of_value.pairs), of_value.prompts
        counts[value.name] = {"prompts": prompts, "pairs": found, "ties": of_value.ties, "margin": value.margin}
        print(f"pairs of '{value.name}': {found} of {prompts} prompts (margin {value.margin})")
        lines = "".join(json.dumps(pair.content()) + "\n" for pair in of_value.pairs)
        run.directory.pairs(value.name, run.plan.pairs[value.name]).write(lines.encode())
    run.directory.pair_counts.write_json(counts)
