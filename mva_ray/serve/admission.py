"""How much is answered at once: what is more is told to come back, rather than to wait without an end."""

from collections.abc import Iterator
from contextlib import contextmanager

from mva_ray.serve.errors import Refused

WAITING_PER_ROW = 4
"""Answers that may wait for each row of the engine."""


class Admission:
    """Counts answers that are at work or wait.

    Args:
        most: of them at once.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    @contextmanager
    def take(self, answers: int) -> Iterator[None]:
        """
        Raises:
            Refused: there is no room now, or never for so many.
        """
        if answers > self.most:
            raise Refused(f"{answers} answers are asked for at once, this server takes {self.most}", "n")
        if self.taken + answers > self.most:
            raise Refused(f"{self.taken} of {self.most} answers are being given: try again in a moment", None, 429)
        self.taken += answers
        try:
            yield
        finally:
            self.taken -= answers
