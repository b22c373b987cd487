"""One candidate of a run, to take home: an adapter or a model, with a card that says what it is."""

from typing import Literal

Form = Literal["adapter", "compressed", "merged"]
