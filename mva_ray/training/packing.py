"""Preference pairs as batches: prompt, chosen and rejected in one row, so that a shared prompt is computed once.

The row of a pair is prompt + chosen + rejected. Both completions attend to the prompt and to themselves, not to each
other, and both begin at the position after the prompt: to the model they are two sequences with a common prefix.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_PROMPT, _CHOSEN, _REJECTED, _PADDING = 0, 1, 2, 3

PER_PAIR = ("weight", "margin", "ref_chosen_logps", "ref_rejected_logps")
"""Numbers that go with a pair into the batch, [batch] each, where its row has them."""


def pack(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """One batch of pairs, filled up with token 0: nothing attends to it, and every model has it.

    Args:
        rows: `prompt_ids`, `chosen_ids` and `rejected_ids` (lists of token ids, the first not empty), and numbers.

    Returns:
        input_ids and position_ids [batch, length], attention_mask [batch, 1, length, length] (True: may attend);
        for each completion token the flat place `predictors` [tokens] of the hidden state that predicts it, its id
        `targets` [tokens] and its completion `owners` [tokens]: pair b's chosen is b, its rejected batch + b;
        prompt_lengths [batch].
    """
    parts = [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in rows]
    length = max(sum(map(len, part)) for part in parts)
    input_ids = torch.zeros((len(rows), length), dtype=torch.long)
    positions = torch.zeros((len(rows), length), dtype=torch.long)
    segments = torch.full((len(rows), length), _PADDING)
    predictors, targets, owners = [], [], []
    for index, (prompt, chosen, rejected) in enumerate(parts):
        sizes = [len(prompt), len(chosen), len(rejected)]
        used = sum(sizes)
        input_ids[index, :used] = torch.tensor([*prompt, *chosen, *rejected])
        segments[index, :used] = torch.tensor([_PROMPT, _CHOSEN, _REJECTED]).repeat_interleave(torch.tensor(sizes))
        starts = [0, len(prompt), len(prompt)]
        positions[index, :used] = torch.cat([start + torch.arange(n) for start, n in zip(starts, sizes, strict=True)])
        row, last = index * length, len(prompt) - 1
        for owner, begin, completion in ((index, 0, chosen), (len(rows) + index, len(chosen), rejected)):
            places = [last, *range(last + begin + 1, last + begin + len(completion))][: len(completion)]
            predictors += [row + place for place in places]
            targets += completion
            owners += [owner] * len(completion)
    batch = {
        "input_ids": input_ids,
        "position_ids": positions,
        "prompt_lengths": torch.tensor([len(prompt) for prompt, _, _ in parts]),
        "attention_mask": _attention(segments),
        "predictors": torch.tensor(predictors, dtype=torch.long),
        "targets": torch.tensor(targets, dtype=torch.long),
        "owners": torch.tensor(owners, dtype=torch.long),
    }
    return batch | {name: torch.tensor([row[name] for row in rows]) for name in PER_PAIR if name in rows[0]}


def _attention(segments: Tensor) -> Tensor:
    """[batch, length] to [batch, 1, length, length]; padding attends to itself, for a softmax of nothing is NaN."""
    length = segments.shape[1]
    query, key = segments.unsqueeze(2), segments.unsqueeze(1)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    allowed = causal & ((key == query) | (key == _PROMPT)) & (query != _PADDING)
    return (allowed | torch.eye(length, dtype=torch.bool)).unsqueeze(1)


def completion_logps(model: nn.Module, head: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Summed log-probabilities (nats) of the completions of a packed batch: chosen [batch], rejected [batch].

    Logits are computed where a completion token is predicted, and nowhere else.

    Args:
        model: a causal LM, possibly wrapped for PEFT or several workers.
        head: its output embedding, a module inside of it.
    """
    select = head.register_forward_pre_hook(lambda _, inputs: (inputs[0].flatten(0, 1)[batch["predictors"]],))
    try:
        logits = model(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            attention_mask=batch["attention_mask"],
            use_cache=False,
        ).logits
    finally:
        select.remove()
    logps = -nn.functional.cross_entropy(logits.float(), batch["targets"], reduction="none")
    summed = logps.new_zeros(2 * len(batch["input_ids"])).index_add(0, batch["owners"], logps)
    chosen, rejected = summed.chunk(2)
    return chosen, rejected
