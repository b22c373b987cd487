"""A trial that loses those it asks. Called as Tune calls it but without Ray running."""

from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from mva_ray.records import Proposal
from mva_ray.search.ray_trial import CandidateTrial


class Anybody:
    """An actor whose methods may be called."""

    def __getattr__(self, name: str) -> Any:
        return self

    def remote(self, *arguments: Any) -> str:
        return "asked"


@pytest.mark.parametrize("lost", ["queue", "broker"])
def test_a_queue_or_broker_that_ends_is_no_failure_of_the_candidate(monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """It raised, Tune gave the trials up, and the search went on to the front with half of its candidates."""

    answers = [Proposal((0.0, 1.0))] if lost == "broker" else []

    def get(asked: str) -> Proposal:
        if not answers:
            raise ActorDiedError()
        return answers.pop()

    monkeypatch.setattr("mva_ray.search.ray_trial.ray.get", get)
    trial = CandidateTrial.__new__(CandidateTrial)
    trial.setup({"place": 7}, broker=Anybody(), queue=Anybody())
    said = trial.step()
    assert (said["done"], said["place"]) == (True, 7)
    assert said["run_error"].endswith("what was computed is kept, and the same command goes on from here")
