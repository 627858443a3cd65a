"""prepare: source -> check -> clean -> quarantine -> split -> fit -> shards and manifest."""

from dataclasses import dataclass
from pathlib import Path

from components.errors import DataError
from components.records.files import storage_errors
from components.records.fingerprint import json_sha256, prepare_code_sha256, prepare_versions
from components.records.manifest import MANIFEST_NAME, Manifest, read_manifest
from components.records.split import Split
from components.sources.config import SourceConfig
from components.sources.listing import Listing, list_source
from components.sources.tables import TableListing, list_tables
from components.tables.inference.pinned import contradiction
from pipelines.builtin import write_digits
from pipelines.folders import datasets_folder
from pipelines.prepare_images import prepare_images
from pipelines.prepare_tables import expected_records, prepare_tables
from pipelines.recipe import ImageRecipe, Recipe, TableRecipe
from pipelines.shards import PreparedData, Progress, require_two

BUILTIN_DIGITS = "builtin:digits"


@dataclass(frozen=True)
class PreparePlan:
    """What prepare will do, known from the listing alone.

    Attributes:
        listing: What the source holds.
        source: The source of images, with a built-in one written out; None for tables.
        listing_folder: Where the chunks of the listing lie.
        num_records: Records in the source; of tables an estimate.
        given_splits: Records in each split that the source itself names, where the listing tells.
        fingerprint: Names the result.
        target: Folder of the prepared data set.
        cached: Its manifest, where it has been prepared before.
    """

    listing: Listing | TableListing
    source: SourceConfig | None
    listing_folder: Path
    num_records: int
    given_splits: dict[Split, int]
    fingerprint: str
    target: Path
    cached: Manifest | None


def plan_prepare(recipe: Recipe, staging: Path) -> PreparePlan:
    """List the source and look whether it has been prepared before.

    Args:
        recipe: The recipe.
        staging: Folder for the listing.

    Raises:
        DataError: The source is missing, empty, of no known form, or has folders of one class.
    """
    folder = staging / "listing"
    with storage_errors(recipe.output):
        folder.mkdir()
        if isinstance(recipe, TableRecipe):
            _refuse_contradictions(recipe)
            tables = list_tables(recipe.data.source, recipe.data.clean.policy)
            expected = expected_records(recipe, tables)
            return _planned(recipe, tables, None, folder, expected, {})
        assert isinstance(recipe, ImageRecipe)
        source = _written_out(recipe)
        listing = list_source(source, folder, recipe.data.clean.policy)
    if listing.format == "folders":
        require_two(set(listing.declared_classes))
    return _planned(
        recipe, listing, source, folder, listing.num_records, dict(listing.split_records)
    )


def _refuse_contradictions(recipe: TableRecipe) -> None:
    """Refuse columns that contradict themselves before anything starts."""
    for name, column in recipe.data.columns.items():
        if problem := contradiction(column):
            raise DataError(f"data.columns.{name}: {problem}")


def _written_out(recipe: ImageRecipe) -> SourceConfig:
    source = recipe.data.source
    if source.path != BUILTIN_DIGITS:
        return source
    folder = write_digits(Path(recipe.output) / "sources" / "digits")
    return source.model_copy(update={"path": str(folder), "format": "folders"})


def _planned(
    recipe: ImageRecipe | TableRecipe,
    listing: Listing | TableListing,
    source: SourceConfig | None,
    folder: Path,
    num_records: int,
    given_splits: dict[Split, int],
) -> PreparePlan:
    fingerprint = json_sha256(
        {
            "data": recipe.data.model_dump(mode="json", exclude={"source": {"path"}}),
            "seed": recipe.seed,
            "listing": listing.sha256,
            "code": prepare_code_sha256(),
            "versions": prepare_versions(),
        }
    )
    target = datasets_folder(Path(recipe.output)) / f"{recipe.name}-{fingerprint[:12]}"
    if target.exists() and not (target / MANIFEST_NAME).is_file():
        raise DataError(
            f"{target} has no {MANIFEST_NAME} any more; delete it and run prepare again"
        )
    cached = read_manifest(target) if target.exists() else None
    return PreparePlan(
        listing, source, folder, num_records, given_splits, fingerprint, target, cached
    )


def prepare(recipe: Recipe, plan: PreparePlan, progress: Progress) -> PreparedData:
    """Prepare the data set that the plan names; Ray must be up unless it is cached.

    Raises:
        DataError: Too many records were set aside, or what is left cannot be learned from.
        StorageError: The output cannot be written.
    """
    if plan.cached is not None:
        return PreparedData(plan.target, plan.cached, cached=True)
    if isinstance(recipe, TableRecipe):
        assert isinstance(plan.listing, TableListing)
        return prepare_tables(recipe, plan.listing, plan.fingerprint, plan.target, progress)
    assert isinstance(recipe, ImageRecipe) and isinstance(plan.listing, Listing)
    assert plan.source is not None
    return prepare_images(
        recipe,
        plan.source,
        plan.listing,
        plan.listing_folder,
        plan.fingerprint,
        plan.target,
        progress,
    )
