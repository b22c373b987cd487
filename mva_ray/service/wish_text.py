"""Wishes as text: the options of the command line and the parameters of a URL."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mva_ray.errors import ConfigError
from mva_ray.service.wishes import NOTHING_SAID, WITHIN, Classes, Named, Preference, Preset, ReferencePoint, Wish

Parsed = tuple[dict[str, float | None], list[str]]
"""What a text says, and everything that is wrong with it."""


@dataclass(frozen=True)
class WishText:
    """One wish, as people type it; whatever is None was not said.

    Args:
        candidate: the name of a candidate, or its beginning.
        prefer: weights, such as `brief=0.7,thorough=0.3`.
        at: a reference point, such as `brief=-2.8,thorough=5`.
        start: the candidate one stands on; `improve`, `keep` and `allow` say what may happen from there.
        improve: values to raise, with or without the mean reward that would do: `brief` or `brief=-2.5`.
        keep: values that must not fall: `honest,polite`.
        allow: values that may fall, and to where: `thorough=4.5`.
        preset: `knee`, or `preset1` and so on.
        within: of presets, in percent.
    """

    candidate: str | None = None
    prefer: str | None = None
    at: str | None = None
    start: str | None = None
    improve: str | None = None
    keep: str | None = None
    allow: str | None = None
    preset: str | None = None
    within: float = WITHIN

    @property
    def options(self) -> list[str]:
        """The options that say a wish, as people typed them; of those about classes the first."""
        given = {
            "--candidate": (self.candidate,),
            "--prefer": (self.prefer,),
            "--at": (self.at,),
            "--from": (self.start, self.improve, self.keep, self.allow),
            "--preset": (self.preset,),
        }
        return [option for option, texts in given.items() if any(text is not None for text in texts)]

    def wish(self, values: Sequence[str]) -> Wish:
        """What the text says.

        Raises:
            ConfigError: not exactly one wish, or every problem of it at once, each with its option.
        """
        if not self.options:
            raise ConfigError("wish", ["needs --candidate, --prefer, --at, --from with --improve, or --preset"])
        if len(self.options) > 1:
            raise ConfigError("wish", [f"{' and '.join(self.options)} cannot go together: leave all but one out"])
        wish, problems = self._read(values)
        if not isinstance(wish, Named):
            found = [problem for problem in wish.problems(values) if not (problems and problem in NOTHING_SAID)]
            problems += [f"{self.options[0]}: {problem}" for problem in found]
        if problems:
            raise ConfigError("wish", problems)
        return wish

    def _read(self, values: Sequence[str]) -> tuple[Wish, list[str]]:
        if self.candidate is not None:
            return Named(self.candidate), []
        if self.preset is not None:
            return Preset(self.preset, self.within), []
        if self.prefer is not None:
            weights, problems = numbers(self.prefer, values, "--prefer", f"WEIGHT, such as {values[0]}=0.7")
            return Preference({value: weights.get(value) or 0.0 for value in values}), problems
        if self.at is not None:
            levels, problems = numbers(self.at, values, "--at", f"MEAN, such as {values[0]}=0.7")
            return ReferencePoint({value: level for value, level in levels.items() if level is not None}), problems
        return self._classes(values)

    def _classes(self, values: Sequence[str]) -> tuple[Wish, list[str]]:
        improve, problems = numbers(self.improve, values, "--improve", None)
        keep, wrong = numbers(self.keep, values, "--keep", None)
        allow, worse = numbers(self.allow, values, "--allow", f"MEAN, such as {values[0]}=0.7")
        problems += [*wrong, *worse]
        problems += [f"--keep: '{name}' takes no number" for name, level in keep.items() if level is not None]
        if self.start is None:
            problems.append("--improve, --keep and --allow: need --from CANDIDATE")
        floors = {value: level for value, level in allow.items() if level is not None}
        return Classes(self.start or "", improve, tuple(keep), floors), problems


def numbers(text: str | None, values: Sequence[str], option: str, number: str | None) -> Parsed:
    """Read `brief=0.7,thorough=0.3`; where `number` is None, also `brief,thorough`.

    Args:
        number: what stands behind the `=`, for people.
    """
    if text is None:
        return {}, []
    found: dict[str, float | None] = {}
    return found, [f"{option}: {problem}" for problem in _read_into(found, text, values, number)]


def _read_into(found: dict[str, float | None], text: str, values: Sequence[str], number: str | None) -> Iterator[str]:
    for item in text.split(","):
        name, equals, digits = (part.strip() for part in item.partition("="))
        if not equals and number is not None:
            yield f"'{name}' must be VALUE={number}"
        elif name not in values:
            yield f"'{name}' is not a value of this run; choose from {', '.join(values)}"
        elif name in found:
            yield f"'{name}' is given twice"
        else:
            try:
                found[name] = float(digits) if equals else None
            except ValueError:
                found[name] = None
                yield f"'{name}' must have a number, got '{digits}'"
