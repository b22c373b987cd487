"""Which prompts a new candidate answers, where it does not answer all of them."""

import numpy as np


class Draws:
    """Draws prompts at random without replacement, and none again before all others have been drawn.

    So each candidate has a random sample of the split, and all prompts have as many answers, but for one. What is drawn
    depends on the seed and on how often it was drawn before alone.

    Args:
        n_prompts: of the whole split.
        size: of a draw; at most `n_prompts`.
        seed: of all draws.
    """

    def __init__(self, n_prompts: int, size: int, seed: int) -> None:
        self.n_prompts, self.size = n_prompts, size
        self._rng = np.random.default_rng(seed)
        self._deck: list[int] = []

    def next(self) -> tuple[int, ...]:
        """Places in the split, in ascending order."""
        if len(self._deck) < self.size:
            shuffled = self._rng.permutation(self.n_prompts).tolist()
            self._deck += sorted(shuffled, key=self._deck.__contains__)  # those that are left are not drawn twice
        drawn, self._deck = self._deck[: self.size], self._deck[self.size :]
        return tuple(sorted(drawn))
