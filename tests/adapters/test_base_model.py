"""A base model that does not fit its GPU is refused before its weights are read, with both numbers."""

from pathlib import Path

import pytest
import torch

from mva_ray.adapters.base_model import check_room, load_base_model
from mva_ray.adapters.model_size import model_size
from mva_ray.errors import RunError


def test_weights_fit_where_as_much_is_free() -> None:
    check_room("org/model", 80, "L4", 80, 100)
    with pytest.raises(RunError) as caught:
        check_room("org/model", 141_200_000_000, "NVIDIA L4", 21_950_000_000, 23_600_000_000)
    assert str(caught.value) == (
        "base_model: org/model has 141.2 GB of weights, and 21.9 of the 23.6 GB of this NVIDIA L4 are free: take a "
        "larger GPU, or for the search a server that spreads the model over several (engine.openai)"
    )


@pytest.mark.parametrize("lacking", [0, 1])
def test_a_gpu_that_is_too_small_is_found_before_weights_are_read(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, lacking: int
) -> None:
    """There is no GPU here: the memory is said to be just enough in bfloat16, or a byte less."""
    free = 2 * model_size(tiny_model).parameters - lacking
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, free))
    read = []
    monkeypatch.setattr(
        "mva_ray.adapters.base_model.AutoModelForCausalLM.from_pretrained", lambda *_, **__: read.append(1)
    )
    with pytest.raises(RunError, match="of weights" if lacking else "cannot be loaded"):
        load_base_model(str(tiny_model), 1.0)
    assert len(read) == 1 - lacking
