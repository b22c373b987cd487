"""Something to look at: the front as a picture and the whole run as one HTML page."""

from pathlib import Path


def write_report(run_dir: Path | str) -> str:
    """Write `front.png` and `report.html` into the run directory, and return where the page is.

    Works at any point of a run: what is not there yet (held-out scores, training curves, ...) is left out.
    """
    from mva_ray.report.page import render_page
    from mva_ray.report.plot import plot_front
    from mva_ray.run_dir.layout import RunDirectory
    from mva_ray.run_dir.run_state import RunState
    from mva_ray.table import ParetoTable

    run = RunDirectory(run_dir)
    state = RunState.load(run_dir)
    table = ParetoTable(run_dir)
    run.plot.write(plot_front(table.frame(), state.coefficients, run_name=state.name))
    run.report.write(render_page(run, state, table).encode())
    return run.report.place
