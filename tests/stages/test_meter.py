"""What a phase has reserved is counted while it lasts, over all starts, and not while it waits."""

import time
from pathlib import Path

import pytest

from mva_ray.errors import DamagedFile
from mva_ray.records import Spent
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.spending import Prices, Spending, read_phases
from mva_ray.stages import meter
from mva_ray.stages.meter import Clock, Meter

BUNDLES = [{"CPU": 2.0}, {"CPU": 1.0, "GPU": 0.5}]


def test_a_phase_costs_what_it_reserves_as_long_as_it_does(tmp_path: Path) -> None:
    file = RunDirectory(tmp_path).spent
    for _ in range(2):
        kept = Meter(file)
        before = kept.phases().get("training", Spent()).gpu_seconds
        with kept.reserving("training")(BUNDLES):
            time.sleep(0.2)
            under_way = kept.phases()["training"]
        done = read_phases(file)["training"]
        assert under_way.gpu_seconds - before == pytest.approx(0.1, abs=0.05)
        assert done.gpu_seconds - before == pytest.approx(0.1, abs=0.1)
        assert under_way.cpu_seconds == pytest.approx(6 * under_way.gpu_seconds)
        time.sleep(0.2)
    assert Meter(file).phases()["training"] == done


def test_a_driver_that_is_killed_has_counted_what_went_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "EVERY_S", 0.05)
    file = RunDirectory(tmp_path).spent
    with Meter(file).reserved("training", [{"GPU": 8.0}]):
        time.sleep(0.4)
        assert read_phases(file)["training"].gpu_seconds > 1


def test_waiting_costs_nothing() -> None:
    clock = Clock([{"GPU": 1.0}])
    clock.look(waiting=True)
    first = clock.spent.gpu_seconds
    time.sleep(0.1)
    clock.look(waiting=True)
    assert clock.spent.gpu_seconds == first
    clock.look(waiting=False)
    time.sleep(0.1)
    assert clock.spent.gpu_seconds == pytest.approx(first + 0.1, abs=0.05)


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"training": 3}', b'{"training": {"hours": 1}}'])
def test_a_damaged_account_is_said(tmp_path: Path, content: bytes) -> None:
    """It must not begin at nothing: a budget would be spent twice."""
    file = RunDirectory(tmp_path).spent
    file.write(content)
    with pytest.raises(DamagedFile):
        Meter(file)


def test_money_is_that_of_hours_and_tokens() -> None:
    """By hand: 2 hours at 2.5, half an hour at 0.1, 3 million tokens at 0.4."""
    prices = Prices(gpu_hour=2.5, cpu_hour=0.1, million_tokens=0.4)
    spent = Spent(answers=1234, tokens=3_000_000, gpu_seconds=7200, cpu_seconds=1800)
    assert prices.cost(spent) == pytest.approx(5 + 0.05 + 1.2)
    spending = Spending({"training": spent}, prices=prices)
    assert spending.lines({"cost": 10, "gpu_hours": 4}) == {
        "spent": "1,234 answers, 3,000,000 tokens, 2.00 GPU hours, 0.50 CPU hours, 6.25 in money",
        "budget": "cost 6.25 of 10.00, gpu_hours 2.00 of 4.00",
    }
