"""Configs with one mistake each and the messages that they get: coefficients and runs to start from."""

from tests.support.malformed.good import GOOD

SEARCH = {
    # Coefficients
    "unknown coefficients": (
        "candidates: 16",
        "coefficients: per_layer",
        "line 15, search.coefficients: expected per_value or per_value_and_block, got 'per_layer'",
    ),
    "one block": (
        "candidates: 16",
        "coefficients: per_value_and_block\n  blocks: 1",
        "line 16, search.blocks: expected a whole number >= 2, got 1",
    ),
    "blocks without their coefficients": (
        "candidates: 16",
        "blocks: 2",
        "line 14, search: blocks belongs to coefficients: per_value_and_block",
    ),
    "blocks of one coefficient": (
        "candidates: 16",
        "coefficients: per_value\n  blocks: 2",
        "line 14, search: blocks belongs to coefficients: per_value_and_block",
    ),
    "value under the name of a coefficient": (
        GOOD,
        GOOD.replace("name: short", "name: warm_block2") + "  coefficients: per_value_and_block\n",
        "line 10, values[1].name: 'warm_block2' is the name of a coefficient of 'warm', one for each block; choose "
        "another name",
    ),
    # Budget
    "money without prices": (
        "search:\n",
        "budget: {cost: 5}\nsearch:\n",
        "budget.cost needs prices: give gpu_hour, cpu_hour or million_tokens",
    ),
    "a plan beyond the budget": (
        "search:\n",
        "budget: {answers: 400}\nsearch:\n  answers: 401\n",
        "search.answers plans for 401 answers, and budget.answers ends the search before as many (400): give "
        "search.answers less, with room for samples and the held-out front",
        "line 16, search.answers: 16 candidates that answer all 2 search prompts need 32: leave it out",
    ),
    "a budget of nothing": (
        "search:\n",
        "budget: {gpu_hours: 0}\nsearch:\n",
        "line 14, budget.gpu_hours: expected a number > 0, got 0",
    ),
    # Warm start
    "warm start that is a text": (
        "search:\n",
        "warm_start: runs/earlier\nsearch:\n",
        "line 14, warm_start: expected a list of run directories, got 'runs/earlier'",
    ),
    "warm start with a number": (
        "search:\n",
        "warm_start: [7]\nsearch:\n",
        "line 14, warm_start: expected a list of run directories, got [7]",
    ),
    "warm start from nowhere": (
        "search:\n",
        "warm_start: [runs/earlier]\nsearch:\n",
        "line 14, warm_start[0]: DIR/runs/earlier is no run directory: there is no such directory",
    ),
    "warm start from no run": (
        "search:\n",
        "warm_start: [model]\nsearch:\n",
        "line 14, warm_start[0]: DIR/model is no run directory: it has no run.json",
    ),
}
