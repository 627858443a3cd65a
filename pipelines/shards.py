"""The second half of prepare, for every modality: merge, write shards, publish the data set."""

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from components.errors import DataError
from components.records.accounting import Accounting, by_reason_text
from components.records.cuts import class_cuts, time_cuts
from components.records.files import public_path, storage_errors
from components.records.fingerprint import prepare_code_sha256, prepare_versions
from components.records.fitted import FittedTransform
from components.records.manifest import MANIFEST_NAME, Lineage, Manifest, write_manifest
from components.records.merging import MergeResult, MergeSettings, MergeTask, merge_range
from components.records.split import SPLITS, Cut, Split, SplitConfig, SplitRule
from components.records.staging import ChunkResult
from components.tables.schema import TableSchema
from pipelines.recipe import ImageRecipe, TableRecipe
from pipelines.stages import Stage, run_stage

Progress = Callable[[str, int, int], None]
# Before that many records a share says little, and a small source is soon read to its end.
_MIN_EARLY_STOP_RECORDS = 200


@dataclass(frozen=True)
class PreparedData:
    """A prepared data set and whether it was there before."""

    folder: Path
    manifest: Manifest
    cached: bool


@dataclass(frozen=True)
class Staged:
    """What the first pass left.

    Attributes:
        stage: Its folder.
        total: Counts over all chunks.
        related: Near duplicates, where they were looked for.
        before: Folders of earlier stages with findings and quarantine of their own.
    """

    stage: Stage
    total: ChunkResult
    related: Path | None = None
    before: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The staged files."""
        return tuple(self.stage.folder / "staged" / part for part in self.total.parts)


def stage_all(results: Iterable[ChunkResult], expected: int, limit_share: float) -> ChunkResult:
    """Add up the chunks as they come; stop early where far too much was set aside.

    Args:
        results: One per chunk.
        expected: Records in all.
        limit_share: `data.clean.max_quarantined_share`.

    Raises:
        DataError: More than the limit of all records was set aside already.
    """
    total = ChunkResult()
    for result in results:
        total.add(result)
        count = total.reasons.total()
        if count > limit_share * expected and total.read >= _MIN_EARLY_STOP_RECORDS:
            refuse_large_quarantine(total.reasons, total.read, limit_share, total.examples)
    refuse_large_quarantine(total.reasons, total.read, limit_share, total.examples)
    return total


def refuse_large_quarantine(
    reasons: Counter[str], read: int, limit_share: float, examples: list[str]
) -> None:
    """Stop where more was set aside than the recipe allows.

    Raises:
        DataError: With the reasons and the first records.
    """
    count = reasons.total()
    if count > limit_share * read:
        raise DataError(
            f"cleaning set aside {count} of {read} records ({count / read:.1%}, limit "
            f"{limit_share:.1%}): {by_reason_text(reasons)}. First: {'; '.join(examples[:3])}. "
            "Raise data.clean.max_quarantined_share if this is expected"
        )


def split_rule(
    config: SplitConfig, seed: int, given: tuple[Split, ...], staged: Staged, stage: Stage
) -> SplitRule:
    """The rule that gives each record its split; exact shares are counted in one task.

    Raises:
        DataError: A class or the times are too few to be divided.
    """
    rule = SplitRule(seed, config.val, config.test, config.folds, config.fold, given)
    if config.method == "stratified":
        count = partial(_class_cuts, files=staged.files, related=staged.related)
        (cuts,) = run_stage(stage, "StratifySplits", count, {"cuts": rule}, dict[str, Cut])
        return SplitRule(seed, config.val, config.test, config.folds, config.fold, given, cuts=cuts)
    if config.method == "time":
        (times,) = run_stage(
            stage,
            "FindSplitTimes",
            partial(_time_cuts, files=staged.files),
            {"times": rule},
            tuple[int, int],
        )
        return SplitRule(seed, config.val, config.test, given=given, times=times)
    return rule


def _class_cuts(
    rule: SplitRule, *, files: tuple[Path, ...], related: Path | None
) -> dict[str, Cut]:
    return class_cuts(files, rule, related)


def _time_cuts(rule: SplitRule, *, files: tuple[Path, ...]) -> tuple[int, int]:
    return time_cuts(files, rule)


def merge_all(
    stage: Stage,
    staged: Staged,
    settings: MergeSettings,
    target_bytes: int,
    progress: Progress,
) -> MergeResult:
    """Second pass: copies met, splits given, shards written, train's statistics added up."""
    # From the data alone, never from the machine: the same records give the same shards anywhere.
    num_ranges = max(1, math.ceil(staged.total.num_bytes / target_bytes))
    tasks = {
        f"{n:05d}": MergeTask(n, num_ranges, staged.files, stage.folder, staged.related)
        for n in range(num_ranges)
    }
    merge = partial(merge_range, settings=settings)
    total = MergeResult(counts={split: Counter() for split in SPLITS})
    results = run_stage(stage, "WriteShards", merge, tasks, MergeResult)
    for number, result in enumerate(results, start=1):
        total.add(result)
        progress("prepare: write shards", number, num_ranges)
    return total


def accounting_of(staged: Staged, merged: MergeResult) -> Accounting:
    """The books over both passes."""
    reasons = staged.total.reasons + merged.reasons
    return Accounting(
        read=staged.total.read,
        prepared=sum(counts.total() for counts in merged.counts.values()),
        quarantined=reasons.total(),
        duplicates=merged.duplicates,
        quarantined_by_reason=dict(sorted((+reasons).items())),
    )


def require_two(classes: set[str]) -> None:
    """Refuse a source that a classifier cannot learn from.

    Raises:
        DataError: It has one class, or none.
    """
    if len(classes) < 2:
        only = f"only one class, {next(iter(classes))!r}" if classes else "no class"
        raise DataError(
            f"the source has {only}; a classifier needs at least two: one folder per class, or a "
            "label column with two values"
        )


def require_splits(config: SplitConfig, merged: MergeResult, seed: int) -> None:
    """Refuse a data set without the splits that the recipe asks for.

    Raises:
        DataError: A split is empty.
    """
    # Without val nothing says which checkpoint is the best; without test, nothing is lost but a
    # last look, if the recipe asks for none.
    shares: dict[Split, float] = {"train": 1.0, "val": config.val, "test": config.test}
    total = sum(merged.counts[split].total() for split in SPLITS)
    for split, share in shares.items():
        wanted = split != "test" or share > 0
        if wanted and not merged.counts[split].total():
            raise DataError(
                f"no record of {total} fell into {split} (data.split.{split} = {share:g}, seed "
                f"{seed}); add records, or set data.split.method=stratified"
            )


def describe(
    recipe: ImageRecipe | TableRecipe,
    *,
    fingerprint: str,
    listing_form: str,
    listing_sha256: str,
    staged: Staged,
    merged: MergeResult,
    classes: list[str],
    settings: MergeSettings,
    transform: FittedTransform,
    table_schema: TableSchema | None = None,
) -> Manifest:
    """What was prepared, from what, and how the books close."""
    accounting = accounting_of(staged, merged)
    data = recipe.data.model_dump(mode="json")
    data["source"]["path"] = public_path(recipe.data.source.path)
    shards = sorted(merged.shards, key=lambda shard: (SPLITS.index(shard.split), shard.path))
    by_class = {split: {name: merged.counts[split][name] for name in classes} for split in SPLITS}
    return Manifest(
        modality="images" if isinstance(recipe, ImageRecipe) else "tables",
        fingerprint=fingerprint,
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        shard_schema={field.name: str(field.type) for field in settings.schema},
        classes=classes,
        counts={split: merged.counts[split].total() for split in SPLITS},
        class_counts=by_class if classes else {},
        accounting=accounting,
        findings=dict(sorted((staged.total.findings + merged.findings).items())),
        transform=transform.model_dump(mode="json"),
        transform_hash=transform.hash,
        table_schema=None if table_schema is None else table_schema.model_dump(mode="json"),
        target=None if isinstance(recipe, ImageRecipe) else recipe.data.target,
        row_group_rows=settings.row_group_rows,
        mean_record_bytes=sum(shard.num_bytes for shard in shards) / accounting.prepared,
        shards=shards,
        lineage=Lineage(
            source=public_path(recipe.data.source.path),
            source_format=listing_form,
            listing_sha256=listing_sha256,
            num_inputs=staged.total.read,
            code_sha256=prepare_code_sha256(),
            versions=prepare_versions(),
        ),
        recipe_data=data,
    )


def publish(stage: Stage, staged: Staged, target: Path, manifest: Manifest) -> PreparedData:
    """Make the work visible in one step: the folder appears whole, with its manifest, or not."""
    ready = stage.folder / "ready"
    with storage_errors(str(target.parent)):
        shutil.rmtree(ready, ignore_errors=True)
        (ready / "quarantine").mkdir(parents=True)
        folders = (*staged.before, staged.stage.folder, stage.folder)
        for number, folder in enumerate(folders):
            for path in sorted((folder / "quarantine").glob("*.parquet")):
                shutil.copy2(path, ready / "quarantine" / f"{number}-{path.name}")
        findings = [path for folder in folders for path in _findings(folder)]
        with (ready / "findings.jsonl").open("wb") as joined:
            for path in findings:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, joined)
        for name in ("shards", "duplicates"):
            if (stage.folder / name).is_dir():
                shutil.copytree(stage.folder / name, ready / name, copy_function=_linked)
        write_manifest(ready, manifest)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(ready, target)
        except OSError:
            # Another process prepared the same data in the meantime; the content is the same.
            if not (target / MANIFEST_NAME).is_file():
                raise
    shutil.rmtree(stage.folder, ignore_errors=True)
    return PreparedData(target, manifest, cached=False)


def _findings(folder: Path) -> list[Path]:
    return sorted((folder / "findings").glob("*.jsonl"))


def _linked(source: str, target: str) -> None:
    """A second name for a finished file: no bytes are copied where the file system has links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
