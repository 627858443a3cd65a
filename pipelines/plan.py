"""plan: what a run will do here, refused before anything starts if it cannot."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clusters.resources import ResourcePlan, plan_resources
from clusters.session import capacity_of
from components.errors import PlanError
from components.models.registry import check_model
from components.records.epoch_plan import BatchPlan
from components.records.split import SPLITS, Split
from components.sources.listing import Listing
from components.training.schedules import build_schedule
from pipelines.folders import staging_folder
from pipelines.modality import build_task, expected_model, require_target
from pipelines.pilot import Pilot, measure
from pipelines.prepare import PreparePlan, plan_prepare
from pipelines.recipe import Recipe
from pipelines.streams.sampling import require_sampling

# Measured on two cores; what starting Ray and its training workers costs, whatever the data.
_START_RAY_S = 6.0
_START_WORKERS_S = 14.0
_EVALUATE_AND_REPORT_S = 10.0


@dataclass(frozen=True)
class RunPlan:
    """A run, decided: every command uses exactly this.

    Attributes:
        resources: What Train, Data and the driver get.
        prepare: The source, its listing and whether it is prepared already.
        records: Records by split; exact where prepared, else expected.
        exact: Whether `records` is exact.
        batches: How a training epoch is cut into steps.
        model_input: What the model takes, as text; empty where only prepare can tell.
        num_parameters: Of the model; None where only prepare can tell.
        pilot: What a record costs.
        prepared_bytes: Size of the shards, expected or known.
        estimates_s: Expected seconds by stage.
    """

    resources: ResourcePlan
    prepare: PreparePlan
    records: dict[Split, int]
    exact: bool
    batches: BatchPlan
    model_input: str
    num_parameters: int | None
    pilot: Pilot
    prepared_bytes: int
    estimates_s: dict[str, float]

    @property
    def kept_share(self) -> float:
        """Share of train and val that stays decoded in memory from epoch to epoch."""
        wanted = self.pilot.decoded_bytes * (self.records["train"] + self.records["val"])
        return min(1.0, self.resources.cache_bytes / wanted) if wanted else 0.0


@contextmanager
def planned(recipe: Recipe) -> Iterator[RunPlan]:
    """Plan a run; what it needs of temporary files is gone after the block.

    Raises:
        PlanError: It cannot run here.
        DataError: The source is refused.
        RecipeError: The model or the schedule cannot be built for this data, or there is no target.
    """
    require_target(recipe)
    resources = plan_resources(recipe.cluster, capacity_of(recipe.cluster))
    with staging_folder(Path(recipe.output)) as staging:
        prepare = plan_prepare(recipe, staging)
        yield _run_plan(recipe, resources, prepare)


def _run_plan(recipe: Recipe, resources: ResourcePlan, prepare: PreparePlan) -> RunPlan:
    records = _records(recipe, prepare)
    if prepare.cached is not None:
        require_sampling(recipe.train.sampling, prepare.cached)
    batches = plan_steps(recipe, records["train"], resources.num_workers)
    task = build_task(recipe, prepare.cached, prepare.target) if prepare.cached else None
    model = expected_model(recipe, task, _num_declared_classes(prepare))
    pilot = measure(recipe, prepare, task, model, on_cpu=resources.device == "cpu")
    prepared_bytes = int(pilot.stored_bytes * sum(records.values()))
    _require_disk(recipe, prepare, prepared_bytes)
    return RunPlan(
        resources=resources,
        prepare=prepare,
        records=records,
        exact=prepare.cached is not None,
        batches=batches,
        model_input=str(model[0]) if model else "",
        num_parameters=check_model(recipe.model, model[0], num_outputs=model[1]) if model else None,
        pilot=pilot,
        prepared_bytes=prepared_bytes,
        estimates_s=_estimates(recipe, resources, prepare, pilot, records, batches),
    )


def _num_declared_classes(prepare: PreparePlan) -> int:
    listing = prepare.listing
    return len(listing.declared_classes) if isinstance(listing, Listing) else 0


def _num_tasks(prepare: PreparePlan) -> int:
    listing = prepare.listing
    return len(listing.chunks) if isinstance(listing, Listing) else len(listing.files)


def _records(recipe: Recipe, prepare: PreparePlan) -> dict[Split, int]:
    if prepare.cached is not None:
        return {split: prepare.cached.num_records(split) for split in SPLITS}
    given, split = prepare.given_splits, recipe.data.split
    open_records = prepare.num_records - given.get("val", 0) - given.get("test", 0)
    val = given.get("val") or round(open_records * _val_share(recipe))
    test = given.get("test") or round(open_records * split.test)
    return {"train": max(1, prepare.num_records - val - test), "val": val, "test": test}


def _val_share(recipe: Recipe) -> float:
    split = recipe.data.split
    return split.val if split.folds is None else (1.0 - split.test) / split.folds


def plan_steps(recipe: Recipe, num_rows: int, num_workers: int) -> BatchPlan:
    """How an epoch is cut into steps where there are `num_rows` training records.

    Raises:
        PlanError: No step would be taken.
        RecipeError: The schedule does not fit into the steps.
    """
    batches = BatchPlan(
        num_rows=recipe.train.sampling.rows_per_epoch or num_rows,
        batch_size=recipe.train.batch_size,
        world_size=num_workers,
        keep_last=recipe.train.last_batch == "keep",
    )
    if not batches.num_steps:
        raise PlanError(
            f"train.batch_size = {recipe.train.batch_size} is larger than the {batches.num_rows} "
            "training records of an epoch and train.last_batch = drop; no step would be taken: set "
            "train.last_batch=keep or a smaller train.batch_size"
        )
    build_schedule(
        recipe.train.schedule,
        peak_learning_rate=recipe.train.optimizer.learning_rate,
        total_steps=batches.num_steps * recipe.train.epochs,
        steps_per_epoch=batches.num_steps,
    )
    return batches


def _require_disk(recipe: Recipe, prepare: PreparePlan, prepared_bytes: int) -> None:
    if prepare.cached is not None:
        return
    # Staged files and shards lie side by side while the second pass runs.
    needed, free = 2 * prepared_bytes, shutil.disk_usage(recipe.output).free
    if needed > free:
        raise PlanError(
            f"preparing needs about {needed >> 20} MiB in {recipe.output} and {free >> 20} MiB are "
            "free; free some space or set output to a larger disk"
        )


def _estimates(
    recipe: Recipe,
    resources: ResourcePlan,
    prepare: PreparePlan,
    pilot: Pilot,
    records: dict[Split, int],
    batches: BatchPlan,
) -> dict[str, float]:
    total = sum(records.values())
    tasks = min(resources.cluster_cpus, _num_tasks(prepare))
    feed_s = pilot.view_s * batches.num_rows / resources.data_cpus
    threads = resources.worker_threads * resources.num_workers
    learn_s = (pilot.learn_s or 0.0) * batches.num_rows / threads
    epoch_s = max(feed_s, learn_s) * (1 + 0.5 * records["val"] / batches.num_rows)
    estimates = {"start_ray": 0.0 if resources.running_cluster else _START_RAY_S}
    if prepare.cached is None:
        estimates["prepare"] = pilot.prepare_s * total / max(1.0, tasks) + 2.0
    estimates["train"] = _START_WORKERS_S + recipe.train.epochs * epoch_s
    estimates["evaluate_and_report"] = _EVALUATE_AND_REPORT_S
    estimates["total"] = sum(estimates.values())
    return estimates
