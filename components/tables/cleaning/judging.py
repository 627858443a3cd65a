"""What rows of typed values tell: rules, outliers, and values that may not be missing."""

from collections.abc import Mapping, Sequence

import polars as pl

from components.records.findings import Action
from components.records.reasons import Policy, Reason
from components.tables.cleaning.cells import DTYPES, outside_bounds
from components.tables.cleaning.notes import action_of, no_notes, notes
from components.tables.cleaning.odd_cells import Policies, written
from components.tables.cleaning.outliers import bound_text
from components.tables.cleaning.reading import ReadRows
from components.tables.cleaning.rule_repairs import solved_cells
from components.tables.cleaning.rules import Rule
from components.tables.config import ColumnConfig, OutlierConfig, TableCleanConfig
from components.tables.schema import RAW_RECORD, ColumnSchema, TableSchema


def apply_rules(
    read: ReadRows, rules: Sequence[Rule], columns: Sequence[ColumnSchema]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Put in what the rules determine."""
    frame, found = read.frame, [no_notes()]
    unreadable = read.odd.filter(pl.col("reason") == Reason.NOT_A_NUMBER.value)
    kinds = {column.name: column.kind for column in columns}
    for rule in rules:
        solved = solved_cells(frame, rule, columns, unreadable)
        for (name,), cells in solved.partition_by("column", as_dict=True).items():
            assert isinstance(name, str)
            value = cells.select(RAW_RECORD, __solved=pl.col("value").cast(DTYPES[kinds[name]]))
            frame = (
                frame.join(value, on=RAW_RECORD, how="left", maintain_order="left")
                .with_columns(pl.coalesce("__solved", name).alias(name))
                .drop("__solved")
            )
            found.append(
                notes(cells, reason=Reason.RULE_VIOLATED.value, action=Action.REPAIRED.value)
            )
    return frame, pl.concat(found)


def judge_outliers(
    frame: pl.DataFrame,
    columns: Sequence[ColumnSchema],
    config: TableCleanConfig,
    pinned: Mapping[str, ColumnConfig],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Clip or mark what lies outside of the bounds; notes on it all."""
    found = [no_notes()]
    marks: list[pl.Series] = []
    policy = config.policy.get(Reason.OUTLIER)
    for column in columns:
        own = pinned.get(column.name, ColumnConfig()).outliers
        action = (own or config.outliers).action
        if policy is Policy.QUARANTINE and (own or OutlierConfig()).action == "keep":
            action = "quarantine"
        values = frame[column.name]
        outside = outside_bounds(values, column)
        if action == "mark" and column.kind in ("integer", "number"):
            flags = outside if outside is not None else pl.repeat(False, len(values), eager=True)
            marks.append(flags.cast(pl.Int8).alias(f"{column.name}__outlier"))
        if outside is None:
            continue
        if action == "clip" and values.dtype.is_temporal():
            action = "keep"  # another day would be as wrong
        clipped = values.clip(column.minimum, column.maximum) if action == "clip" else values
        rows = pl.DataFrame(
            [
                frame[RAW_RECORD].filter(outside),
                written(values.filter(outside)).alias("before"),
                written(clipped.filter(outside)).alias("after"),
            ]
        )
        said = {"clip": Action.REPAIRED, "quarantine": Action.QUARANTINED}.get(action, Action.KEPT)
        bounds = [bound_text(bound, column.kind) for bound in (column.minimum, column.maximum)]
        detail = f"plausible: {' to '.join(bounds)}"
        found.append(
            notes(
                rows,
                column=column.name,
                reason=Reason.OUTLIER.value,
                action=said.value,
                detail=detail,
            )
        )
        frame = frame.with_columns(clipped.cast(DTYPES[column.kind]).alias(column.name))
    return frame.with_columns(marks), pl.concat(found)


def with_actions(odd: pl.DataFrame, policies: Policies) -> pl.DataFrame:
    """Notes on odd cells, with what is done about each reason."""
    actions = {reason.value: action_of(reason, policies).value for reason in Reason}
    action = pl.col("reason").replace_strict(actions, return_dtype=pl.Utf8)
    return notes(odd, action=action)


def spelling_notes(spelled: Mapping[tuple[str, str], int]) -> pl.DataFrame:
    """One note for each spelling of a missing value in a column."""
    rows = [(column, text, count) for (column, text), count in sorted(spelled.items())]
    names = {"column": pl.Utf8, "before": pl.Utf8, "count": pl.Int64}
    return notes(
        pl.DataFrame(rows, schema=names, orient="row"),
        reason=Reason.MISSING_VALUE.value,
        action=Action.REPAIRED.value,
        detail="a spelling of a missing value",
    )


def lacking(
    frame: pl.DataFrame, schema: TableSchema, pinned: Mapping[str, ColumnConfig]
) -> pl.DataFrame:
    """Rows without a key or a value that the recipe requires."""
    found = [no_notes()]
    for column in schema.columns:
        is_key = column.name in schema.key
        if not is_key and not pinned.get(column.name, ColumnConfig()).required:
            continue
        rows = frame.filter(pl.col(column.name).is_null()).select(RAW_RECORD)
        reason = Reason.MISSING_KEY if is_key else Reason.MISSING_VALUE
        found.append(
            notes(
                rows,
                column=column.name,
                reason=reason.value,
                action=Action.QUARANTINED.value,
                detail="the key is missing" if is_key else "a required value is missing",
            )
        )
    return pl.concat(found)


def violations(frame: pl.DataFrame, rule: Rule, policies: Policies) -> pl.DataFrame:
    """Rows that break a rule, with the values that it speaks of."""
    rows = frame.filter(~rule.holds)
    cells = [
        pl.format("{}={}", pl.lit(name), pl.col(name).cast(pl.Utf8).fill_null("missing"))
        for name in rule.columns
    ]
    return notes(
        rows.select(RAW_RECORD, before=pl.concat_str(cells, separator=", ")),
        reason=Reason.RULE_VIOLATED.value,
        action=action_of(Reason.RULE_VIOLATED, policies).value,
        detail=rule.text,
    )
