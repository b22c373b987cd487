"""What runs in a trial's process, and the queue it takes its candidate from. Imports little: it starts often."""

import asyncio
from collections.abc import Sequence
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayTaskError
from ray.tune import Trainable

from mva_ray.errors import GOES_ON, RunError
from mva_ray.records import Proposal


class ProposalQueue:
    """Proposals in their order, for trials that know only their place in it.

    Tune stops the processes of trials that have no successor. Trials that already wait for the next generation are
    successors, so processes live as long as the search.

    Args:
        broker: is asked for the next proposals before a trial takes them, so that it has work while trials start.
        ahead: how many proposals are asked for beyond those that trials have taken.
    """

    def __init__(self, broker: ActorHandle, ahead: int) -> None:
        self._broker = broker
        self._ahead = ahead
        self._proposals: list[Proposal | None] = []
        self._taken = self._begun = 0
        self._complete = False
        self._changed = asyncio.Condition()

    async def extend(self, proposals: Sequence[Proposal | None], complete: bool) -> None:
        """Add the next ones, None where a place is to be skipped; `complete` says that no others will follow."""
        async with self._changed:
            self._proposals += proposals
            self._complete = complete
            self._begin()
            self._changed.notify_all()

    async def at(self, place: int) -> Proposal | None:
        """The proposal at a place, as soon as there is one; None where there will be none."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._complete or place < len(self._proposals))
        if place >= len(self._proposals):
            return None
        self._taken = max(self._taken, place + 1)
        self._begin()
        return self._proposals[place]

    def _begin(self) -> None:
        """Ask for what no trial has taken. What the broker answers is its own to keep, until the trial asks, too."""
        start, end = max(self._begun, self._taken), min(self._taken + self._ahead, len(self._proposals))
        for proposal in self._proposals[start:end]:
            if proposal:
                self._broker.evaluate.remote("search", proposal.coefficients, proposal.prompts)
        self._begun = max(start, end)


class CandidateTrial(Trainable):
    """One candidate: asks the broker for it and reports. Its process serves the next one too.

    What no candidate can get over is reported as well: Tune would start a trial that raises again.
    """

    def setup(self, config: dict[str, Any], broker: ActorHandle, queue: ActorHandle) -> None:
        self._broker = broker
        self._queue = queue
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._place: int = new_config["place"]
        return True

    def step(self) -> dict[str, Any]:
        try:
            return self._step()
        except RayActorError:
            message = f"the search's queue or broker ended (a crash, or killed where memory is short): {GOES_ON}"
            return {"done": True, "place": self._place, "run_error": message}

    def _step(self) -> dict[str, Any]:
        ended = {"done": True, "place": self._place}
        proposal: Proposal | None = ray.get(self._queue.at.remote(self._place))
        if proposal is None:
            return ended
        try:
            answered = ray.get(self._broker.evaluate.remote("search", proposal.coefficients, proposal.prompts))
        except RayTaskError as error:
            if not isinstance(error.cause, RunError):
                raise
            return ended | {"run_error": str(error.cause)}
        return ended | {"evaluation": answered.evaluation, "rewards": answered.rewards}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A trial has no state: what was evaluated is with the broker before it reports."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See `save_checkpoint`."""
