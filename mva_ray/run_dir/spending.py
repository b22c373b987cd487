"""What a run has cost: by phase as its directory keeps it, answers by the rows of its table, and money by prices."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mva_ray.errors import DamagedFile
from mva_ray.records import NOTHING_SPENT, Evaluation, Spent
from mva_ray.run_dir.store import File

HOUR = 3600.0
PAIRS, TRAINING, EVALUATIONS = "preference pairs", "training", "evaluations"


@dataclass(frozen=True)
class Prices:
    """Money for an hour of a GPU, an hour of a CPU and a million tokens of answers; the currency is the user's."""

    gpu_hour: float = 0.0
    cpu_hour: float = 0.0
    million_tokens: float = 0.0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Prices | None":
        """Those of a config, as `plan.json` has it; None where it has none, as those of earlier versions."""
        found = settings.get("prices")
        return cls(**found) if found else None

    def cost(self, spent: Spent) -> float:
        """In money."""
        hours = self.gpu_hour * spent.gpu_seconds + self.cpu_hour * spent.cpu_seconds
        return hours / HOUR + self.million_tokens * spent.tokens / 1e6


@dataclass(frozen=True)
class Spending:
    """What a run has cost so far, of all its starts and all its settings.

    Args:
        phases: what each has reserved, and the answers that it generated.
        candidates: how many rows of the table were paid for.
        shares: what these rows have cost: of `phases`, the part that is a candidate's own.
        prices: None where the config has none.
    """

    phases: Mapping[str, Spent]
    candidates: int = 0
    shares: Spent = NOTHING_SPENT
    prices: Prices | None = None

    def at(self, phases: Mapping[str, Spent]) -> "Spending":
        """With the phases as they are now, and the same rows."""
        own = phases.get(EVALUATIONS, NOTHING_SPENT)
        evaluations = Spent(self.shares.answers, self.shares.tokens, own.gpu_seconds, own.cpu_seconds)
        found = {**phases, EVALUATIONS: evaluations} if evaluations != NOTHING_SPENT else phases
        return replace(self, phases=found)

    @property
    def total(self) -> Spent:
        return sum(self.phases.values(), NOTHING_SPENT)

    @property
    def each(self) -> Spent:
        """What a candidate has cost on average: its own part, without what evaluators do not do for one."""
        return self.shares.times(1 / self.candidates) if self.candidates else NOTHING_SPENT

    def text(self, spent: Spent) -> str:
        """`1,234 answers, 56,789 tokens, 1.25 GPU hours, 3.10 in money`, without what there is none of."""
        return ", ".join(_parts(spent, self.prices))

    def used(self, limit: str) -> float:
        """Of a limit of the config's `budget`, in what that counts."""
        return used(limit, self.total, self.prices)

    def lines(self, limits: Mapping[str, float]) -> dict[str, str]:
        """What people read of it: in total, for a candidate, and of each limit."""
        lines = {"spent": self.text(self.total)}
        if self.candidates:
            lines["a candidate"] = f"{self.text(self.each)}, on average of {self.candidates}"
        if limits:
            shown = (f"{name} {amount(name, self.used(name))} of {amount(name, most)}" for name, most in limits.items())
            lines["budget"] = ", ".join(shown)
        return lines


def spending(rows: Sequence[Evaluation], phases: Mapping[str, Spent], settings: Mapping[str, Any]) -> Spending:
    """What a run has cost.

    Args:
        rows: of its table, of every context; the answers of the evaluations are theirs.
        phases: what each phase has reserved, and the answers of the others.
        settings: with `prices`, as of a config.
    """
    paid = [row for row in rows if row.spent.answers]
    shares = sum((row.spent for row in paid), NOTHING_SPENT)
    found = Spending({}, len({row.candidate for row in paid}), shares, Prices.of(settings))
    return found.at(phases)


def used(limit: str, spent: Spent, prices: Prices | None) -> float:
    """What was spent in what a limit of the config's `budget` counts: `answers`, `gpu_hours` or `cost`."""
    if limit == "cost":
        return prices.cost(spent) if prices else 0.0
    return spent.answers if limit == "answers" else spent.gpu_seconds / HOUR


def amount(limit: str, number: float) -> str:
    """As people read it."""
    return f"{number:,.0f}" if limit == "answers" else f"{number:,.2f}"


def read_phases(file: File) -> dict[str, Spent]:
    """What each phase has reserved, and its answers where the table does not keep these.

    Raises:
        DamagedFile: the file is none that `write_phases` wrote.
    """
    known = {each.name for each in fields(Spent)}
    try:
        content = {phase: dict(spent) for phase, spent in (file.read_object() or {}).items()}
        if not all(part.keys() <= known and all(map(_is_number, part.values())) for part in content.values()):
            raise ValueError("no numbers of a phase")
    except (TypeError, ValueError) as error:
        raise DamagedFile(file.place, f"it does not say what phases have cost ({error})") from error
    return {phase: Spent(**spent) for phase, spent in content.items()}


def write_phases(file: File, phases: Mapping[str, Spent]) -> None:
    file.write_json({phase: _kept(spent) for phase, spent in phases.items()})


def _kept(spent: Spent) -> dict[str, float]:
    return {name: round(number, 1) for name, number in asdict(spent).items() if number}


def _is_number(number: object) -> bool:
    return isinstance(number, int | float) and number >= 0


def _parts(spent: Spent, prices: Prices | None) -> Iterator[str]:
    yield f"{spent.answers:,.0f} answers, {spent.tokens:,.0f} tokens"
    for seconds, kind in ((spent.gpu_seconds, "GPU"), (spent.cpu_seconds, "CPU")):
        if seconds:
            yield f"{seconds / HOUR:,.2f} {kind} hours" if seconds >= HOUR / 10 else f"{seconds:,.1f} {kind} seconds"
    if prices:
        yield f"{prices.cost(spent):,.4g} in money"


def ended_by(search: File) -> str | None:
    """Why a search ended before all its candidates were evaluated, as its note says; None where it did not."""
    try:
        said = (search.read_object() or {}).get("ended_by")
    except DamagedFile:  # the search is proposed again, and the file replaced
        return None
    return str(said) if said else None
