"""Seeded faults in real explorations, each carried to its end and judged against an undisturbed one.

python -m benchmarks.chaos --local --faults 40 --output docs/results/chaos.json
python -m benchmarks.chaos --hosts path/to/hosts --env path/to/venv --faults 10 --output docs/results/chaos_hosts.json

Kind, moment and victim of each fault are drawn from the seed (`draw.py`); what a run lost or did twice is read from its
table and from what its own processes wrote down (`judge.py`, `journal/`).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol

from benchmarks.chaos.draw import Exploration, Fault, draw
from benchmarks.chaos.judge import Journal, Strike, Verdict, judge
from benchmarks.chaos.work import stages, write_work

PATIENCE_S = 900
POLL_S = 0.05
MOST_DRIVERS = 12
INTERRUPTED = "interrupted: what was computed is kept, and the same command goes on from here"
ASKED = ("sigterm", "ctrl_c", "cancel")
"""Faults that ask a driver to end."""


class Driver(Protocol):
    def ended(self) -> int | None: ...

    def output(self) -> str: ...

    def stop(self) -> None: ...


class Place(Protocol):
    """Where one exploration runs, and is disturbed."""

    journal: Path
    run: str
    codes: Mapping[str, int]

    def start(self) -> Driver: ...

    def strike(self, fault: Fault, driver: Any) -> Strike | None: ...

    def mend(self) -> None: ...

    def close(self) -> None: ...


MakePlace = Callable[[Path, Path], Place]


@dataclass(frozen=True)
class Outcome:
    """Of one exploration: the faults that struck, what of them was not as it should be, and the verdict."""

    exploration: Exploration
    strikes: Sequence[Strike]
    missed: Sequence[Fault]
    deviations: Sequence[str]
    verdict: Verdict | None
    seconds: float


class Disturbed:
    """An exploration that is struck by its faults and carried to its end.

    Args:
        place: where it runs.
        totals: answers (and training steps) of each stage of the undisturbed run.
    """

    def __init__(self, exploration: Exploration, place: Place, totals: dict[str, int]) -> None:
        self._exploration, self._place, self._totals = exploration, place, totals
        self._journal = Journal(place.journal)
        self._stages = stages()
        self.strikes: list[Strike] = []
        self.missed: list[Fault] = []
        self.deviations: list[str] = []
        self._drivers = 0

    def to_the_end(self, undisturbed: str) -> Outcome:
        began = time.monotonic()
        self._start()
        for fault in self._exploration.faults:
            self._until(fault)
            self._strike(fault)
        verdict = judge(self._journal, self.strikes, self._place.run, undisturbed) if self._finishes() else None
        seconds = time.monotonic() - began
        return Outcome(self._exploration, self.strikes, self.missed, self.deviations, verdict, seconds)

    def _start(self) -> None:
        self._drivers += 1
        self._driver = self._place.start()

    def _until(self, fault: Fault) -> None:
        """Wait for the moment of the fault; a driver that ends before without need is a deviation and goes on."""
        wanted = 1 + int(fault.share * self._totals[fault.stage])
        deadline = time.monotonic() + PATIENCE_S
        while self._reached(fault.stage) < wanted and time.monotonic() < deadline:
            if self._driver.ended() is not None and not self._goes_on_by_need():
                return
            time.sleep(POLL_S)
        time.sleep(fault.delay)

    def _strike(self, fault: Fault) -> None:
        strike = self._struck(fault)
        if strike is None:
            self.missed.append(fault)
            return
        self.strikes.append(strike)
        if fault.ends_driver:
            self._ended_by(fault, strike)

    def _struck(self, fault: Fault) -> Strike | None:
        """Let it happen; a victim that has not begun, such as a trial, is waited for as long as the stage lasts."""
        while self._driver.ended() is None:
            strike = self._place.strike(fault, self._driver)
            if strike or self._reached(fault.stage) >= self._totals[fault.stage]:
                return strike
            time.sleep(POLL_S)
        return None

    def _reached(self, stage: str) -> int:
        return self._journal.reached(self._stages)[stage]

    def _ended_by(self, fault: Fault, strike: Strike) -> None:
        code = self._wait()
        if code == 0:
            return  # it was past the need of what was ended
        expected = self._place.codes.get(fault.kind, 1)
        if code != expected:
            self._deviates(f"{fault.kind}: exit code {code}, expected {expected}: {last_line(self._driver)}")
        if fault.kind != "driver" and "Traceback" in self._driver.output():
            self._deviates(f"{fault.kind}: a traceback, see {last_line(self._driver)}")
        if fault.kind in ASKED and INTERRUPTED not in self._driver.output():
            self._deviates(f"{fault.kind}: does not say how to go on: {last_line(self._driver)}")
        self._place.mend()
        strike.after = time.time()
        self._start()

    def _goes_on_by_need(self) -> bool:
        """Start a driver in place of one that should have survived; False where it had come to its end."""
        if self._driver.ended() == 0:
            return False
        self._deviates(f"ended without need, code {self._driver.ended()}: {last_line(self._driver)}")
        if self._drivers >= MOST_DRIVERS:
            return False
        if self.strikes:
            self.strikes[-1].after, self.strikes[-1].everything = time.time(), True
        self._place.mend()
        self._start()
        return True

    def _finishes(self) -> bool:
        while self._wait() != 0:
            if not self._goes_on_by_need():
                return False
        return True

    def _wait(self) -> int:
        deadline = time.monotonic() + PATIENCE_S
        while (code := self._driver.ended()) is None:
            if time.monotonic() > deadline:
                self._deviates(f"stands still: {last_line(self._driver)}")
                self._driver.stop()
            time.sleep(POLL_S)
        return code

    def _deviates(self, what: str) -> None:
        self.deviations.append(what)


def last_line(driver: Driver) -> str:
    lines = [line.strip() for line in driver.output().replace("\r", "\n").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def explorations(options: argparse.Namespace, directory: Path, places: Mapping[str, MakePlace]) -> Iterator[Outcome]:
    """Explorations until enough faults have struck; undisturbed ones that are there already are not repeated.

    Args:
        places: kinds of places, and how each is made in a directory for a config.
    """
    from benchmarks.chaos.local import Local

    configs = write_work(directory / "work")
    undisturbed: dict[bool, tuple[str, dict[str, int]]] = {}
    struck, number = 0, options.first
    while struck < options.faults:
        exploration = draw(options.seed, number, sorted(places), options.per_run, options.kinds)
        config, number = configs[exploration.answers], number + 1
        if exploration.answers not in undisturbed:
            calm = Local(_made(directory / f"undisturbed-{config.stem}"), config)
            undisturbed[exploration.answers] = run_undisturbed(calm)
        place = places[exploration.place](_made(directory / f"{exploration.place}-{exploration.number}"), config)
        run, totals = undisturbed[exploration.answers]
        try:
            outcome = Disturbed(exploration, place, totals).to_the_end(run)
        finally:
            place.close()
        struck += len(outcome.strikes)
        yield outcome


def run_undisturbed(place: Place) -> tuple[str, dict[str, int]]:
    """Explore to the end; the run, and how many answers and training steps each stage has."""
    driver = place.start()
    while (code := driver.ended()) is None:
        time.sleep(POLL_S)
    if code:
        sys.exit(f"the undisturbed run ends with {code}:\n{driver.output()}")
    totals = Journal(place.journal).reached(stages())
    print(f"undisturbed: {dict(totals)}", flush=True)
    return place.run, dict(totals)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def shown(outcome: Outcome) -> str:
    """A few lines on one exploration."""
    head = f"{outcome.exploration.number:3} {outcome.exploration.place:5}"
    head += f" {'answers' if outcome.exploration.answers else 'plain':7} {outcome.seconds:4.0f} s  "
    clean = outcome.verdict is not None and outcome.verdict.is_clean and not outcome.deviations
    lines = [head + ("clean" if clean else f"NOT CLEAN: {outcome.verdict} {list(outcome.deviations)}")]
    for strike in outcome.strikes:
        fault = strike.fault
        moment = f"{fault.stage:9} {fault.share:4.0%} {fault.kind:12}"
        lines.append(f"      {moment} {strike.victim}, {len(strike.in_flight)} in flight")
    return "\n".join(lines + [f"      missed: {fault.stage} {fault.kind}" for fault in outcome.missed])


def written(outcome: Outcome) -> dict[str, Any]:
    """As it stands in the results."""
    struck = [asdict(s.fault) | {"victim": s.victim, "in_flight": len(s.in_flight)} for s in outcome.strikes]
    return {
        "number": outcome.exploration.number,
        "place": outcome.exploration.place,
        "answers": outcome.exploration.answers,
        "seconds": round(outcome.seconds),
        "faults": struck,
        "missed": [asdict(fault) for fault in outcome.missed],
        "deviations": list(outcome.deviations),
        "verdict": asdict(outcome.verdict) if outcome.verdict else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--local", action="store_true", help="on this machine")
    where.add_argument("--hosts", type=Path, help="the program that makes hosts")
    parser.add_argument("--env", type=Path, help="with --hosts: a virtual environment with ray[default]")
    parser.add_argument("--bind", type=Path, action="append", default=[], help="with --hosts: what that builds upon")
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--per-run", type=int, default=3, help="faults that strike one exploration")
    parser.add_argument("--kinds", nargs="+", help="of faults, see draw.py; all unless given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first exploration")
    parser.add_argument("--output", type=Path, required=True, help="JSON, written after each exploration")
    parser.add_argument("--directory", type=Path, help="to work in; a new one unless given")
    options = parser.parse_args()
    directory = options.directory or Path(mkdtemp(prefix="chaos-"))
    if options.local:
        from benchmarks.chaos.local import InStore, OnDisk

        write(options, explorations(options, directory, {"disk": OnDisk, "s3": InStore}))
        return
    from benchmarks.chaos.hosts import Hosts, OnHosts

    with Hosts(options.hosts, options.env, options.bind, directory) as hosts:
        write(options, explorations(options, directory, {"hosts": partial(OnHosts, hosts)}))


def write(options: argparse.Namespace, outcomes: Iterator[Outcome]) -> None:
    done: list[dict[str, Any]] = []
    drawn = {"seed": options.seed, "faults of each": options.per_run}
    drawn |= {"kinds": options.kinds} if options.kinds else {}
    for outcome in outcomes:
        print(shown(outcome), flush=True)
        done.append(written(outcome))
        options.output.write_text(json.dumps(drawn | {"explorations": done}, indent=1) + "\n")


if __name__ == "__main__":
    main()
