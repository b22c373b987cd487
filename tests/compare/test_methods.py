"""What each method trains: the losses' weights and margins, the stages, and which adapters methods share."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mva_ray.adapters.hashes import delta_hash
from mva_ray.compare.methods import METHODS, Ingredients, seed_of
from mva_ray.config.training import Training
from mva_ray.errors import RunError
from mva_ray.records import PreferencePair
from tests.support.tiny import make_llama, random_adapter

VALUES = ("helpful", "harmless", "honest")


def ingredients(n_values: int = 2, consistency: float = 0.0) -> Ingredients:
    """Six pairs of the first value, four of each other; gaps of the first value's pairs disagree on the last two."""
    values = VALUES[:n_values]
    pairs = {
        value: tuple(PreferencePair(f"{value} {n}?", "Yes.", "No.") for n in range(4 if place else 6))
        for place, value in enumerate(values)
    }
    gaps = {value: np.ones((len(of_value), n_values)) for value, of_value in pairs.items()}
    gaps[values[0]][4:, 1:] = -3.0
    lattice: dict[int, list[tuple[float, ...]]] = {
        2: [(1.0, 0.0), (0.75, 0.25), (0.5, 0.5), (0.0, 1.0)],
        3: [(1.0, 0.0, 0.0), (0.25, 0.25, 0.5)],
    }
    return Ingredients(pairs, gaps, Training(steps=10, beta=0.1), 5, lattice[n_values], consistency)


def test_methods_share_the_adapters_that_are_the_same() -> None:
    """The first value's adapter is the same for all: there is nothing before it to be kept apart from."""
    made = {name: METHODS[name].make(ingredients()) for name in METHODS}
    plain = made["soup"].adapters
    assert made["mva_no_hsic"].adapters == plain
    assert made["mva"].adapters == made["mva_no_extrapolation"].adapters
    for name in ("mva", "mva_paper", "mva_orthogonal"):
        assert made[name].adapters[0].key == plain[0].key
        assert made[name].adapters[1].key != plain[1].key
        assert made[name].adapters[1].earlier == plain[:1]
    kinds = {made[name].adapters[1].training.penalty.kind for name in ("mva", "mva_paper", "mva_orthogonal", "soup")}
    assert kinds == {"hsic", "paper", "orthogonal", "none"}
    assert [made["dpo_lw"].models[place].recipe.key for place in (0, 3)] == [recipe.key for recipe in plain]
    assert made["dpo_seqt"].models[0].recipe.start == plain[0]


@pytest.mark.parametrize("name", METHODS)
def test_reward_gaps_are_scored_for_those_methods_alone_that_are_made_by_them(name: str) -> None:
    """Scoring every pair of every value costs more than training on some of them."""
    without = replace(ingredients(), gaps={})
    if METHODS[name].by_gaps:
        with pytest.raises(KeyError):
            METHODS[name].make(without)
    else:
        assert METHODS[name].make(without) == METHODS[name].make(ingredients())


def test_a_brought_adapter_is_as_it_is_in_every_method_and_counts_as_trained_first(tmp_path: Path) -> None:
    """The second of three values brings one: the first is penalised against it too."""
    mine = random_adapter(tmp_path / "mine", make_llama(tmp_path / "model"), seed=1, r=4, alpha=8)
    of = ingredients(3)
    with_own = replace(of, pairs={**of.pairs, "harmless": ()}, brought={"harmless": mine})
    helpful, harmless, honest = METHODS["mva"].make(with_own).adapters
    assert (harmless.brought, harmless.pairs, harmless.key) == (mine, (), delta_hash(mine)[:12])
    assert helpful.earlier == (harmless,)
    assert honest.earlier == (harmless, helpful)
    assert METHODS["soup"].make(with_own).adapters[1].key == harmless.key
    seeds = [recipe.seed for recipe in (helpful, honest)]
    assert seeds == [recipe.seed for recipe in METHODS["mva"].make(of).adapters[::2]], "as without it"


def test_a_key_hashes_all_that_an_adapter_depends_on() -> None:
    recipe = METHODS["mva"].make(ingredients()).adapters[1]
    others = [
        replace(recipe, seed=9),
        replace(recipe, pairs=recipe.pairs[:-1]),
        replace(recipe, pairs=(replace(recipe.pairs[0], margin=0.1), *recipe.pairs[1:])),
        replace(recipe, training=recipe.training.model_copy(update={"steps": 11})),
        replace(recipe, earlier=()),
        replace(recipe, earlier=(replace(recipe.earlier[0], seed=9),)),
        replace(recipe, start=recipe.earlier[0]),
    ]
    assert len({recipe.key, *(other.key for other in others)}) == 1 + len(others)
    assert replace(recipe, name="other").key == recipe.key


def test_dpo_lw_weighs_each_value_whatever_the_size_of_its_set() -> None:
    """Drawn evenly from the pool of 10, a value's expected loss has its preference weight: sum w_i n_i / 10."""
    recipe = METHODS["dpo_lw"].make(ingredients()).models[1].recipe
    weights = [pair.weight for pair in recipe.pairs]
    assert weights == pytest.approx([0.75 * 10 / 6] * 6 + [0.25 * 10 / 4] * 4)
    assert (sum(weights[:6]) / 10, sum(weights[6:]) / 10) == pytest.approx((0.75, 0.25))
    assert recipe.training.steps == 20, "as many steps for each value as its own adapter has"


def test_modpo_trains_on_the_value_wanted_most_with_the_rest_as_margin() -> None:
    """w = (0.75, 0.25), gaps of the other value 1 and -3: margins 0.25 / 0.75 and -1, beta 0.1 / 0.75."""
    recipe = METHODS["modpo"].make(ingredients()).models[1].recipe
    assert [pair.margin for pair in recipe.pairs] == pytest.approx([1 / 3] * 4 + [-1.0] * 2)
    assert recipe.training.beta == pytest.approx(0.1 / 0.75)
    of_three = METHODS["modpo"].make(ingredients(3)).models[1].recipe
    assert of_three.pairs[0].prompt == "honest 0?"
    assert of_three.pairs[0].margin == pytest.approx((0.25 + 0.25) / 0.5)


def test_dpo_seqt_has_every_rotation_of_the_order() -> None:
    method = METHODS["dpo_seqt"].make(ingredients(3))
    assert [model.label for model in method.models] == [
        "helpful then harmless then honest",
        "harmless then honest then helpful",
        "honest then helpful then harmless",
    ]
    last = method.models[1].recipe
    assert [stage.pairs[0].prompt for stage in last.needed()] == ["harmless 0?", "honest 0?", "helpful 0?"]


def test_vc_soup_keeps_the_pairs_whose_values_agree() -> None:
    adapters = METHODS["vc_soup"].make(ingredients(consistency=0.9)).adapters
    assert [len(recipe.pairs) for recipe in adapters] == [4, 4]
    assert [len(recipe.pairs) for recipe in METHODS["vc_soup"].make(ingredients(consistency=-1.0)).adapters] == [6, 4]


def test_vc_soup_says_when_too_few_pairs_agree() -> None:
    few = ingredients(consistency=0.9)
    few.gaps["helpful"][:] = [1.0, -1.0]
    with pytest.raises(RunError, match=r"^0 of 6 pairs of 'helpful' have a consistency of at least 0\.9, fewer than"):
        METHODS["vc_soup"].make(few)


def test_no_two_values_of_any_seeds_start_alike() -> None:
    seeds = [seed_of(seed, place) for seed in range(200) for place in range(5)]
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) < 2**32
