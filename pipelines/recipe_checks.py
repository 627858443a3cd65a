"""Settings of different sections that cannot be together, found before anything starts."""

import difflib
from collections.abc import Iterator

from clusters.resources import ClusterConfig
from components.errors import RecipeError
from components.images.geometry import InputConfig
from components.models.registry import ConvNetConfig, ModelConfig, ResNetConfig
from components.models.stages import check_stages
from components.records.sources import SourceConfig
from components.records.split import SplitConfig
from components.training.config import TrainConfig
from pipelines.recipe_problems import Contradiction

BUILTIN_PREFIX = "builtin:"
BUILTIN_SOURCES = ("digits",)


def contradictions(
    *,
    source: SourceConfig,
    split: SplitConfig,
    picture: InputConfig,
    model: ModelConfig,
    train: TrainConfig,
    cluster: ClusterConfig,
) -> list[Contradiction]:
    """Return every impossible combination."""
    return [
        *_source(source),
        *_validation(source, split, train),
        *_workers(train, cluster),
        *_warmup(train),
        *_stages(picture, model),
    ]


def _source(source: SourceConfig) -> Iterator[Contradiction]:
    if source.path.startswith(BUILTIN_PREFIX):
        name = source.path.removeprefix(BUILTIN_PREFIX)
        if name not in BUILTIN_SOURCES:
            near = difflib.get_close_matches(name, BUILTIN_SOURCES, n=1, cutoff=0.0)[0]
            yield Contradiction(
                ("data.source.path",),
                f"data.source.path = {source.path!r}: no built-in data of that name; "
                f"did you mean {BUILTIN_PREFIX}{near}?",
            )
        elif source.format not in ("auto", "folders"):
            yield Contradiction(
                ("data.source.path", "data.source.format"),
                f"data.source.format = {source.format!r}: {source.path} is written as class "
                "folders; set it to auto",
            )
    if source.format == "folders" and source.split_column is not None:
        yield Contradiction(
            ("data.source.format", "data.source.split_column"),
            f"data.source.split_column = {source.split_column!r}: folders have no columns; remove "
            "it, or name the split by folders train/, val/ and test/",
        )


def _validation(
    source: SourceConfig, split: SplitConfig, train: TrainConfig
) -> Iterator[Contradiction]:
    if split.val == 0.0 and source.split_column is None:
        yield Contradiction(
            ("data.split.val",),
            f"data.split.val = 0: train.monitor = {train.monitor!r} is measured on validation "
            "records; give val a share above 0 (records that the source puts in val/ stay there)",
        )


def _workers(train: TrainConfig, cluster: ClusterConfig) -> Iterator[Contradiction]:
    workers = cluster.workers
    if workers == "auto":
        return
    if workers < 1:
        yield Contradiction(
            ("cluster.workers",), f"cluster.workers = {workers}: must be 1 or more, or auto"
        )
        return
    if train.batch_size < workers:
        yield Contradiction(
            ("cluster.workers", "train.batch_size"),
            f"train.batch_size = {train.batch_size}: cluster.workers = {workers} cannot each have "
            "a record in a step; raise it or use fewer workers",
        )
    if train.shuffle_lanes % workers:
        fewer = max(n for n in range(1, workers) if train.shuffle_lanes % n == 0)
        yield Contradiction(
            ("cluster.workers", "train.shuffle_lanes"),
            f"train.shuffle_lanes = {train.shuffle_lanes}: must be a multiple of cluster.workers = "
            f"{workers}; use {fewer} workers, or multiples of {workers} for shuffle_lanes and "
            "batch_size",
        )


def _warmup(train: TrainConfig) -> Iterator[Contradiction]:
    if train.schedule.warmup_epochs >= train.epochs:
        yield Contradiction(
            ("train.epochs", "train.schedule.warmup_epochs"),
            f"train.schedule.warmup_epochs = {train.schedule.warmup_epochs:g}: the warm-up must "
            f"end before train.epochs = {train.epochs}; shorten it or train longer",
        )


def _stages(picture: InputConfig, model: ModelConfig) -> Iterator[Contradiction]:
    if isinstance(model, ConvNetConfig):
        setting, num_stages = "model.depth", model.depth
    elif isinstance(model, ResNetConfig):
        setting, num_stages = "model.blocks", len(model.blocks)
    else:
        return
    try:
        check_stages(picture.image_px, num_stages)
    except RecipeError as error:
        yield Contradiction(("input.image_px", setting), str(error))
