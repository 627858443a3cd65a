"""prepare: source -> check -> clean -> quarantine -> split -> fit -> shards and manifest."""

import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa

from components.errors import DataError
from components.images.prepare import IMAGE_COLUMNS, SUM_COLUMNS, build_prepare, fit_from_totals
from components.records.accounting import Accounting, by_reason_text
from components.records.files import public_path, storage_errors
from components.records.fingerprint import json_sha256, prepare_code_sha256, prepare_versions
from components.records.manifest import (
    MANIFEST_NAME,
    SHARD_SCHEMA,
    Lineage,
    Manifest,
    read_manifest,
    write_manifest,
)
from components.records.sources import Listing, SourceConfig, list_source, read_chunk
from components.records.split import SPLITS
from components.records.staging import (
    ChunkResult,
    MergeResult,
    MergeTask,
    SplitRule,
    merge_range,
    stage_chunk,
    stratified_thresholds,
)
from pipelines.builtin import write_digits
from pipelines.folders import datasets_folder
from pipelines.recipe import Recipe
from pipelines.streams.tasks import run_tasks

BUILTIN_DIGITS = "builtin:digits"
Progress = Callable[[str, int, int], None]
_TYPES = {"string": pa.string(), "binary": pa.binary(), "int32": pa.int32()}
_SCHEMA = pa.schema({name: _TYPES[kind] for name, kind in SHARD_SCHEMA.items()})
# Before that many records a share says little, and a small source is soon read to its end.
_MIN_EARLY_STOP_RECORDS = 200


@dataclass(frozen=True)
class PreparePlan:
    """What prepare will do, known from the listing alone.

    Attributes:
        source: The source, with a built-in one written out.
        listing: What it holds.
        staging: Folder to work in; the listing's chunks lie in it.
        fingerprint: Names the result.
        target: Folder of the prepared data set.
        cached: Its manifest, where it has been prepared before.
    """

    source: SourceConfig
    listing: Listing
    staging: Path
    fingerprint: str
    target: Path
    cached: Manifest | None

    def listing_folder(self) -> Path:
        """Where the chunks of the listing lie."""
        return self.staging / "listing"


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set and whether it was there before."""

    folder: Path
    manifest: Manifest
    cached: bool


def plan_prepare(recipe: Recipe, staging: Path) -> PreparePlan:
    """List the source and look whether it has been prepared before.

    Raises:
        DataError: The source is missing, empty, of no known form, or has folders of one class.
    """
    output = Path(recipe.output)
    source = recipe.data.source
    if source.path == BUILTIN_DIGITS:
        with storage_errors(recipe.output):
            folder = write_digits(output / "sources" / "digits")
        source = source.model_copy(update={"path": str(folder), "format": "folders"})
    with storage_errors(recipe.output):
        (staging / "listing").mkdir()
        listing = list_source(source, staging / "listing")
    if listing.format == "folders":
        _require_two(set(listing.declared_classes))
    fingerprint = json_sha256(
        {
            "data": recipe.data.model_dump(mode="json", exclude={"source": {"path"}}),
            "seed": recipe.seed,
            "listing": listing.sha256,
            "code": prepare_code_sha256(),
            "versions": prepare_versions(),
        }
    )
    target = datasets_folder(output) / f"{recipe.name}-{fingerprint[:12]}"
    if target.exists() and not (target / MANIFEST_NAME).is_file():
        raise DataError(
            f"{target} has no {MANIFEST_NAME} any more; delete it and run prepare again"
        )
    cached = read_manifest(target) if target.exists() else None
    return PreparePlan(source, listing, staging, fingerprint, target, cached)


def prepare(recipe: Recipe, plan: PreparePlan, progress: Progress) -> PreparedData:
    """Prepare the data set that the plan names; Ray must be up unless it is cached.

    Raises:
        DataError: Too many records were set aside, or the classes cannot be learned from.
        StorageError: The output cannot be written.
    """
    if plan.cached is not None:
        return PreparedData(plan.target, plan.cached, cached=True)
    staged = _stage(recipe, plan, progress)
    _refuse_large_quarantine(recipe, staged.reasons, staged.read, staged.examples)
    _require_all_read(plan.listing, staged.read)
    classes = _classes(staged, plan.listing)
    merged = _merge(recipe, plan, staged, classes, progress)
    reasons = staged.reasons + merged.reasons
    _refuse_large_quarantine(recipe, reasons, staged.read, [*merged.examples, *staged.examples])
    _refuse_unlearnable(recipe, classes, merged)
    manifest = _manifest(recipe, plan, classes, staged.read, reasons, merged)
    _publish(plan, manifest)
    return PreparedData(plan.target, manifest, cached=False)


def _stage(recipe: Recipe, plan: PreparePlan, progress: Progress) -> ChunkResult:
    """First pass: every record decoded, checked and encoded once, in parallel."""
    stage = partial(
        _stage_one,
        source=plan.source,
        root=plan.listing.root,
        staging=plan.staging.absolute(),
        prepare=build_prepare(recipe.data.clean, recipe.data.store),
    )
    total = ChunkResult()
    limit = recipe.data.clean.max_quarantined_share * plan.listing.num_records
    for result in run_tasks("CleanRecords", stage, plan.listing.chunks, ChunkResult):
        total.read += result.read
        total.num_bytes += result.num_bytes
        total.labels += result.labels
        total.reasons += result.reasons
        total.examples = [*total.examples, *result.examples][:5]
        total.parts += result.parts
        progress("prepare: decode and check", total.read, plan.listing.num_records)
        if total.reasons.total() > limit and total.read >= _MIN_EARLY_STOP_RECORDS:
            break
    return total


def _stage_one(
    chunk: str,
    *,
    source: SourceConfig,
    root: str,
    staging: Path,
    prepare: Callable[[bytes], dict[str, object]],
) -> ChunkResult:
    return stage_chunk(
        read_chunk(source, root, staging / "listing" / chunk),
        prepare,
        schema=IMAGE_COLUMNS,
        staged_path=staging / "staged" / chunk,
        quarantine_path=staging / "quarantine" / chunk,
    )


def _require_all_read(listing: Listing, read: int) -> None:
    if read != listing.num_records:
        raise DataError(
            f"the source changed while it was read: {listing.num_records} records were listed and "
            f"{read} read; start again when nothing writes to it"
        )


def _refuse_large_quarantine(
    recipe: Recipe, reasons: Counter[str], read: int, examples: list[str]
) -> None:
    limit = recipe.data.clean.max_quarantined_share
    count = reasons.total()
    if count > limit * read:
        raise DataError(
            f"cleaning set aside {count} of {read} records ({count / read:.1%}, limit "
            f"{limit:.1%}): {by_reason_text(reasons)}. First: {'; '.join(examples[:3])}. Raise "
            "data.clean.max_quarantined_share if this is expected"
        )


def _classes(staged: ChunkResult, listing: Listing) -> list[str]:
    classes = set(staged.labels) | set(listing.declared_classes)
    _require_two(classes)
    numbers = all(name.isdecimal() for name in classes)
    return sorted(classes, key=lambda name: (int(name), name)) if numbers else sorted(classes)


def _require_two(classes: set[str]) -> None:
    if len(classes) < 2:
        only = f"only one class, {next(iter(classes))!r}" if classes else "no class"
        raise DataError(
            f"the source has {only}; a classifier needs at least two: one folder per class, or a "
            "label column with two values"
        )


@dataclass
class _Merged:
    counts: dict[str, Counter[str]]
    duplicates: int
    reasons: Counter[str]
    examples: list[str]
    results: list[MergeResult]


def _merge(
    recipe: Recipe,
    plan: PreparePlan,
    staged: ChunkResult,
    classes: list[str],
    progress: Progress,
) -> _Merged:
    """Second pass: copies met, splits given, shards written, the train split's pixels added up."""
    data = recipe.data
    files = tuple(plan.staging.absolute() / "staged" / part for part in staged.parts)
    rule = SplitRule(recipe.seed, data.split.val, data.split.test, tuple(plan.listing.given_splits))
    if data.split.method == "stratified":
        rule = SplitRule(
            rule.seed, rule.val, rule.test, rule.given, stratified_thresholds(files, rule)
        )
    # From the data alone, never from the machine: the same records give the same shards anywhere.
    num_ranges = max(1, math.ceil(staged.num_bytes / data.shards.target_bytes))
    tasks = [MergeTask(n, num_ranges, files, plan.staging.absolute()) for n in range(num_ranges)]
    merge = partial(
        merge_range,
        rule=rule,
        classes=classes,
        schema=_SCHEMA,
        sum_columns=SUM_COLUMNS,
        row_group_rows=data.shards.row_group_rows,
    )
    merged = _Merged({split: Counter() for split in SPLITS}, 0, Counter(), [], [])
    for number, result in enumerate(run_tasks("WriteShards", merge, tasks, MergeResult), start=1):
        for split, counts in result.counts.items():
            merged.counts[split] += counts
        merged.duplicates += result.duplicates
        merged.reasons += result.reasons
        merged.examples = [*merged.examples, *result.examples][:5]
        merged.results.append(result)
        progress("prepare: write shards", number, num_ranges)
    return merged


def _refuse_unlearnable(recipe: Recipe, classes: list[str], merged: _Merged) -> None:
    smallest = recipe.data.clean.min_images_per_class
    hint = "add records, or set data.split.method=stratified"
    for name in classes:
        count = sum(merged.counts[split][name] for split in SPLITS)
        if count < smallest:
            raise DataError(
                f"class {name!r} has {count} usable {'record' if count == 1 else 'records'}, "
                f"data.clean.min_images_per_class is {smallest}; add some or remove the class"
            )
        if not merged.counts["train"][name]:
            raise DataError(
                f"class {name!r} has {count} records and none of them fell into train "
                f"(seed {recipe.seed}); {hint}"
            )
    # Without val nothing says which checkpoint is the best; without test, nothing is lost but a
    # last look, if the recipe asks for none.
    shares = {"val": recipe.data.split.val, "test": recipe.data.split.test}
    for split, share in shares.items():
        if (split == "val" or share > 0) and not merged.counts[split].total():
            total = sum(merged.counts[name].total() for name in SPLITS)
            raise DataError(
                f"no record of {total} fell into {split} (data.split.{split} = {share:g}, seed "
                f"{recipe.seed}); {hint}"
            )


def _manifest(
    recipe: Recipe,
    plan: PreparePlan,
    classes: list[str],
    read: int,
    reasons: Counter[str],
    merged: _Merged,
) -> Manifest:
    num_prepared = sum(counts.total() for counts in merged.counts.values())
    totals: Counter[str] = Counter()
    for result in merged.results:
        totals.update(result.train_sums)
    transform = fit_from_totals(totals)
    shards = [shard for result in merged.results for shard in result.shards]
    data = recipe.data.model_dump(mode="json")
    data["source"]["path"] = public_path(recipe.data.source.path)
    return Manifest(
        fingerprint=plan.fingerprint,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        shard_schema=SHARD_SCHEMA,
        classes=classes,
        counts={split: {name: merged.counts[split][name] for name in classes} for split in SPLITS},
        accounting=Accounting(
            read=read,
            prepared=num_prepared,
            quarantined=reasons.total(),
            duplicates=merged.duplicates,
            quarantined_by_reason=dict(+reasons),
        ),
        transform=transform,
        transform_hash=transform.hash,
        row_group_rows=recipe.data.shards.row_group_rows,
        mean_image_bytes=sum(result.image_bytes for result in merged.results) / num_prepared,
        shards=sorted(shards, key=lambda shard: (SPLITS.index(shard.split), shard.path)),
        lineage=Lineage(
            source=public_path(recipe.data.source.path),
            source_format=plan.listing.format,
            listing_sha256=plan.listing.sha256,
            num_inputs=plan.listing.num_records,
            code_sha256=prepare_code_sha256(),
            versions=prepare_versions(),
        ),
        recipe_data=data,
    )


def _publish(plan: PreparePlan, manifest: Manifest) -> None:
    """Make the work visible in one step: the folder appears whole, with its manifest, or not."""
    ready = plan.staging / "ready"
    with storage_errors(str(plan.target.parent)):
        ready.mkdir()
        for name in ("shards", "quarantine", "duplicates"):
            if (plan.staging / name).is_dir():
                os.rename(plan.staging / name, ready / name)
        write_manifest(ready, manifest)
        try:
            os.rename(ready, plan.target)
        except OSError:
            # Another process prepared the same data in the meantime; the content is the same.
            if not (plan.target / MANIFEST_NAME).is_file():
                raise
