"""The config's prompts, and how answers and samples are drawn: sections `prompts`, `generation` and `sampling`."""

from typing import Annotated, Self

from pydantic import model_validator

from mva_ray.config.fields import (
    MOST_TOKENS,
    Count,
    FilePath,
    Index,
    NonNegative,
    Positive,
    Section,
    Several,
    Text,
    at_most,
)

HOTTEST = at_most(100, "all tokens are equally likely long before")


class PromptFile(Section):
    """A JSONL, JSON, CSV or Parquet file with a column `prompt`; `count` takes the first rows only."""

    path: FilePath
    count: Several | None = None


class PromptSplits(Section):
    """Train makes pairs, search guides the search, held_out is seen by neither."""

    train: PromptFile
    search: PromptFile
    held_out: PromptFile


class GenerationSettings(Section):
    """How candidates answer: greedy, or sampled among the `top_k` likeliest tokens (0 for all) at a `temperature`.

    Random numbers depend on the run's seed and the prompt, so that candidates differ by what they are, not by luck.
    `batch_size` rows are answered at once; where it is not given, the engine finds what is fast (and fits, on a GPU).
    """

    max_new_tokens: Annotated[Count, MOST_TOKENS] = 40
    system_prompt: Text | None = None
    temperature: Annotated[NonNegative, HOTTEST] = 0.0
    top_k: Index = 0
    batch_size: Annotated[Count, at_most(65_536, "rows that are decoded at once")] | None = None

    @model_validator(mode="after")
    def _top_k_of_samples(self) -> Self:
        if self.top_k and not self.temperature:
            raise ValueError("top_k belongs to a temperature above 0; greedy answers take the likeliest token")
        return self


class Sampling(Section):
    """How preference pairs are sampled from the base model: among the `top_k` likeliest tokens, 0 for all."""

    completions_per_prompt: Annotated[Several, at_most(10_000, "each is an answer, and two of them make a pair")] = 4
    temperature: Annotated[Positive, HOTTEST] = 1.0
    top_k: Index = 50
