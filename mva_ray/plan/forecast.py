"""What a run would do: everything that can be checked offline, and the work of each stage, without computing any."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

from mva_ray.adapters.fetch import known_directory
from mva_ray.adapters.model_size import ModelSize, model_size
from mva_ray.adapters.prompting import completion_ids, prompt_ids
from mva_ray.adapters.tokenizer_file import has_tokenizer, read_tokenizer
from mva_ray.checks.check import check
from mva_ray.checks.subject import Purpose
from mva_ray.config import RunConfig
from mva_ray.config.training import Training
from mva_ray.config.values import Value
from mva_ray.constraints import is_measured
from mva_ray.data.files import split_prompts
from mva_ray.data.source import read_pairs
from mva_ray.evaluation.evaluate import hash_prompts
from mva_ray.plan.keys import make_plan
from mva_ray.records import SPLITS, Evaluation, PreferencePair, Prompt
from mva_ray.run_dir.layout import TABLE, RunDirectory
from mva_ray.run_dir.spending import Spending, read_phases, spending

TOKENS_A_WORD = 4 / 3
"""Where there is no tokenizer: English prose has about three words in four tokens."""

T = TypeVar("T")

MEASURED_ROWS = 256
"""Texts that are tokenised of each kind, spread evenly over all."""


class Lengths(NamedTuple):
    """Tokens of a kind of text: of how many texts, on average and at most."""

    number: int
    mean: float
    longest: int


@dataclass(frozen=True)
class Stage:
    """One line of the plan: its key (None where the models are not here to derive it), what is there, what is to do."""

    name: str
    key: str | None
    state: str
    work: str


class Forecast:
    """What a run of a config would do in a directory, as far as it can be known without computing."""

    def __init__(self, config: RunConfig, run_dir: Path | str) -> None:
        self.config = config
        self._directory = RunDirectory(run_dir)
        self.run_dir = self._directory.place
        self.base = known_directory(config.base_model)
        self.plan = make_plan(config) if self._can_plan() else None
        self._count_prompt, self._count_completion = _counters(config, self.base)

    @cached_property
    def size(self) -> ModelSize | None:
        """None where the base model's config.json is not on this machine."""
        return model_size(self.base) if self.base else None

    @property
    def measured(self) -> bool:
        """Whether tokens come from the model's own tokenizer."""
        return self.base is not None and has_tokenizer(self.base)

    @cached_property
    def prompts(self) -> dict[str, Lengths]:
        """Prompts of every split, in the chat template where it is known."""
        return {split: _lengths(split_prompts(self.config.prompts, split), self._count_prompt) for split in SPLITS}

    @cached_property
    def pairs(self) -> dict[str, Lengths]:
        """Pairs of each value that is trained: the prompt and both completions, as training packs them in one row.

        Of pairs that are yet to be sampled, the most there can be; none of data sets of the hub, which are not read.
        """
        return {
            value.name: self._pairs(value) for value in self.config.values if not value.adapter and not _on_hub(value)
        }

    @property
    def longest_pair(self) -> int:
        """Tokens of the longest pair; the most that max_length allows where some pairs are not known."""
        longest = [lengths.longest for lengths in self.pairs.values()]
        longest += [2 * self.config.training.max_length for value in self.config.values if _on_hub(value)]
        return max(longest, default=0)

    def training(self, value: Value) -> Training:
        """The training of a value whose pairs are known, `epochs` as steps."""
        return self.config.training.for_pairs(self.pairs[value.name].number)

    @property
    def sampled(self) -> int:
        """Answers sampled from the base model for preference pairs."""
        sampling = self.config.sampling.completions_per_prompt
        return self.prompts["train"].number * sampling * bool(self.config.sampled_values)

    @property
    def answers(self) -> dict[str, int]:
        """Greedy answers of each judging split, at most: the front may be all that answered all search prompts.

        Base model and single adapters are scored on the held-out ones besides.
        """
        search, prompts = self.config.search, {split: lengths.number for split, lengths in self.prompts.items()}
        searched = search.answers or search.candidates * prompts["search"]
        most, singles = searched // prompts["search"], len(self.config.values) + 1
        first = search.candidates * search.prompts_each(prompts["search"])
        new = max(0, searched - first) // prompts["search"]  # that answer all from the start
        held_out = max(singles, min(search.candidates + new, most + singles))
        return {"search": searched, "held_out": held_out * prompts["held_out"]}

    @cached_property
    def spending(self) -> Spending:
        """What was spent in this directory so far."""
        settings = self.config.model_dump(include={"prices"})
        return spending(self._rows(), read_phases(self._directory.spent), settings)

    def _rows(self) -> list[Evaluation]:
        if not self._directory.store.names(TABLE):
            return []
        from mva_ray.table import ParetoTable  # takes a second, and there may be none

        return ParetoTable(self.run_dir).evaluations()

    def stages(self) -> list[Stage]:
        """Every stage, in the order of a run."""
        return [*self._sampling(), *self._adapters(), *(self._evaluations(split) for split in self.answers)]

    def _can_plan(self) -> bool:
        rewards = [reward.model for reward in self.config.rewards.values() if reward.model]
        if any(map(_on_hub, self.config.values)):
            return False
        has_weights = self.base is not None and any(self.base.glob("*.safetensors"))
        return has_weights and all(known_directory(model) for model in rewards)

    def _pairs(self, value: Value) -> Lengths:
        if value.pairs:
            return _lengths(read_pairs(value.pairs), self._packed)
        prompts, new = self.prompts["train"], self.config.generation.max_new_tokens
        limit = self.config.training.max_length
        mean, longest = (prompt + 2 * max(0, min(new, limit - prompt)) for prompt in (prompts.mean, prompts.longest))
        return Lengths(prompts.number, mean, round(longest))

    def _packed(self, pair: PreferencePair) -> int:
        """The prompt once and both completions, each cut where it reaches max_length with its prompt."""
        prompt = self._count_prompt(pair.prompt)
        room = max(0, self.config.training.max_length - prompt)
        return prompt + sum(min(room, self._count_completion(text)) for text in (pair.chosen, pair.rejected))

    def _sampling(self) -> Iterator[Stage]:
        config = self.config
        if self.sampled:
            key = self.plan.samples if self.plan else None
            done = self._directory.samples(key).n_prompts if key else 0
            state = _state(key, done, self.prompts["train"].number)
            yield Stage("samples", key, state, f"{self.sampled:,} answers, {self._generated(self.sampled)}")
        for value in config.values:
            key = self.plan.pairs.get(value.name) if self.plan else None
            count = self.pairs[value.name].number if value.name in self.pairs else 0
            if value.pairs:
                work = f"read from {value.pairs.name}" if _on_hub(value) else f"{count:,} pairs"
                yield Stage(f"pairs '{value.name}'", key, "given", work)
            elif not value.adapter:
                there = key is not None and self._directory.pairs(value.name, key).read() is not None
                yield Stage(
                    f"pairs '{value.name}'",
                    key,
                    _state(key, there),
                    f"at most {count:,} pairs, best against worst",
                )

    def _adapters(self) -> Iterator[Stage]:
        for value in self.config.training_order:
            key = self.plan.adapters[value.name] if self.plan else None
            if value.adapter:
                yield Stage(f"adapter '{value.name}'", key, "given", f"copied from {value.adapter}")
            else:
                there = key is not None and self._directory.adapter(value.name, key).exists()
                yield Stage(f"adapter '{value.name}'", key, _state(key, there), self._training_work(value))

    def _training_work(self, value: Value) -> str:
        if _on_hub(value):
            wanted = self.config.training
            length = f"{wanted.epochs:g} epochs" if wanted.epochs else f"{wanted.steps:,} steps"
            return f"{length} in steps of {wanted.pairs_per_step} pairs"
        training, pairs = self.training(value), self.pairs[value.name]
        used = training.steps * training.pairs_per_step
        epochs = used / pairs.number if pairs.number else 0
        bound = "" if value.pairs else "at least " if self.config.training.epochs is None else "at most "
        return (
            f"{training.steps:,} steps of {training.pairs_per_step} pairs, {bound}{epochs:.2g} epochs, "
            f"about {used * pairs.mean:,.0f} tokens"
        )

    def _evaluations(self, split: str) -> Stage:
        answers, size = self.answers[split], self.prompts[split].number
        wanted, on = answers // size, f"on {size} prompts"
        if split == "search" and self.config.search.answers:
            wanted = self.config.search.candidates
            few = self.config.search.prompts_each(size)
            on = f"on {few} of {size} prompts each, the best of them and of others on all"
        most = "at most " if split == "held_out" or self.config.search.answers else ""
        return Stage(
            "search" if split == "search" else "held-out front",
            self.plan.context if self.plan else None,
            _state(self.plan and self.plan.context, self._kept(split), wanted),
            f"{most}{wanted:,} candidates {on}: {answers:,} answers, {self._generated(answers)}",
        )

    def _kept(self, split: str) -> int:
        """Candidates of the table that need no repeating."""
        if self.plan is None or not self._directory.store.names(TABLE):
            return 0
        from mva_ray.table import ParetoTable

        rows = ParetoTable(self.run_dir).evaluations(self.plan.context, split)
        now = hash_prompts(self.plan.prompts[split])
        done = (row for row in rows if row.status != "failed" and is_measured(row, self.plan.constraints))
        return len({row.candidate for row in done if row.prompts_hash == now})

    def _generated(self, answers: int) -> str:
        return f"at most {answers * self.config.generation.max_new_tokens:,} tokens"


def make_forecast(config_path: Path, run_dir: Path | str | None) -> tuple[Forecast, list[str]]:
    """Check a config whole and forecast its run; warnings come beside it.

    Raises:
        ConfigError: with every problem that can be found offline.
    """
    config, warnings = check(config_path, Purpose.DRY_RUN, run_dir)
    forecast = Forecast(config, run_dir or config.own_run)
    return forecast, warnings


def _counters(config: RunConfig, base: Path | None) -> tuple[Callable[[Prompt], int], Callable[[str], int]]:
    """Tokens of a prompt and of an answer: by the model's tokenizer where it is here, else by words."""
    if base is None or not has_tokenizer(base):
        return _by_words, _by_words
    tokenizer, system_prompt = read_tokenizer(base), config.generation.system_prompt
    return (
        lambda prompt: len(prompt_ids(tokenizer, prompt, system_prompt)),
        lambda answer: len(completion_ids(tokenizer, answer, end=None)) + 1,
    )


def _by_words(text: Prompt) -> int:
    turns = [text] if isinstance(text, str) else [turn for _, turn in text]
    return round(TOKENS_A_WORD * sum(len(turn.split()) for turn in turns))


def _lengths(rows: Sequence[T], count: Callable[[T], int]) -> Lengths:
    spread = rows[:: max(1, len(rows) // MEASURED_ROWS)]
    tokens = [count(row) for row in spread]
    return Lengths(len(rows), sum(tokens) / max(1, len(tokens)), max(tokens, default=0))


def _on_hub(value: Value) -> bool:
    return value.pairs is not None and value.pairs.hub is not None


def _state(key: object, done: int, wanted: int = 1) -> str:
    if key is None:
        return "unknown"
    return "new" if not done else "kept" if done >= wanted else f"{done} of {wanted} kept"
