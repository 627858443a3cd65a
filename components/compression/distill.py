"""Distillation: a student learns what a teacher says of each record, and what it sees in it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional as F

from components.compression.trace import Inputs, evaluation
from components.errors import RecipeError


def distillation_losses(
    student_BK: torch.Tensor,
    teacher_BK: torch.Tensor,
    hard_losses_B: torch.Tensor,
    *,
    temperature: float,
    weight: float,
) -> torch.Tensor:
    """Return the loss of each row (B,): w T^2 KL(p_T || q_T) + (1 - w) hard (Hinton et al. 2015).

    p_T and q_T are the softmax of teacher and student over T. The factor T^2 keeps the gradient of
    the first term as large as that of the second, whatever T is. Nothing is learned by the teacher.

    Args:
        student_BK: Logits of the student, float.
        teacher_BK: Logits of the teacher for the same rows, float.
        hard_losses_B: What the task's own loss says of the student, so that label smoothing, mixup
            and class weights stay as they are.
        temperature: T > 0; the larger, the more the unlikely classes count.
        weight: w in [0, 1], the share of the teacher's term.

    Raises:
        ValueError: The shapes differ, or a setting is out of its range.
    """
    if student_BK.shape != teacher_BK.shape:
        raise ValueError(
            f"the student gives {tuple(student_BK.shape)} and the teacher "
            f"{tuple(teacher_BK.shape)}; both need the same classes"
        )
    if not (temperature > 0.0 and 0.0 <= weight <= 1.0):
        raise ValueError(f"temperature {temperature} and weight {weight}: need T > 0, 0 <= w <= 1")
    if weight == 0.0:
        return hard_losses_B
    log_q_BK = F.log_softmax(student_BK / temperature, dim=1)
    log_p_BK = F.log_softmax(teacher_BK.detach() / temperature, dim=1)
    soft_B = F.kl_div(log_q_BK, log_p_BK, reduction="none", log_target=True).sum(dim=1)
    return weight * temperature**2 * soft_B + (1.0 - weight) * hard_losses_B


class FeatureMatch(nn.Module):
    """Draws features of a student towards those of a teacher (FitNets, Romero et al. 2015).

    Hooks keep what the named modules gave in the last forward pass of both models; calling this
    module compares them. Where the widths differ, a projection (1 x 1 convolution, or Linear on the
    last dimension) learns to translate; it is needed in training alone. Its parameters belong into
    the optimizer, and with several ranks this module is wrapped in DDP as the student is.

        with FeatureMatch(student, teacher, {"stages.1": "stages.1"}, inputs, seed=0) as match:
            outputs = student(*inputs)
            with torch.no_grad():
                teacher(*inputs)
            losses_B = distillation_losses(...) + feature_weight * match()
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        pairs: Mapping[str, str],
        inputs: Inputs,
        *,
        seed: int,
    ) -> None:
        """Look at both models once, build the projections and begin to listen.

        Args:
            student: Not wrapped in DDP; neither model becomes part of this module.
            teacher: On the device of `student`.
            pairs: Module of the student -> module of the teacher.
            inputs: A few rows of what both take.
            seed: Of the projections' weights; the global random state is left as it was.

        Raises:
            RecipeError: A module does not exist, gives no tensor, or the features of a pair have
                different sizes beside their width.
        """
        super().__init__()
        self._features: dict[tuple[str, str], torch.Tensor] = {}
        self._pairs = tuple(pairs.items())
        models = {"student": student, "teacher": teacher}
        hooked = [
            (side, name) for pair in self._pairs for side, name in zip(models, pair, strict=True)
        ]
        for side, name in hooked:
            if name not in dict(models[side].named_modules()):
                raise RecipeError(
                    f"features: the {side} has no module {name!r}; it has "
                    f"{', '.join(child for child, _ in models[side].named_children())}"
                )
        self._hooks = [
            models[side].get_submodule(name).register_forward_hook(self._keep((side, name)))
            for side, name in dict.fromkeys(hooked)
        ]
        with ExitStack() as undo:
            undo.callback(self.close)
            for model in models.values():
                with evaluation(model):
                    model(*inputs)
            # Only the CPU generator is touched: torch.manual_seed would also seed the devices'.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                self.projections = nn.ModuleList(
                    _projection(pair, *self._taken(pair)) for pair in self._pairs
                )
            undo.pop_all()
        self.projections.to(inputs[0].device)
        self._features.clear()

    def forward(self) -> torch.Tensor:
        """Return the mean squared distance of each row (B,), averaged over the pairs.

        Gradients go to the student and the projections. What was kept is given free.

        Raises:
            RuntimeError: One of the models made no forward pass since the last call.
        """
        losses = []
        for pair, projection in zip(self._pairs, self.projections, strict=True):
            mine, theirs = self._taken(pair)
            distances = (projection(mine) - theirs.detach()).square()
            losses.append(distances.flatten(1).mean(dim=1))
        self._features.clear()
        return torch.stack(losses).mean(dim=0)

    def close(self) -> None:
        """Stop listening; both models are as before."""
        for hook in self._hooks:
            hook.remove()
        self._features.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def _keep(self, key: tuple[str, str]) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            # Layers of transformers give a tuple, the hidden states first.
            first = output[0] if isinstance(output, tuple) else output
            if not isinstance(first, torch.Tensor) or first.ndim < 2:
                raise RecipeError(
                    f"features: {key[1]!r} of the {key[0]} gives a {type(first).__name__}, not "
                    "features of a batch; name another module"
                )
            self._features[key] = first

        return hook

    def _taken(self, pair: tuple[str, str]) -> tuple[torch.Tensor, torch.Tensor]:
        try:
            return self._features["student", pair[0]], self._features["teacher", pair[1]]
        except KeyError as error:
            side, name = error.args[0]
            raise RuntimeError(
                f"features: {name!r} of the {side} has not run since the last call; run both "
                "models before each"
            ) from error


def _projection(pair: tuple[str, str], mine: torch.Tensor, theirs: torch.Tensor) -> nn.Module:
    # Pictures have their channels second, everything else has its width last.
    width = 1 if mine.ndim == 4 else -1
    sizes = [list(features.shape) for features in (mine, theirs)]
    widths = [size.pop(width) for size in sizes] if mine.ndim == theirs.ndim else []
    if not widths or sizes[0] != sizes[1]:
        raise RecipeError(
            f"features: {pair[0]!r} of the student gives {tuple(mine.shape)} and {pair[1]!r} of "
            f"the teacher {tuple(theirs.shape)}; only the width may differ"
        )
    if widths[0] == widths[1]:
        return nn.Identity()
    if mine.ndim == 4:
        return nn.Conv2d(widths[0], widths[1], 1, bias=False)
    return nn.Linear(widths[0], widths[1], bias=False)
