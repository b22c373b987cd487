"""The four properties of a penalty: it sees what is shared, in any basis, at any scale, and from the first step."""

from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
import torch

from mva_ray.maths.decorrelation import Form, KernelHsic, LinearHsic, Orthogonal, PaperHsic
from mva_ray.maths.low_rank import Deltas

MODULES = 4
SHAPES = [(576, 576), (192, 576)]
MakeForm = Callable[[list[Deltas]], Form]


def linear(earlier: list[Deltas]) -> Form:
    return LinearHsic(earlier, normalised=True)


def rbf(earlier: list[Deltas]) -> Form:
    return KernelHsic(earlier, "median", normalised=True, rows=128, seed=3)


ON_THE_DELTA = [linear, rbf]


def adapter(seed: int, shape: tuple[int, int] = (576, 576), rank: int = 16, modules: int = MODULES) -> Deltas:
    """A as PEFT begins it, B of the size that a few steps of Adam give it."""
    (out, width), generator = shape, torch.Generator().manual_seed(seed)
    a = torch.empty(modules, rank, width).uniform_(-1 / sqrt(width), 1 / sqrt(width), generator=generator)
    return Deltas(a, 5e-4 * torch.randn(modules, out, rank, generator=generator), 2.0)


def in_another_basis(deltas: Deltas, seed: int = 9) -> Deltas:
    """(R A, B R^-1) with a condition number of 4: of float32's 2^-24 its square is lost, a factor of 16."""
    size = deltas.a.shape[-2]
    normal = torch.randn(2, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    left, right = torch.linalg.qr(normal).Q
    stretch = torch.linspace(0.5, 2, size, dtype=torch.float64)
    basis, inverse = left @ stretch.diag() @ right, right.T @ (1 / stretch).diag() @ left.T
    return Deltas((basis @ deltas.a.double()).float(), (deltas.b.double() @ inverse).float(), deltas.scaling)


def with_b(deltas: Deltas, b: torch.Tensor) -> Deltas:
    return Deltas(deltas.a, b, deltas.scaling)


def per_module(form: Form, current: Deltas, step: int = 0) -> float:
    return form(current, step).item() / MODULES


def gradients(form: Form, deltas: Deltas) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = deltas.a.clone().requires_grad_(), deltas.b.clone().requires_grad_()
    torch.autograd.backward(form(Deltas(a, b, deltas.scaling), 0))
    assert a.grad is not None
    assert b.grad is not None
    return a.grad, b.grad


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", ON_THE_DELTA)
def test_near_zero_for_independent_deltas(make: MakeForm, shape: tuple[int, int]) -> None:
    """By chance two kernels of n rows align with a standard deviation of about 1 / n: 128 rows are the fewest here."""
    values = [per_module(make([adapter(seed, shape)]), adapter(seed + 50, shape)) for seed in range(4)]
    assert max(values) < 4 / 128
    assert min(values) >= 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", ON_THE_DELTA)
def test_one_for_equal_deltas_in_any_basis_and_of_any_scale(make: MakeForm, shape: tuple[int, int]) -> None:
    earlier = adapter(1, shape)
    form = make([earlier])
    for scale in (1.0, -1.0, 0.2, 100.0):
        equal = in_another_basis(with_b(earlier, scale * earlier.b))
        assert per_module(form, equal) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("make", ON_THE_DELTA)
def test_between_them_in_proportion_to_what_is_shared(make: MakeForm) -> None:
    """A delta that is half another's and half its own lies in between, in any basis and of any scale."""
    earlier, own = adapter(1), adapter(2)
    mixed = Deltas(torch.cat([earlier.a, own.a], dim=1), torch.cat([earlier.b, own.b], dim=2), 2.0)
    form = make([earlier])
    value = per_module(form, mixed)
    assert 0.4 < value < 0.8
    for change in (in_another_basis(mixed), with_b(mixed, 30 * mixed.b), Deltas(mixed.a / 3, mixed.b, 2.0)):
        assert per_module(form, change) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize("make", ON_THE_DELTA)
def test_where_b_is_zero_value_and_gradient_are_finite(make: MakeForm) -> None:
    earlier = adapter(1)
    untrained = with_b(earlier, torch.zeros_like(earlier.b))
    assert per_module(make([earlier]), untrained) == pytest.approx(0, abs=1e-6)
    for gradient in gradients(make([earlier]), untrained):
        assert gradient.isfinite().all()
    for gradient in gradients(make([untrained]), earlier):
        assert not gradient.any(), "an earlier adapter that changes nothing shares nothing"


@pytest.mark.parametrize("size", [1e-4, 1e-2, 0.1, 1.0])
def test_the_gradient_of_linear_cka_is_bounded_from_the_first_steps(size: float) -> None:
    """For deltas x and y of rank 16 and kernels K and L: |dCKA / dx| <= 2 |x|_2 / |K| <= 2 / |K|^(1/2), where the floor
    puts 0.1 |L|^(1/2) for a smaller |K|^(1/2), and |L|^(1/2) >= |y| / 16^(1/4): 40 / |y|; for B, s |A|_2 times it.
    """
    earlier = adapter(1, modules=1)
    current = with_b(in_another_basis(earlier), size * in_another_basis(earlier).b)
    mixed = Deltas(current.a, current.b + size * adapter(5, modules=1).b, 2.0)
    _, gradient = gradients(linear([earlier]), mixed)
    norm = (2 * earlier.b @ earlier.a).norm().item()
    spectral = torch.linalg.matrix_norm(mixed.a, ord=2).item()
    assert 0 < gradient.norm().item() < 40 / norm * 2 * spectral


@pytest.mark.parametrize("make", ON_THE_DELTA)
def test_following_the_gradient_takes_the_shared_part_away(make: MakeForm) -> None:
    """B learns to leave the other's directions, and not by becoming small: half of the delta's norm stays."""
    earlier, own = adapter(1, modules=1), adapter(2, modules=1)
    a, b = earlier.a + own.a, (earlier.b + own.b).requires_grad_()
    form = make([earlier])
    start, norm = form(Deltas(a, b, 2.0), 0).item(), b.norm().item()
    optimiser = torch.optim.Adam([b], lr=5e-5)
    for step in range(25):
        optimiser.zero_grad()
        torch.autograd.backward(form(Deltas(a, b, 2.0), step))
        optimiser.step()
    assert start > 0.1
    assert form(Deltas(a, b.detach(), 2.0), 0).item() < 0.5 * start
    assert b.norm().item() > 0.5 * norm


def test_the_papers_form_has_none_of_these_properties() -> None:
    earlier = adapter(1)
    paper = PaperHsic([earlier])
    independent, equal = per_module(paper, adapter(2)), per_module(paper, earlier)
    assert equal / independent < 1.05
    assert per_module(paper, in_another_basis(earlier)) != pytest.approx(equal, rel=0.1)
    assert per_module(paper, Deltas(earlier.a / 2, earlier.b, 2.0)) < 0.3 * equal


def test_orthogonal_by_hand() -> None:
    """<(1,2), (3,1)> = 5 and <(1,2), (0,2)> = 4: 25 + 16, for earlier adapters of any rank and number."""
    b = torch.zeros(1, 4, 2)
    current = Deltas(torch.tensor([[[1.0, 2.0]]]), b[..., :1], 1.0)
    three_one, zero_two = torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[0.0, 2.0]]])
    assert Orthogonal([Deltas(three_one, b[..., :1], 1.0), Deltas(zero_two, b[..., :1], 1.0)])(current, 0).item() == 41
    assert Orthogonal([Deltas(torch.cat([three_one, zero_two], 1), b, 1.0)])(current, 0).item() == 41


@pytest.mark.parametrize("options", [{"sigma": None}, {"sigma": 1.0}, {"sigma": "median"}])
def test_kernels_of_lora_a_pair_its_rows(options: dict[str, Any]) -> None:
    earlier = adapter(1)
    form = KernelHsic([earlier], normalised=True, **options)
    assert per_module(form, earlier) == pytest.approx(1, abs=1e-4)
    assert per_module(form, adapter(2)) < 0.2


def test_all_rows_with_a_linear_kernel_are_the_closed_form() -> None:
    earlier, current = [adapter(1, rank=8), adapter(3, rank=4)], adapter(2)
    for normalised in (True, False):
        whole = KernelHsic(earlier, None, normalised, rows=10**6)(current, 0)
        torch.testing.assert_close(
            LinearHsic(earlier, normalised)(current, 0), whole, atol=1e-5 * normalised, rtol=1e-3
        )


def test_rows_are_drawn_afresh_by_seed_and_step() -> None:
    earlier, current = [adapter(1)], adapter(1)
    current = with_b(current, current.b + adapter(2).b)

    def value(seed: int, step: int) -> float:
        return KernelHsic(earlier, "median", True, rows=32, seed=seed)(current, step).item()

    assert value(0, 0) == value(0, 0)
    assert len({value(0, 0), value(0, 1), value(1, 0), value(1, 1)}) == 4


def test_several_earlier_adapters_are_added_up() -> None:
    earlier, current = [adapter(1, rank=4), adapter(2), adapter(3)], adapter(1)
    current = with_b(current, current.b + adapter(2).b)
    for make in (linear, rbf):
        alone = sum(make([one])(current, 0).item() for one in earlier)
        assert make(earlier)(current, 0).item() == pytest.approx(alone, abs=1e-3)
