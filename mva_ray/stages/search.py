"""Stage 3, the search: coefficients are proposed and evaluated on the search prompts until the budget is spent."""

from tqdm.auto import tqdm

from mva_ray.constraints import constraint_values
from mva_ray.errors import RunError
from mva_ray.evaluation.ray_broker import engine_seconds
from mva_ray.records import Evaluation
from mva_ray.search.proposer import make_proposer
from mva_ray.search.racing import Race
from mva_ray.search.ray_search import GenerationalSearcher, outcome_of, run_search
from mva_ray.stages.evaluations import Evaluations
from mva_ray.stages.run import Run


def search(run: Run, evaluations: Evaluations) -> None:
    """Evaluate what earlier runs bring and what the search proposes; nothing where all of it is in the table.

    Raises:
        RunError: most candidates failed, or none can be evaluated any more; what was evaluated is kept.
    """
    warm = evaluations.warm
    if not evaluations.missing("search", warm) and not _searcher(run, evaluations).replay():
        return
    with run.timed("search"):
        evaluations.evaluate("search", warm, "warm start")
        _search(run, evaluations)


def _search(run: Run, evaluations: Evaluations) -> None:
    settings, searcher = run.config.search, _searcher(run, evaluations)
    with tqdm(total=settings.candidates, desc="search", unit="candidate") as bar:
        more = searcher.replay()
        bar.update(searcher.evaluated)
        if more:
            ahead = 2 * evaluations.at_once("search")
            run_search(searcher, evaluations.broker, settings.trials, ahead, run.directory.ray, bar.update)
    if more:
        run.add_time("engine at work in the search", engine_seconds(evaluations.broker))
    if searcher.too_many_failed:
        raise RunError(f"the search stopped: {searcher.too_many_failed}")


def _searcher(run: Run, evaluations: Evaluations) -> GenerationalSearcher:
    """A searcher that was told the candidates of earlier runs, as far as they did not fail here."""
    config, setting, known = run.config, evaluations.settings["search"], evaluations.known("search")

    def constraints_of(evaluation: Evaluation) -> tuple[float, ...]:
        return constraint_values(evaluation, setting.constraints)

    references = evaluations.references(config.search.convex_partitions)
    pending = evaluations.at_once("search")
    proposer = make_proposer(config.search, config.bounds, len(config.values), references, config.seed, pending)
    rows = {row: known[row] for row in evaluations.warm if row in known and known[row].status == "ok"}
    proposer.tell([outcome_of(row, evaluation, constraints_of(evaluation)) for row, evaluation in rows.items()])
    racing = config.search.racing
    race = Race(len(setting.prompts), racing.block, racing.error_rate) if racing else None
    return GenerationalSearcher(proposer, known.get, constraints_of, race)
