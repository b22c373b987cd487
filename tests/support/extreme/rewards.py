"""Rewards that can be imported and do not work."""

from pathlib import Path
from typing import Any

from tests.support.extreme.case import Case, Settings


def reward(
    body: str, signature: str = "prompts, completions, **kwargs", define: str = "def", top: str = "", **more: Any
) -> Case:
    """A function with this body, below what its module does at the top; `more` settings of the reward."""

    def change(directory: Path, settings: Settings) -> None:
        source = f"import itertools, os, signal, sys, time\n{top}\n\n{define} score({signature}):\n    {body}\n"
        name = f"extreme_reward_{abs(hash(source))}"
        (directory / f"{name}.py").write_text(source)
        (directory / "extreme_neighbour.py").write_text("number = 1.0\n")
        settings["values"][0]["reward"] = {"function": f"{name}:score", **more}

    return Case("values[0].reward", change)


FINE = "return [0.0] * len(completions)"

REWARDS: dict[str, Case] = {
    "texts alone": reward("return [0.0] * len(texts)", "texts"),
    "one text at a time": reward("return [0.0]", "prompt, completion"),
    "no further arguments": reward("return [0.0] * len(completions)", "completions"),
    "async": reward("return [0.0] * len(completions)", define="async def"),
    "nothing": reward("return None"),
    "one number": reward("return 1.0"),
    "a mapping": reward("return dict.fromkeys(completions, 1.0)"),
    "a text": reward("return '12'"),
    "a number too few": reward("return [0.0] * (len(completions) - 1)"),
    "a number too many": reward("return [0.0] * (len(completions) + 1)"),
    "numbers without end": reward("return itertools.count(0.5)"),
    "no numbers": reward("return ['good'] * len(completions)"),
    "None in place of numbers": reward("return [None] * len(completions)"),
    "not a number": reward("return [float('nan')] * len(completions)"),
    "infinite": reward("return [float('inf')] * len(completions)"),
    "an error": reward("raise ValueError('no luck')"),
    "an error on the second text": reward("return [1.0 if 'Paris' in text else 1 / 0 for text in completions]"),
    "an import inside": reward("import extreme_neighbour; return [extreme_neighbour.number] * len(completions)"),
    "an import of what is not there": reward("import no_such_library; return [0.0] * len(completions)"),
    "an exit": reward("sys.exit(3)"),
    "an exit without a word": reward("os._exit(3)"),
    "a crash": reward("os.kill(os.getpid(), signal.SIGSEGV)"),
    "a kill": reward("os.kill(os.getpid(), signal.SIGKILL)"),
    "a call without end": reward("time.sleep(1000)", timeout=2.0),
    "an import without end": reward(FINE, top="time.sleep(1000)", timeout=1.0),
    "an import that ends its process": reward(FINE, top="os._exit(0)"),
    "an import that fails at length": reward(FINE, top="raise RuntimeError('no luck\\n' * 1000)"),
    "an import without end, for a GPU": reward(FINE, top="time.sleep(1000)", timeout=1.0, resources={"num_gpus": 1}),
}
