"""The config section `values`: what to align with, and where preferences come from."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from mva_ray.config.document import Document, parsed
from mva_ray.config.fields import (
    A_DATA_FILE,
    Count,
    DataSet,
    FilePath,
    Interval,
    LoraDirectory,
    Name,
    NonNegative,
    Section,
    Share,
    Text,
    check_value_name,
)
from mva_ray.config.messages import explain
from mva_ray.config.reward import A_REWARD, RewardSettings
from mva_ray.errors import ConfigError


class PairSource(Section):
    """Preference pairs of a file (`path`) or of a data set on the hub. Formats and options: docs/data.md.

    A text in place of the mapping is the path. `limit` takes the first pairs only; more bad rows than
    `max_bad_share` of all rows are an error, as many or fewer are left out.
    """

    path: FilePath | None = None
    hub: DataSet | None = None
    config: Text | None = None
    data_dir: Text | None = None
    split: Text = "train"
    revision: Text | None = None
    format: Annotated[
        Literal["auto", "pairs", "dialogues", "safe_rlhf", "scores"],
        Field(description="one of auto, pairs, dialogues, safe_rlhf, scores"),
    ] = "auto"
    preference: Annotated[Literal["better", "safer"], Field(description="one of better, safer")] | None = None
    attribute: Text | None = None
    min_difference: NonNegative = 0.0
    limit: Count | None = None
    max_bad_share: Share = 0.0

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, source: Any) -> Any:
        return {"path": source} if isinstance(source, str) else source

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of 'path' (a file) and 'hub' (a data set, org/name)")
        return self

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        fitting = {
            **dict.fromkeys(
                ("config", "data_dir", "split", "revision"), (self.hub is not None, "a data set of the hub")
            ),
            "preference": (self.format in ("auto", "safe_rlhf"), "format safe_rlhf"),
            "attribute": (self.format in ("auto", "scores") and not self.preference, "format scores"),
            "min_difference": (self.attribute is not None, "an attribute"),
        }
        for option in sorted(self.model_fields_set & fitting.keys()):
            fits, owner = fitting[option]
            if not fits:
                raise ValueError(f"{option} belongs to {owner}")
        return self

    @property
    def name(self) -> str:
        """The file or the data set, as messages call it."""
        part = (self.config, self.data_dir, self.split)
        return self.path or f"{self.hub} ({', '.join(filter(None, part))})"


def pair_source(text: str) -> PairSource:
    """A source as it stands after `pairs:` in a config: a path, or a mapping in one line.

    Raises:
        ConfigError: with every problem of it.
    """
    written = text.lstrip().startswith("{")
    document = parsed(text, text) if written else Document({"path": text}, {("path",): 1}, [])
    try:
        return PairSource.model_validate(document.data, context={"directory": Path.cwd()})
    except ValidationError as error:
        raise ConfigError(text, [problem.text for problem in explain(error, PairSource, document)]) from None


class Value(Section):
    """One human value: its reward, and its preference pairs, the margin to make them with, or a finished adapter.

    An `adapter` counts as trained before all others: it is blended as it is, and they are penalised against it.
    `bounds` are the search interval of its coefficient; the lower one may be negative, the upper above 1.
    """

    name: Annotated[Name, AfterValidator(check_value_name)]
    reward: Annotated[RewardSettings, Field(description=A_REWARD)]
    pairs: Annotated[PairSource, Field(description=f"{A_DATA_FILE} or a mapping with path or hub")] | None = None
    adapter: LoraDirectory | None = None
    margin: NonNegative = 0.0
    bounds: Interval | None = None

    @model_validator(mode="after")
    def _train_or_bring(self) -> Self:
        given = [key for key in ("pairs", "margin") if key in self.model_fields_set]
        if self.adapter is not None and given:
            raise ValueError(f"{' and '.join(given)} would train an adapter, and 'adapter' brings one: keep one")
        return self
