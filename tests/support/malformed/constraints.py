"""Configs with one mistake each and the messages that they get: constraints."""

from tests.support.malformed.good import A_NAME, TAKEN

CONSTRAINTS = {
    "constraints that are a list": (
        "search:\n",
        "constraints: [base_nll]\nsearch:\n",
        "line 14, constraints: expected a mapping of names to min and max, got ['base_nll']",
    ),
    "constraint that is a number": (
        "search:\n",
        "constraints: {base_nll: 3.5}\nsearch:\n",
        "line 14, constraints.base_nll: expected a mapping with min, max, reward, got 3.5",
    ),
    "constraint without a bound": (
        "search:\n",
        "constraints:\n  base_nll: {}\nsearch:\n",
        "line 15, constraints.base_nll: give 'min', 'max' or both",
    ),
    "constraint of nothing": (
        "search:\n",
        "constraints:\n  base_nll:\nsearch:\n",
        "line 15, constraints.base_nll: expected a mapping with min, max, reward, got nothing",
    ),
    "constraint upside down": (
        "search:\n",
        "constraints:\n  tokens: {min: 40, max: 20}\nsearch:\n",
        "line 15, constraints.tokens: min (40) must be below max (20)",
    ),
    "constraint with a text": (
        "search:\n",
        "constraints:\n  tokens: {min: few}\nsearch:\n",
        "line 15, constraints.tokens.min: expected a number, got 'few'",
    ),
    "constraint that is infinite": (
        "search:\n",
        "constraints:\n  tokens: {max: .inf}\nsearch:\n",
        "line 15, constraints.tokens.max: expected a number, got inf",
    ),
    "constraint with a misspelt key": (
        "search:\n",
        "constraints:\n  tokens: {mx: 5}\nsearch:\n",
        "line 15, constraints.tokens.mx: unknown key; did you mean 'max'?",
    ),
    "constraint on a misspelt metric": (
        "search:\n",
        "constraints:\n  base_nl: {max: 3.5}\nsearch:\n",
        "line 15, constraints.base_nl: there is no metric and no value 'base_nl'; did you mean 'base_nll'?",
    ),
    "constraint on nothing of the run": (
        "search:\n",
        "constraints:\n  fluency: {min: 0.1}\nsearch:\n",
        "line 15, constraints.fluency: there is no metric and no value 'fluency'; a constraint is on a metric (tokens, "
        "truncated, repetition, distinct, base_nll), a value (warm, short) or brings a reward",
    ),
    "constraint whose name is a number": (
        "search:\n",
        "constraints:\n  7: {min: 0.1}\nsearch:\n",
        "line 15, constraints.7: expected a name, got 7",
    ),
    "constraint that a server cannot measure": (
        "search:\n",
        "constraints: {base_nll: {max: 3.5}}\n"
        "engine: {openai: {base_url: http://host/v1, model: tiny, adapters_dir: exports}}\nsearch:\n",
        "line 14, constraints.base_nll: only our own engine measures it: leave 'engine.openai' out",
    ),
    "constraint that brings the reward of a metric": (
        "search:\n",
        "constraints:\n  distinct: {min: 0.1, reward: mva_ray.rewards:plain}\nsearch:\n",
        "line 15, constraints.distinct: 'distinct' is a metric of the run already: leave 'reward' out, or choose "
        "another name",
    ),
    "constraint that brings the reward of a value": (
        "search:\n",
        "constraints:\n  warm: {min: 0.1, reward: mva_ray.rewards:plain}\nsearch:\n",
        "line 15, constraints.warm: 'warm' is a value of the run already: leave 'reward' out, or choose another name",
    ),
    "constraint under the name of a column": (
        "search:\n",
        "constraints:\n  seconds: {min: 0.1, reward: mva_ray.rewards:plain}\nsearch:\n",
        f"line 15, constraints.seconds: 'seconds' {TAKEN}",
    ),
    "constraint with a reward under a bad name": (
        "search:\n",
        "constraints:\n  Plain words: {min: 0.1, reward: mva_ray.rewards:plain}\nsearch:\n",
        f"line 15, constraints.Plain words: expected {A_NAME}, got 'Plain words'",
    ),
    "constraint with a misspelt reward": (
        "search:\n",
        "constraints:\n  plain: {min: 0.1, reward: mva_ray.rewards:plein}\nsearch:\n",
        "line 15, constraints.plain.reward: the module 'mva_ray.rewards' has no 'plein'; did you mean 'plain'?",
    ),
    "constraint with an empty reward": (
        "search:\n",
        "constraints:\n  plain: {min: 0.1, reward: {}}\nsearch:\n",
        "line 15, constraints.plain.reward: give exactly one of 'function' (package.module:function) and 'model' (id "
        "or directory)",
    ),
}
