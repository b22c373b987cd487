"""`--where`: an SQL condition over the columns of a frame, by a database that sees nothing else."""

from concurrent.futures import Future, wait
from functools import cache
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

    connection, kept = _connection(), Future[list[int]]()
    Thread(target=_filter, args=(connection, frame, condition, kept), daemon=True).start()
    try:
        return frame.iloc[sorted(kept.result(seconds))]
    except TimeoutError:
        raise ConfigError("--where", [f"not done after {seconds:g} s on {len(frame):,} rows: {TOO_LONG}"]) from None
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].rstrip("!")
        raise ConfigError("--where", [f"{reason}; the columns are {', '.join(frame.columns)}"]) from None
    finally:
        if not kept.done():
            _database.cache_clear()
            connection.interrupt()
            wait([kept], GRACE_SECONDS)


def _connection() -> "duckdb.DuckDBPyConnection":
    """One of its own to a database that takes longer to start than most conditions take."""
    return _database().cursor()


@cache
def _database() -> "duckdb.DuckDBPyConnection":
    import duckdb

    return duckdb.connect(config=dict(ISOLATED))


def _filter(
    connection: "duckdb.DuckDBPyConnection", frame: "pd.DataFrame", condition: str, kept: Future[list[int]]
) -> None:
    """In a thread of its own: DuckDB hears of no signal, and of an interruption only between two chunks of rows."""
    import pyarrow as pa

    try:
        with connection:
            rows = pa.Table.from_pandas(frame.assign(__row=range(len(frame))), preserve_index=False)
            found = connection.from_arrow(rows).filter(f"({condition}\n)").project("__row").fetchall()
    except BaseException as error:
        kept.set_exception(error)
    else:
        kept.set_result([row for (row,) in found])
