"""What each command does, from the words on the command line to the result for `--json`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from rich.console import Console

from clusters.resources import plan_resources
from clusters.session import capacity_of, connect, disconnect, ray_session
from components.errors import DataError, RecipeError
from components.models.package import INDEX, load_package
from components.records.manifest import MANIFEST_NAME, read_manifest
from components.records.split import Split
from components.sources.tables import list_tables
from pipelines.display import Display
from pipelines.doctor import diagnose, findings_table
from pipelines.evaluate import evaluate
from pipelines.export import export_table
from pipelines.folders import (
    RunFolder,
    datasets_folder,
    run_folders,
    shown,
    staging_folder,
)
from pipelines.plan import RunPlan, planned
from pipelines.plan_page import print_plan
from pipelines.prepare import plan_prepare, prepare
from pipelines.prepare_tables import table_schema
from pipelines.recipe import Recipe, TableRecipe, load_recipe
from pipelines.run import Timings, run, run_folder, train_only
from pipelines.shards import PreparedData
from pipelines.show import as_dict, show_record


def run_job(reference: str, overrides: Sequence[str], console: Console) -> dict[str, Any]:
    """`run`."""
    return _as_planned(run, load_recipe(reference, overrides), console)


def train_job(reference: str, overrides: Sequence[str], console: Console) -> dict[str, Any]:
    """`train`."""
    return _as_planned(train_only, load_recipe(reference, overrides), console)


def _as_planned(
    job: Callable[[Recipe, RunPlan, RunFolder, Display], dict[str, Any]],
    recipe: Recipe,
    console: Console,
) -> dict[str, Any]:
    folder = run_folder(recipe)
    with planned(recipe) as plan:
        print_plan(recipe, plan, console)
        with Display(console).shown() as display:
            return job(recipe, plan, folder, display)


def prepare_job(
    reference: str, overrides: Sequence[str], console: Console, export: Path | None = None
) -> dict[str, Any]:
    """`prepare`, with the prepared table as CSV where `export` names a file."""
    recipe = load_recipe(reference, overrides)
    if export is not None:
        _table_recipe(recipe, "--export")
    resources = plan_resources(recipe.cluster, capacity_of(recipe.cluster))
    timings = Timings()
    with staging_folder(Path(recipe.output)) as staging:
        plan = plan_prepare(recipe, staging)
        display = Display(console)
        if plan.cached is not None:
            data = prepare(recipe, plan, display.progress)
        else:
            logs = Path(recipe.output) / "logs" / plan.target.name
            with (
                display.shown(),
                timings.stage("prepare"),
                ray_session(resources, logs),
            ):
                data = prepare(recipe, plan, display.progress)
        display.prepared(data)
    manifest = data.manifest
    result: dict[str, Any] = {
        "dataset": shown(data.folder),
        "cached": data.cached,
        "fingerprint": manifest.fingerprint,
        "accounting": manifest.accounting.model_dump(),
        "findings": manifest.findings,
        "counts": manifest.counts,
        "class_counts": manifest.class_counts,
        "timings_s": {name: round(value, 3) for name, value in timings.total().items()},
    }
    if export is not None:
        export_table(data.folder, manifest, export)
        result["export"] = shown(export)
    return result


def schema_job(reference: str, overrides: Sequence[str], console: Console) -> dict[str, Any]:
    """`prepare --schema`: what the columns of a table hold, as far as the data tell."""
    recipe = _table_recipe(load_recipe(reference, overrides), "--schema")
    resources = plan_resources(recipe.cluster, capacity_of(recipe.cluster))
    logs = Path(recipe.output) / "logs" / "schema"
    display = Display(console)
    with display.shown(), ray_session(resources, logs):
        schema = table_schema(recipe, list_tables(recipe.data.source), display.progress)
    return schema.model_dump(mode="json")


def _table_recipe(recipe: Recipe, option: str) -> TableRecipe:
    if not isinstance(recipe, TableRecipe):
        raise DataError(f"{option} is for tables, and recipe {recipe.name} prepares images")
    return recipe


def evaluate_job(
    reference: str,
    overrides: Sequence[str],
    package: Path | None,
    dataset: Path | None,
    console: Console,
) -> dict[str, Any]:
    """`evaluate`: the package knows which prepared data set it belongs to."""
    recipe = load_recipe(reference, overrides)
    resources = plan_resources(recipe.cluster, capacity_of(recipe.cluster))
    package = package or _newest_package(recipe)
    dataset = dataset or _dataset_of(package, recipe)
    manifest = read_manifest(dataset)
    timings = Timings()
    splits: list[Split] = ["val", "test"]
    with (
        TemporaryDirectory() as work,
        Display(console).shown() as display,
        ray_session(resources, package.parent / "logs"),
    ):
        done = [
            evaluate(
                package,
                dataset,
                split,
                Path(work) / f"{split}.parquet",
                resources,
                display.progress,
            )
            for split in splits
            if manifest.num_records(split)
        ]
    return {
        "package": shown(package),
        "dataset": shown(dataset),
        "metrics": {evaluation.split: evaluation.metrics for evaluation in done},
        "per_class": {evaluation.split: evaluation.per_class for evaluation in done},
        "confusion": {
            evaluation.split: evaluation.confusion_KK.tolist()
            for evaluation in done
            if evaluation.confusion_KK is not None
        },
        "timings_s": {name: round(value, 3) for name, value in timings.total().items()},
    }


def compress_job(
    reference: str, overrides: Sequence[str], package: Path | None, console: Console
) -> dict[str, Any]:
    """`compress`: of the newest package that was trained, or of one that is named."""
    # What prunes and measures takes a second to import, which no other command need wait for.
    from pipelines.compress import compress

    recipe = load_recipe(reference, overrides)
    if not recipe.compression:
        raise RecipeError(
            f"recipe {recipe.name}: compression has no steps, so there is nothing to do; give it "
            "some, as compression=[{kind: quantize, what: int8_static}]"
        )
    resources = plan_resources(recipe.cluster, capacity_of(recipe.cluster))
    base = package or _newest_trained_package(recipe)
    dataset = _dataset_of(base, recipe)
    data = PreparedData(dataset, read_manifest(dataset), cached=True)
    with Display(console).shown() as display:
        return compress(recipe, resources, base, data, display)


def show_job(
    reference: str, overrides: Sequence[str], record: str, epochs: Sequence[int]
) -> dict[str, Any]:
    """`show`."""
    recipe = load_recipe(reference, overrides)
    if not record:
        raise DataError("name a record: --record ID, or the first digits of one")
    with staging_folder(Path(recipe.output)) as staging:
        plan = plan_prepare(recipe, staging)
    if plan.cached is None:
        raise DataError(
            f"the data of recipe {recipe.name} is not prepared as it asks; run "
            f"`prepare {recipe.name}` first"
        )
    return as_dict(show_record(recipe, plan.cached, plan.target, record, epochs))


def _dataset_of(package: Path, recipe: Recipe) -> Path:
    """The prepared data set that a package was trained on, by its fingerprint."""
    fingerprint = load_package(package).dataset_fingerprint
    folder = datasets_folder(Path(recipe.output))
    for path in sorted(folder.glob(f"*-{fingerprint[:12]}/{MANIFEST_NAME}")):
        if read_manifest(path.parent).fingerprint == fingerprint:
            return path.parent
    raise DataError(
        f"{shown(package)} was trained on data set {fingerprint[:12]}, which is not in "
        f"{shown(folder)}; name one with --dataset"
    )


def doctor_job(output: Path, console: Console | None) -> dict[str, Any]:
    """`doctor`."""
    findings = diagnose(output, check_cluster=_describe_cluster)
    if console is not None:
        console.print(findings_table(findings))
    failed = [finding.name for finding in findings if finding.state == "fail"]
    return {"ok": not failed, "findings": [vars(finding) for finding in findings]}


def _describe_cluster() -> str:
    connect()
    try:
        have = ray.cluster_resources()
        nodes = sum(node["Alive"] for node in ray.nodes())
        return f"{nodes} nodes, {have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs"
    finally:
        disconnect()


def _newest_package(recipe: Recipe) -> Path:
    return _packages(recipe)[-1]


def _newest_trained_package(recipe: Recipe) -> Path:
    for package in reversed(_packages(recipe)):
        if not load_package(package).compression.lineage:
            return package
    raise DataError(
        f"{recipe.output} holds only compressed packages of recipe {recipe.name}; run "
        f"`train {recipe.name}` first or name one with --package"
    )


def _packages(recipe: Recipe) -> list[Path]:
    """All packages of a recipe, oldest first; at least one."""
    runs = [RunFolder(path) for path in run_folders(Path(recipe.output), recipe.name)]
    packages = [run.package for run in runs if (run.package / INDEX).is_file()]
    if not packages:
        raise DataError(
            f"{recipe.output} holds no package of recipe {recipe.name}; run `train {recipe.name}` "
            "first or name one with --package"
        )
    return packages
