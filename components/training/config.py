"""Settings of the training loop."""

from typing import Literal

from pydantic import Field

from components.config import Config
from components.records.sampling import SamplingConfig
from components.tasks.names import ClassificationMetric, RegressionMetric
from components.training.mixing import MixingConfig
from components.training.optimizers import OptimizerConfig, SGDConfig
from components.training.schedules import ScheduleConfig


class TrainConfig(Config):
    """How a model is trained, whatever it learns."""

    epochs: int = Field(10, ge=1)
    """Passes over the training records, each followed by an evaluation."""
    batch_size: int = Field(64, ge=1)
    """Records in one optimizer step, over all workers together (the global batch)."""
    last_batch: Literal["keep", "drop"] = "keep"
    """The last incomplete global batch of an epoch: `keep` takes a smaller step with it, so that
    an epoch sees every record once; `drop` leaves its records out of that epoch, on all ranks."""
    shuffle_window_rows: int | None = Field(None, ge=1)
    """Records of an epoch that are mixed with one another, after the row groups they lie in have
    been. More mix better and are read at once. Default: 512 pictures or 8,192 rows of a table, or
    as many as make 8 MiB for the model where those are small."""
    sampling: SamplingConfig = SamplingConfig()
    """Which records an epoch has, and how often; by default each of them once."""
    optimizer: OptimizerConfig = SGDConfig()
    """How gradients change the weights."""
    schedule: ScheduleConfig = ScheduleConfig()
    """How the learning rate changes over the steps."""
    max_grad_norm: float | None = Field(None, gt=0.0)
    """Gradients are scaled down to this norm where theirs is larger; null leaves them alone."""
    mixing: MixingConfig = MixingConfig()
    """Whether rows of a batch are mixed with one another, and pictures lose parts: mixup, cutmix,
    random erasing."""
    checkpoint_every_steps: int | None = Field(None, ge=1)
    """Optimizer steps after which a checkpoint is taken inside an epoch, beside that at its end; a
    training that is stopped or loses a worker goes on from there. Null: at the end of epochs."""
    monitor: str
    """Validation metric that decides which checkpoint is the best."""
    max_failures: int = Field(2, ge=0)
    """Times that training recovers from a lost worker before it gives up."""


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
