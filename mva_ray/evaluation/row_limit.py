"""How many rows are decoded at once: given, or found while decoding."""

import logging
from statistics import median
from typing import Any

log = logging.getLogger(__name__)
FIRST, MOST = 64, 512
_STEPS, _WORTH_IT = 8, 0.95
_SHARE_OF_MEMORY = 0.8


class RowLimit:
    """A number of rows that stays, or one that doubles as long as a token then takes less time.

    Args:
        given: the number to keep; None to find it.
        most: never more than this, such as what fits into the memory of a GPU.
    """

    def __init__(self, given: int | None = None, most: int = MOST) -> None:
        self.rows = given or min(FIRST, most)
        self._most = most
        self._settled = given is not None
        self._seconds: list[float] = []
        self._best: tuple[float, int] | None = None

    def observe(self, rows: int, seconds: float) -> None:
        """What a decoding step of so many rows took; only full ones say something about the limit."""
        if self._settled or rows < self.rows:
            return
        self._seconds.append(seconds)
        if len(self._seconds) == _STEPS:
            self._judge(median(self._seconds) / self.rows)

    def _judge(self, seconds_a_token: float) -> None:
        if self._best is None or seconds_a_token < _WORTH_IT * self._best[0]:
            self._best = seconds_a_token, self.rows
            self._settled = 2 * self.rows > self._most
            self.rows *= 1 if self._settled else 2
        else:
            self.rows = self._best[1]
            self._settled = True
        self._seconds = []

    def halve(self) -> None:
        """Memory ran out: half as many from now on, and no search for more."""
        self.rows, self._settled = max(1, self.rows // 2), True
        log.warning("out of memory: from now on %d rows at once", self.rows)


def rows_that_fit(free_bytes: int, config: Any, length: int, bytes_a_number: int) -> int:
    """Rows whose keys, values and logits fill most of the free memory; 1 at least.

    Args:
        config: of a causal LM of transformers.
        length: tokens a row, prompt and answer.
        bytes_a_number: of the model's precision.
    """
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = 2 * config.num_hidden_layers * heads * width * length * bytes_a_number
    logits = 2 * 4 * config.vocab_size
    return max(1, min(MOST, int(_SHARE_OF_MEMORY * free_bytes / (cache + logits))))
