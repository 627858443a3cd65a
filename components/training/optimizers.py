"""Optimizers: their settings and the one place that builds them."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from components.config import Config

if TYPE_CHECKING:
    import torch
    from torch import nn


class SGDConfig(Config):
    """Stochastic gradient descent with momentum, as torch.optim.SGD (Sutskever et al. 2013)."""

    name: Literal["sgd"] = "sgd"
    """Which optimizer this is."""
    learning_rate: float = Field(0.1, gt=0.0, allow_inf_nan=False)
    """Peak learning rate; the schedule says how it is reached and left. Not scaled by batch size
    or number of workers."""
    momentum: float = Field(0.9, ge=0.0, lt=1.0)
    """Share of the last update that is kept in the next one."""
    nesterov: bool = True
    """Take the gradient after the momentum step; needs a momentum above 0."""
    weight_decay: float = Field(5e-4, ge=0.0, allow_inf_nan=False)
    """L2 penalty added to the gradient of weights; norms and biases have none."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov needs a momentum above 0; set nesterov to false as well")
        return self


class AdamWConfig(Config):
    """Adam with decoupled weight decay, as torch.optim.AdamW (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"]
    """Which optimizer this is."""
    learning_rate: float = Field(1e-3, gt=0.0, allow_inf_nan=False)
    """Peak learning rate; the schedule says how it is reached and left. Not scaled by batch size
    or number of workers."""
    betas: tuple[
        Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]
    ] = (0.9, 0.999)
    """Decay of the running mean of the gradient and of its square."""
    eps: float = Field(1e-8, gt=0.0, allow_inf_nan=False)
    """Added to the root of the second moment, against division by zero."""
    weight_decay: float = Field(0.05, ge=0.0, allow_inf_nan=False)
    """Share of a weight (times the learning rate) taken off each step; norms and biases have
    none."""


OptimizerConfig = Annotated[SGDConfig | AdamWConfig, Field(discriminator="name")]
"""Any optimizer, told apart by `name`."""


def decay_groups(model: "nn.Module", weight_decay: float) -> "list[dict[str, object]]":
    """Split the trainable parameters into those that decay and those that do not.

    Parameters of at most one dimension (biases, scales and shifts of norms) do not decay, as in
    He et al. 2019, "Bag of Tricks for Image Classification", section 3.1, and timm. Parameters
    that several modules share are listed once; frozen ones are left out.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decaying = [parameter for parameter in trainable if parameter.ndim > 1]
    plain = [parameter for parameter in trainable if parameter.ndim <= 1]
    groups: list[dict[str, object]] = [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(config: SGDConfig | AdamWConfig, model: "nn.Module") -> "torch.optim.Optimizer":
    """Build the optimizer over the trainable parameters of `model` (see `decay_groups`).

    The learning rate set here is the peak; `train_step` sets the schedule's value at each step.

    Raises:
        ValueError: No parameter of the model is trainable.
    """
    import torch

    groups = decay_groups(model, config.weight_decay)
    if not groups:
        raise ValueError("the model has no trainable parameter; nothing can be learned")
    if isinstance(config, SGDConfig):
        return torch.optim.SGD(
            groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.nesterov
        )
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps)
