"""How the columns of a table become features: the recipe's settings, and the plan they give."""

import difflib
from typing import Literal, Self

from pydantic import Field, model_validator

from components.config import Config
from components.errors import RecipeError
from components.tables.fitting.encoders import DatePart
from components.tables.fitting.forward_fill import Carry, ForwardFill
from components.tables.fitting.impute import ImputerName
from components.tables.fitting.scalers import FROM_SKETCH, ScalerName
from components.tables.fitting.statistics import Measure, StatisticsSpec
from components.tables.schema import ColumnKind, ColumnSchema, TableSchema

CategoryEncoding = Literal["one_hot", "ordinal", "hashing", "frequency", "target", "embedding"]
Encoding = Literal[
    "number", "date", "one_hot", "ordinal", "hashing", "frequency", "target", "embedding"
]
TableTask = Literal["tabular_classification", "tabular_regression"]

# Cells of the sample that knn and model keep: bounds the size of the fitted transform.
_MAX_SAMPLE_CELLS = 200_000


class ColumnEncodeConfig(Config):
    """How one column is encoded, where it differs from the others."""

    encode: Encoding | None = None
    """number (also booleans), date, or one of the encodings of categories; the latter also take
    integers, identifiers and text, by their spelling."""
    scale: ScalerName | None = None
    """How numbers are scaled, in place of data.encode.numbers."""
    impute: ImputerName | ForwardFill | None = None
    """What stands in for a missing value, in place of data.encode.impute."""
    fill: float | str | None = None
    """The value of impute: constant."""
    indicator: bool | None = None
    """Whether a column NAME:missing goes with it, in place of data.encode.indicator."""
    min_frequency: int | None = Field(None, ge=1)
    """Times that a category must occur, in place of data.encode.min_frequency."""
    num_buckets: int = Field(32, ge=2)
    """Columns of the hashing encoder."""
    smoothing: float | None = Field(None, ge=0.0)
    """Rows that the target's mean counts for in target encoding; default: by the variances."""
    parts: tuple[DatePart, ...] | None = None
    """Parts of a date that become features."""


class EncodeConfig(Config):
    """How a table's columns become features; statistics come from the train split alone."""

    numbers: ScalerName = "zscore"
    """Scaler of numbers: zscore, minmax, robust, maxabs, decimal, log, yeo_johnson,
    quantile_uniform, quantile_normal or none."""
    categories: CategoryEncoding = "one_hot"
    """Encoding of columns with up to `max_one_hot` categories."""
    large_categories: CategoryEncoding = "embedding"
    """Encoding of columns with more."""
    max_one_hot: int = Field(32, ge=1)
    """Most categories of a column that is one-hot encoded; `large_categories` is for the rest."""
    max_categories: int = Field(10_000, ge=1)
    """Most categories with a place of their own in a column: the most frequent."""
    min_frequency: int = Field(2, ge=1)
    """Times that a category must occur in train; a rarer one is treated like an unseen one (in
    one-hot they share a column)."""
    dates: tuple[DatePart, ...] = (
        "elapsed", "year", "month", "weekday", "day_of_year", "hour",
    )  # fmt: skip
    """Parts of dates that become features; hours only of columns with a time."""
    impute: ImputerName | ForwardFill = "median"
    """What stands in for a missing number: the name of an imputer, or {method: forward, by: [key],
    order: time} for the last known value of the same key."""
    indicator: bool = True
    """A column NAME:missing beside each column that has missing values in train."""
    num_neighbours: int = Field(5, ge=1)
    """Rows whose mean imputes a number by knn."""
    sample_rows: int = Field(2000, ge=10)
    """Rows of train that knn and model are fitted on (fewer where 200,000 numbers are reached)."""
    num_folds: int = Field(5, ge=2)
    """Folds of cross-fitted target encoding."""
    drop: tuple[str, ...] = ()
    """Columns that are no feature."""
    columns: dict[str, ColumnEncodeConfig] = Field(default_factory=dict)
    """Settings of single columns."""

    @model_validator(mode="after")
    def _goes_by_others(self) -> Self:
        for name, column in self.columns.items():
            forward = column.impute
            if isinstance(forward, ForwardFill) and name in (*forward.by, forward.order):
                raise ValueError(
                    f"columns {name!r} is carried forward by itself; name other columns in "
                    "impute.by and impute.order"
                )
        return self


class ColumnPlan(Config):
    """How one column becomes features; all settings resolved."""

    name: str
    kind: ColumnKind
    encode: Encoding
    scale: ScalerName = "none"
    impute: ImputerName = "auto"
    forward: ForwardFill | None = None
    """Comes before `impute`."""
    fill: float | str | None = None
    indicator: bool = True
    min_frequency: int = 1
    num_buckets: int = 32
    smoothing: float | None = None
    parts: tuple[DatePart, ...] = ()


class EncodePlan(Config):
    """What `fit_transform_from` needs to know, and the statistics that it needs."""

    columns: tuple[ColumnPlan, ...]
    target: str | None
    task: TableTask | None
    left_out: dict[str, str]
    """Columns that are no feature -> why."""
    spec: StatisticsSpec
    max_categories: int
    num_neighbours: int

    @property
    def carries(self) -> tuple[Carry, ...]:
        """What is carried forward before anything is encoded, by key and order."""
        columns: dict[tuple[tuple[str, ...], str], list[str]] = {}
        for plan in self.columns:
            if plan.forward is not None:
                columns.setdefault((plan.forward.by, plan.forward.order), []).append(plan.name)
        return tuple(Carry(by, order, tuple(names)) for (by, order), names in columns.items())


def fit_plan(
    schema: TableSchema,
    target: str | None,
    config: EncodeConfig,
    *,
    task: TableTask | None = None,
) -> EncodePlan:
    """Decide from the schema how each column is encoded, and what must be measured for it.

    Identifiers and text are left out unless `columns` gives them an encoding. The task follows
    from the target's kind where it is None: numbers are regressed, all else classified.

    Raises:
        RecipeError: A setting names no column, or cannot hold for its column.
    """
    _check_names(schema, target, config)
    _check_forward(schema, target, config)
    if target is not None and task is None:
        numeric = schema.column(target).kind in ("integer", "number")
        task = "tabular_regression" if numeric else "tabular_classification"
    left_out = {name: "dropped by data.encode.drop" for name in config.drop}
    plans = []
    for column in schema.columns:
        if column.name in left_out or column.name == target:
            continue
        encode = _encoding(column, config)
        if encode is None:
            left_out[column.name] = f"{column.kind}: no feature unless data.encode.columns says so"
        else:
            plans.append(_column_plan(column, encode, config, target))
    return EncodePlan(
        columns=tuple(plans),
        target=target,
        task=task if target is not None else None,
        left_out=left_out,
        spec=_spec(tuple(plans), schema, target, task, config),
        max_categories=config.max_categories,
        num_neighbours=config.num_neighbours,
    )


def _check_names(schema: TableSchema, target: str | None, config: EncodeConfig) -> None:
    said = [("data.encode.drop", name) for name in config.drop]
    said += [("data.encode.columns", name) for name in config.columns]
    if target is not None:
        said.append(("data.target", target))
    for place, name in said:
        _check_name(place, name, schema)
    if target in config.drop:
        raise RecipeError(f"data.encode.drop: {target!r} is the target; take it out of the list")


def _check_name(place: str, name: str, schema: TableSchema) -> None:
    names = [column.name for column in schema.columns]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}"
        raise RecipeError(f"{place} = {name!r}: the table has no such column; {hint}")


def _encoding(column: ColumnSchema, config: EncodeConfig) -> Encoding | None:
    said = config.columns.get(column.name, ColumnEncodeConfig()).encode
    if said is not None:
        return said
    if column.kind in ("integer", "number", "boolean"):
        return "number"
    if column.kind in ("date", "datetime"):
        return "date"
    if column.kind == "category":
        few = len(column.categories) <= config.max_one_hot
        return config.categories if few else config.large_categories
    return None


def _column_plan(
    column: ColumnSchema, encode: Encoding, config: EncodeConfig, target: str | None
) -> ColumnPlan:
    own = config.columns.get(column.name, ColumnEncodeConfig())
    _check_column(column, encode, own, target)
    numeric = encode == "number"
    boolean = column.kind == "boolean"
    parts = own.parts if own.parts is not None else config.dates
    forward, impute = _imputer(column, encode, own, config)
    return ColumnPlan(
        name=column.name,
        kind=column.kind,
        encode=encode,
        scale=own.scale or ("none" if boolean or not numeric else config.numbers),
        impute=impute,
        forward=forward,
        fill=own.fill,
        indicator=config.indicator if own.indicator is None else own.indicator,
        min_frequency=own.min_frequency or config.min_frequency,
        num_buckets=own.num_buckets,
        smoothing=own.smoothing,
        parts=tuple(part for part in parts if part != "hour" or column.kind == "datetime"),
    )


def _imputer(
    column: ColumnSchema, encode: Encoding, own: ColumnEncodeConfig, config: EncodeConfig
) -> tuple[ForwardFill | None, ImputerName]:
    """What is carried forward, if anything, and what stands in for the missing values left."""
    number = encode == "number" and column.kind != "boolean"
    whole, forward = config.impute, own.impute
    if isinstance(whole, ForwardFill):
        # Of all numbers at once: the key and the time themselves are carried along nothing.
        if number and own.impute is None and column.name not in (*whole.by, whole.order):
            forward = whole
        whole = whole.then or "auto"
    name = forward.then if isinstance(forward, ForwardFill) else forward
    name = name or (whole if number else "auto")
    if number and name == "auto":
        name = "median"
    return (forward if isinstance(forward, ForwardFill) else None), name


def _check_forward(schema: TableSchema, target: str | None, config: EncodeConfig) -> None:
    """Refuse a forward fill along columns that are not there or say nothing of before and after."""
    said = [
        (f"data.encode.columns.{name}.impute", own.impute) for name, own in config.columns.items()
    ]
    for place, forward in [("data.encode.impute", config.impute), *said]:
        if not isinstance(forward, ForwardFill):
            continue
        for name in forward.by:
            _check_name(f"{place}.by", name, schema)
            if name == target:
                raise RecipeError(
                    f"{place}.by: {name!r} is the target, which is not known where it is "
                    "predicted; take it out of the list"
                )
        _check_name(f"{place}.order", forward.order, schema)
        kind = schema.column(forward.order).kind
        if kind not in ("date", "datetime", "integer", "number"):
            raise RecipeError(
                f"{place}.order: {forward.order!r} holds {kind}, which says nothing of before and "
                "after; choose a column of dates or numbers"
            )
        taken = [column.name for column in schema.columns if column.name.endswith("__carried")]
        if taken:
            raise RecipeError(
                f"{place}: the table has a column {taken[0]!r}, which is what carried values are "
                "called; rename it in the source"
            )


def _check_column(
    column: ColumnSchema, encode: Encoding, own: ColumnEncodeConfig, target: str | None
) -> None:
    where = f"data.encode.columns.{column.name}"
    if encode == "number" and column.kind not in ("integer", "number", "boolean"):
        raise RecipeError(f"{where}: encode: number needs numbers, the column holds {column.kind}")
    if encode == "date" and column.kind not in ("date", "datetime"):
        raise RecipeError(f"{where}: encode: date needs dates, the column holds {column.kind}")
    if encode == "target" and target is None:
        raise RecipeError(f"{where}: encode: target needs a target; choose frequency or one_hot")
    setting, impute = "impute", own.impute
    if isinstance(impute, ForwardFill):
        setting, impute = "impute.then", impute.then
    if encode != "number" and impute not in (None, "auto", "mode", "constant"):
        raise RecipeError(f"{where}: {setting}: {impute} is for numbers; use mode or constant")
    if encode == "date" and impute in ("mode", "constant"):
        raise RecipeError(f"{where}: a missing date is 0 with an indicator; leave {setting} out")
    if impute == "constant" and (
        own.fill is None or (encode == "number") == isinstance(own.fill, str)
    ):
        raise RecipeError(
            f"{where}: {setting}: constant needs `fill`, a value of the column's kind"
        )


def _spec(
    plans: tuple[ColumnPlan, ...],
    schema: TableSchema,
    target: str | None,
    task: TableTask | None,
    config: EncodeConfig,
) -> StatisticsSpec:
    measures = [measure for plan in plans for measure in _measures(plan)]
    counted = [plan.name for plan in plans if _needs_counts(plan)]
    if task == "tabular_regression":
        measures.append(Measure(column=str(target)))
    elif target is not None:
        counted.append(target)
    joint = any(plan.impute in ("knn", "model") for plan in plans)
    sampled = [plan.name for plan in plans if plan.encode == "number" and joint]
    crossed = tuple(plan.name for plan in plans if plan.encode == "target")
    return StatisticsSpec(
        measures=tuple(measures),
        sketched=tuple(p.name for p in plans if _needs_sketch(p, schema.column(p.name))),
        counted=tuple(counted),
        watched=tuple(plan.name for plan in plans if plan.encode == "hashing"),
        crossed=crossed,
        target=target,
        classes=task == "tabular_classification",
        num_folds=config.num_folds,
        sampled=tuple(sampled),
        sample_rows=min(config.sample_rows, _MAX_SAMPLE_CELLS // max(1, len(sampled))),
    )


def _measures(plan: ColumnPlan) -> list[Measure]:
    if plan.encode == "date":
        return [Measure(column=plan.name, number="days"), Measure(column=plan.name, number="year")]
    if plan.encode != "number":
        return []
    logs = [Measure(column=plan.name, number="signed_log")] if plan.scale == "log" else []
    return [Measure(column=plan.name), *logs]


def _needs_sketch(plan: ColumnPlan, column: ColumnSchema) -> bool:
    if plan.encode != "number":
        return False
    by_rank = plan.impute in ("median", "mode") and column.nullable
    return plan.scale in FROM_SKETCH or by_rank


def _needs_counts(plan: ColumnPlan) -> bool:
    if plan.encode == "hashing":
        return plan.impute == "mode"
    return plan.encode not in ("number", "date")
