"""Configs with one mistake each and the messages that they get: bounds and names of values."""

from tests.support.malformed.good import A_NAME, TAKEN

VALUES = {
    # Bounds
    "bounds upside down": (
        "bounds: [-0.5, 2]",
        "bounds: [2, -0.5]",
        "line 13, values[1].bounds: the lower bound 2 must be below the upper bound -0.5",
    ),
    "empty bounds": (
        "candidates: 16",
        "bounds: [1, 1]",
        "line 15, search.bounds: the lower bound 1 must be below the upper bound 1",
    ),
    "one bound": ("[-0.5, 2]", "[2]", "line 13, values[1].bounds: expected [lower, upper], two numbers, got [2]"),
    "three bounds": (
        "[-0.5, 2]",
        "[0, 1, 2]",
        "line 13, values[1].bounds: expected [lower, upper], two numbers, got [0, 1, 2]",
    ),
    "bounds of texts": (
        "[-0.5, 2]",
        "[low, '2']",
        "line 13, values[1].bounds: expected [lower, upper], two numbers, got ['low', '2']",
    ),
    "infinite bounds": (
        "[-0.5, 2]",
        "[0, .inf]",
        "line 13, values[1].bounds: expected [lower, upper], two numbers, got [0, inf]",
    ),
    # Names of values
    "two values with one name": (
        "name: short",
        "name: warm",
        "line 10, values[1].name: values[0] is called 'warm' too; give each value its own name",
    ),
    "name of a column": ("name: short", "name: split", f"line 10, values[1].name: 'split' {TAKEN}"),
    "name of a coefficient": ("name: short", "name: w_short", f"line 10, values[1].name: 'w_short' {TAKEN}"),
    "name of a standard error": ("name: short", "name: short_se", f"line 10, values[1].name: 'short_se' {TAKEN}"),
    "name with a hyphen": (
        "name: short",
        "name: not-long",
        f"line 10, values[1].name: expected {A_NAME}, got 'not-long'",
    ),
}
