"""Stage 3, the search: coefficients are proposed and evaluated on the search prompts until the budget is spent."""

from collections.abc import Iterable, Mapping

from tqdm.auto import tqdm

from mva_ray.errors import GOES_ON, RunError
from mva_ray.plan.keys import key
from mva_ray.records import Coefficients, Evaluation
from mva_ray.search.finished import is_finished, note_finished
from mva_ray.search.proposer import make_proposer
from mva_ray.search.racing import Race
from mva_ray.search.results import Reader, Result
from mva_ray.search.rounds import Rounds
from mva_ray.stages.evaluations import Evaluations
from mva_ray.stages.run import Run


def search(run: Run, evaluations: Evaluations) -> None:
    """Evaluate what earlier runs bring and what the search proposes; nothing where all of it is in the table.

    Raises:
        RunError: most candidates failed, or none can be evaluated any more; what was evaluated is kept.
    """
    evaluations.evaluate("search", evaluations.warm, "warm start", stage="search")
    known = evaluations.known("search")
    told = {row: known[row] for row in evaluations.warm if row in known and known[row].status == "ok"}
    search_key = _key(run, evaluations, told)
    if is_finished(run.directory.search, search_key, known):
        return
    rounds = _rounds(run, evaluations, known, told)
    if rounds.replay():
        with run.timed("search"):
            _run_trials(run, evaluations, rounds)
        if rounds.replay():
            wanted = run.config.search.candidates
            raise RunError(f"the search ended with {rounds.evaluated} of {wanted} candidates evaluated: {GOES_ON}")
    if rounds.too_many_failed:
        raise RunError(f"the search stopped: {rounds.too_many_failed}")
    note_finished(run.directory.search, search_key, rounds.candidates)


def _key(run: Run, evaluations: Evaluations, told: Iterable[Coefficients]) -> str:
    """Of everything that proposals depend on besides the rewards of those proposed."""
    config, setting = run.config, evaluations.settings["search"]
    limits = [(name, limit.min, limit.max, limit.reward) for name, limit in setting.constraints.items()]
    proposing = [config.search.model_dump(exclude={"resources"}), config.bounds, config.seed]
    judging = [setting.context, setting.prompts_hash, setting.values, limits]
    return key(proposing, judging, list(told), evaluations.at_once("search"))


def _rounds(
    run: Run,
    evaluations: Evaluations,
    known: Mapping[Coefficients, Evaluation],
    told: Mapping[Coefficients, Evaluation],
) -> Rounds:
    """The search of a proposer that was told the candidates of earlier runs, as far as they did not fail here."""
    config, setting = run.config, evaluations.settings["search"]
    reader = _reader(evaluations)

    def known_result(row: Coefficients) -> Result | None:
        return reader.result(row, known[row]) if row in known else None

    references, pending = evaluations.references(), evaluations.at_once("search")
    proposer = make_proposer(config.search, config.bounds, len(config.values), references, config.seed, pending)
    proposer.tell([reader.result(row, evaluation).outcome for row, evaluation in told.items()])
    racing = config.search.racing
    race = Race(len(setting.prompts), racing.block, racing.error_rate) if racing else None
    return Rounds(proposer, known_result, race)


def _run_trials(run: Run, evaluations: Evaluations, rounds: Rounds) -> None:
    from mva_ray.search.ray_search import run_search  # takes seconds, and may not be needed

    settings, ahead = run.config.search, 2 * evaluations.at_once("search")
    with tqdm(total=settings.candidates, initial=rounds.evaluated, desc="search", unit="candidate") as bar:
        seconds = run_search(
            rounds,
            _reader(evaluations),
            evaluations.broker,
            settings.trials,
            ahead,
            run.directory.ray,
            bar.update,
        )
    run.add_time("engine at work in the search", seconds)


def _reader(evaluations: Evaluations) -> Reader:
    setting = evaluations.settings["search"]
    return Reader(setting.values, setting.constraints)
