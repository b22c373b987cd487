"""Packed pairs against each completion computed alone: the model must not notice that a prompt is shared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.training.packing import completion_logps, pack
from tests.support.tiny import load

ROWS = (
    {"prompt_ids": [3, 7, 9, 4], "chosen_ids": [11, 12, 13], "rejected_ids": [14]},
    {"prompt_ids": [5], "chosen_ids": [8], "rejected_ids": [9, 10, 11, 12, 13]},
    {"prompt_ids": [6, 6], "chosen_ids": [6, 6], "rejected_ids": [6, 6]},
)


def alone(model: Any, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """The slow reference: one sequence, all logits."""
    logits = model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
    return torch.stack([logits[len(prompt) - 1 + i, token] for i, token in enumerate(completion)]).sum()


@pytest.mark.parametrize("architecture", ["tiny_model", "tiny_gpt2"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_log_probabilities_are_those_of_each_sequence_alone(
    architecture: str, count: int, request: pytest.FixtureRequest
) -> None:
    directory: Path = request.getfixturevalue(architecture)
    model = load(directory)[0]
    rows: tuple[Mapping[str, Any], ...] = ROWS[:count]
    chosen, rejected = completion_logps(model, model.get_output_embeddings(), pack(rows))
    for index, row in enumerate(rows):
        for found, completion in ((chosen, "chosen_ids"), (rejected, "rejected_ids")):
            assert found[index].item() == pytest.approx(
                alone(model, row["prompt_ids"], row[completion]).item(), abs=1e-4
            )


def test_gradients_are_those_of_each_sequence_alone(tiny_model: Path) -> None:
    model = load(tiny_model)[0]
    weight = model.get_input_embeddings().weight
    chosen, rejected = completion_logps(model, model.get_output_embeddings(), pack(ROWS))
    (packed,) = torch.autograd.grad((chosen - 2 * rejected).sum(), weight)
    separate = torch.stack(
        [
            alone(model, row["prompt_ids"], row["chosen_ids"])
            - 2 * alone(model, row["prompt_ids"], row["rejected_ids"])
            for row in ROWS
        ]
    )
    (expected,) = torch.autograd.grad(separate.sum(), weight)
    assert torch.allclose(packed, expected, atol=1e-4 * float(expected.abs().max()))


def test_an_empty_completion_has_probability_one(tiny_model: Path) -> None:
    """Also where it is alone in the batch: an empty sum, not NaN."""
    model = load(tiny_model)[0]
    rows = ({"prompt_ids": [3, 4], "chosen_ids": [], "rejected_ids": [5]},)
    chosen, rejected = completion_logps(model, model.get_output_embeddings(), pack(rows))
    assert chosen.item() == 0.0
    assert rejected.item() == pytest.approx(alone(model, [3, 4], [5]).item(), abs=1e-4)


def test_the_head_is_itself_again_afterwards(tiny_model: Path) -> None:
    model = load(tiny_model)[0]
    before = model(torch.tensor([[3, 4]])).logits.shape
    completion_logps(model, model.get_output_embeddings(), pack(ROWS))
    assert model(torch.tensor([[3, 4]])).logits.shape == before


TOKENS = st.lists(st.integers(1, 9), max_size=5)


@given(st.lists(st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=5), TOKENS, TOKENS), min_size=1, max_size=4))
def test_every_token_has_its_place(parts: list[tuple[list[int], list[int], list[int]]]) -> None:
    """Targets are the completions in order; every place sees its own sequence's past and nothing else."""
    batch = pack([dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), part, strict=True)) for part in parts])
    width = batch["input_ids"].shape[1]
    for owner in range(2 * len(parts)):
        prompt, *completions = parts[owner % len(parts)]
        completion = completions[owner // len(parts)]
        mine = batch["owners"] == owner
        assert batch["targets"][mine].tolist() == completion
        for number, place in enumerate(batch["predictors"][mine].tolist()):
            row, column = divmod(place, width)
            seen = batch["input_ids"][row][batch["attention_mask"][row, 0, column]].tolist()
            assert row == owner % len(parts)
            assert seen == prompt + completion[:number]
            assert batch["position_ids"][row, column] == len(seen) - 1
