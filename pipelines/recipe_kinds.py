"""The kinds of recipe: what all of them have, and what belongs to pictures or to tables."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from clusters.resources import ClusterConfig
from components.compression.config import CompressionStep
from components.config import Config
from components.images.augment import AugmentConfig
from components.images.geometry import InputConfig
from components.images.inspect import CleanConfig
from components.images.store import StoreConfig
from components.models.registry import (
    AnyModelConfig,
    ConvNetConfig,
    ImageModelConfig,
    MLPConfig,
    TableModelConfig,
)
from components.records.shards import ShardConfig
from components.records.split import SplitConfig
from components.sources.config import SourceConfig, TableSourceConfig
from components.tables.config import ColumnConfig, TableCleanConfig
from components.tables.fitting.encode_plan import EncodeConfig
from components.tasks.names import TaskName
from components.tracking.config import TrackingConfig
from components.training.config import (
    ClassificationTrainConfig,
    RegressionTrainConfig,
    TrainConfig,
)
from pipelines import recipe_checks as checks
from pipelines.recipe_problems import Contradiction, Contradictions


def _local_folder(value: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        raise ValueError(
            "runs are written to a folder of this machine or a shared mount, not to a URI; "
            "name a folder and copy the finished run from there"
        )
    if value.startswith("~"):
        raise ValueError("only a shell knows what ~ means; write the whole path")
    return value


class DataConfig(Config):
    """From raw pictures to prepared shards: what `prepare` does, once."""

    source: SourceConfig
    """Where the records come from."""
    clean: CleanConfig = CleanConfig()
    """Which records are set aside, and how many may be."""
    store: StoreConfig = StoreConfig()
    """How prepared images are stored."""
    split: SplitConfig = SplitConfig()
    """How records are divided into train, val and test."""
    shards: ShardConfig = ShardConfig()
    """Sizes of the prepared files."""


class TableDataConfig(Config):
    """From a raw table to prepared shards: what `prepare` does, once."""

    source: TableSourceConfig
    """Where the records come from."""
    clean: TableCleanConfig = TableCleanConfig()
    """What is repaired, what is set aside, and how much may be."""
    columns: dict[str, ColumnConfig] = Field(default_factory=dict)
    """What is known of single columns, by name; what is left out is learned from the data."""
    schema_file: str | None = None
    """Schema that `prepare --schema` wrote, as JSON; data that has drifted from it is refused."""
    target: str | None = None
    """Column that the model predicts; `prepare` alone needs none."""
    encode: EncodeConfig = EncodeConfig()
    """How columns become numbers, fitted on train only."""
    split: SplitConfig = SplitConfig()
    """How records are divided into train, val and test."""
    shards: ShardConfig = ShardConfig()
    """Sizes of the prepared files."""


class Recipe(Config):
    """Everything that decides a run, from the raw data to the trained package."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """What runs of this recipe are called: lower-case letters, digits, `-` and `_`, at most 63."""
    task: TaskName
    """What is learned of what: `image_classification`, `tabular_classification` or
    `tabular_regression`."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the split, the order of records, the augmentation and the first weights."""
    output: Annotated[str, Field(min_length=1), AfterValidator(_local_folder)] = "runs"
    """Folder that everything is written to: local, or shared by all nodes of a cluster."""
    resume: bool = False
    """Continue the newest training of this recipe instead of starting a new one."""
    data: DataConfig | TableDataConfig
    """What is prepared, once: source, cleaning, split."""
    model: AnyModelConfig
    """The network."""
    train: TrainConfig
    """How the network is trained."""
    compression: tuple[CompressionStep, ...] = ()
    """What `compress` does to the trained model, step by step; training itself ignores it."""
    tracking: TrackingConfig = TrackingConfig()
    """How the run is filed in MLflow."""
    cluster: ClusterConfig = ClusterConfig()
    """Workers, devices and CPUs."""

    @model_validator(mode="after")
    def _can_be_together(self) -> Self:
        found = [
            *self._own_contradictions(),
            *checks.workers(self.train, self.cluster),
            *checks.warmup(self.train),
            *checks.compression(self.compression),
        ]
        if found:
            raise Contradictions(found)
        return self

    def _own_contradictions(self) -> Sequence[Contradiction]:
        return ()


class ImageRecipe(Recipe):
    """A recipe that classifies pictures."""

    task: Literal["image_classification"] = "image_classification"
    """What is learned: the class of a picture."""
    data: DataConfig
    """What is prepared, once: source, cleaning, storage, split."""
    input: InputConfig = InputConfig()
    """The picture that the model sees."""
    augment: AugmentConfig = AugmentConfig(policy="light")
    """Random changes to training pictures, new ones every epoch."""
    model: ImageModelConfig = ConvNetConfig()
    """The network."""
    train: ClassificationTrainConfig = ClassificationTrainConfig()
    """How the network is trained."""

    def _own_contradictions(self) -> Sequence[Contradiction]:
        return [
            *checks.image_source(self.data.source),
            *checks.validation(self.data.split, self.train, self.data.source.split_column),
            *checks.stages(self.input, self.model),
            *checks.sampling_of_pictures(self.train),
        ]


class TableRecipe(Recipe):
    """A recipe that learns from the rows of a table."""

    data: TableDataConfig
    """What is prepared, once: source, cleaning, columns, encoding, split."""
    model: TableModelConfig = MLPConfig()
    """The network."""

    def _own_contradictions(self) -> Sequence[Contradiction]:
        return [
            *checks.target(self.task, self.data.target, self.data.columns),
            *checks.mixing(self.task, self.train),
            *checks.validation(self.data.split, self.train, self.data.source.split_column),
        ]


class TableClassificationRecipe(TableRecipe):
    """A recipe that classifies the rows of a table."""

    task: Literal["tabular_classification"]
    """What is learned: the class of a row."""
    train: ClassificationTrainConfig = ClassificationTrainConfig()
    """How the network is trained."""


class TableRegressionRecipe(TableRecipe):
    """A recipe that predicts a number of each row of a table."""

    task: Literal["tabular_regression"]
    """What is learned: a number for each row."""
    train: RegressionTrainConfig = RegressionTrainConfig()
    """How the network is trained."""


KINDS: tuple[type[Recipe], ...] = (
    ImageRecipe,
    TableClassificationRecipe,
    TableRegressionRecipe,
)
"""Every kind of recipe; the first is meant where a recipe names no task."""
