"""Configs with one mistake each and the messages that they get: the penalty and the length of training."""

from tests.support.malformed.good import A_PENALTY

TRAINING = {
    "a penalty of no kind": (
        "search:\n",
        "training: {penalty: orthogonl}\nsearch:\n",
        "line 14, training.penalty: expected hsic, paper, orthogonal or none, got 'orthogonl'",
    ),
    "empty penalty": (
        "search:\n",
        "training: {penalty: }\nsearch:\n",
        f"line 14, training.penalty: expected {A_PENALTY}, got nothing",
    ),
    "penalty that is a number": (
        "search:\n",
        "training: {penalty: 7}\nsearch:\n",
        f"line 14, training.penalty: expected {A_PENALTY}, got 7",
    ),
    "penalty of a misspelt kind": (
        "search:\n",
        "training: {penalty: {kind: hsci}}\nsearch:\n",
        "line 14, training.penalty.kind: expected hsic, paper, orthogonal or none, got 'hsci'",
    ),
    "penalty with a misspelt key": (
        "search:\n",
        "training: {penalty: {knd: hsic}}\nsearch:\n",
        "line 14, training.penalty.knd: unknown key; did you mean 'kind'?",
    ),
    "penalty that rewards": (
        "search:\n",
        "training: {penalty: {weight: -1}}\nsearch:\n",
        "line 14, training.penalty.weight: expected a number >= 0, got -1",
    ),
    "bandwidth": (
        "search:\n",
        "training: {penalty: {kernel: rbf, sigma: mean}}\nsearch:\n",
        "line 14, training.penalty.sigma: expected a number > 0 or median, got 'mean'",
    ),
    "bandwidth of 0": (
        "search:\n",
        "training: {penalty: {kernel: rbf, sigma: 0}}\nsearch:\n",
        "line 14, training.penalty.sigma: expected a number > 0 or median, got 0",
    ),
    "kernel": (
        "search:\n",
        "training: {penalty: {kernel: cubic}}\nsearch:\n",
        "line 14, training.penalty.kernel: expected linear or rbf, got 'cubic'",
    ),
    "penalty on nothing known": (
        "search:\n",
        "training: {penalty: {on: lora_b}}\nsearch:\n",
        "line 14, training.penalty.on: expected lora_a or delta, got 'lora_b'",
    ),
    "too few rows": (
        "search:\n",
        "training: {penalty: {kernel: rbf, rows: 3}}\nsearch:\n",
        "line 14, training.penalty.rows: expected a whole number >= 4, got 3",
    ),
    "no weight": (
        "search:\n",
        "training: {penalty: {normalised: false}}\nsearch:\n",
        "line 14, training.penalty: weight is missing: HSIC that is not normalised depends on the model's scale",
    ),
    "settings of another kind": (
        "search:\n",
        "training: {penalty: {kind: paper, kernel: rbf, rows: 64}}\nsearch:\n",
        "line 14, training.penalty: kernel and rows would have no effect on paper: leave it out",
    ),
    "bandwidth without rbf": (
        "search:\n",
        "training: {penalty: {sigma: 1}}\nsearch:\n",
        "line 14, training.penalty: sigma would have no effect on hsic with kernel linear on delta: leave it out",
    ),
    "too low a rank for its rows to be samples": (
        "search:\n",
        "training: {penalty: {on: lora_a}, lora: {r: 2}}\nsearch:\n",
        "line 14, training: lora.r (2) must be at least 4 for HSIC on lora_a: its rows are the samples",
    ),
}
