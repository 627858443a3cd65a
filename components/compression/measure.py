"""What a model costs and what it is worth: time, operations, parameters, bytes, memory, intervals.

All compare on equal terms: the same records, fixed threads, and models that take turns, so that a
busy neighbour slows them alike.
"""

import gc
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.profiler import ProfilerActivity, profile

from components.compression.budget import flops
from components.compression.trace import Inputs, evaluation
from components.models.int8_layers import is_int8

# Resamples that are held at once: bounds the memory, not the result.
_MOST_COUNTS = 1 << 22
_TICK_MS = 1e-6


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one call beside that of the first model, which took turns with it."""

    median_ms: float
    """Half of the calls took less; by the clock."""
    p95_ms: float
    """95 % of the calls took less; by the clock. Neighbours on the machine show here."""
    speedup: float
    """How many times faster than the first model: median of the ratios within each round."""
    processor_ms: float | None
    """Median of the processor time of all threads, on which neighbours matter less; None on
    accelerators."""
    processor_speedup: float | None
    """As `speedup`, of the processor time."""
    runtime: str
    """What computed, with its version, and the device; ratios between two of them compare
    runtimes as well as models."""
    threads: int
    """Of torch; other runtimes are told by who starts them."""
    rounds: int
    """Calls that were measured."""


def latency(
    models: Mapping[str, Callable[..., object]],
    inputs: Inputs,
    *,
    threads: int = 1,
    warm_up: int = 5,
    rounds: int = 30,
    runtimes: Mapping[str, str] | None = None,
) -> dict[str, Latency]:
    """Time one call of each model, in turns; the models and torch's threads are left as they were.

    Each round calls every model once, in an order drawn anew: what runs after a large model finds
    the processor's caches full of it. Garbage is not collected meanwhile.

    Args:
        models: By name; the first is what the others are compared with. A torch module runs in
            evaluation and inference mode; anything else is called as it is.
        inputs: What each is called with, on the device of the modules.
        threads: Of torch.
        warm_up: Rounds that are not measured: weights are packed, memory is asked for.
        rounds: Rounds that are measured.
        runtimes: By name what computes the models that are no torch modules.

    Raises:
        ValueError: No model, no round, or a model of unknown runtime.
    """
    if not models or rounds < 1 or warm_up < 0 or threads < 1:
        raise ValueError(
            f"{len(models)} models, {rounds} rounds, {warm_up} to warm up, {threads} threads: "
            "need a model, a round and a thread"
        )
    names = _runtimes(models, inputs, runtimes or {})
    on_processor = not inputs[0].is_cuda
    order = list(models)
    rng = np.random.Generator(np.random.Philox(key=0))
    clock_ms = np.empty((rounds, len(order)))
    processor_ms = np.empty_like(clock_ms)
    with _quiet(models, threads):
        for turn in range(-warm_up, rounds):
            for column in rng.permutation(len(order)):
                took = _time(models[order[column]], inputs)
                if turn >= 0:
                    clock_ms[turn, column], processor_ms[turn, column] = took
    return {
        name: Latency(
            median_ms=float(np.median(clock_ms[:, column])),
            p95_ms=float(np.percentile(clock_ms[:, column], 95)),
            speedup=_ratio(clock_ms, column),
            processor_ms=float(np.median(processor_ms[:, column])) if on_processor else None,
            processor_speedup=_ratio(processor_ms, column) if on_processor else None,
            runtime=names[name],
            threads=threads,
            rounds=rounds,
        )
        for column, name in enumerate(order)
    }


class ParameterCount(NamedTuple):
    """How many numbers a model has learned."""

    all: int
    """Weights and biases; integer ones as well."""
    non_zero: int
    """Those that are not 0."""


def parameters(model: nn.Module) -> ParameterCount:
    """Count the weights and biases, those that layers share once."""
    learned: list[torch.Tensor] = list(model.parameters())
    for module in model.modules():
        if is_int8(module):
            # They have no parameters; a scale is not one either.
            state = dict(module.named_buffers())
            learned += [state["weight_int8"], state["bias"]]
    return ParameterCount(
        sum(tensor.numel() for tensor in learned),
        sum(int(torch.count_nonzero(tensor.detach())) for tensor in learned),
    )


def flops_per_record(model: nn.Module, inputs: Inputs) -> int:
    """Return the floating-point operations of one record, as `flops` counts them.

    Args:
        model: Float: the twin of a model of integers, which does the same number of operations.
        inputs: At least one record; only the first is used.

    Raises:
        ValueError: The model computes in integers, which torch does not count.
    """
    if any(is_int8(module) for module in model.modules()):
        raise ValueError("operations of integer layers are not counted; give the float model")
    with evaluation(model):
        return flops(model, [values[:1] for values in inputs])


def artifact_bytes(folder: Path) -> int:
    """Return the bytes of all files of `folder`: what is copied when it is deployed."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def peak_bytes(model: nn.Module, inputs: Inputs) -> int:
    """Return the most memory that one forward pass holds beside weights and inputs.

    On the CPU counted from what torch's allocator gives and takes back, so it is exact for torch
    and blind to memory that oneDNN holds itself; on CUDA what the device's allocator says.

    Args:
        model: Runs in evaluation mode, once before it is measured; left as it was.
        inputs: Records, on its device; the peak grows with their number.
    """
    with evaluation(model), torch.inference_mode():
        model(*inputs)
        device = inputs[0].device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            model(*inputs)
            return int(torch.cuda.max_memory_allocated(device) - before)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            outputs = model(*inputs)
    del outputs
    assert profiler.profiler is not None
    events = [
        event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum([0, *changes]).max())


class Interval(NamedTuple):
    """Where a mean lies, and how far it may be off by the choice of the records."""

    mean: float
    low: float
    high: float


def bootstrap(
    values_N: ArrayLike, *, seed: int, draws: int = 2000, level: float = 0.95
) -> Interval:
    """Return the mean with its percentile bootstrap interval (Efron 1979).

    Of an accuracy: `values_N` is 1 where the prediction is right. Of a difference between two
    models on the same records: that of one less that of the other, which is narrower than what two
    intervals say. Records are drawn with replacement; where few values occur, as 0 and 1, their
    counts are drawn instead, which is the same.

    Args:
        values_N: One number per record.
        seed: The same gives the same interval.
        draws: Resamples.
        level: Share of the resampled means within the interval, in (0, 1). If all values are
            equal its width is 0, however few they are.

    Raises:
        ValueError: There is no record, or a value is not finite.
    """
    values, counts = np.unique(np.asarray(values_N, dtype=np.float64).ravel(), return_counts=True)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("an interval needs at least one record, and finite values")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level {level} is not in (0, 1)")
    num_records = int(counts.sum())
    rng = np.random.Generator(np.random.Philox(key=seed))
    at_once = max(1, _MOST_COUNTS // len(values))
    means = [
        rng.multinomial(num_records, counts / num_records, size=min(at_once, draws - done)) @ values
        for done in range(0, draws, at_once)
    ]
    tail = (1.0 - level) / 2
    low, high = np.quantile(np.concatenate(means) / num_records, [tail, 1.0 - tail])
    return Interval(float(values @ counts) / num_records, float(low), float(high))


def paired_difference(
    values_N: ArrayLike, base_N: ArrayLike, *, seed: int, draws: int = 2000, level: float = 0.95
) -> Interval:
    """Return how much better than `base_N` the model of `values_N` is, on the same records.

    Args:
        values_N: One number per record, as 1 where the prediction is right.
        base_N: The same of the other model, in the same order.
        seed: See `bootstrap`, as `draws` and `level`.
        draws: See there.
        level: See there.

    Raises:
        ValueError: The numbers of records differ, or as `bootstrap`.
    """
    values, base = np.asarray(values_N, np.float64), np.asarray(base_N, np.float64)
    if values.shape != base.shape:
        raise ValueError(f"{values.shape} and {base.shape} are not the same records")
    return bootstrap(values - base, seed=seed, draws=draws, level=level)


def _runtimes(
    models: Mapping[str, Callable[..., object]], inputs: Inputs, named: Mapping[str, str]
) -> dict[str, str]:
    device = inputs[0].device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    runtimes = {}
    for name, model in models.items():
        if name not in named and not isinstance(model, nn.Module):
            raise ValueError(f"{name} is no torch module; say in `runtimes` what computes it")
        runtimes[name] = named.get(name, f"torch {torch.__version__}, {where}")
    return runtimes


@contextmanager
def _quiet(models: Mapping[str, Callable[..., object]], threads: int) -> Iterator[None]:
    threads_before, collects = torch.get_num_threads(), gc.isenabled()
    with ExitStack() as modes:
        for model in models.values():
            if isinstance(model, nn.Module):
                modes.enter_context(evaluation(model))
        modes.enter_context(torch.inference_mode())
        torch.set_num_threads(threads)
        gc.disable()
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)
            if collects:
                gc.enable()


def _time(model: Callable[..., object], inputs: Inputs) -> tuple[float, float]:
    # Only when an accelerator is idle do start and end mean something.
    on_cuda = inputs[0].is_cuda
    if on_cuda:
        torch.cuda.synchronize(inputs[0].device)
    processor, clock = time.process_time_ns(), time.perf_counter_ns()
    model(*inputs)
    if on_cuda:
        torch.cuda.synchronize(inputs[0].device)
    clock_ms = (time.perf_counter_ns() - clock) / 1e6
    return clock_ms, (time.process_time_ns() - processor) / 1e6


def _ratio(times_ms: "np.ndarray[Any, np.dtype[np.float64]]", column: int) -> float:
    # A clock may stand still during a call of no work.
    first, own = np.maximum(times_ms[:, 0], _TICK_MS), np.maximum(times_ms[:, column], _TICK_MS)
    return float(np.median(first / own))
