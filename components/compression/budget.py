"""How much to cut off a model so that it computes little enough, and whether the rest works."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from components.errors import DataError, RecipeError
from components.models.structure import Sizes, changed_sizes, resize

_MOST = 0.9
_TINY = torch.finfo(torch.float64).tiny
FOREIGN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the code of any model may raise when a layer was cut that must not be."""

Removal = Mapping[str, Sequence[int]]
"""By name of a layer, which of its parts (channels, heads) leave."""
Cut = Callable[[Removal], nn.Module]
"""What leaves -> a smaller copy of the model, in eval mode."""


@dataclass(frozen=True)
class Pruned:
    """A model that lost parts of its layers."""

    model: nn.Module
    """With the weights that are left; in the mode of the original."""
    sizes: Sizes
    """Of the layers that changed, which is what a package says of them."""
    flops_share: float
    """FLOPs beside those of the original, 0..1."""


def flops(model: nn.Module, inputs: Sequence[torch.Tensor]) -> int:
    """Return the floating-point operations of convolutions, matrix products and attention.

    As `torch.utils.flop_counter` counts them: a multiplication and an addition are two.

    Args:
        model: Of float32 layers; those of integers would count as nothing.
        inputs: What its forward takes.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return int(counter.get_total_flops())


class RemovalOrder:
    """In which order parts leave their layers: all layers lose about the same share of theirs."""

    def __init__(self, scores: Mapping[str, torch.Tensor], round_to: Mapping[str, int]) -> None:
        """Order by the share that leaves a layer, then by how important that share is.

        Args:
            scores: By name of a layer, how important each of its parts is, >= 0.
            round_to: By name of a layer, what the number of parts that stay is a multiple of.

        Raises:
            RecipeError: A score is not finite.
        """
        steps: list[tuple[float, float, str, list[int]]] = []
        for name, score in scores.items():
            ordered, ranks = score.double().cpu().sort(stable=True)
            if not bool(ordered.isfinite().all()):
                raise RecipeError(
                    f"{name}: weights are not finite, so none are the least important; the "
                    "training diverged: lower the learning rate"
                )
            lost = ordered.cumsum(0) / ordered.sum().clamp_min(_TINY)
            count, size = len(ranks), round_to[name]
            for end in range(count % size or size, min(int(count * _MOST), count - 1) + 1, size):
                steps.append((end / count, float(lost[end - 1]), name, ranks[:end].tolist()))
        self._steps = sorted(steps)

    def __len__(self) -> int:
        return len(self._steps)

    def first(self, num_steps: int) -> Removal:
        """Return what has left after so many steps."""
        return {name: removed for _, _, name, removed in self._steps[:num_steps]}


def prune_to_flops(
    model: nn.Module,
    inputs: Sequence[torch.Tensor],
    order: RemovalOrder,
    cut: Cut,
    *,
    max_flops: float,
    remedy: str,
) -> Pruned:
    """Return the copy with the fewest steps of `order` that has at most `max_flops`.

    The result was built again from its sizes and gave the same outputs.

    Args:
        model: Left as it is; not wrapped in DDP.
        inputs: What its forward takes, two rows or more, on its device.
        order: What leaves first; at most 90 % of a layer leave.
        cut: How it is made smaller.
        max_flops: Share of the model's FLOPs, 0 < max_flops <= 1; 1 returns an equal model.
        remedy: What to change where the share cannot be reached.

    Raises:
        RecipeError: The share cannot be reached, or the smaller model does not work.
    """
    if not 0.0 < max_flops <= 1.0:
        raise RecipeError(f"max_flops {max_flops} is not above 0 and at most 1")
    original = copy.deepcopy(model).eval()
    all_flops = flops(original, inputs)

    def tried(num_steps: int) -> tuple[nn.Module, float]:
        smaller = cut(order.first(num_steps))
        with FlopCounterMode(display=False) as counter:
            outputs_of(smaller, inputs)
        return smaller, counter.get_total_flops() / all_flops

    too_few, enough = -1, len(order) if max_flops < 1.0 else 0
    best = tried(enough)
    if best[1] > max_flops:
        raise RecipeError(
            f"{max_flops} of the FLOPs cannot be reached with at most 90 % off a layer: least is "
            f"{best[1]:.2f}; {remedy}"
        )
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        attempt = tried(middle)
        if attempt[1] <= max_flops:
            best, enough = attempt, middle
        else:
            too_few = middle
    sizes = changed_sizes(original, best[0])
    _check_rebuilt(original, best[0], sizes, inputs)
    return Pruned(best[0].train(model.training), sizes, best[1])


def outputs_of(model: nn.Module, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return what the model puts out, without gradients.

    Raises:
        RecipeError: A layer of it fails; which one is said.
    """
    inside: list[str] = []

    def entered(name: str) -> Callable[..., None]:
        return lambda *_: inside.append(name)

    def left(*_: object) -> None:
        inside.pop()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(entered(name)))
        handles.append(module.register_forward_hook(left))
    try:
        with torch.no_grad():
            outputs: torch.Tensor = model(*inputs)
    except FOREIGN_ERRORS as error:
        raise RecipeError(
            f"{inside[-1] or type(model).__name__}: does not work with fewer channels "
            f"({' '.join(str(error).split())[:120]}); use what: weights"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _check_rebuilt(
    original: nn.Module, pruned: nn.Module, sizes: Sizes, inputs: Sequence[torch.Tensor]
) -> None:
    rebuilt = copy.deepcopy(original)
    try:
        resize(rebuilt, sizes)
    except DataError as error:
        raise RecipeError(f"the pruned model cannot be rebuilt: {error}") from error
    have, want = rebuilt.state_dict(), pruned.state_dict()
    for name, tensor in want.items():
        if have[name].shape != tensor.shape:
            layer, _, parameter = name.rpartition(".")
            kind = type(pruned.get_submodule(layer)).__name__
            raise RecipeError(
                f"{layer}: a {kind} cannot be rebuilt with a smaller {parameter}; use what: weights"
            )
    rebuilt.load_state_dict(want)
    before, after, whole = (outputs_of(m, inputs) for m in (pruned, rebuilt, original))
    if before.shape != whole.shape or not torch.equal(before, after):
        raise RecipeError(
            f"{type(original).__name__}: the pruned model does not give what it gives when it is "
            "rebuilt; use what: weights"
        )
