"""The job: `python -m mva_ray.explore --config tune_configs/quickstart.yaml` (also what `ray job submit` runs)."""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from mva_ray.errors import Interrupted, MvaError, told
from mva_ray.logs import json_lines
from mva_ray.signals import interruptible


def explore_and_show(config: Path, run_dir: Path | str | None = None) -> None:
    """Run the pipeline, print the front, and say where everything lies."""
    from mva_ray.pipeline import explore
    from mva_ray.run_dir.layout import RunDirectory
    from mva_ray.service.query import Query, ask
    from mva_ray.service.render import write
    from mva_ray.service.status import status

    run = RunDirectory(explore(config, run_dir))
    write(ask(run.place, Query()), "table", None, sys.stdout)
    found = status(run.place)
    for name, line in found.spent.lines(found.limits).items():
        print(f"{name}: {line}")
    print(f"plot:   {run.plot.place}\nreport: {run.report.place}\ntable:  {run.table}")
    print(f"talk:   mva-ray serve {run.place}")


def show_plan(config: Path, run_dir: Path | str | None = None) -> None:
    """Check the config and print what `explore_and_show` would do."""
    from mva_ray.plan.dry_run import dry_run

    dry_run(config, run_dir)


def main() -> int:
    parser = argparse.ArgumentParser(prog="mva_ray.explore", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a YAML file, see tune_configs/")
    parser.add_argument("--run", help="run directory, a path or a URL; runs/<name of the config> unless given")
    parser.add_argument("--dry-run", action="store_true", help="check everything and print the plan only")
    parser.add_argument("--log-json", action="store_true", help="say everything in JSON, an object a line")
    arguments = parser.parse_args()
    with json_lines() if arguments.log_json else nullcontext():
        try:
            with interruptible():
                (show_plan if arguments.dry_run else explore_and_show)(arguments.config, arguments.run)
        except (MvaError, Interrupted) as error:
            print(told(error), file=sys.stderr)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
