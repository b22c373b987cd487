"""Budgets: whether there is room for the references and a search, and what of them there is no room for."""

from collections.abc import Iterator

from mva_ray.checks.subject import Finding, Purpose, Subject
from mva_ray.config.compare import TRAINED_METHODS
from mva_ray.config.document import Location
from mva_ray.search.references import lattice_size, least_candidates, most_references

MOST_OF_SURROGATE = 2_000
"""Its Gaussian processes take seconds a batch at 400 candidates and minutes at this many: cubic in time."""


def search_problems(subject: Subject) -> Iterator[Finding]:
    """Of the search, or of every method of a comparison that blends."""
    config, location, candidates = subject.config, ("search", "candidates"), subject.config.search.candidates
    if config.engine.openai and config.search.evaluators > 1:
        yield subject.problem(
            ("search", "evaluators"),
            "a server is asked by one process, so that its limits hold for the run: leave it out; "
            "engine.openai.concurrency says how many requests at a time",
        )
    if subject.purpose is Purpose.COMPARE:
        yield from _trained(subject)
        if TRAINED_METHODS.issuperset(config.compare.methods):
            return
        location, candidates = ("compare", "candidates"), config.compare.candidates
    yield from _budget(subject, location, candidates)
    if config.search.method == "surrogate" and candidates > MOST_OF_SURROGATE:
        yield subject.problem(
            location,
            f"the surrogate needs minutes for each of the last proposals of {candidates:,}: give at most "
            f"{MOST_OF_SURROGATE:,}, or another search.method, such as nsga2",
        )


def _budget(subject: Subject, location: Location, candidates: int) -> Iterator[Finding]:
    n_values, partitions = len(subject.config.values), subject.config.search.convex_partitions
    if candidates < (least := least_candidates(n_values)):
        yield subject.problem(
            location,
            f"the base model and {n_values} adapters alone are {n_values + 1} references, which may take half of the "
            f"budget: give at least {least} candidates, got {candidates}",
        )
        return
    wanted = 2 + lattice_size(n_values, partitions)
    if wanted > most_references(candidates) and "convex_partitions" in subject.config.search.model_fields_set:
        yield (
            f"search.convex_partitions: {partitions} asks for {wanted:,} references, and half of {candidates:,} "
            f"candidates is the search's: fewer mixes are evaluated; {'.'.join(map(str, location))}: {2 * wanted} has "
            "room for all of them"
        )


def _trained(subject: Subject) -> Iterator[Finding]:
    """DPO-LW and MODPO train a model for each preference, more of them with each value."""
    compare, n_values = subject.config.compare, len(subject.config.values)
    models = lattice_size(n_values, compare.weight_partitions)
    methods = [name for name in compare.methods if name in ("dpo_lw", "modpo")]
    if methods and models > compare.candidates:
        yield (
            f"compare.weight_partitions: {compare.weight_partitions} trains {models:,} models for each seed of "
            f"{' and '.join(methods)}: other methods are given {compare.candidates} candidates"
        )
