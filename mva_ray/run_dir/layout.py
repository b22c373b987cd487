"""TODO"""

import tempfile
from pathlib import Path

from mva_ray.errors import ConfigError


def check_writable(run_dir: Path) -> None:
    """Makes the run directory where it is missing, and writes to it.

    Raises:
        ConfigError: it cannot be made or written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=run_dir):
            pass
    except OSError as error:
        existing = next(parent for parent in (run_dir, *run_dir.absolute().parents) if parent.exists())
        problem = f"the run directory cannot be written: {error.strerror} (what exists of it: {existing})"
        raise ConfigError(str(run_dir), [problem]) from error
