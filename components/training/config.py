"""Settings of the training loop."""

from typing import Literal, Self

from pydantic import Field, model_validator

from components.config import Config
from components.tasks.names import ClassificationMetric, RegressionMetric
from components.training.optimizers import OptimizerConfig, SGDConfig
from components.training.schedules import ScheduleConfig


class TrainConfig(Config):
    """How a model is trained, whatever it learns."""

    epochs: int = Field(10, ge=1)
    """Times that every training record is seen."""
    batch_size: int = Field(64, ge=1)
    """Records in one optimizer step, over all workers together (the global batch)."""
    last_batch: Literal["keep", "drop"] = "keep"
    """The last incomplete global batch of an epoch: `keep` takes a smaller step with it, so that
    an epoch sees every record once; `drop` leaves its records out of that epoch, on all ranks."""
    shuffle_lanes: int = Field(16, ge=1, le=4096)
    """Places in the shuffled epoch that each batch draws from at once; more mix better and need
    more memory (one row group each). Must be a multiple of the number of workers."""
    optimizer: OptimizerConfig = SGDConfig()
    """How gradients change the weights."""
    schedule: ScheduleConfig = ScheduleConfig()
    """How the learning rate changes over the steps."""
    max_grad_norm: float | None = Field(None, gt=0.0)
    """Gradients are scaled down to this norm where theirs is larger; null leaves them alone."""
    monitor: str
    """Validation metric that decides which checkpoint is the best."""
    max_failures: int = Field(2, ge=0)
    """Times that training recovers from a lost worker before it gives up."""

    @model_validator(mode="after")
    def _lanes_fit_the_batch(self) -> Self:
        if self.batch_size % self.shuffle_lanes and self.shuffle_lanes % self.batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} and shuffle_lanes {self.shuffle_lanes} do not "
                "divide one another; use powers of two for both"
            )
        return self


class ClassificationTrainConfig(TrainConfig):
    """How a classifier is trained."""

    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    """Probability that the loss spreads over all classes (Szegedy et al. 2016)."""
    monitor: ClassificationMetric = "accuracy"
    """Validation metric that decides which checkpoint is the best: `loss`, `accuracy` or
    `f1_macro`."""


class RegressionTrainConfig(TrainConfig):
    """How a model of numbers is trained."""

    loss: Literal["mse", "huber"] = "mse"
    """Of the target in units of its standard deviation on train: `mse` (its square) or `huber`,
    which grows only linearly beyond `huber_delta` and so heeds far-out records less."""
    huber_delta: float = Field(1.0, gt=0.0, allow_inf_nan=False)
    """Where `huber` turns from a square into a line, in standard deviations of the target."""
    monitor: RegressionMetric = "rmse"
    """Validation metric that decides which checkpoint is the best: `loss`, `rmse`, `mae` or
    `r2`."""
