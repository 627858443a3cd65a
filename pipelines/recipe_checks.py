"""Settings of different sections that cannot be together, found before anything starts."""

import difflib
from collections.abc import Iterator, Mapping, Sequence

from clusters.resources import ClusterConfig
from components.compression.config import AnyStep, misplaced, step_name
from components.errors import RecipeError
from components.images.geometry import InputConfig
from components.models.registry import AnyModelConfig, ConvNetConfig, ResNetConfig
from components.models.stages import check_stages
from components.records.split import SplitConfig
from components.sources.config import SourceConfig
from components.tables.config import ColumnConfig
from components.tables.schema import ColumnKind
from components.tasks.names import TaskName
from components.training.config import TrainConfig
from pipelines.recipe_problems import Contradiction

BUILTIN_PREFIX = "builtin:"
BUILTIN_SOURCES = ("digits",)
_TARGET_KINDS: dict[TaskName, tuple[ColumnKind, ...]] = {
    "tabular_classification": ("category", "boolean", "integer"),
    "tabular_regression": ("number", "integer"),
}


def image_source(source: SourceConfig) -> Iterator[Contradiction]:
    """Yield what cannot be together in a source of pictures."""
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


def validation(
    split: SplitConfig, train: TrainConfig, split_column: str | None = None
) -> Iterator[Contradiction]:
    """Yield a split that leaves no record to choose the best checkpoint by."""
    if split.val == 0.0 and split.folds is None and split_column is None:
        yield Contradiction(
            ("data.split.val",),
            f"data.split.val = 0: train.monitor = {train.monitor!r} is measured on validation "
            "records; give val a share above 0 (records that the source puts in val/ stay there)",
        )


def workers(train: TrainConfig, cluster: ClusterConfig) -> Iterator[Contradiction]:
    """Yield a number of workers that cannot share the batches."""
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


def warmup(train: TrainConfig) -> Iterator[Contradiction]:
    """Yield a warm-up that is longer than the training."""
    if train.schedule.warmup_epochs >= train.epochs:
        yield Contradiction(
            ("train.epochs", "train.schedule.warmup_epochs"),
            f"train.schedule.warmup_epochs = {train.schedule.warmup_epochs:g}: the warm-up must "
            f"end before train.epochs = {train.epochs}; shorten it or train longer",
        )


def mixing(task: TaskName, train: TrainConfig) -> Iterator[Contradiction]:
    """Yield what rows of a table cannot be mixed by."""
    for name, value in train.mixing.of_pictures_only.items():
        yield Contradiction(
            ("task", f"train.mixing.{name}"),
            f"train.mixing.{name} = {value:g}: it is for pictures, and {task} learns from rows of "
            "a table; set it to 0 (train.mixing.mixup_alpha mixes rows)",
        )


def sampling_of_pictures(train: TrainConfig) -> Iterator[Contradiction]:
    """Yield columns to sample by, which pictures do not have."""
    sampling = train.sampling
    if sampling.weight_column is not None:
        yield Contradiction(
            ("train.sampling.weight_column",),
            f"train.sampling.weight_column = {sampling.weight_column!r}: prepared pictures have no "
            "columns of their own; set balance or shares",
        )
    if sampling.by not in ("label", "origin"):
        yield Contradiction(
            ("train.sampling.by",),
            f"train.sampling.by = {sampling.by!r}: prepared pictures have no columns of their own; "
            "set it to label or origin",
        )


def stages(picture: InputConfig, model: AnyModelConfig) -> Iterator[Contradiction]:
    """Yield a reference network that has more stages than the picture can be halved."""
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


def target(
    task: TaskName, name: str | None, columns: Mapping[str, ColumnConfig]
) -> Iterator[Contradiction]:
    """Yield a target that is pinned to a kind which the task cannot predict."""
    kind = columns[name].kind if name is not None and name in columns else None
    wanted = _TARGET_KINDS.get(task)
    if kind is not None and wanted is not None and kind not in wanted:
        yield Contradiction(
            ("task", "data.target", f"data.columns.{name}.kind"),
            f"data.columns.{name}.kind = {kind!r}: {task} predicts a column of kind "
            f"{' or '.join(wanted)}; change the kind, data.target or task",
        )


def compression(steps: Sequence[AnyStep]) -> Iterator[Contradiction]:
    """Yield steps that cannot follow those before them."""
    for problem in misplaced([step_name(step.kind, step.model_dump()) for step in steps]):
        places = [f"compression.{index}" for index in (problem.later, problem.earlier)]
        settings = [f"{place}{end}" for place in places for end in ("", ".kind", ".what")]
        remedy = problem.remedy.format(earlier=places[1])
        yield Contradiction(("compression", *settings), f"{places[0]}: {problem.reason}; {remedy}")
