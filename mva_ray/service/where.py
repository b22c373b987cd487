"""`--where`: an SQL condition over the columns of a frame, by a database that sees nothing else."""

from concurrent.futures import Future, wait
from threading import Thread
from typing import TYPE_CHECKING

from mva_ray.errors import ConfigError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

ISOLATED = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "memory_limit": "512MB",
    "temp_directory": "",
    "threads": "1",
    "lock_configuration": "true",
}
WHERE_SECONDS = 10.0
GRACE_SECONDS = 1.0
TOO_LONG = "give a condition on the columns of one row, without a query of its own"


def where(frame: "pd.DataFrame", condition: str, seconds: float = WHERE_SECONDS) -> "pd.DataFrame":
    """The rows that an SQL condition (DuckDB's dialect) holds for, in their order.

    The condition is parsed as one expression by an in-memory database that sees nothing but the frame:
    no files, no network, no Python variables, no settings.

    Args:
        seconds: how long it may take.

    Raises:
        ConfigError: the condition takes longer, or is not valid: the message then names the columns that exist.
    """
    import duckdb

    database, kept = duckdb.connect(config=dict(ISOLATED)), Future[list[int]]()
    Thread(target=_filter, args=(database, frame, condition, kept), daemon=True).start()
    try:
        return frame.iloc[sorted(kept.result(seconds))]
    except TimeoutError:
        raise ConfigError("--where", [f"not done after {seconds:g} s on {len(frame):,} rows: {TOO_LONG}"]) from None
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].rstrip("!")
        raise ConfigError("--where", [f"{reason}; the columns are {', '.join(frame.columns)}"]) from None
    finally:
        if not kept.done():
            database.interrupt()
            wait([kept], GRACE_SECONDS)


def _filter(
    database: "duckdb.DuckDBPyConnection", frame: "pd.DataFrame", condition: str, kept: Future[list[int]]
) -> None:
    """In a thread of its own: DuckDB hears of no signal, and of an interruption only between two chunks of rows."""
    try:
        with database:
            numbered = database.from_df(frame.assign(__row=range(len(frame))))
            rows = numbered.filter(f"({condition}\n)").project("__row").fetchall()
    except BaseException as error:
        kept.set_exception(error)
    else:
        kept.set_result([row for (row,) in rows])
