"""prepare for tables: read, learn the schema, clean, merge, fit."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import polars as pl
import pyarrow as pa
from pyarrow import fs

from components.errors import DataError
from components.records.files import (
    atomic_path,
    open_filesystem,
    public_path,
    storage_errors,
)
from components.records.findings import FINDINGS_SCHEMA, Action, Finding, findings_table
from components.records.fingerprint import prepare_code_sha256, prepare_versions
from components.records.merging import MergeSettings
from components.records.reasons import Policy, Reason
from components.records.split import SPLITS, Split, SplitRule
from components.records.staging import (
    QUARANTINE_SCHEMA,
    ChunkResult,
    ChunkWriter,
    write_findings,
    write_quarantine,
)
from components.sources.classes import refuse_stopped
from components.sources.tables import TableFile, TableListing
from components.tables.cleaning.clean import clean_chunk
from components.tables.config import ColumnConfig, TableCleanConfig
from components.tables.files.ingest import inspect_file, parquet_frames, read_frames
from components.tables.fitting.encode_plan import EncodePlan, TableTask, fit_plan
from components.tables.fitting.forward_fill import ForwardFill, carried_schema
from components.tables.fitting.impute import ImputerName
from components.tables.fitting.statistics import TableStatistics
from components.tables.fitting.transform import fit_transform_from
from components.tables.inference.infer import infer_schema, schema_diff
from components.tables.inference.profile import TableProfile, profile_chunk
from components.tables.rows import RowSettings, marked_columns, shard_schema, staged_rows
from components.tables.schema import RAW_LINE, TableSchema, prepared_name, source_name
from pipelines.forward_fill import fill_forward
from pipelines.recipe import TableRecipe
from pipelines.shards import (
    PreparedData,
    Progress,
    Staged,
    describe,
    merge_all,
    publish,
    refuse_large_quarantine,
    require_splits,
    require_two,
    split_rule,
    stage_all,
)
from pipelines.stages import Stage, open_stage, run_stage

Imputer = ImputerName | ForwardFill | None

_PIECE_ROWS = 1 << 19
_STAGED_ROW_GROUP = 8_192


@dataclass(frozen=True)
class Piece:
    """A run of records that one task works on.

    Attributes:
        origin: Path of the table relative to the source.
        path: Parquet file: a raw piece that was read from text, or the source's own.
        groups: Row groups of the source's own file, [first, last); None for a raw piece.
        num_records: Records in it.
        split: Split that the source names by the name of the file.
        delimiter: What separated the fields of a text file.
    """

    origin: str
    path: str
    groups: tuple[int, int] | None
    num_records: int
    split: Split | None
    delimiter: str = ","


@dataclass
class RawTable:
    """What reading one file gave.

    Attributes:
        pieces: What the next stages work on.
        set_aside: Records that are no rows of the table, by reason.
        findings: Findings by `reason/action`.
        examples: The first records set aside, in words.
    """

    pieces: list[Piece] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


def expected_records(recipe: TableRecipe, listing: TableListing) -> int:
    """About how many records a source holds; from sizes, for the plan."""
    return max(1, sum(file.expected_records() for file in listing.files))


def table_schema(recipe: TableRecipe, listing: TableListing, progress: Progress) -> TableSchema:
    """Learn the schema of a table, and stop there; Ray must be up."""
    recipe = _in_prepared_names(recipe)
    with open_stage(Path(recipe.output), "raw", _raw_depends_on(recipe, listing)) as raw:
        tables = _ingest(recipe, listing, raw, progress)
        with open_stage(Path(recipe.output), "table", _depends_on(recipe, listing)) as stage:
            return _schema(recipe, stage, _pieces(tables), progress)


def prepare_tables(
    recipe: TableRecipe,
    listing: TableListing,
    fingerprint: str,
    target: Path,
    progress: Progress,
) -> PreparedData:
    """Prepare a data set from tables; Ray must be up.

    Raises:
        DataError: Too many records were set aside, or what is left cannot be learned from.
        StorageError: The output cannot be written.
    """
    recipe = _in_prepared_names(recipe)
    data, output = recipe.data, Path(recipe.output)
    with (
        open_stage(output, "raw", _raw_depends_on(recipe, listing)) as raw,
        open_stage(output, "table", _depends_on(recipe, listing)) as table,
        open_stage(output, "shards", {"fingerprint": fingerprint}, keep=False) as stage,
    ):
        tables = _ingest(recipe, listing, raw, progress)
        schema = _schema(recipe, table, _pieces(tables), progress)
        encode = fit_plan(schema, data.target, data.encode, task=_table_task(recipe))
        beside = [*listing.findings, *_renamed(schema, listing), *_empty(schema, listing)]
        refuse_stopped(beside, data.clean.policy)
        staged = _stage(recipe, schema, tables, beside, raw, table, progress)
        given = _given_splits(_pieces(tables), recipe)
        classes = _classes(recipe, staged.total)
        rule = split_rule(data.split, recipe.seed, given, staged, stage)
        settings = _merge_settings(recipe, schema, encode, rule, staged.total.read)
        merged = merge_all(stage, staged, settings, data.shards.target_bytes, progress)
        refuse_large_quarantine(
            staged.total.reasons + merged.reasons,
            staged.total.read,
            data.clean.max_quarantined_share,
            [*merged.examples, *staged.total.examples],
        )
        require_splits(data.split, merged, recipe.seed)
        settings = replace(settings, schema=carried_schema(settings.schema, encode.carries))
        merged.shards = fill_forward(
            stage, merged.shards, encode.carries, settings.schema, settings.row_group_rows
        )
        transform = fit_transform_from(encode, _statistics(stage))
        manifest = describe(
            recipe,
            fingerprint=fingerprint,
            listing_form=listing.form,
            listing_sha256=listing.sha256,
            staged=staged,
            merged=merged,
            classes=classes,
            settings=settings,
            transform=transform,
            table_schema=schema,
        )
        return publish(stage, staged, target, manifest)


def _merge_settings(
    recipe: TableRecipe, schema: TableSchema, plan: EncodePlan, rule: SplitRule, num_read: int
) -> MergeSettings:
    data = recipe.data
    return MergeSettings(
        rule=rule,
        schema=shard_schema(schema, marked_columns(schema, data.clean, data.columns)),
        classes=None,
        conflict=Reason.KEY_CONFLICT,
        policy=data.clean.policy,
        row_group_rows=data.shards.row_group_rows or _row_group_rows(num_read),
        fit=partial(_write_statistics, plan=plan),
    )


def _in_prepared_names(recipe: TableRecipe) -> TableRecipe:
    """The recipe with its columns called as in the shards, which have an `origin` of their own."""
    data, clean, encode = recipe.data, recipe.data.clean, recipe.data.encode

    def new(name: str | None) -> str | None:
        return None if name is None else prepared_name(name)

    def along(impute: Imputer) -> Imputer:
        if not isinstance(impute, ForwardFill):
            return impute
        by, order = tuple(map(prepared_name, impute.by)), prepared_name(impute.order)
        return impute.model_copy(update={"by": by, "order": order})

    key = None if clean.key is None else tuple(map(prepared_name, clean.key))
    columns = {
        prepared_name(name): column.model_copy(update={"impute": along(column.impute)})
        for name, column in encode.columns.items()
    }
    encoded = {
        "columns": columns,
        "drop": tuple(map(prepared_name, encode.drop)),
        "impute": along(encode.impute),
    }
    named = {
        "target": new(data.target),
        "columns": {prepared_name(name): column for name, column in data.columns.items()},
        "clean": clean.model_copy(update={"key": key}),
        "source": data.source.model_copy(update={"split_column": new(data.source.split_column)}),
        "split": data.split.model_copy(update={"column": new(data.split.column)}),
        "encode": encode.model_copy(update=encoded),
    }
    return recipe.model_copy(update={"data": data.model_copy(update=named)})


def _raw_depends_on(recipe: TableRecipe, listing: TableListing) -> dict[str, object]:
    return {
        "listing": listing.sha256,
        "source": recipe.data.source.model_dump(mode="json", exclude={"path"}),
        "policy": recipe.data.clean.model_dump(mode="json", include={"policy"}),
        "code": prepare_code_sha256(),
        "versions": prepare_versions(),
    }


def _depends_on(recipe: TableRecipe, listing: TableListing) -> dict[str, object]:
    decides = {"clean", "columns", "target", "schema_file"}
    data = recipe.data.model_dump(mode="json", include=decides)
    split = recipe.data.split.model_dump(mode="json", include={"method", "column"})
    return {"raw": _raw_depends_on(recipe, listing), "data": data, "split": split}


def _ingest(
    recipe: TableRecipe, listing: TableListing, stage: Stage, progress: Progress
) -> list[RawTable]:
    """Bytes of CSV and JSON Lines become raw pieces; Parquet is only cut."""
    source = recipe.data.source
    header = None if source.header == "auto" else source.header
    read = partial(
        _read_file,
        folder=stage.folder,
        encoding=source.encoding,
        delimiter=source.delimiter,
        header=header,
        policy=recipe.data.clean.policy,
    )
    tasks = {f"{number:05d}": (number, file) for number, file in enumerate(listing.files)}
    tables = []
    for table in run_stage(stage, "ReadTables", read, tasks, RawTable):
        tables.append(table)
        progress("prepare: read", len(tables), len(tasks))
    return tables


def _read_file(
    numbered: tuple[int, TableFile],
    *,
    folder: Path,
    encoding: str | None,
    delimiter: str | None,
    header: bool | None,
    policy: Mapping[Reason, Policy],
) -> RawTable:
    number, file = numbered
    if file.form == "parquet":
        return RawTable(pieces=_parquet_pieces(file))
    filesystem, path = open_filesystem(file.path)
    opener = partial(_opened, filesystem, path, file.compression)
    form = inspect_file(opener, file.origin, encoding=encoding, delimiter=delimiter, header=header)
    result = RawTable()
    delimiter = form.layout.dialect.delimiter if form.layout else ","
    (folder / "raw").mkdir(exist_ok=True)
    for place, piece in enumerate(read_frames(opener, form, file.origin)):
        name = f"{number:05d}-{place:05d}"
        if len(piece.frame):
            target = folder / "raw" / f"{name}.parquet"
            with storage_errors(str(folder)), atomic_path(target) as partial_path:
                piece.frame.write_parquet(partial_path, compression="lz4")
            result.pieces.append(
                Piece(file.origin, str(target), None, len(piece.frame), file.split, delimiter)
            )
        aside = _quarantine_table(piece.quarantined, file.origin)
        refuse_stopped(piece.findings, policy)
        _refuse_stopped_rows(piece.quarantined, file.origin, policy)
        findings = findings_table(piece.findings)
        with storage_errors(str(folder)):
            write_quarantine(folder / "quarantine" / f"{name}.parquet", aside)
            write_findings(folder / "findings" / f"{name}.jsonl", findings)
        result.set_aside += Counter(piece.quarantined["reason"].to_list())
        result.findings += _counted(findings)
        result.examples = [*result.examples, *_told(aside)][:5]
    return result


def _opened(filesystem: fs.FileSystem, path: str, compression: str | None) -> BinaryIO:
    stream: BinaryIO = filesystem.open_input_stream(path, compression=compression)
    return stream


def _parquet_pieces(file: TableFile) -> list[Piece]:
    pieces: list[Piece] = []
    first, rows = 0, 0
    sizes = file.row_groups()
    for group, size in enumerate(sizes):
        if rows and rows + size > _PIECE_ROWS:
            pieces.append(Piece(file.origin, file.path, (first, group), rows, file.split))
            first, rows = group, 0
        rows += size
    if rows:
        pieces.append(Piece(file.origin, file.path, (first, len(sizes)), rows, file.split))
    return pieces


def _pieces(tables: list[RawTable]) -> list[Piece]:
    return [piece for table in tables for piece in table.pieces]


def _read_piece(piece: Piece) -> pl.DataFrame:
    if piece.groups is None:
        frame = pl.read_parquet(piece.path)
    else:
        filesystem, path = open_filesystem(piece.path)
        frame = pl.concat(parquet_frames(path, range(*piece.groups), filesystem), rechunk=True)
    return frame.rename(prepared_name)


def _schema(
    recipe: TableRecipe, stage: Stage, pieces: list[Piece], progress: Progress
) -> TableSchema:
    """Learn the schema from all records, or check the one that the recipe names against them."""
    data = recipe.data
    tasks = _named(pieces)
    if not tasks:
        raise DataError(f"{public_path(data.source.path)} has no records under its header")
    look = partial(_profile, columns=data.columns)
    profile: TableProfile | None = None
    for number, part in enumerate(run_stage(stage, "ProfileTables", look, tasks, TableProfile), 1):
        profile = part if profile is None else profile + part
        progress("prepare: learn the schema", number, len(tasks))
    assert profile is not None
    learned = infer_schema(profile, data.columns, data.clean)
    if data.schema_file is None:
        return learned
    pinned = read_schema(Path(data.schema_file))
    changes = schema_diff(pinned, learned)
    if changes:
        raise DataError(
            f"{public_path(data.source.path)} has drifted from {data.schema_file}: "
            f"{'; '.join(changes[:10])}; mend the data, or learn the schema anew with "
            "`prepare --schema`"
        )
    return pinned


def read_schema(path: Path) -> TableSchema:
    """Read a schema that `prepare --schema` wrote.

    Raises:
        DataError: There is none, or it is damaged.
    """
    try:
        return TableSchema.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"data.schema_file = {path}: {str(error).splitlines()[0]}; write one with "
            "`prepare RECIPE --schema --json`"
        ) from error


def _renamed(schema: TableSchema, listing: TableListing) -> list[Finding]:
    """Columns that are called otherwise now, because shards have columns of that name."""
    names = [column.name for column in schema.columns]
    return [
        Finding(
            listing.files[0].origin,
            Reason.COLUMN_NAME,
            Action.REPAIRED,
            "shards have a column of that name of their own",
            column=name,
            before=source_name(name),
            after=name,
        )
        for name in names
        if source_name(name) != name
    ]


def _empty(schema: TableSchema, listing: TableListing) -> list[Finding]:
    """Columns without a single value."""
    return [
        Finding(
            listing.files[0].origin,
            Reason.EMPTY_COLUMN,
            Action.KEPT,
            "the column has no value in any record",
            column=column.name,
        )
        for column in schema.columns
        if column.evidence.get("values") == 0
    ]


def _profile(piece: Piece, *, columns: Mapping[str, ColumnConfig]) -> TableProfile:
    return profile_chunk(_read_piece(piece), columns)


def _stage(
    recipe: TableRecipe,
    schema: TableSchema,
    tables: list[RawTable],
    beside: list[Finding],
    raw: Stage,
    stage: Stage,
    progress: Progress,
) -> Staged:
    """First pass: every record cleaned, named and written, in parallel."""
    data = recipe.data
    pieces = _pieces(tables)
    settings = RowSettings(
        target=data.target,
        is_class=recipe.task == "tabular_classification",
        split_column=data.source.split_column,
        group_column=data.split.column if data.split.method == "group" else None,
        time_column=data.split.column if data.split.method == "time" else None,
    )
    settings.check(schema)
    work = partial(
        _clean_piece,
        schema=schema,
        clean=data.clean,
        columns=data.columns,
        settings=settings,
        folder=stage.folder,
    )
    expected = sum(piece.num_records for piece in pieces)
    expected += sum(table.set_aside.total() for table in tables)

    def results() -> Iterator[ChunkResult]:
        read = Counter[str]()
        for table in tables:
            count = table.set_aside.total()
            yield ChunkResult(
                read=count,
                reasons=table.set_aside,
                findings=table.findings,
                examples=table.examples,
            )
            read["done"] += count
        named = {name: (name, piece) for name, piece in _named(pieces).items()}
        for result in run_stage(stage, "CleanTables", work, named, ChunkResult):
            read["done"] += result.read
            progress("prepare: clean", read["done"], expected)
            yield result

    total = stage_all(results(), expected, data.clean.max_quarantined_share)
    for finding in beside:
        total.findings[f"{finding.reason}/{finding.action}"] += max(1, finding.count)
    write_findings(stage.folder / "findings" / "!source.jsonl", findings_table(beside))
    return Staged(stage, total, before=(raw.folder,))


def _named(pieces: list[Piece]) -> dict[str, Piece]:
    return {f"{number:06d}": piece for number, piece in enumerate(pieces)}


def _clean_piece(
    named: tuple[str, Piece],
    *,
    schema: TableSchema,
    clean: TableCleanConfig,
    columns: Mapping[str, ColumnConfig],
    settings: RowSettings,
    folder: Path,
) -> ChunkResult:
    name, piece = named
    raw = _read_piece(piece)
    cleaned = clean_chunk(raw, schema, clean, columns, piece.origin, piece.delimiter)
    lines = raw if RAW_LINE in raw.columns else None
    rows, refused, findings = staged_rows(
        cleaned.frame, schema, settings, piece.origin, piece.split, lines
    )
    writer = ChunkWriter(folder, name, row_group_rows=_STAGED_ROW_GROUP)
    writer.result.read = len(raw)
    writer.part(rows)
    aside = pl.concat([cleaned.quarantined, refused], how="diagonal_relaxed")
    _refuse_stopped_rows(refused, piece.origin, clean.policy)
    all_findings = pl.concat([cleaned.findings, findings], how="diagonal_relaxed")
    return writer.close(
        _quarantine_table(aside, piece.origin), all_findings.to_arrow().cast(FINDINGS_SCHEMA)
    )


def _refuse_stopped_rows(aside: pl.DataFrame, origin: str, policy: Mapping[Reason, Policy]) -> None:
    stopped = [
        Finding(f"{origin}#{row['record']}", Reason(row["reason"]), Action.KEPT, row["detail"])
        for row in aside.unique("reason", keep="first", maintain_order=True).to_dicts()
    ]
    refuse_stopped(stopped, policy)


def _quarantine_table(aside: pl.DataFrame, origin: str) -> pa.Table:
    frame = aside.select(
        pl.format("{}#{}", pl.lit(origin), pl.col("record")).alias("record_id"),
        pl.format("{}#{}", pl.lit(origin), pl.col("record")).alias("origin"),
        "reason",
        pl.col("detail").fill_null(""),
        (pl.col("other").fill_null("") if "other" in aside.columns else pl.lit("")).alias("other"),
        pl.lit(None, pl.Binary).alias("preview"),
    )
    return frame.to_arrow().cast(QUARANTINE_SCHEMA)


def _told(aside: pa.Table) -> list[str]:
    return [f"{r['origin']} ({r['reason']}: {r['detail']})" for r in aside.slice(0, 5).to_pylist()]


def _counted(findings: pa.Table) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in findings.select(["reason", "action", "count"]).to_pylist():
        counts[f"{row['reason']}/{row['action']}"] += row["count"]
    return counts


def _given_splits(pieces: list[Piece], recipe: TableRecipe) -> tuple[Split, ...]:
    if recipe.data.source.split_column is not None:
        return SPLITS
    named = {piece.split for piece in pieces}
    return tuple(split for split in SPLITS if split in named)


def _classes(recipe: TableRecipe, total: ChunkResult) -> list[str]:
    if recipe.task != "tabular_classification" or recipe.data.target is None:
        return []
    classes = {label for label in total.labels if label}
    require_two(classes)
    return sorted(classes)


def _table_task(recipe: TableRecipe) -> TableTask | None:
    if recipe.data.target is None:
        return None
    is_class = recipe.task == "tabular_classification"
    return "tabular_classification" if is_class else "tabular_regression"


def _row_group_rows(num_records: int) -> int:
    """Rows of a row group: some hundreds of groups, so that the feed can shuffle them."""
    return min(8192, max(64, 1 << (num_records // 256).bit_length()))


def _write_statistics(rows: pa.Table, path: Path, *, plan: EncodePlan) -> None:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    statistics = TableStatistics.of(frame, plan.spec, record_ids=frame["record_id"])
    with atomic_path(path) as partial_path:
        partial_path.write_text(statistics.model_dump_json(), encoding="utf-8")


def _statistics(stage: Stage) -> TableStatistics:
    """The statistics of all ranges of train, added up in the order of the ranges."""
    paths = sorted((stage.folder / "statistics").glob("*.json"))
    return TableStatistics.sum(
        TableStatistics.model_validate_json(path.read_bytes()) for path in paths
    )
