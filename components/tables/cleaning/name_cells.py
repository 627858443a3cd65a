"""The cells of a column of names and texts: their form, and the spelling of categories."""

import polars as pl

from components.records.reasons import Policy, Reason, policy_of
from components.tables.cleaning.categories import fold_key
from components.tables.cleaning.odd_cells import (
    ODD_SCHEMA,
    Policies,
    ReadColumn,
    nothing_odd,
    odd_cells,
)
from components.tables.schema import ColumnSchema
from components.tables.values.text_forms import (
    ODD_ENCODING,
    ODD_NAME,
    ODD_TEXT,
    tidy_name,
    tidy_text,
    undo_cp1252,
)


def read_names(
    cells: pl.Series, column: ColumnSchema, policies: Policies, spelled: dict[str, int]
) -> ReadColumn:
    """Categories, identifiers and free text: only distinct odd spellings are looked at."""
    distinct = cells.drop_nulls().unique()
    changes = _changes(distinct, column, policies)
    values = cells
    odd = nothing_odd()
    if changes.height:
        table = pl.DataFrame({"before": cells}).with_row_index("row")
        hits = table.join(changes, on="before", how="inner", maintain_order="left")
        odd = hits.select(list(ODD_SCHEMA))
        # What is kept is told, but not changed.
        applied = changes.filter(~pl.col("kept"))
        values = cells.replace(applied["before"], applied["after"])
    misfits = pl.repeat(False, len(cells), eager=True)
    if column.kind == "category" and column.categories:
        unknown = set(values.drop_nulls().unique().to_list()) - set(column.categories)
        if unknown:
            misfits = values.is_in(sorted(unknown)).fill_null(False)
            detail = "none of the column's categories"
            odd = pl.concat(
                [odd, odd_cells(misfits, Reason.UNKNOWN_CATEGORY, cells, values, detail)]
            )
    return ReadColumn(values, misfits, odd, spelled)


def _changes(distinct: pl.Series, column: ColumnSchema, policies: Policies) -> pl.DataFrame:
    """Distinct spellings that become others: before, after, reason, detail, kept."""
    pattern = ODD_TEXT if column.kind == "text" else ODD_NAME
    suspect = distinct.str.contains(f"{pattern}|{ODD_ENCODING}")
    if column.mapping:
        suspect = suspect | distinct.is_in(list(column.mapping))
    changes: list[tuple[str, str, str, str, bool]] = []
    for before in distinct.filter(suspect).sort():
        after, reason, detail = _plain_form(before, column)
        if reason is not None:
            kept = policy_of(reason, policies) is Policy.KEEP
            changes.append((before, after, reason.value, detail, kept))
    names = {"before": pl.Utf8, "after": pl.Utf8, "reason": pl.Utf8, "detail": pl.Utf8}
    return pl.DataFrame(changes, schema={**names, "kept": pl.Boolean}, orient="row")


def _plain_form(before: str, column: ColumnSchema) -> tuple[str, Reason | None, str]:
    tidy = tidy_text if column.kind == "text" else tidy_name
    decoded = undo_cp1252(before)
    after = tidy(decoded)
    target = column.mapping.get(after, column.mapping.get(before, after))
    if target != after:
        is_variant = fold_key(after) == fold_key(target)
        reason = Reason.CATEGORY_VARIANT if is_variant else Reason.CATEGORY_MISSPELT
        return target, reason, "another spelling" if is_variant else "misspelt"
    if decoded != before:
        return after, Reason.ENCODING, "UTF-8 that was read as cp1252"
    if after != before:
        return after, Reason.TEXT_FORM, "blanks, control characters or Unicode form"
    return before, None, ""
