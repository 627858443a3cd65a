"""What the ranks of one training share; every function is a no-op without torch.distributed."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def is_distributed() -> bool:
    """Whether more than one rank takes part in this training."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside DistributedDataParallel, or `model` itself."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def channels_last(model: nn.Module) -> nn.Module:
    """Bring 4-D weights to the memory format that the feed's batches have; returns `model`."""
    # The keyword is documented for Module.to but missing from its annotations.
    converted: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return converted


def sum_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of `tensor` over all ranks; the argument is left as it is.

    Every rank must call it with the same shape and dtype. The result lies on the device of
    `tensor`, whatever device the process group works on.
    """
    if not is_distributed():
        return tensor.clone()
    total = tensor.detach().to(_collective_device(tensor), copy=True).contiguous()
    dist.all_reduce(total, op=dist.ReduceOp.SUM)
    return total.to(tensor.device)


def broadcast_buffers(model: nn.Module) -> None:
    """Give every rank the buffers of rank 0, in place (BatchNorm's running statistics).

    DDP does this at the start of each forward pass in training, so that after the last step of an
    epoch the ranks disagree; call it before evaluating.
    """
    if not is_distributed():
        return
    with torch.no_grad():
        for buffer in model.buffers():
            sent = buffer.detach().to(_collective_device(buffer), copy=True).contiguous()
            dist.broadcast(sent, src=0)
            buffer.copy_(sent)


def _collective_device(tensor: torch.Tensor) -> torch.device:
    # nccl moves CUDA memory only and gloo is surest on the CPU; the metrics live on the CPU.
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
