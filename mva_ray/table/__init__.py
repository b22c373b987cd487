"""The Pareto table: every evaluation ever made in a run, append-only; the front is derived from it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mva_ray.table.pareto_table import ParetoTable

__all__ = ["ParetoTable"]


def __getattr__(name: str) -> Any:
    """Load deltalake and pandas only when the table itself is used."""
    if name == "ParetoTable":
        from mva_ray.table.pareto_table import ParetoTable

        return ParetoTable
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
