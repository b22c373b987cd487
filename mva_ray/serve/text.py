"""The text of an answer while its tokens come."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"
"""What a tokenizer shows of a character whose last bytes are still to come."""


class TextStream:
    """What may be shown of one answer so far: whole characters, and nothing that may yet be a stop string.

    Args:
        stops: strings before which the answer ends.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        self._ids: list[int] = []
        self._start = self._shown = 0
        self._held = ""
        self.stop: str | None = None

    def add(self, ids: Sequence[int], ended: bool) -> str:
        """The text that can be shown now, after these token ids, beyond what was before.

        Args:
            ended: whether they are the last.
        """
        if self.stop is not None:
            return ""
        self._ids += ids
        self._held += self._decoded(ended)
        if found := self._first_stop():
            at, self.stop = found
            text, self._held = self._held[:at], ""
            return text
        kept = 0 if ended else max((_overlap(self._held, stop) for stop in self._stops), default=0)
        text, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return text

    def _decoded(self, ended: bool) -> str:
        """Decoded with the tokens before, since some tokenizers drop the space that a text begins with."""
        before = self._decode(self._ids[self._start : self._shown])
        now = self._decode(self._ids[self._start :])
        if now.endswith(_UNFINISHED) and not ended:
            return ""
        self._start, self._shown = self._shown, len(self._ids)
        return now[len(before) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _first_stop(self) -> tuple[int, str] | None:
        found = [(self._held.find(stop), stop) for stop in self._stops]
        return min((entry for entry in found if entry[0] >= 0), default=None)


def _overlap(text: str, stop: str) -> int:
    """How many last characters of the text a stop string may begin with."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if stop.startswith(text[-length:])), 0)
