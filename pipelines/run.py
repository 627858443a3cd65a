"""run: plan -> prepare -> train -> package -> evaluate -> report, tracked from end to end."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clusters.resources import ResourcePlan
from clusters.session import ray_session
from components.errors import DataError
from components.models.package import ModelPackage, save_package
from components.models.registry import build_model
from components.records.files import write_text
from components.records.split import Split
from components.reports.bound import Bound, find_bound
from components.tracking.mlflow_tracker import MlflowTracker, start_mlflow
from components.tracking.params import flatten
from components.tracking.server import check_server, resolve_uri
from components.tracking.tracker import Tracker
from components.training.checkpoint import load_checkpoint
from pipelines.display import Display
from pipelines.evaluate import Evaluation, evaluate
from pipelines.folders import RunFolder, new_run_folder, run_folders, shown
from pipelines.modality import build_task
from pipelines.plan import RunPlan, plan_steps
from pipelines.prepare import prepare
from pipelines.provenance import git_commit, versions
from pipelines.recipe import Recipe, public_recipe, recipe_fingerprint, resolved_yaml
from pipelines.report import write_report
from pipelines.shards import PreparedData
from pipelines.train import Trained, train

_COMPARED_KEYS = {"task", "seed", "data", "input", "augment", "model", "train"}


@dataclass
class Timings:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _started_s: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - started_s

    def total(self) -> dict[str, float]:
        """All stages and the time since the start."""
        return self.seconds | {"total": time.perf_counter() - self._started_s}


def run(recipe: Recipe, plan: RunPlan, folder: RunFolder, display: Display) -> dict[str, Any]:
    """The whole road; returns what `--json` prints.

    Raises:
        HeadraceError: Something was refused or failed, in words; MLflow says FAILED or KILLED.
    """
    timings = Timings()
    with ray_session(plan.resources, folder.logs):
        with timings.stage("prepare"):
            data = prepare(recipe, plan.prepare, display.progress)
        display.prepared(data)
        # The plan knew the number of records only about.
        plan_steps(recipe, data.manifest.num_records("train"), plan.resources.num_workers)
        with _tracked(recipe, plan, data, folder) as tracker:
            with timings.stage("train"):
                trained = train(recipe, plan.resources, data, folder, tracker, display.step)
            package = _package(recipe, data, trained)
            save_package(folder.package, package)
            with timings.stage("evaluate"):
                evaluations = [
                    evaluate(
                        folder.package,
                        data.folder,
                        split,
                        folder.predictions / f"{split}.parquet",
                        plan.resources,
                        display.progress,
                    )
                    for split in evaluated_splits(data)
                ]
            metrics = {str(done.split): done.metrics for done in evaluations}
            save_package(folder.package, replace(package, metrics=metrics))
            bound = find_bound(trained.history, plan.resources.data_cpus)
            return _conclude(recipe, data, folder, tracker, trained, evaluations, timings, bound)


def train_only(
    recipe: Recipe, plan: RunPlan, folder: RunFolder, display: Display
) -> dict[str, Any]:
    """Train on the prepared data set and write the package; returns what `--json` prints."""
    if plan.prepare.cached is None:
        raise DataError(
            f"the data of recipe {recipe.name} is not prepared as it asks; run "
            f"`prepare {recipe.name}` first, or `run {recipe.name}` for everything"
        )
    timings = Timings()
    data = PreparedData(plan.prepare.target, plan.prepare.cached, cached=True)
    with (
        ray_session(plan.resources, folder.logs),
        _tracked(recipe, plan, data, folder) as tracker,
    ):
        with timings.stage("train"):
            trained = train(recipe, plan.resources, data, folder, tracker, display.step)
        package = _package(recipe, data, trained)
        save_package(folder.package, package)
        tracker.log_artifact(folder.package)
        return {
            "mlflow_run_id": tracker.run_id,
            "run": shown(folder.path),
            "dataset": shown(data.folder),
            "package": shown(folder.package),
            "metrics": {"val": package.metrics["val"]},
            "timings_s": timings.total(),
            "data_wait_share": data_wait_share(trained),
        }


def data_wait_share(trained: Trained) -> float:
    """Share of the training time spent waiting for data, once the first batch had come."""
    seconds = [row["records"] / row["records_per_s"] for row in trained.history]
    shares = [row["data_wait_share"] for row in trained.history]
    return float(np.average(shares, weights=seconds))


def evaluated_splits(data: PreparedData) -> list[Split]:
    """Those of val and test that have records."""
    splits: list[Split] = ["val", "test"]
    return [split for split in splits if data.manifest.num_records(split)]


@contextmanager
def _tracked(
    recipe: Recipe, plan: RunPlan, data: PreparedData, folder: RunFolder
) -> Iterator[Tracker]:
    """The run in MLflow; FINISHED, FAILED or KILLED when the block ends."""
    state = _read_state(folder)
    if state.get("dataset_fingerprint", data.manifest.fingerprint) != data.manifest.fingerprint:
        raise DataError(
            f"resume=true: {shown(folder.path)} was trained on data set "
            f"{state['dataset_fingerprint'][:12]} and the source has changed since (now "
            f"{data.manifest.fingerprint[:12]}); start without resume"
        )
    with open_run(recipe, data, folder, resume_run_id=state.get("mlflow_run_id")) as tracker:
        _write_state(folder, recipe, data, tracker)
        log_inputs(tracker, recipe, plan.resources, data, folder)
        yield tracker


def open_run(
    recipe: Recipe,
    data: PreparedData,
    folder: RunFolder,
    *,
    resume_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> MlflowTracker:
    """Open a run of the recipe in MLflow, or one that was opened before; used with `with`."""
    return start_mlflow(
        uri=None,
        root=Path(recipe.output),
        experiment=recipe.tracking.experiment,
        run_name=folder.name,
        tags={
            "headrace.recipe": recipe.name,
            "headrace.recipe_fingerprint": recipe_fingerprint(recipe),
            "headrace.dataset_fingerprint": data.manifest.fingerprint,
            "headrace.run_folder": shown(folder.path),
            **(tags or {}),
        },
        resume_run_id=resume_run_id,
        git_commit=git_commit(),
        system_metrics=recipe.tracking.system_metrics,
    )


def log_inputs(
    tracker: Tracker,
    recipe: Recipe,
    resources: ResourcePlan,
    data: PreparedData,
    folder: RunFolder,
) -> None:
    """Tell the tracker all that a run begins with; the recipe goes to the run's folder too."""
    write_text(folder.recipe, resolved_yaml(public_recipe(recipe)))
    tracker.log_params(flatten(public_recipe(recipe).model_dump(mode="json")))
    tracker.log_params(flatten(resources.as_dict(), "resources."))
    tracker.log_params(flatten(versions(), "version."))
    tracker.log_dataset(recipe.name, data.manifest.fingerprint, "train", shown(data.folder))
    tracker.log_artifact(folder.recipe)
    tracker.log_artifact(data.folder / "manifest.json", "dataset")


def run_folder(recipe: Recipe) -> RunFolder:
    """A new folder, or with `resume` the one of the recipe's newest training.

    Raises:
        DataError: There is nothing to resume, or it was another training.
        TrackingError: MLflow cannot be used; better told now than after an hour.
    """
    output = Path(recipe.output)
    check_server(resolve_uri(None, output))
    if not recipe.resume:
        return new_run_folder(output, recipe.name)
    found = [path for path in run_folders(output, recipe.name) if RunFolder(path).state.is_file()]
    if not found:
        raise DataError(
            f"resume=true: {recipe.output} holds no training of recipe {recipe.name}; start one "
            "without resume"
        )
    folder = RunFolder(found[-1])
    state = _read_state(folder)
    if recipe.train.epochs < state["epochs"]:
        raise DataError(
            f"resume=true: {shown(folder.path)} was planned for {state['epochs']} epochs, and "
            f"train.epochs = {recipe.train.epochs}; a training can be made longer, not shorter"
        )
    before = state["recipe"]
    now = _comparable(recipe)
    changed = sorted(key for key in now if now[key] != before.get(key))
    if changed:
        raise DataError(
            f"resume=true: {shown(folder.path)} was trained with another recipe; "
            f"{changed[0]} was {before.get(changed[0])!r} and is {now[changed[0]]!r}; set it back "
            "or start without resume"
        )
    return folder


def _comparable(recipe: Recipe) -> dict[str, Any]:
    """What must be the same for a training to go on; its length may grow."""
    values = flatten(public_recipe(recipe).model_dump(mode="json", include=_COMPARED_KEYS))
    return {key: value for key, value in values.items() if key != "train.epochs"}


def _read_state(folder: RunFolder) -> dict[str, Any]:
    if not folder.state.is_file():
        return {}
    try:
        state: dict[str, Any] = json.loads(folder.state.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{shown(folder.state)} is damaged ({error}); start without resume"
        ) from error
    return state


def _write_state(folder: RunFolder, recipe: Recipe, data: PreparedData, tracker: Tracker) -> None:
    state = {
        "mlflow_run_id": tracker.run_id,
        "dataset_fingerprint": data.manifest.fingerprint,
        "epochs": recipe.train.epochs,
        "recipe": _comparable(recipe),
    }
    write_text(folder.state, json.dumps(state, indent=2) + "\n")


def _package(recipe: Recipe, data: PreparedData, trained: Trained) -> ModelPackage:
    manifest = data.manifest
    task = build_task(recipe, manifest, data.folder)
    model = build_model(recipe.model, task.shape, num_outputs=task.num_outputs, seed=recipe.seed)
    checkpoint = load_checkpoint(trained.checkpoint)
    checkpoint.restore(model)
    best = checkpoint.history[-1]
    val = {name.removeprefix("val_"): v for name, v in best.items() if name.startswith("val_")}
    return ModelPackage(
        model=model,
        model_config=recipe.model,
        task=task,
        recipe_yaml=resolved_yaml(public_recipe(recipe)),
        metrics={"val": val},
        dataset_fingerprint=manifest.fingerprint,
        git_commit=git_commit(),
        versions=versions(),
    )


def _conclude(
    recipe: Recipe,
    data: PreparedData,
    folder: RunFolder,
    tracker: Tracker,
    trained: Trained,
    evaluations: list[Evaluation],
    timings: Timings,
    bound: Bound | None,
) -> dict[str, Any]:
    write_text(folder.history, json.dumps(trained.history, indent=1) + "\n")
    wait = data_wait_share(trained)
    for evaluation in evaluations:
        final = {f"final/{evaluation.split}_{k}": v for k, v in evaluation.metrics.items()}
        tracker.log_metrics(final, step=len(trained.history))
    tracker.log_metrics({"final/data_wait_share": wait}, step=len(trained.history))
    with timings.stage("report"):
        write_report(
            recipe,
            data,
            trained,
            evaluations,
            folder,
            run_id=tracker.run_id,
            timings_s=timings.seconds,
            data_wait_share=wait,
            bound=bound,
            git_commit=git_commit(),
            versions=versions(),
        )
    tracker.log_artifact(folder.package)
    tracker.log_artifact(folder.report)
    accounting = data.manifest.accounting
    return {
        "mlflow_run_id": tracker.run_id,
        "run": shown(folder.path),
        "dataset": shown(data.folder),
        "cached": data.cached,
        "package": shown(folder.package),
        "report": shown(folder.report),
        "accounting": accounting.model_dump(),
        "metrics": {evaluation.split: evaluation.metrics for evaluation in evaluations},
        "timings_s": {name: round(value, 3) for name, value in timings.total().items()},
        "data_wait_share": wait,
        "bound": None if bound is None else asdict(bound),
    }
