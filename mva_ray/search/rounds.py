"""The search loop: ask for a batch, have it evaluated, tell it whole and in the order of proposal, ask for the next."""

from collections import deque
from collections.abc import Callable, Sequence

from mva_ray.records import Coefficients, Proposal
from mva_ray.search.allowance import Allowance
from mva_ray.search.proposer import Proposer
from mva_ray.search.results import Result

Known = Callable[[Proposal], Result | None]


def nothing(proposal: Proposal) -> Result | None:
    """No candidate is known."""
    return None


class Rounds:
    """Drives a proposer: `ask` for what is to be evaluated, `tell` the results in any order, until `finished`.

    The proposer is told whole batches in the order of proposal, so that no proposal depends on who ends first. It is
    asked for the next batch as soon as it is ready, so that several may be at work. What is known is told without being
    handed out: that is how a killed run goes on.

    Args:
        proposer: a search method, told what it has to know of earlier runs.
        known: the result of a proposal that was evaluated earlier, on just its prompts, or None.
        allowance: of the run's budget; without one, all that is proposed is handed out at once.
        failed_share: the search stops after a batch where more than this share of all proposals failed.
    """

    def __init__(
        self,
        proposer: Proposer,
        known: Known = nothing,
        allowance: Allowance | None = None,
        failed_share: float = 0.5,
    ) -> None:
        self._proposer = proposer
        self._known = known
        self._allowance = allowance
        self._failed_share = failed_share
        self._batches: deque[list[Proposal]] = deque()
        self._results: dict[Coefficients, Result] = {}
        self._new: list[Proposal] = []
        self._told = 0
        self._failed: list[str] = []
        self._at_work: dict[Coefficients, Proposal] = {}
        self._nothing_follows = False
        self.proposals: list[Proposal] = []
        self.run_error: str | None = None
        self.spent_up: str | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing will be handed out any more."""
        return bool(self.run_error or self.spent_up) or (self._nothing_follows and not self._new)

    def replay(self) -> bool:
        """Go as far as results reach; False where nothing is left to evaluate. Calling it again changes nothing."""
        while not (self.run_error or self.spent_up):
            if not self._nothing_follows and self._proposer.ready:
                self._begin()
            elif self._batches and all(proposal.coefficients in self._results for proposal in self._batches[0]):
                self._end(self._batches.popleft())
            else:
                break
        return bool(self._batches)

    def ask(self) -> list[Proposal]:
        """What is to be evaluated and was not handed out yet; empty where the next batch waits for results.

        Once the budget has no room for the next one, `spent_up` says so, and nothing follows.
        """
        self.replay()
        new = []
        while self._new and self._affords(self._new[0]):
            new.append(self._new.pop(0))
            self._at_work[new[-1].coefficients] = new[-1]
        return new

    def _affords(self, proposal: Proposal) -> bool:
        if self._allowance is None:
            return True
        if self.spent_up or len(self._at_work) >= self._allowance.most:
            return False
        refused = self._allowance.refuses(proposal, list(self._at_work.values()))
        if not self._at_work:  # else there may be room when these are told: not all come onto the front
            self.spent_up = refused
        return not refused

    def is_spent_up(self) -> bool:
        """Whether the budget has no room for the first candidate that is to be handed out."""
        return bool(self._new) and not self._affords(self._new[0])

    def tell(self, result: Result) -> None:
        """Of a candidate that was handed out; no candidate is at work twice at a time."""
        self._results[result.outcome.coefficients] = result
        self._at_work.pop(result.outcome.coefficients, None)
        if self._allowance:
            self._allowance.tell(result)

    def abort(self, error: str) -> None:
        """End the search for an error that no candidate can get over; the first one is kept."""
        self.run_error = self.run_error or error

    @property
    def evaluated(self) -> int:
        """How many proposals have a result, known or new."""
        return self._told + len(self._results)

    @property
    def too_many_failed(self) -> str | None:
        """The most common cause where more than the allowed share of all proposals told failed."""
        if len(self._failed) <= self._failed_share * self._told:
            return None
        cause = max(dict.fromkeys(self._failed), key=self._failed.count)
        return f"{len(self._failed)} of {self._told} candidates failed; most often: {cause}"

    def _begin(self) -> None:
        batch = [] if self.too_many_failed else self._proposer.ask()
        self._nothing_follows = not batch
        if not batch:
            return
        self._batches.append(batch)
        self.proposals += batch
        for proposal in batch:
            if earlier := self._known(proposal):
                self.tell(earlier)
            else:
                self._new.append(proposal)

    def _end(self, batch: Sequence[Proposal]) -> None:
        results = [self._results.pop(proposal.coefficients) for proposal in batch]
        self._proposer.tell([result.outcome for result in results])
        self._failed += [result.error for result in results if result.error is not None]
        self._told += len(batch)
