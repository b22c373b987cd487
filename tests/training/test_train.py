"""Training takes what memory there is: activations are computed again on a GPU that has no room for them alone."""

from pathlib import Path

import pytest
import torch

from mva_ray.config.training import Training
from mva_ray.records import PreferencePair
from mva_ray.training.job import TrainingJob
from mva_ray.training.train import _arguments


@pytest.mark.parametrize(("free", "gpus", "expected"), [(40e9, 1, False), (10e6, 1, True), (40e9, 0.0001, True)])
def test_activations_are_computed_again_for_want_of_memory_alone(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, gpus: float, expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 80e9))
    job = TrainingJob("v", str(tiny_model), None, (PreferencePair("a", "b", "c"),), (), Training(), 0, str(tmp_path))
    assert _arguments(job, False, gpus)["gradient_checkpointing"] is expected
    assert _arguments(job, False, 0)["gradient_checkpointing"] is False
