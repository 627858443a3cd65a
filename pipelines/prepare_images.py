"""prepare for images: decode and check, find near duplicates, merge, fit channel statistics."""

import math
from collections import Counter
from functools import partial
from pathlib import Path

from components.errors import DataError
from components.images.inspect import CleanConfig
from components.images.shards import SHARD_SCHEMA, fit_from_files, write_sums
from components.images.steps import CleanRecords, find_near, group_near
from components.records.findings import findings_table
from components.records.fingerprint import prepare_code_sha256, prepare_versions
from components.records.merging import MergeResult, MergeSettings
from components.records.reasons import Reason
from components.records.relations import PairTask
from components.records.split import SPLITS, Split
from components.records.staging import ChunkResult, write_findings
from components.sources.config import SourceConfig
from components.sources.listing import Listing
from pipelines.recipe import ImageRecipe
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

_PAIRS_PER_PARTITION = 250_000
_MIN_PARTITIONS = 2  # they are compared side by side, even where one would hold them all


def prepare_images(
    recipe: ImageRecipe,
    source: SourceConfig,
    listing: Listing,
    listing_folder: Path,
    fingerprint: str,
    target: Path,
    progress: Progress,
) -> PreparedData:
    """Prepare a data set of images; Ray must be up.

    Raises:
        DataError: Too many records were set aside, or the classes cannot be learned from.
        StorageError: The output cannot be written.
    """
    data, output = recipe.data, Path(recipe.output)
    records_depend_on: dict[str, object] = {
        "listing": listing.sha256,
        "clean": data.clean.model_dump(mode="json"),
        "store": data.store.model_dump(mode="json"),
        "code": prepare_code_sha256(),
        "versions": prepare_versions(),
    }
    with (
        open_stage(output, "images", records_depend_on) as records,
        open_stage(output, "shards", {"fingerprint": fingerprint}, keep=False) as stage,
    ):
        staged = _stage(recipe, source, listing, listing_folder, records, progress)
        classes = _classes(staged.total, listing)
        settings = MergeSettings(
            rule=split_rule(data.split, recipe.seed, tuple(listing.given_splits), staged, stage),
            schema=SHARD_SCHEMA,
            classes=tuple(classes),
            conflict=Reason.LABEL_CONFLICT,
            policy=data.clean.policy,
            row_group_rows=data.shards.row_group_rows or 64,
            fit=write_sums,
        )
        merged = merge_all(stage, staged, settings, data.shards.target_bytes, progress)
        refuse_large_quarantine(
            staged.total.reasons + merged.reasons,
            staged.total.read,
            data.clean.max_quarantined_share,
            [*merged.examples, *staged.total.examples],
        )
        _refuse_unlearnable(recipe, classes, listing.given_splits, merged)
        require_splits(data.split, merged, recipe.seed)
        transform = fit_from_files(sorted((stage.folder / "statistics").glob("*.json")))
        manifest = describe(
            recipe,
            fingerprint=fingerprint,
            listing_form=listing.format,
            listing_sha256=listing.sha256,
            staged=staged,
            merged=merged,
            classes=classes,
            settings=settings,
            transform=transform,
        )
        return publish(stage, staged, target, manifest)


def _stage(
    recipe: ImageRecipe,
    source: SourceConfig,
    listing: Listing,
    listing_folder: Path,
    stage: Stage,
    progress: Progress,
) -> Staged:
    """First pass: every record decoded, checked and encoded once, in parallel."""
    clean = recipe.data.clean
    kept = _kept_listing(listing_folder, stage)
    work = CleanRecords(source, listing.root, kept, stage.folder, clean, recipe.data.store)
    done = 0

    def told(result: ChunkResult) -> ChunkResult:
        nonlocal done
        done += result.read
        progress("prepare: decode and check", done, listing.num_records)
        return result

    chunks = {chunk.removesuffix(".parquet"): chunk for chunk in listing.chunks}
    results = run_stage(stage, "CleanRecords", work, chunks, ChunkResult)
    total = stage_all(map(told, results), listing.num_records, clean.max_quarantined_share)
    if total.read != listing.num_records:
        raise DataError(
            f"the source changed while it was read: {listing.num_records} records were listed and "
            f"{total.read} read; start again when nothing writes to it"
        )
    write_findings(stage.folder / "findings" / "!source.jsonl", findings_table(listing.findings))
    for finding in listing.findings:
        total.findings[f"{finding.reason}/{finding.action}"] += max(1, finding.count)
    staged = Staged(stage, total)
    if not clean.near_duplicates:
        return staged
    return _with_related(staged, clean, listing.num_records)


def _kept_listing(listing_folder: Path, stage: Stage) -> Path:
    """The listing's chunks beside the stage, where a later start finds them again."""
    kept = stage.folder / "listing"
    if not kept.is_dir():
        listing_folder.rename(kept)
    return kept


def _with_related(staged: Staged, clean: CleanConfig, num_records: int) -> Staged:
    """Look for near duplicates, one partition of their keys at a time."""
    folder = staged.stage.folder
    count = max(_MIN_PARTITIONS, math.ceil(num_records / _PAIRS_PER_PARTITION))
    tasks = {f"{n:05d}": PairTask(n, count, staged.files, folder) for n in range(count)}
    find = partial(find_near, max_distance=clean.near_distance)
    if not sum(run_stage(staged.stage, "FindNearDuplicates", find, tasks, int)):
        return staged
    join = partial(group_near, staged=staged.files, folder=folder, policy=clean.policy)
    pairs = tuple(task.output for task in tasks.values())
    (found,) = run_stage(
        staged.stage, "GroupNearDuplicates", join, {"groups": pairs}, dict[str, int]
    )
    staged.total.findings += Counter(found)
    return Staged(staged.stage, staged.total, folder / "related.parquet")


def _classes(total: ChunkResult, listing: Listing) -> list[str]:
    classes = set(total.labels) | set(listing.declared_classes)
    require_two(classes)
    numbers = all(name.isdecimal() for name in classes)
    return sorted(classes, key=lambda name: (int(name), name)) if numbers else sorted(classes)


def _refuse_unlearnable(
    recipe: ImageRecipe, classes: list[str], given: list[Split], merged: MergeResult
) -> None:
    smallest = recipe.data.clean.min_images_per_class
    for name in classes:
        count = sum(merged.counts[split][name] for split in SPLITS)
        if count < smallest:
            raise DataError(
                f"class {name!r} has {count} usable {'record' if count == 1 else 'records'}, "
                f"data.clean.min_images_per_class is {smallest}; add some or remove the class"
            )
        # Where the source divides the records itself, a finding says so; they stay as they are.
        if not merged.counts["train"][name] and not given:
            raise DataError(
                f"class {name!r} has {count} records and none of them fell into train "
                f"(seed {recipe.seed}); add records, or set data.split.method=stratified"
            )
