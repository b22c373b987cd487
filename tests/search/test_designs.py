"""Fixed designs: grids and sequences."""

import numpy as np
import pytest

from mva_ray.search.designs import Design, grid, random, sobol


def test_grid_of_the_paper() -> None:
    """{0.1, ..., 1.0}^2, and never more than asked for."""
    tenths = [round(0.1 * n, 1) for n in range(1, 11)]
    expected = [(one, other) for one in tenths for other in tenths]
    for count in (100, 120):
        assert grid([(0.1, 1.0)] * 2, count, 0, 0) == pytest.approx(np.array(expected))
    assert len(grid([(0, 1)] * 3, 63, 0, 0)) == 27
    assert grid([(0, 1)] * 2, 3, 0, 0).shape == (0, 2)


@pytest.mark.parametrize("design", [random, sobol])
@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_sequences_go_on_where_a_warm_start_left_off(design: Design, n_values: int) -> None:
    bounds = [(-0.5, 1.5), (2.0, 3.0), *[(0.0, 1.0)] * 3][:n_values]
    whole = design(bounds, 40, 0, 1)
    assert np.array_equal(design(bounds, 27, 13, 1), whole[13:])
    assert not np.array_equal(design(bounds, 40, 0, 2), whole)
    assert ((whole >= np.array(bounds)[:, 0]) & (whole <= np.array(bounds)[:, 1])).all()
