"""prepare --export: a prepared table in its original columns, before any scaling, as CSV."""

from pathlib import Path

import polars as pl

from components.errors import DataError
from components.records.files import atomic_path, storage_errors
from components.records.manifest import Manifest
from components.tables.schema import TableSchema, source_name


def export_table(dataset: Path, manifest: Manifest, path: Path) -> int:
    """Write the prepared records of a table in the order of the source, as UTF-8 CSV.

    Missing values are empty cells, dates ISO 8601, numbers plain; the repairs of prepare can so be
    read and judged. Records that were set aside are not in it.

    Args:
        dataset: Folder of the prepared data set.
        manifest: Its manifest.
        path: File to write.

    Returns:
        Number of records written.

    Raises:
        DataError: The data set holds no table.
    """
    if manifest.table_schema is None:
        raise DataError(f"{dataset} holds {manifest.modality}; only tables are exported as CSV")
    schema = TableSchema.model_validate(manifest.table_schema)
    shards = [pl.scan_parquet(dataset / shard.path) for shard in manifest.shards]
    number = pl.col("origin").str.extract(r"#(\d+)$").cast(pl.Int64)
    file = pl.col("origin").str.replace(r"#\d+$", "")
    rows = pl.concat(shards).sort(file, number)
    columns = [pl.col(column.name).alias(source_name(column.name)) for column in schema.columns]
    with storage_errors(str(path.parent)), atomic_path(path) as partial:
        rows.select(columns).sink_csv(partial, engine="streaming")
    return manifest.accounting.prepared
