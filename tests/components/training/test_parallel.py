"""Two real ranks over gloo: sums, buffers, and one step equal to one rank with all rows."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing import start_processes
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from components.training.parallel import broadcast_buffers, is_distributed, sum_over_ranks, unwrap
from components.training.step import train_step

torch.set_num_threads(1)
NUM_RANKS = 2
ROWS_BY_RANK = (slice(0, 5), slice(5, 7))


def new_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3)
    )


def step_on(model: nn.Module, rows: slice, num_ranks: int) -> torch.Tensor:
    images = torch.randn(7, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(7) % 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        result = train_step(
            model,
            optimizer,
            [images[rows]],
            labels[rows],
            torch.ones(7)[rows],
            losses=partial(F.cross_entropy, reduction="none"),
            scores=lambda outputs, labels_B: outputs.argmax(dim=1) == labels_B,
            loss_scale=num_ranks / 7,
            learning_rate=0.1,
            max_grad_norm=0.5,
        )
    return torch.stack([result.loss_sum, result.count, result.score_sum, result.grad_norm])


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=NUM_RANKS
    )
    model = DistributedDataParallel(new_model())
    numbers = step_on(model, ROWS_BY_RANK[rank], NUM_RANKS)
    mine = torch.tensor([1.0, 2.0**51 + rank], dtype=torch.float64)
    norm = nn.BatchNorm1d(2)
    norm(torch.randn(4, 2, generator=torch.Generator().manual_seed(rank)))
    before = norm.running_mean.clone()
    broadcast_buffers(norm)
    found = {
        "parameters": flat(unwrap(model)),
        "numbers": numbers,
        "total": sum_over_ranks(mine),
        "mine": mine,
        "running_mean_before": before,
        "running_mean": norm.running_mean,
        "num_batches": norm.num_batches_tracked,
    }
    torch.save(found, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.processes
def test_two_ranks_equal_one(tmp_path: Path) -> None:
    # Forked, since fresh processes would import torch for seconds; on one thread this is safe. The
    # model takes a step here first, so that the ranks find all that is imported lazily.
    alone = new_model()
    numbers = step_on(alone, slice(0, 7), num_ranks=1)
    # Not forked: a fork of a process with threads, as pytest's is by now, can stand still for ever.
    start_processes(
        run_rank, args=(str(tmp_path),), nprocs=NUM_RANKS, daemon=True, start_method="spawn"
    )
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(NUM_RANKS))

    assert torch.equal(first["parameters"], second["parameters"])
    torch.testing.assert_close(first["parameters"], flat(alone), rtol=0, atol=1e-6)
    torch.testing.assert_close((first["numbers"] + second["numbers"])[:3], numbers[:3])
    assert torch.equal(first["numbers"][3], second["numbers"][3])
    torch.testing.assert_close(first["numbers"][3], numbers[3])

    for found in (first, second):
        assert found["total"].tolist() == [2.0, 2.0**52 + 1]
        assert found["mine"][0] == 1.0
        assert torch.equal(found["running_mean"], first["running_mean_before"])
        assert found["num_batches"] == 1
    assert not torch.equal(second["running_mean_before"], first["running_mean_before"])


def test_alone_nothing_is_exchanged() -> None:
    model = nn.BatchNorm1d(2)
    values = torch.tensor([1.0, 2.0])
    total = sum_over_ranks(values)
    total += 1.0
    assert values.tolist() == [1.0, 2.0] and not is_distributed()
    broadcast_buffers(model)
    assert model.running_mean is not None and model.running_mean.tolist() == [0.0, 0.0]
    assert unwrap(model) is model
