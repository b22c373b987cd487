"""What a user may not mean: pairs that say one thing twice or both ways, and answers that begin with their prompt."""

from collections import Counter
from collections.abc import Iterator, Sequence

from mva_ray.data.dialogues import HH_TURN, same_prompt
from mva_ray.data.source import PairData
from mva_ray.records import PreferencePair, Prompt

SYSTEM_COLUMNS = ("system", "system_prompt")
SHORT = 16
"""An answer may begin with a prompt of a few letters by itself."""


def doubts(data: PairData) -> Iterator[str]:
    """One line for each kind of thing that may be wrong with the pairs of a source, with how many there are."""
    total = len(data.pairs)
    for count, what in (
        (repeated(data.pairs), "are there before, word for word"),
        (contradicted(data.pairs), "prefer what another one rejects of the same two answers"),
        (echoing(data.pairs), "have the prompt at the beginning of both answers again: answers come without it"),
    ):
        if count:
            yield f"{count:,} of {total:,} pairs {what}"
    for column in SYSTEM_COLUMNS:
        if column in data.columns:
            yield f"the column {column!r} is not read: make it the first message of a prompt in messages"


def repeated(pairs: Sequence[PreferencePair]) -> int:
    """Pairs that are there before, but for the space around answers."""
    return len(pairs) - len(set(map(_judgement, pairs)))


def contradicted(pairs: Sequence[PreferencePair]) -> int:
    """Pairs whose answers another one prefers the other way round."""
    judged = Counter(map(_judgement, pairs))
    return sum(count for (prompt, one, other), count in judged.items() if (prompt, other, one) in judged)


def echoing(pairs: Sequence[PreferencePair]) -> int:
    """Pairs of which both answers begin with the last turn of their prompt."""
    return sum(_echoes(pair) for pair in pairs)


def written_dialogues(prompts: Sequence[Prompt]) -> int:
    """Texts that are a whole dialogue in the form of HH: a chat template would make one turn of it."""
    return sum(isinstance(prompt, str) and HH_TURN.match(prompt) is not None for prompt in prompts)


def _judgement(pair: PreferencePair) -> tuple[object, str, str]:
    return same_prompt(pair.prompt), pair.chosen.strip(), pair.rejected.strip()


def _echoes(pair: PreferencePair) -> bool:
    said = (pair.prompt if isinstance(pair.prompt, str) else pair.prompt[-1][1]).strip()
    return len(said) >= SHORT and pair.chosen.lstrip().startswith(said) and pair.rejected.lstrip().startswith(said)
