"""The search loop: ask for a batch, have it evaluated, tell it whole and in the order of proposal, ask for the next."""

from collections import deque
from collections.abc import Callable, Sequence

from mva_ray.records import Coefficients, Proposal
from mva_ray.search.proposer import Proposer
from mva_ray.search.racing import Race
from mva_ray.search.results import Result

Known = Callable[[Coefficients], Result | None]


def nothing(coefficients: Coefficients) -> Result | None:
    """No candidate is known."""
    return None


class Rounds:
    """Drives a proposer: `ask` for what is to be evaluated, `tell` the results in any order, until `finished`.

    The proposer is told whole batches in the order of proposal, so that no proposal depends on who ends first. It is
    asked for the next batch as soon as it is ready, so that several may be at work. What is known is told without being
    handed out: that is how a killed run goes on.

    Args:
        proposer: a search method, told what it has to know of earlier runs.
        known: the result of a candidate evaluated earlier, with its rewards where there is a race, or None.
        race: stops dominated candidates from the second batch on; nobody is stopped without one.
        failed_share: the search stops after a batch where more than this share of all candidates failed.
    """

    def __init__(
        self, proposer: Proposer, known: Known = nothing, race: Race | None = None, failed_share: float = 0.5
    ) -> None:
        self._proposer = proposer
        self._known = known
        self.race = race
        self._failed_share = failed_share
        self._batches: deque[list[Coefficients]] = deque()
        self._results: dict[Coefficients, Result] = {}
        self._new: list[Proposal] = []
        self._told = 0
        self._failed: list[str] = []
        self.candidates: list[Coefficients] = []
        self.finished = False
        self.run_error: str | None = None

    def replay(self) -> bool:
        """Go as far as results reach; False where nothing is left to evaluate. Calling it again changes nothing."""
        while not self.run_error:
            if not self.finished and self._proposer.ready:
                self._begin()
            elif self._batches and all(row in self._results for row in self._batches[0]):
                self._end(self._batches.popleft())
            else:
                break
        return bool(self._batches)

    def ask(self) -> list[Proposal]:
        """What is to be evaluated and was not handed out yet; empty where the next batch waits for results."""
        self.replay()
        new, self._new = self._new, []
        return new

    def tell(self, result: Result) -> None:
        """Of a candidate that was handed out."""
        self._results[result.outcome.coefficients] = result

    def abort(self, error: str) -> None:
        """End the search for an error that no candidate can get over; the first one is kept."""
        self.run_error, self.finished = self.run_error or error, True

    @property
    def evaluated(self) -> int:
        """How many candidates have a result, known or new."""
        return self._told + len(self._results)

    @property
    def too_many_failed(self) -> str | None:
        """The most common cause where more than the allowed share of all candidates told failed."""
        if len(self._failed) <= self._failed_share * self._told:
            return None
        cause = max(dict.fromkeys(self._failed), key=self._failed.count)
        return f"{len(self._failed)} of {self._told} candidates failed; most often: {cause}"

    def _begin(self) -> None:
        batch = [] if self.too_many_failed else self._proposer.ask()
        self.finished = not batch
        if not batch:
            return
        self._batches.append(batch)
        self.candidates += batch
        if self.race:
            self.race.enter(batch)
        looks = self._racing.looks if self._racing else ()
        for row in batch:
            earlier = self._known(row)
            if earlier and (earlier.complete or self._stops_again(earlier)):
                self.tell(earlier)
            else:
                self._new.append(Proposal(row, (*looks, None)))

    def _end(self, batch: Sequence[Coefficients]) -> None:
        results = [self._results.pop(row) for row in batch]
        self._proposer.tell([result.outcome for result in results])
        if self.race:
            whole = [result for result in results if result.complete and len(result.rewards)]
            opponents = [result.outcome.coefficients for result in whole if result.outcome.is_feasible]
            self.race.admit({result.outcome.coefficients: result.rewards for result in whole}, opponents)
        self._failed += [result.error for result in results if result.error is not None]
        self._told += len(batch)

    @property
    def _racing(self) -> Race | None:
        """The race, from the second batch on."""
        return self.race if self._told else None

    def _stops_again(self, earlier: Result) -> bool:
        """Whether this race, too, stops a candidate after as many prompts as an earlier one did."""
        return self._racing is not None and self._racing.stops_at(earlier.outcome.coefficients, earlier.rewards)
