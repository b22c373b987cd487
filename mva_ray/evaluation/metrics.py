"""What is measured of a completion besides its rewards: signs that extrapolation has broken a model.

`tokens`, `truncated`, `repetition` and `distinct` come from the text alone. `base_nll` does not: the engine computes
it, as the mean negative log-likelihood of a completion's tokens under the base model, in nats a token, lower where the
base model might have said it. Its end token counts, so that an empty completion has one too.
"""

import re
from collections.abc import Hashable, Sequence

from mva_ray.records import Generation

N_GRAM = 4
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
"""A word, a character of a script that writes no spaces (Chinese, Japanese), or a punctuation mark."""


def text_metrics(generation: Generation) -> dict[str, float]:
    """The metrics of one completion that need no model; means of them over prompts are a candidate's.

    `tokens`: its length without the end token. `truncated`: 1 where the token limit cut it off, else 0. `repetition`
    and `distinct`: of its words and punctuation marks, whatever the tokenizer.
    """
    words = WORD.findall(generation.completion)
    return {
        "tokens": float(generation.tokens),
        "truncated": float(generation.truncated),
        "repetition": repetition(words),
        "distinct": distinct(words),
    }


def repetition(words: Sequence[Hashable], n: int = N_GRAM) -> float:
    """The share of n-grams that repeat an earlier one, 0 to 1; 0 for fewer than n words, which repeat nothing.

    seq-rep-n of Welleck et al., "Neural Text Generation with Unlikelihood Training" (ICLR 2020), equation 10:
    1 - distinct n-grams / n-grams; they report n = 4.
    """
    grams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct(words: Sequence[Hashable]) -> float:
    """The share of words that are new in the completion, 0 to 1; 0 for an empty one, which says nothing.

    distinct-1 of Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models" (NAACL 2016),
    of one completion: distinct words / words. It falls with length also in good text.
    """
    return len(set(words)) / len(words) if words else 0.0
