"""`Rounds` as Ray Tune's `Searcher`: a shell, called by Tune in one thread."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from mva_ray.errors import GOES_ON
from mva_ray.records import Proposal
from mva_ray.search.results import Reader, Result
from mva_ray.search.rounds import Rounds

ENDED = f"a trial of the search failed three times (a crash, or killed where memory is short): {GOES_ON}"
"""No failure of its candidate: that is with the broker, and may be in the table by now."""

HandOut = Callable[[Sequence[Proposal | None], bool], None]


class RoundsSearcher(Searcher):
    """Gives Tune places in the queue of proposals, not coefficients: trials may wait for what is not proposed yet.

    Args:
        rounds: is asked as soon as there is a result.
        reader: of the evaluations that trials report.
        hand_out: takes every proposal, place by place, None at a place to skip, and whether it was the last.
    """

    def __init__(self, rounds: Rounds, reader: Reader, hand_out: HandOut) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self._rounds, self._reader, self._hand_out = rounds, reader, hand_out
        self._proposals: list[Proposal | None] = []
        self._places = 0
        self._lost: set[int] = set()
        self._running: dict[str, int] = {}
        self._go_on()

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self._rounds.run_error or (self._rounds.finished and self._places >= len(self._proposals)):
            return str(Searcher.FINISHED)
        self._running[trial_id] = self._places
        self._places += 1
        return {"place": self._running[trial_id]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        place = self._running.pop(trial_id)
        if result and "run_error" in result:
            self._rounds.abort(result["run_error"])
        elif place >= len(self._proposals):
            self._lost.add(place)
        elif error or result is None:
            self._rounds.abort(ENDED)
        else:
            self._rounds.tell(self._result(place, result))
        self._go_on()

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the Pareto table is the checkpoint."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles it with its own settings, to restore what is never restored: rounds may hold locks."""
        return {}

    def _result(self, place: int, result: dict[str, Any]) -> Result:
        proposal = self._proposals[place]
        assert proposal is not None
        return self._reader.result(proposal, result["evaluation"], result["rewards"])

    def _go_on(self) -> None:
        """Hand out what is new; nobody asks for the place of a trial that died while it waited."""
        before = len(self._proposals)
        for proposal in self._rounds.ask():
            while len(self._proposals) in self._lost:
                self._proposals.append(None)
            self._proposals.append(proposal)
        self._hand_out(self._proposals[before:], self._rounds.finished)
