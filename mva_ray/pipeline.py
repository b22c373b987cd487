"""The whole job, top to bottom: preference pairs, value adapters, search, held-out front, report."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path

from mva_ray.checks.check import check
from mva_ray.checks.subject import Purpose
from mva_ray.plan.keys import make_plan
from mva_ray.report import write_report
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.stages.adapters import value_adapters
from mva_ray.stages.evaluations import Evaluations
from mva_ray.stages.held_out import score_held_out
from mva_ray.stages.pairs import preference_pairs
from mva_ray.stages.ray_session import RaySession
from mva_ray.stages.run import Run
from mva_ray.stages.search import search
from mva_ray.stages.warm_start import take_over

log = logging.getLogger(__name__)


def explore(config_path: Path, run_dir: Path | str | None = None) -> str:
    """Run the job of a config; what an earlier run in the same directory finished is kept.

    Args:
        config_path: a YAML file, see `RunConfig`.
        run_dir: path or URL, `runs/<name of the config>` unless given.

    Returns:
        the run directory, absolute.

    Raises:
        ConfigError: with everything that is wrong with the config.
        RunError: where the job cannot go on; what was computed until then is kept.
    """
    config, warnings = check(config_path, Purpose.EXPLORE, run_dir)
    for line in warnings:
        log.warning(line)
    directory = RunDirectory(run_dir or config.own_run)
    directory.store.check_usable()
    with directory.store.locked(), RaySession(directory.store, lambda: _metrics(directory)) as session:
        run = Run(config, make_plan(config), directory, session.start)
        run.announce_changes()
        for line in take_over(run):
            print(line)
        with run.timed("whole run"):
            pairs = preference_pairs(run)
            adapters = value_adapters(run, pairs)
            with Evaluations(run, adapters) as evaluations:
                search(run, evaluations)
                score_held_out(run, evaluations)
            with run.timed("report"):
                write_report(directory.place)
    return directory.place


def _metrics(directory: RunDirectory) -> AbstractContextManager[object]:
    from mva_ray.cluster.ray_metrics import RunMetrics  # Ray takes seconds to import, and may not be needed

    return RunMetrics(directory.place)
