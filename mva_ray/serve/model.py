"""The model that a server holds: prompts to tokens, and requests to rows of the engine. Not thread-safe."""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from transformers import AutoConfig

from mva_ray.adapters.architecture import positions
from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.adapters.ends import read_ends
from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.prompting import prompt_ids, text_ids
from mva_ray.evaluation.engine import Engine, Request, Row
from mva_ray.evaluation.local import load_engine
from mva_ray.evaluation.row_limit import rows_that_fit
from mva_ray.records import AdapterRef, Prompt, Turn
from mva_ray.serve.errors import Refused

MOST_ROWS, CONTEXT = 64, 4096
_SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True)
class Call:
    """Rows of one HTTP request."""

    rows: Sequence[Row]
    engine: Engine

    def is_done(self) -> bool:
        return all(row.done for row in self.rows)

    def result(self) -> Sequence[Row]:
        return self.rows

    def cancel(self) -> None:
        self.engine.cancel(self.rows)


class ServedModel:
    """A base model with all adapters of the runs that are served, and its tokenizer.

    Args:
        adapters: in the order of the coefficients of requests.
        context: most tokens of prompt and answer; None for as many as the model has positions, up to `CONTEXT`.
        rows: answered at once; None for `MOST_ROWS`, or as many as fit into half of the memory that is free.

    Raises:
        RunError: the model cannot be loaded, or our engine cannot follow it.
    """

    def __init__(
        self, base_model: str, adapters: Sequence[AdapterRef], context: int | None = None, rows: int | None = None
    ) -> None:
        directory = local_directory(base_model)
        self.tokenizer = load_tokenizer(base_model)
        self.ends = read_ends(directory, self.tokenizer)
        config = AutoConfig.from_pretrained(directory)
        longest = positions(config)
        self.context = min(context or CONTEXT, longest or CONTEXT)
        gpus = int(torch.cuda.is_available())
        if rows is None and not gpus:
            free = _SHARE_OF_MEMORY * psutil.virtual_memory().available
            rows = min(MOST_ROWS, rows_that_fit(int(free), config.get_text_config(), self.context, 4))
        self.rows = rows or MOST_ROWS
        self.vocabulary = config.get_text_config().vocab_size
        self._engine = load_engine(base_model, adapters, self.ends, self.context, rows, gpus)

    def begin(self, requests: Sequence[Request]) -> Call:
        return Call(self._engine.submit(requests), self._engine)

    def token_text(self, token: int) -> str:
        """One token as it reads alone."""
        return str(self.tokenizer.decode([token]))

    @property
    def busy(self) -> bool:
        return self._engine.busy

    def step(self) -> None:
        self._engine.step()

    def chat_ids(self, turns: Sequence[Turn], system_prompt: str | None) -> tuple[int, ...]:
        """Token ids of a conversation, as its prompts had them in training and search.

        Raises:
            Refused: the model's chat template does not take these turns.
        """
        one = len(turns) == 1 and turns[0][0] == "user"
        prompt: Prompt = turns[0][1] if one else tuple(turns)
        try:
            return tuple(prompt_ids(self.tokenizer, prompt, system_prompt))
        except Exception as error:  # templates raise what they like, in words meant for users
            raise Refused(f"the model's chat template does not take these messages: {error}", "messages") from error

    def text_ids(self, text: str) -> tuple[int, ...]:
        """Token ids of a text as it is, with what the tokenizer puts before a text."""
        return tuple(text_ids(self.tokenizer, text))
