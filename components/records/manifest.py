"""The manifest: what a prepared data set is, in one JSON file that makes the folder a data set."""

from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError, model_validator

from components.config import Config
from components.errors import DataError
from components.records.accounting import Accounting
from components.records.files import write_text
from components.records.fitted import transform_hash
from components.records.split import Split

MANIFEST_NAME = "manifest.json"

Modality = Literal["images", "tables"]


class ShardInfo(Config):
    """One prepared Parquet file."""

    path: str
    """Relative to the data set's folder."""
    split: Split
    num_rows: int
    num_bytes: int
    sha256: str


class Lineage(Config):
    """Where a prepared data set comes from."""

    source: str
    """The source as the recipe named it, without credentials, relative to the working directory."""
    source_format: str
    listing_sha256: str
    """Digest over origin, size, time and label of every input."""
    num_inputs: int
    code_sha256: str
    """Digest over the code that prepares."""
    versions: dict[str, str]
    """Versions of the libraries whose output ends up in the shards."""


class Manifest(Config):
    """A prepared data set: schema, classes, counts, accounting, fitted transform, lineage."""

    format_version: Literal[1] = 1
    modality: Modality
    fingerprint: str
    """Digest over the data part of the recipe, the code and the input listing."""
    created_utc: str
    shard_schema: dict[str, str]
    """Column -> Arrow type, as text."""
    classes: list[str]
    """Class names; a label is an index into this list. Empty where nothing is classified."""
    counts: dict[Split, int]
    """Records by split."""
    class_counts: dict[Split, dict[str, int]]
    """Records by split and class; empty where nothing is classified."""
    accounting: Accounting
    findings: dict[str, int]
    """Findings by `reason/action`; each is a line of `findings.jsonl`."""
    transform: dict[str, object]
    """What was fitted on the train split, and on nothing else, as JSON."""
    transform_hash: str
    table_schema: dict[str, object] | None = None
    """What the columns of a table hold, as JSON; none for images."""
    target: str | None = None
    """Column of a table that a model predicts."""
    row_group_rows: int
    mean_record_bytes: float
    """Mean size of a record in the shards."""
    shards: list[ShardInfo]
    lineage: Lineage
    recipe_data: dict[str, object]
    """The data part of the recipe that made this."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        counted = sum(self.counts.values())
        in_shards = sum(shard.num_rows for shard in self.shards)
        if not counted == in_shards == self.accounting.prepared:
            raise ValueError(
                f"records are missing: {self.accounting.prepared} prepared, {counted} counted "
                f"by split, {in_shards} in the shards"
            )
        for split, counts in self.class_counts.items():
            if counts and sum(counts.values()) != self.counts[split]:
                raise ValueError(
                    f"records are missing: {self.counts[split]} in {split}, "
                    f"{sum(counts.values())} counted by class"
                )
        return self

    def num_records(self, split: Split) -> int:
        """Records of one split."""
        return self.counts[split]

    def shards_of(self, split: Split) -> list[ShardInfo]:
        """Shards of one split, in order."""
        return [shard for shard in self.shards if shard.split == split]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`: from here on the folder is a prepared data set."""
    write_text(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a prepared data set.

    Raises:
        DataError: There is no manifest, it cannot be read, a shard is missing or has another
            size, or the fitted transform was changed.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise DataError(f"{folder} holds no prepared data set (no {MANIFEST_NAME}); run prepare")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{path}: {place + ': ' if place else ''}{first['msg']}; delete {folder} and run "
            "prepare again"
        ) from error
    if transform_hash(manifest.transform) != manifest.transform_hash:
        raise DataError(
            f"{path}: the fitted transform does not match its hash {manifest.transform_hash}; "
            f"delete {folder} and run prepare again"
        )
    for shard in manifest.shards:
        file = folder / shard.path
        size = file.stat().st_size if file.is_file() else None
        if size != shard.num_bytes:
            raise DataError(
                f"{file}: {'missing' if size is None else f'{size} bytes'}, the manifest says "
                f"{shard.num_bytes} bytes; delete {folder} and run prepare again"
            )
    return manifest
