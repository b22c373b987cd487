"""How long a question to the Pareto table takes, cold and warm, at tables of several sizes.

python benchmarks/queries.py --output docs/results/queries.json

Tables are synthetic: two values, a noisy concave front, every evaluation with 40 texts of its own. Cold is a new
process (`mva-ray pareto`, the files in the system's cache), warm the same question to a process that has asked before;
both with the CPU's time, which other work on the machine disturbs less. `bytes_read` is what the first question reads.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from mva_ray.run_dir.run_state import RunState
from mva_ray.service.diff import diff
from mva_ray.service.query import Query, ask
from mva_ray.service.tradeoffs import tradeoffs
from mva_ray.service.wishes import Classes, Preference, ReferencePoint
from mva_ray.table.schema import SCHEMA
from mva_ray.table.snapshot import forget, snapshot

VALUES = ("brief", "thorough")
TEXTS = 40
START = datetime(2026, 1, 1, tzinfo=UTC)
WORDS, VOCABULARY = 25, 4000


def make_table(run: Path, evaluations: int, commit: int, words: int = WORDS) -> None:
    """A run with so many evaluations, `commit` of them in each Delta commit."""
    RunState("synthetic", VALUES, "now", {"search": "search-prompts"}).save(run)
    random = np.random.default_rng(0)
    for first in range(0, evaluations, commit):
        rows = _rows(random, first, min(commit, evaluations - first), words)
        write_deltalake(run / "table", rows, mode="append")


def _rows(random: np.random.Generator, first: int, n: int, words: int) -> pa.Table:
    w = random.uniform(-0.5, 1.5, size=(n, 2)).round(4)
    angle = random.uniform(0, np.pi / 2, size=n)
    means = np.stack([np.cos(angle), np.sin(angle)], axis=1) * random.uniform(0.3, 1, size=(n, 1)) ** 0.25
    rewards = means[:, None] + random.normal(scale=0.3, size=(n, TEXTS, 2))
    of_row = {
        "candidate": [f"{first + row:08x}" for row in range(n)],
        "context": ["now"] * n,
        "split": ["search"] * n,
        "prompts_hash": ["search-prompts"] * n,
        "coefficients": _maps(w),
        "status": ["ok"] * n,
        "reward_mean": _maps(rewards.mean(axis=1)),
        "reward_se": _maps(rewards.std(axis=1, ddof=1) / TEXTS**0.5),
        "n_prompts": [TEXTS] * n,
        "metrics": [[("tokens", 30.0), ("truncated", 0.1), ("repetition", 0.0), ("distinct", 0.9)]] * n,
        "base_model": ["org/synthetic 0123456789ab"] * n,
        "generator": ["0123456789abcdef"] * n,
        "adapters": [[(value, "ab" * 32) for value in VALUES]] * n,
        "rewards": [[(value, f"package.module:{value}@1.0") for value in VALUES]] * n,
        "seed": [0] * n,
        "seconds": [1.0] * n,
        "created_at": [START + timedelta(milliseconds=first + row) for row in range(n)],
        "failure": [None] * n,
        "error": [None] * n,
    }
    columns = [pa.array(of_row[name], SCHEMA.field(name).type) for name in SCHEMA.names[:-1]]
    return pa.Table.from_arrays([*columns, _generations(random, rewards, words)], schema=SCHEMA)


def _maps(numbers: Any) -> list[list[tuple[str, float]]]:
    return [list(zip(VALUES, row, strict=True)) for row in numbers.tolist()]


def _generations(random: np.random.Generator, rewards: Any, length: int) -> pa.Array:
    n = rewards.shape[0] * TEXTS
    kind = SCHEMA.field("generations").type
    struct = kind.value_type
    words = pa.array([f"word{number:x}" for number in range(VOCABULARY)])
    picked = random.integers(0, VOCABULARY, size=(n, length))
    said = pc.binary_join_element_wise(*(words.take(pa.array(column)) for column in picked.T), " ")
    parts = {
        "prompt": pa.array([f"What is question number {number} about?" for number in range(TEXTS)] * rewards.shape[0]),
        "completion": said,
        "tokens": pa.array(np.full(n, 30, dtype=np.int32)),
        "truncated": pa.array(np.zeros(n, dtype=bool)),
        "rewards": pa.MapArray.from_arrays(
            pa.array(np.arange(0, 2 * n + 1, 2, dtype=np.int32)), pa.array(list(VALUES) * n), pa.array(rewards.ravel())
        ),
        "metrics": pa.MapArray.from_arrays(
            pa.array(np.zeros(n + 1, dtype=np.int32)), pa.array([], pa.string()), pa.array([], pa.float64())
        ),
        "ids": pa.ListArray.from_arrays(
            pa.array(np.arange(0, 30 * n + 1, 30, dtype=np.int32)),
            pa.array(random.integers(0, 50_000, size=30 * n, dtype=np.int32)),
        ),
    }
    flat = pa.StructArray.from_arrays([parts[field.name] for field in struct], fields=list(struct))
    return pa.ListArray.from_arrays(pa.array(np.arange(0, n + 1, TEXTS, dtype=np.int32)), flat, type=kind)


def cold(run: Path, *options: str, rounds: int = 3) -> dict[str, float]:
    """Wall and CPU seconds of `mva-ray pareto` in a process of its own, the least of some rounds."""
    command = [sys.executable, "-m", "mva_ray", "pareto", str(run), "--limit", "5", *options]
    found = []
    for _ in range(rounds):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append((wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return {"wall_s": round(min(wall for wall, _ in found), 3), "cpu_s": round(min(cpu for _, cpu in found), 3)}


def bytes_read(ask_once: Callable[[], object]) -> int:
    """What this process reads meanwhile, through the system's cache or not."""

    def so_far() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = so_far()
    ask_once()
    return so_far() - before


def timed(ask_once: Callable[[], object], rounds: int) -> dict[str, float]:
    """Milliseconds: the median of the wall's time, and the least of this process's CPU time."""
    walls, cpus = [], []
    for _ in range(rounds):
        start, cpu = time.perf_counter(), time.process_time()
        ask_once()
        walls.append(1000 * (time.perf_counter() - start))
        cpus.append(1000 * (time.process_time() - cpu))
    return {"wall": round(statistics.median(walls), 2), "cpu": round(min(cpus), 2)}


def measured(run: Path, rounds: int) -> dict[str, Any]:
    forget()
    read = bytes_read(lambda: snapshot(run).frame)
    start = str(ask(run, Query()).rows["candidate"].iloc[0])
    other = str(ask(run, Query()).rows["candidate"].iloc[-1])
    warm = {
        "front": Query(),
        "all": Query(everything=True),
        "where": Query(where="brief > 0.9", everything=True),
        "sort": Query(everything=True, sort="-thorough", limit=10),
        "prefer": Query(wish=Preference({"brief": 0.7, "thorough": 0.3})),
        "at": Query(wish=ReferencePoint({"brief": 0.6, "thorough": 0.8})),
        "from": Query(wish=Classes(start, {"thorough": None}, allow={"brief": 0.2})),
        "presets": Query(presets=10.0),
    }
    answers = {name: timed(partial(ask, run, query), rounds) for name, query in warm.items()}
    few = max(1, rounds // 4)
    answers |= {"diff": timed(lambda: diff(run, start, other), few), "tradeoffs": timed(lambda: tradeoffs(run), few)}
    return {
        "load": os.getloadavg()[0],
        "front": len(ask(run, Query()).rows),
        "data_files": len(DeltaTable(run / "table").file_uris()),
        "data_bytes": sum(file.stat().st_size for file in (run / "table").glob("*.parquet")),
        "bytes_read": read,
        "cold": {
            "front": cold(run),
            "prefer": cold(run, "--prefer", "brief=0.7,thorough=0.3"),
            "where": cold(run, "--where", "brief > 0.9"),
        },
        "warm_ms": answers,
    }


def _frame(run: Path) -> object:
    return snapshot(run).frame


def longer_texts(directory: Path) -> dict[str, Any]:
    """What the first question reads where the texts are ten times as long, and all else is the same."""
    found = {}
    for words in (WORDS, 10 * WORDS):
        run = directory / f"words-{words}"
        if not run.exists():
            make_table(run, 1000, 100, words)
        forget()
        read = bytes_read(partial(_frame, run))
        held = sum(file.stat().st_size for file in (run / "table").glob("*.parquet"))
        found[f"{words} words"] = {"data_bytes": held, "bytes_read": read, "cold": cold(run)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ["100:8", "10000:8", "100000:64"]
    parser.add_argument("--tables", nargs="+", default=tables, help="evaluations:evaluations in a Delta commit")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--directory", type=Path, help="keep the tables here, and use those that are here")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp())
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    found: dict[str, Any] = {"machine": machine, "tables": {}}
    for table in options.tables:
        size, commit = map(int, table.split(":"))
        run = directory / f"run-{size}-{commit}"
        if not run.exists():
            make_table(run, size, commit)
        found["tables"][table] = measured(run, options.rounds)
        print(table, json.dumps(found["tables"][table], indent=2), flush=True)
    found["longer_texts"] = longer_texts(directory)
    print(json.dumps(found["longer_texts"], indent=2))
    if options.directory is None:
        shutil.rmtree(directory)
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
