"""Trade-offs, differences and history as text for people, or as JSON."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mva_ray.service.diff import Diff, PromptDifference
from mva_ray.service.estimate import Estimate
from mva_ray.service.history import History
from mva_ray.service.render import SPLIT_TITLES
from mva_ray.service.steps import Point, Steps
from mva_ray.service.tradeoffs import Member, Step, Tradeoffs

TextOrJson = Literal["table", "json"]
Facts = Tradeoffs | Diff | History | Steps


def show(found: Facts, output_format: TextOrJson, stdout: TextIO) -> None:
    """Write what was found, as a table or as one JSON object with the fields of its class."""
    if output_format == "json":
        stdout.write(json.dumps(asdict(found), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return
    writers: dict[type, Callable[[Any, Console], None]] = {
        Tradeoffs: _show_tradeoffs,
        Diff: _show_diff,
        History: _show_history,
        Steps: _show_steps,
    }
    writers[type(found)](found, Console(file=stdout, highlight=False))


def _show_tradeoffs(found: Tradeoffs, console: Console) -> None:
    _say(console, f"Pareto front on {found.n_prompts} {SPLIT_TITLES[found.split]}", bold=True)
    _say(console, "P: how often it is on the front when the prompts are drawn anew (paired bootstrap)")
    table = _table("candidate", *found.values, "P", "cannot be told apart from")
    for member in found.members:
        style = None if member.on_front else "dim"
        table.add_row(*_member(member), style=style)
    console.print(table)
    if off := [member.candidate for member in found.members if not member.on_front]:
        _say(console, f"off the front, but on it on some prompts: {', '.join(off)}")
    if found.left_out:
        _say(console, f"{found.left_out} more candidates are near enough and were not drawn")
    for step in found.steps:
        _say(console, _step(step))


def _member(member: Member) -> list[str]:
    means = [f"{mean:.3f}" for mean in member.means.values()]
    return [member.candidate, *means, f"{member.probability:.2f}", ", ".join(member.alike)]


def _step(step: Step) -> str:
    """`a -> b: 1 of brief costs 2.3 of thorough (95 %: 1.8 to 2.9)`, or what else is known of them."""
    head = f"{step.start} -> {step.to}: "
    if not step.told_apart:
        head += "cannot be told apart; "
    if step.rates:
        return head + ", ".join(
            f"1 of {rate.gained} costs {rate.cost.estimate:.2f} of {rate.lost} ({_interval(rate.cost, 2)})"
            for rate in step.rates
        )
    return head + ", ".join(f"{value} {_signed(moved)}" for value, moved in step.differences.items())


def _show_diff(found: Diff, console: Console) -> None:
    title = SPLIT_TITLES[found.split]
    _say(console, f"{found.first} and {found.second} on {found.n_prompts} {title}", bold=True)
    table = _table("value", found.first, found.second, "difference", "95 %", "p")
    for value, moved in found.values.items():
        numbers = [f"{moved.first:.3f}", f"{moved.second:.3f}", f"{moved.difference.estimate:+.3f}"]
        style = None if moved.difference.holds_zero else "bold"
        table.add_row(value, *numbers, _interval(moved.difference).removeprefix("95 %: "), _p(moved.p), style=style)
    console.print(table)
    if found.same:
        _say(console, f"{found.same} of {found.n_prompts} prompts are answered alike, word for word")
    if found.prompts:
        _say(console, f"\nWhere they differ most ({len(found.prompts)} of {found.n_prompts - found.same})", bold=True)
        console.print(_side_by_side(found))


def _side_by_side(found: Diff) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 1, 0), pad_edge=False, show_edge=False)
    for name in ("prompt", found.first, found.second):
        table.add_column(name, ratio=1, overflow="fold")
    for prompt in found.prompts:
        table.add_row(_harmless(prompt.prompt), _answer(prompt, 0, found), _answer(prompt, 1, found))
    return table


def _answer(prompt: PromptDifference, side: int, found: Diff) -> Text:
    """What was said, and below it the rewards."""
    said = _harmless((prompt.first, prompt.second)[side] or "(nothing)")
    rewards = (prompt.first_rewards, prompt.second_rewards)[side]
    numbers = ", ".join(f"{value} {rewards[value]:.3g}" for value in found.values)
    return Text.assemble(said, "\n", (numbers, "italic"))


def _harmless(text: str) -> Text:
    """A model's text without what would steer a terminal."""
    return Text(
        "".join(letter if letter in "\n\t" or letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    )


def _show_steps(found: Steps, console: Console) -> None:
    title = f"Step {len(found.taken) + 1} of {len(found.taken) + found.left}" if found.left else "The end of the way"
    _say(console, f"{title}, on the {SPLIT_TITLES[found.split]}", bold=True)
    table = _table("towards", *found.values, *(f"best {value}" for value in found.values), "in reach")
    table.add_row("(you are here)", *_numbers(found.here), style="bold")
    for point in found.offered:
        table.add_row(point.towards, *_numbers(point))
    console.print(table)
    if found.chosen:
        _say(console, f"you have arrived at {found.chosen}")
    else:
        before = "".join(f"{name}," for name in found.taken)
        _say(console, f"whichever you take, nothing gets worse: --towards {before}CANDIDATE, of these or any in reach")


def _numbers(point: Point) -> list[str]:
    numbers = [*point.means.values(), *point.best.values()]
    return [*(f"{number:.3f}" for number in numbers), str(len(point.reachable))]


def _show_history(found: History, console: Console) -> None:
    _say(console, f"What each evaluation brought on the {SPLIT_TITLES[found.split]}", bold=True)
    _say(console, "hypervolume: of the box between the worst and the best mean reward of every value")
    table = _table("evaluations", "answers", "candidate", "front", "hypervolume")
    joined = [moment for moment in found.moments if moment.joined]
    for moment in [*joined, *(last for last in found.moments[-1:] if not last.joined)]:
        volume = "-" if moment.hypervolume is None else f"{moment.hypervolume:.3f}"
        table.add_row(
            str(moment.evaluations),
            f"{moment.answers:,}",
            moment.candidate,
            str(moment.front),
            volume,
        )
    console.print(table)
    _say(console, f"{len(joined)} of {len(found.moments)} evaluations came onto the front when they were made")


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in headings:
        words = heading in ("candidate", "value", "cannot be told apart from")
        table.add_column(heading, justify="left" if words else "right", overflow="fold")
    return table


def _say(console: Console, text: str, bold: bool = False) -> None:
    console.print(text, style="bold" if bold else None, markup=False, soft_wrap=True)


def _signed(moved: Estimate) -> str:
    return f"{moved.estimate:+.3f} ({_interval(moved)})"


def _interval(moved: Estimate, digits: int = 3) -> str:
    low, high = ("unbounded" if side is None else f"{side:.{digits}f}" for side in (moved.low, moved.high))
    return "95 %: anything" if low == high == "unbounded" else f"95 %: {low} to {high}"


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"
