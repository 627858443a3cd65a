"""From the statistics of the train split to the fitted transform."""

import polars as pl

from components.errors import DataError
from components.tables.fitting.columns import (
    ClassTarget,
    EncodedColumn,
    NumberColumn,
    NumberTarget,
    TableColumn,
    TableTarget,
)
from components.tables.fitting.encode_plan import ColumnPlan, EncodePlan
from components.tables.fitting.encoders import (
    DateParts,
    Embedding,
    Frequency,
    Hashed,
    OneHot,
    Ordinal,
)
from components.tables.fitting.impute import JointImputer, fit_fill, fit_joint
from components.tables.fitting.scalers import (
    Affine,
    Scaler,
    SignedLog,
    fit_affine,
    fit_quantile,
    fit_robust,
    fit_yeo_johnson,
)
from components.tables.fitting.statistics import Measure, TableStatistics
from components.tables.fitting.target_means import TargetMeans, fit_target_means


def fit_columns(plan: EncodePlan, statistics: TableStatistics) -> tuple[TableColumn, ...]:
    """The fitted state of every column that is a feature."""
    return tuple(_column(column, plan, statistics) for column in plan.columns)


def _column(plan: ColumnPlan, whole: EncodePlan, statistics: TableStatistics) -> TableColumn:
    indicator = plan.indicator and statistics.nulls[plan.name] > 0
    if plan.encode == "number":
        return _number_column(plan, statistics, indicator)
    fill = None
    if plan.impute == "constant":
        fill = str(plan.fill)
    elif plan.impute == "mode":
        fill = next(iter(_ranked(statistics.counts[plan.name].counts)["value"]), None)
    encoder = _encoder(plan, whole, statistics)
    return EncodedColumn(
        name=plan.name,
        holds=plan.kind,
        encoder=encoder,
        fill=fill,
        carried=plan.forward is not None,
        indicator=indicator,
    )


def _number_column(plan: ColumnPlan, statistics: TableStatistics, indicator: bool) -> NumberColumn:
    _, mean, *_ = statistics.measured(Measure(column=plan.name))
    if plan.impute == "none":
        fill = None
    elif plan.kind == "boolean" and plan.impute == "auto":
        fill = float(mean >= 0.5)
    else:
        constant = float(plan.fill) if plan.fill is not None else 0.0
        fill = fit_fill(plan.impute, statistics.sketches.get(plan.name), mean, constant)
    return NumberColumn(
        name=plan.name,
        holds=plan.kind,
        scaler=_scaler(plan, statistics),
        fill=fill,
        joint="knn" if plan.impute == "knn" else "model" if plan.impute == "model" else None,
        carried=plan.forward is not None,
        indicator=indicator,
    )


def _scaler(plan: ColumnPlan, statistics: TableStatistics) -> Scaler:
    count, *moments = statistics.measured(Measure(column=plan.name))
    if count == 0:
        return Affine()
    if plan.scale == "log":
        _, *logs = statistics.measured(Measure(column=plan.name, number="signed_log"))
        return SignedLog(after=fit_affine("zscore", *logs))
    if plan.scale == "robust":
        return fit_robust(statistics.sketches[plan.name])
    if plan.scale == "yeo_johnson":
        return fit_yeo_johnson(statistics.sketches[plan.name])
    if plan.scale in ("quantile_uniform", "quantile_normal"):
        sketch = statistics.sketches[plan.name]
        return fit_quantile(sketch, normal=plan.scale == "quantile_normal")
    return fit_affine(plan.scale, *moments)


def _encoder(
    plan: ColumnPlan, whole: EncodePlan, statistics: TableStatistics
) -> OneHot | Ordinal | Hashed | Frequency | Embedding | DateParts | TargetMeans:
    if plan.encode == "date":
        return _date_parts(plan, statistics)
    if plan.encode == "hashing":
        return Hashed(num_buckets=plan.num_buckets)
    counts = statistics.counts[plan.name].counts
    kept = _kept(counts, plan.min_frequency, whole.max_categories)
    categories = tuple(kept["value"].to_list())
    if plan.encode == "one_hot":
        return OneHot(categories=categories, infrequent=kept.height < counts.height)
    if plan.encode == "ordinal":
        return Ordinal(categories=_sorted(categories))
    if plan.encode == "frequency":
        shares = (kept["count"] / statistics.num_rows).to_list()
        return Frequency(categories=categories, shares=tuple(shares))
    if plan.encode == "embedding":
        return Embedding(categories=categories)
    return fit_target_means(
        statistics.crosses[plan.name],
        categories,
        _classes(whole, statistics),
        statistics.spec.num_folds,
        plan.smoothing,
    )


def _date_parts(plan: ColumnPlan, statistics: TableStatistics) -> DateParts:
    _, *days = statistics.measured(Measure(column=plan.name, number="days"))
    _, *years = statistics.measured(Measure(column=plan.name, number="year"))
    return DateParts(
        parts=plan.parts, elapsed=fit_affine("zscore", *days), year=fit_affine("zscore", *years)
    )


def fit_imputers(plan: EncodePlan, statistics: TableStatistics) -> tuple[JointImputer, ...]:
    """The imputers that look at several columns, where a column asks for one."""
    sampled = statistics.spec.sampled
    measured = [statistics.measured(Measure(column=name)) for name in sampled]
    centers = tuple(mean for _, mean, *_ in measured)
    scales = tuple(std or 1.0 for _, _, std, *_ in measured)
    sample = statistics.sample.drop("order")
    wanted = {column.impute for column in plan.columns}
    imputers: list[JointImputer] = []
    if "knn" in wanted:
        k = plan.num_neighbours
        imputers.append(fit_joint("knn", sample, centers, scales, num_neighbours=k))
    if "model" in wanted:
        imputers.append(fit_joint("model", sample, centers, scales, num_neighbours=1))
    return tuple(imputers)


def fit_target(plan: EncodePlan, statistics: TableStatistics) -> TableTarget | None:
    """The classes of the target, or its scaler; None where there is no target.

    Raises:
        DataError: There are fewer than two classes.
    """
    if plan.target is None:
        return None
    if plan.task == "tabular_regression":
        _, *moments = statistics.measured(Measure(column=plan.target))
        return NumberTarget(name=plan.target, scaler=fit_affine("zscore", *moments))
    classes = _classes(plan, statistics)
    if len(classes) < 2:
        raise DataError(
            f"the target {plan.target!r} has {len(classes)} class in train "
            f"({', '.join(classes)}); classification needs two or more"
        )
    return ClassTarget(name=plan.target, classes=classes)


def _classes(plan: EncodePlan, statistics: TableStatistics) -> tuple[str, ...]:
    if plan.task != "tabular_classification" or plan.target is None:
        return ()
    return tuple(statistics.counts[plan.target].counts["value"].to_list())


def _sorted(names: tuple[str, ...]) -> tuple[str, ...]:
    """In alphabetical order; numbers by size."""
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(sorted(names))


def _ranked(counts: pl.DataFrame) -> pl.DataFrame:
    return counts.sort(["count", "value"], descending=[True, False])


def _kept(counts: pl.DataFrame, min_frequency: int, max_categories: int) -> pl.DataFrame:
    """Categories with a place of their own, in alphabetical order."""
    frequent = _ranked(counts.filter(pl.col("count") >= min_frequency))
    return frequent.head(max_categories).sort("value")
