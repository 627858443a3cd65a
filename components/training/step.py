"""One optimizer step and one evaluation step on one rank."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

PerRow = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(what the model puts out, targets_B) -> one number per row, on the device."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one rank saw in one step, as scalars on the device (reading them waits for it)."""

    loss_sum: torch.Tensor
    """Weighted sum of the losses of this rank's rows, before `loss_scale`; float32."""
    count: torch.Tensor
    """Sum of this rank's row weights: the rows that count; float32."""
    score_sum: torch.Tensor
    """Weighted sum of the scores of this rank's rows, as hits or squared errors; float32."""
    grad_norm: torch.Tensor
    """L2 norm of the averaged gradient over all parameters before clipping; equal on all ranks."""


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Sequence[torch.Tensor],
    targets_B: torch.Tensor,
    weights_B: torch.Tensor,
    *,
    losses: PerRow,
    scores: PerRow,
    loss_scale: float,
    learning_rate: float,
    max_grad_norm: float | None = None,
) -> StepResult:
    """Take one optimizer step on this rank's part of the global batch.

    The gradient is that of (sum of losses over the global batch) / (its rows), however unevenly
    the rows lie on the ranks: DDP averages the ranks' gradients, so each rank scales the sum of
    its own losses by `loss_scale` = world_size / global_rows.

    Args:
        model: In training mode, wrapped in DDP where there are several ranks.
        optimizer: Over the parameters of `model`.
        inputs: What the model's forward takes, on its device; each (B, ...).
        targets_B: Class indices (int64) or numbers (float32), same device.
        weights_B: 1 for a row that counts, 0 for padding; float32, same device.
        losses: What is learned to be small.
        scores: What is told beside it; nothing is learned from it.
        loss_scale: world_size / (rows that count in the global batch).
        learning_rate: Of this step; set in all parameter groups.
        max_grad_norm: Gradients with a larger L2 norm are scaled down to it; None leaves them.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    outputs = model(*inputs)
    loss_sum = (losses(outputs, targets_B) * weights_B).sum()
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss_sum * loss_scale)
    grad_norm = _clip(model, max_grad_norm)
    optimizer.step()
    return StepResult(
        loss_sum=loss_sum.detach(),
        count=weights_B.sum(),
        score_sum=(scores(outputs.detach(), targets_B) * weights_B).sum(),
        grad_norm=grad_norm,
    )


def _clip(model: nn.Module, max_grad_norm: float | None) -> torch.Tensor:
    parameters = [p for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if max_grad_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, norm)
    return norm


@torch.inference_mode()
def eval_step(model: nn.Module, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return what the model puts out for rows that nothing is learned from.

    The model must be in evaluation mode and unwrapped: DDP would wait for the other ranks, which
    may have fewer batches.
    """
    outputs: torch.Tensor = model(*inputs)
    return outputs
