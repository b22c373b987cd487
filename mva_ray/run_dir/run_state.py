"""What a run directory currently holds: which rows of its table belong together."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from mva_ray.constraints import Limit, Limits
from mva_ray.errors import ConfigError, DamagedFile
from mva_ray.records import coefficient_names
from mva_ray.run_dir.layout import STATE_FILE, RunDirectory

HINT = "give the directory that mva_ray.explore printed"


@dataclass(frozen=True)
class RunState:
    """The current context of a run, kept as `run.json` beside the table.

    Args:
        name: the name of the config.
        values: the values in the order of the config; columns keep this order.
        context: the `Evaluation.context` of the rows that are current.
        prompts: the current `Evaluation.prompts_hash` of each split.
        constraints: what a candidate has to keep to be feasible.
        blocks: of layers that have a coefficient of their own; 1 where there is one coefficient a value.
    """

    name: str
    values: tuple[str, ...]
    context: str
    prompts: dict[str, str]
    constraints: Limits = field(default_factory=dict)
    blocks: int = 1

    @property
    def coefficients(self) -> dict[str, tuple[str, ...]]:
        """The names of each value's coefficients, in the order of the columns."""
        return coefficient_names(self.values, self.blocks)

    def save(self, run_dir: Path | str) -> None:
        """Replace `run_dir/run.json` atomically; a reader sees the old state or the new one, never half."""
        RunDirectory(run_dir).state.write_json(asdict(self))

    @classmethod
    def load(cls, run_dir: Path | str) -> Self:
        """Read `run_dir/run.json`.

        Raises:
            ConfigError: there is no such file, or it is not one that `save` wrote.
        """
        try:
            content = RunDirectory(run_dir).state.read_object()
            if content is None:
                raise ConfigError(str(run_dir), [f"not a run directory: {STATE_FILE} is missing; {HINT}"])
            return cls(
                name=content["name"],
                values=tuple(content["values"]),
                context=content["context"],
                prompts=dict(content["prompts"]),
                constraints={name: Limit(**limit) for name, limit in content.get("constraints", {}).items()},
                blocks=int(content.get("blocks", 1)),
            )
        except (DamagedFile, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{STATE_FILE} cannot be read ({type(error).__name__}: {error}); {HINT}"
            raise ConfigError(str(run_dir), [problem]) from error
