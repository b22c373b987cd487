"""All that is looked at before anything is computed: one table, whoever asks, so that what one refuses all refuse."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from mva_ray.adapters.fetch import known_directory
from mva_ray.checks.adapters import adapter_problems, fit_problems, other_bases
from mva_ray.checks.base_model import (
    architecture_problems,
    engine_problems,
    is_understood,
    rank_problems,
    target_problems,
    weight_problems,
    window_problems,
)
from mva_ray.checks.compare import compare_problems
from mva_ray.checks.data import hub_problems, pair_count_problems, pair_problems, prompt_problems
from mva_ray.checks.models import find_models
from mva_ray.checks.resources import resource_problems
from mva_ray.checks.rewards import Trials, classifier_problems
from mva_ray.checks.runs import run_dir_problems, warm_start_problems
from mva_ray.checks.search import search_problems
from mva_ray.checks.subject import Finding, Purpose, Subject
from mva_ray.checks.tokenizer import (
    is_readable,
    length_problems,
    template_problems,
    token_problems,
    tokenizer_problems,
)
from mva_ray.config import Draft, RunConfig, read_config
from mva_ray.config.document import Problem
from mva_ray.placement.needs import with_gpus


class Needs(Enum):
    """What has to be there for a check, in the order in which they are made."""

    FILE = "a YAML mapping"
    CONFIG = "a config without problems of its own"
    NOTHING_WRONG = "a config in which nothing was found until then"
    DIRECTORY = "the base model's directory"
    MODEL = "a base model whose config.json is understood"
    TOKENIZER = "its tokenizer, which can be read"


EVERYONE = frozenset(Purpose)
COMPUTING = frozenset({Purpose.EXPLORE, Purpose.COMPARE})
OFFLINE = frozenset({Purpose.DRY_RUN})


class Check(NamedTuple):
    """One thing that is looked at, what it needs, and for whom."""

    find: Callable[[Subject], Iterable[Finding]]
    needs: Needs
    network: bool = False
    purposes: frozenset[Purpose] = EVERYONE

    def is_for(self, purpose: Purpose) -> bool:
        return purpose in self.purposes and not (self.network and purpose in OFFLINE)


CHECKS = (
    Check(prompt_problems, Needs.FILE),
    Check(pair_problems, Needs.FILE),
    Check(hub_problems, Needs.FILE, network=True),
    Check(adapter_problems, Needs.FILE),
    Check(pair_count_problems, Needs.CONFIG),
    Check(compare_problems, Needs.CONFIG, purposes=frozenset({Purpose.COMPARE})),
    Check(search_problems, Needs.CONFIG),
    Check(warm_start_problems, Needs.CONFIG),
    Check(run_dir_problems, Needs.CONFIG),
    Check(classifier_problems, Needs.CONFIG),
    Check(resource_problems, Needs.CONFIG, purposes=EVERYONE - {Purpose.DRY_RUN}),
    Check(find_models, Needs.NOTHING_WRONG, network=True, purposes=COMPUTING),
    Check(architecture_problems, Needs.DIRECTORY),
    Check(weight_problems, Needs.DIRECTORY),
    Check(engine_problems, Needs.MODEL),
    Check(target_problems, Needs.MODEL),
    Check(window_problems, Needs.MODEL),
    Check(rank_problems, Needs.MODEL),
    Check(fit_problems, Needs.MODEL),
    Check(other_bases, Needs.MODEL),
    Check(tokenizer_problems, Needs.MODEL),
    Check(token_problems, Needs.TOKENIZER),
    Check(template_problems, Needs.TOKENIZER),
    Check(length_problems, Needs.TOKENIZER),
)
"""The dry run asks for resources itself, after its plan: that says how large a machine would have to be."""


@dataclass(frozen=True)
class Findings:
    """What is wrong with a config, besides what its draft says, and lines that its user should read."""

    draft: Draft
    problems: list[Problem]
    warnings: list[str]

    def finish(self) -> RunConfig:
        """The config.

        Raises:
            ConfigError: with every problem, in the order of the file.
        """
        return self.draft.finish(self.problems)


def check(config_path: Path, purpose: Purpose, run_dir: Path | str | None = None) -> tuple[RunConfig, list[str]]:
    """A config that is right for a purpose and says how many GPUs it asks for, and lines that its user should read.

    Args:
        config_path: a YAML file, see `RunConfig`.
        purpose: what it is wanted for; where that is to compute, its models are brought to this machine.
        run_dir: where the run will be, if that was said.

    Raises:
        ConfigError: with everything that is wrong with it, in the order of the file.
        RunError: the cluster that RAY_ADDRESS names cannot be joined.
    """
    subject = Subject(read_config(config_path), purpose, run_dir)
    found = examine(subject)
    config = found.finish()
    return (config if purpose is Purpose.DATA_CHECK else with_gpus(config, subject.capacity)), found.warnings


def examine(subject: Subject) -> Findings:
    """Make every check that can be made."""
    draft = subject.draft
    with Trials(subject) as trials:
        found = _look(subject, Needs.FILE)
        if draft.config is not None:
            found += _look(subject, Needs.CONFIG)
        found += trials.findings(refused=bool(draft.problems or _problems(found)))
    if draft.config is not None:
        if not _problems(found):
            found += _look(subject, Needs.NOTHING_WRONG)
        found += _look_at_base(replace(subject, base_directory=known_directory(draft.config.base_model)))
    return Findings(draft, _problems(found), [line for line in found if isinstance(line, str)])


def _look_at_base(subject: Subject) -> list[Finding]:
    if subject.base_directory is None:
        return []
    found = _look(subject, Needs.DIRECTORY)
    if is_understood(subject):
        found += _look(subject, Needs.MODEL)
        found += _look(subject, Needs.TOKENIZER) if is_readable(subject.base) else []
    return found


def _look(subject: Subject, needs: Needs) -> list[Finding]:
    wanted = (check for check in CHECKS if check.needs is needs and check.is_for(subject.purpose))
    return [finding for check in wanted for finding in check.find(subject)]


def _problems(found: Iterable[Finding]) -> list[Problem]:
    return [finding for finding in found if isinstance(finding, Problem)]
