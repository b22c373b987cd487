"""The config's prompts, and how answers and samples are drawn: sections `prompts`, `generation` and `sampling`."""

from typing import Self

from pydantic import model_validator

from mva_ray.config.fields import Count, FilePath, Index, NonNegative, Positive, Section, Several, Text


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

    max_new_tokens: Count = 40
    system_prompt: Text | None = None
    temperature: NonNegative = 0.0
    top_k: Index = 0
    batch_size: Count | None = None

    @model_validator(mode="after")
    def _top_k_of_samples(self) -> Self:
        if self.top_k and not self.temperature:
            raise ValueError("top_k belongs to a temperature above 0; greedy answers take the likeliest token")
        return self


class Sampling(Section):
    """How preference pairs are sampled from the base model: among the `top_k` likeliest tokens, 0 for all."""

    completions_per_prompt: Several = 4
    temperature: Positive = 1.0
    top_k: Index = 50
