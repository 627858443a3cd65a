"""Findings of a chunk of a table as frames: what was found in which cell, and what was done."""

import polars as pl

from components.errors import DataError
from components.records.findings import FINDINGS_SCHEMA, Action
from components.records.reasons import REASONS, Policy, Reason, policy_of
from components.tables.cleaning.odd_cells import Policies
from components.tables.schema import RAW_LINE, RAW_RECORD

CELL_LIMIT = 10_000
"""Findings of one reason in one column and chunk that are written down one by one."""

NOTE_SCHEMA = {
    RAW_RECORD: pl.Int64(),
    "column": pl.Utf8(),
    "reason": pl.Utf8(),
    "action": pl.Utf8(),
    "before": pl.Utf8(),
    "after": pl.Utf8(),
    "detail": pl.Utf8(),
    "count": pl.Int64(),
}
"""A finding on the way; the record is null where it speaks of a column."""

_ACTIONS = {
    Policy.REPAIR: Action.REPAIRED,
    Policy.KEEP: Action.KEPT,
    Policy.QUARANTINE: Action.QUARANTINED,
}
_MERGING = (Reason.CATEGORY_VARIANT, Reason.CATEGORY_MISSPELT)


def action_of(reason: Reason, policies: Policies) -> Action:
    """What is done about a reason, in the words of a finding."""
    policy = policy_of(reason, policies)
    if reason in _MERGING and policy is Policy.REPAIR:
        return Action.MERGED
    return _ACTIONS.get(policy, Action.QUARANTINED)


def no_notes() -> pl.DataFrame:
    """A frame of NOTE_SCHEMA without rows."""
    return pl.DataFrame(schema=NOTE_SCHEMA)


def notes(rows: pl.DataFrame, **given: pl.Expr | str | int | None) -> pl.DataFrame:
    """Rows as NOTE_SCHEMA; what is not given is null, the count 1."""
    exprs = {name: v if isinstance(v, pl.Expr) else pl.lit(v) for name, v in given.items()}
    present = {name: pl.col(name) for name in rows.columns}
    chosen = {"count": pl.lit(1), **present, **exprs}
    return rows.select(
        chosen.get(name, pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in NOTE_SCHEMA.items()
    )


def refuse_stops(found: pl.DataFrame, origin: str, policies: Policies) -> None:
    """Stop at the first finding whose policy is to stop.

    Raises:
        DataError: Names the record, the reason and the remedy.
    """
    stops = [reason.value for reason, policy in policies.items() if policy is Policy.STOP]
    hits = found.filter(pl.col("reason").is_in(stops)).sort(RAW_RECORD, nulls_last=True).head(1)
    for hit in hits.iter_rows(named=True):
        place = origin if hit[RAW_RECORD] is None else f"{origin}#{hit[RAW_RECORD]}"
        column = f", column {hit['column']}" if hit["column"] else ""
        value = f" {hit['before']!r}" if hit["before"] is not None else ""
        raise DataError(
            f"{place}{column}: {hit['reason']}:{value} {hit['detail'] or ''}; "
            f"{REASONS[Reason(hit['reason'])].remedy} "
            f"(data.clean.policy.{hit['reason']} = stop)"
        )


def finding_rows(found: pl.DataFrame, origin: str, lines: pl.DataFrame | None) -> pl.DataFrame:
    """Findings with the columns of FINDINGS_SCHEMA, in the order of records and columns.

    Args:
        found: Rows of NOTE_SCHEMA.
        origin: Path of the table.
        lines: RAW_RECORD and RAW_LINE; None where the source has no lines.
    """
    found = _capped(found)
    record = pl.col(RAW_RECORD)
    if lines is None:
        found = found.with_columns(line=pl.lit(None, pl.Int64))
    else:
        by_record = lines.select(record.cast(pl.Int64), line=pl.col(RAW_LINE).cast(pl.Int64))
        found = found.join(by_record, on=RAW_RECORD, how="left", maintain_order="left")
    severities = {reason.value: info.severity.value for reason, info in REASONS.items()}
    place = (
        pl.when(record.is_null())
        .then(pl.lit(origin))
        .otherwise(pl.format("{}#{}", pl.lit(origin), record))
    )
    ordered = found.sort(RAW_RECORD, "column", "reason", nulls_last=True, maintain_order=True)
    return ordered.with_columns(
        origin=place,
        record=record,
        severity=pl.col("reason").replace_strict(severities, return_dtype=pl.Utf8),
        detail=pl.col("detail").fill_null(""),
        other=pl.lit([], pl.List(pl.Utf8)),
    ).select(FINDINGS_SCHEMA.names)


def _capped(found: pl.DataFrame) -> pl.DataFrame:
    """At most CELL_LIMIT cells of one reason and column one by one; the rest in one row."""
    if found.height <= CELL_LIMIT:
        return found
    group = ["reason", "column", "action"]
    place = pl.int_range(pl.len()).over(["reason", "column"])
    ranked = found.sort(RAW_RECORD, nulls_last=False, maintain_order=True).with_columns(place=place)
    rest = ranked.filter(pl.col("place") >= CELL_LIMIT)
    if rest.is_empty():
        return found
    summed = rest.group_by(group, maintain_order=True).agg(pl.col("count").sum())
    summed = notes(summed, detail=f"beside the {CELL_LIMIT} written down one by one")
    return pl.concat([ranked.filter(pl.col("place") < CELL_LIMIT).drop("place"), summed])
