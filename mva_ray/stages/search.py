"""Stage 3, the search: coefficients are proposed and evaluated on the search prompts until the budget is spent."""

import logging
from collections.abc import Iterable

from tqdm.auto import tqdm

from mva_ray.errors import GOES_ON, RunError
from mva_ray.evaluation.evaluate import on_prompts
from mva_ray.plan.keys import key
from mva_ray.records import Coefficients, Proposal
from mva_ray.search.allowance import Allowance, HeldOut
from mva_ray.search.finished import is_finished, note_finished
from mva_ray.search.proposer import make_proposer
from mva_ray.search.results import Reader, Result
from mva_ray.search.rounds import Rounds
from mva_ray.stages.evaluations import Evaluations
from mva_ray.stages.run import Run

log = logging.getLogger(__name__)


def search(run: Run, evaluations: Evaluations) -> None:
    """Evaluate what earlier runs bring and what the search proposes; nothing where all of it is in the table.

    Raises:
        RunError: most candidates failed, or none can be evaluated any more; what was evaluated is kept.
    """
    evaluations.evaluate("search", evaluations.warm, "warm start", stage="search")
    known = {row: rows[-1] for row, rows in evaluations.answered("search", with_generations=False).items()}
    told = [row for row in evaluations.warm if row in known and known[row].status == "ok"]
    search_key = _key(run, evaluations, told)
    if is_finished(run.directory.search, search_key, {row: found.n_prompts for row, found in known.items()}):
        return
    rounds = _rounds(run, evaluations, told)
    if rounds.replay() and not rounds.is_spent_up():
        with run.timed("search"):
            _run_trials(run, evaluations, rounds)
        if rounds.replay() and not rounds.spent_up:
            wanted = run.config.search.candidates
            raise RunError(f"the search ended with {rounds.evaluated} of {wanted} candidates evaluated: {GOES_ON}")
    if rounds.too_many_failed:
        raise RunError(f"the search stopped: {rounds.too_many_failed}")
    if rounds.spent_up:
        log.warning(rounds.spent_up)
    n_prompts = len(evaluations.settings["search"].prompts)
    note_finished(run.directory.search, search_key, rounds.proposals, n_prompts, rounds.spent_up)


def _key(run: Run, evaluations: Evaluations, told: Iterable[Coefficients]) -> str:
    """Of everything that proposals depend on besides the rewards of those proposed."""
    config, setting = run.config, evaluations.settings["search"]
    limits = [(name, limit.min, limit.max, limit.reward) for name, limit in setting.constraints.items()]
    proposing = [config.search.model_dump(exclude={"resources"}), config.bounds, config.seed]
    judging = [setting.context, setting.prompts_hash, setting.values, limits]
    return key(proposing, judging, list(told), evaluations.at_once("search"))


def _rounds(run: Run, evaluations: Evaluations, told: Iterable[Coefficients]) -> Rounds:
    """The search of a proposer that was told the candidates of earlier runs, as far as they did not fail here.

    A result is that of the prompts asked for, even where the table has more: proposals must not depend on these.
    """
    config, setting = run.config, evaluations.settings["search"]
    reader, rows = _reader(evaluations), evaluations.answered("search")

    def known(proposal: Proposal) -> Result | None:
        places = range(len(setting.prompts)) if proposal.prompts is None else proposal.prompts
        prompts = [setting.prompts[place] for place in places]
        found = (on_prompts(setting, row, prompts) for row in rows.get(proposal.coefficients, ()))
        return next((reader.result(proposal, row) for row in found if row), None)

    references, pending = evaluations.references(), evaluations.at_once("search")
    proposer = make_proposer(
        config.search, config.bounds, len(config.values), references, config.seed, pending, len(setting.prompts)
    )
    results = [result for row in told if (result := known(Proposal(row)))]
    proposer.tell([result.outcome for result in results])
    if allowance := _allowance(run, evaluations):
        for result in results:
            allowance.tell(result)
    return Rounds(proposer, known, allowance)


def _allowance(run: Run, evaluations: Evaluations) -> Allowance | None:
    """None where there is no budget. Rows of the table count now, what the run reserves as it goes on."""
    config, prompts = run.config, len(evaluations.settings["held_out"].prompts)
    if not config.budget.limits:
        return None
    always = evaluations.references()[: len(config.values) + 1]
    held_out = HeldOut(prompts, always, evaluations.known("held_out").keys())
    before = evaluations.spending()
    return Allowance(
        config.budget.limits,
        lambda: before.at(run.meter.phases()),
        len(evaluations.settings["search"].prompts),
        held_out,
        config.search.trials + 2 * evaluations.at_once("search"),
    )


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
