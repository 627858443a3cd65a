"""Times, operations, parameters, bytes, memory and intervals, each against a known value."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from components.compression import measure
from components.compression.measure import (
    artifact_bytes,
    bootstrap,
    flops_per_record,
    latency,
    paired_difference,
    parameters,
    peak_bytes,
)
from components.compression.quantize import quantize_static
from tests.components.compression.nets import net, pictures

torch.set_num_threads(1)


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.clock_ns = self.processor_ns = 0

    def perf_counter_ns(self) -> int:
        return self.clock_ns

    def process_time_ns(self) -> int:
        return self.processor_ns


def test_latency_of_known_work(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)

    def base(_: torch.Tensor) -> None:
        calls.append("base")
        # A machine that slows down: a neighbour comes and stays.
        clock.clock_ns += 1_000_000 * len(calls)
        clock.processor_ns += 1_000_000

    def half(_: torch.Tensor) -> None:
        calls.append("half")
        clock.clock_ns += 500_000 * len(calls)
        clock.processor_ns += 500_000

    measured = latency(
        {"base": base, "half": half},
        [torch.ones(1)],
        warm_up=2,
        rounds=21,
        runtimes={"base": "python", "half": "python"},
    )
    assert list(measured) == ["base", "half"]
    assert measured["base"].speedup == measured["base"].processor_speedup == 1.0
    assert measured["half"].processor_speedup == 2.0 and measured["half"].processor_ms == 0.5
    # In each round both are slowed alike, whatever the machine does over all rounds.
    assert measured["half"].speedup == pytest.approx(2.0, rel=0.05)
    # Of calls 5 to 46; the first two rounds do not count.
    assert 24 <= measured["base"].median_ms <= 27 and 42 <= measured["base"].p95_ms <= 46
    assert measured["half"].rounds == 21 and measured["half"].runtime == "python"
    # In turns, in an order that is not always the same.
    rounds = [tuple(calls[i : i + 2]) for i in range(0, len(calls), 2)]
    assert len(rounds) == 23 and set(rounds) == {("base", "half"), ("half", "base")}


def test_latency_leaves_everything_as_it_was() -> None:
    seen = []

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((self.training, torch.is_inference_mode_enabled(), torch.get_num_threads()))
            seen.append((gc.isenabled(),))
            return x

    model = Model().train()
    before = torch.get_num_threads()
    collects = gc.isenabled()
    state = torch.get_rng_state()
    measured = latency({"own": model}, [torch.ones(1)], threads=2, warm_up=0, rounds=1)
    assert seen == [(False, True, 2), (False,)]
    assert model.training and torch.get_num_threads() == before and gc.isenabled() == collects
    assert torch.equal(torch.get_rng_state(), state)
    assert measured["own"].runtime.startswith(f"torch {torch.__version__}")
    assert measured["own"].threads == 2
    with pytest.raises(ZeroDivisionError):
        latency({"bad": lambda _: 1 / 0}, [torch.ones(1)], runtimes={"bad": "python"})
    assert gc.isenabled() == collects


def test_latency_of_nothing() -> None:
    with pytest.raises(ValueError, match="0 models"):
        latency({}, [torch.ones(1)])
    with pytest.raises(ValueError, match="session is no torch module; say in `runtimes`"):
        latency({"session": print}, [torch.ones(1)])


def test_flops_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 256, 5))
    by_hand = 2 * (16 * 16 * 8 * 3 * 9 + 8 * 256 * 5)
    assert flops_per_record(model, [pictures(4)]) == by_hand
    assert flops_per_record(model, [pictures(1)]) == by_hand and model.training
    quantized, _ = quantize_static(model, [[pictures(2)]])
    with pytest.raises(ValueError, match="give the float model"):
        flops_per_record(quantized, [pictures(1)])


def test_parameters_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1))
    model(pictures(4))
    model[3].weight.data[0] = 0.0
    model[3].bias.data.fill_(1.0)
    assert parameters(model) == (108 + 4 + 8 + 16 + 4, 108 + 4 + 4 + 12 + 4)  # norm bias is 0
    tied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    tied[1].weight = tied[0].weight
    assert parameters(tied).all == 9
    # Of integers: the norm is in the weights, and weights below half a step are 0.
    quantized, _ = quantize_static(model.eval(), [[pictures(4)]])
    count = parameters(quantized)
    assert count.all == 108 + 4 + 16 + 4
    rounded_away = sum(int((m.weight_int8 == 0).sum()) for m in (quantized[0], quantized[3]))
    assert count.non_zero == count.all - rounded_away and rounded_away >= 4


def test_bytes_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b").write_bytes(b"123")
    assert artifact_bytes(tmp_path) == 8


def test_peak_memory_by_hand() -> None:
    class Stairs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = torch.cat([x] * 4)  # 4 MB
            narrow = wide[:1].clone()  # and 1 MB: the peak
            del wide
            return narrow + 1  # 1 MB more, when 4 are free again

    x = torch.ones(1, 1 << 18)
    assert peak_bytes(Stairs(), [x]) == pytest.approx(5 << 20, rel=0.01)
    # Twice the records, twice the memory; the weights do not count.
    model = net("convnet")
    small, large = peak_bytes(model, [pictures(4)]), peak_bytes(model, [pictures(8)])
    assert large == pytest.approx(2 * small, rel=0.1)
    # Two outputs of the first stage, 8 x 16 x 16 floats each, live at once.
    assert small >= 4 * 2 * 8 * 16 * 16 * 4


def test_interval_of_an_accuracy() -> None:
    correct = np.arange(1000) < 900
    interval = bootstrap(correct, seed=0)
    assert interval.mean == 0.9
    # Of the normal approximation: 0.9 +- 1.96 sqrt(0.09 / 1000).
    assert interval.low == pytest.approx(0.8814, abs=0.002)
    assert interval.high == pytest.approx(0.9186, abs=0.002)
    assert bootstrap(correct, seed=0) == interval
    assert bootstrap(correct[::-1], seed=0) == interval
    assert bootstrap(correct, seed=1) != interval
    wider = bootstrap(correct, seed=0, level=0.99)
    assert wider.low < interval.low < interval.high < wider.high
    assert bootstrap([1, 1, 1], seed=0) == (1.0, 1.0, 1.0)


def test_counts_are_drawn_as_records_are() -> None:
    # Against the resampling that the counts stand for, of values that all differ.
    values = np.random.default_rng(0).normal(size=400)
    rng = np.random.default_rng(1)
    means = values[rng.integers(0, 400, (4000, 400))].mean(axis=1)
    interval = bootstrap(values, seed=0, draws=4000)
    assert interval.mean == pytest.approx(values.mean())
    expected = np.quantile(means, [0.025, 0.975])
    assert np.abs(expected - [interval.low, interval.high]).max() < 0.006


def test_intervals_cover() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        interval = bootstrap(rng.random(300) < 0.8, seed=seed, draws=500)
        inside += interval.low <= 0.8 <= interval.high
    # Of 200 intervals of 95 %, 190 +- 3 standard deviations of 3.1.
    assert 180 <= inside <= 199


def test_paired_difference_is_narrower() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(500) < 0.9
    other = base.copy()
    other[:10] = ~other[:10]
    difference = paired_difference(other, base, seed=0)
    assert difference.mean == pytest.approx(other.mean() - base.mean())
    width = difference.high - difference.low
    assert width < 0.6 * (bootstrap(base, seed=0).high - bootstrap(base, seed=0).low)
    assert paired_difference(base, base, seed=0) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="not the same records"):
        paired_difference(base, base[:-1], seed=0)


def test_intervals_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one record"):
        bootstrap([], seed=0)
    with pytest.raises(ValueError, match="finite values"):
        bootstrap([1.0, np.nan], seed=0)
    with pytest.raises(ValueError, match="level"):
        bootstrap([1.0], seed=0, level=1.0)
