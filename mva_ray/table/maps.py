"""Map columns of Arrow as arrays of numbers, without a Python object a row."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def numbers(column: pa.ChunkedArray | pa.MapArray, keys: Sequence[str]) -> NDArray[np.float64]:
    """What each row has under each key, shape [rows, keys]; NaN where a row lacks it or is null."""
    maps = _whole(column)
    found = np.full((len(maps), len(keys)), np.nan)
    for index, key in enumerate(keys):
        rows, entries = _under(maps, key)
        found[rows, index] = pc.take(maps.items, entries).to_numpy(zero_copy_only=False)
    return found


def texts(column: pa.ChunkedArray | pa.MapArray, key: str) -> NDArray[np.object_]:
    """What each row has under a key, shape [rows]; None where a row lacks it."""
    maps = _whole(column)
    found = np.full(len(maps), None, dtype=object)
    rows, entries = _under(maps, key)
    found[rows] = pc.take(maps.items, entries).to_numpy(zero_copy_only=False)
    return found


def sizes(column: pa.ChunkedArray | pa.MapArray) -> NDArray[np.int64]:
    """How many keys each row has; 0 where it is null."""
    return np.diff(_offsets(_whole(column)))


def _under(maps: pa.MapArray, key: str) -> tuple[NDArray[np.int64], pa.Array]:
    """The rows that have a key, and where their entries are in `items`."""
    offsets = _offsets(maps)
    hits = np.flatnonzero(pc.equal(maps.keys, key).to_numpy(zero_copy_only=False))
    hits = hits[(hits >= offsets[0]) & (hits < offsets[-1])]
    return np.searchsorted(offsets, hits, side="right") - 1, pa.array(hits)


def _offsets(maps: pa.MapArray) -> NDArray[np.int64]:
    return np.asarray(maps.offsets.to_numpy(zero_copy_only=False), dtype=np.int64)


def _whole(column: pa.ChunkedArray | pa.MapArray) -> pa.MapArray:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
