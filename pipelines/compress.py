"""compress: a trained package -> steps, each saved and loaded -> a smaller package, measured."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clusters.resources import ResourcePlan
from clusters.session import ray_session
from components.compression.config import AnyStep, misplaced, step_name
from components.compression.measure import artifact_bytes
from components.compression.steps import apply_step
from components.errors import DataError, RecipeError
from components.models.package import load_package, package_sha256, save_package
from components.records.files import storage_errors, write_text
from components.records.split import Split
from components.tracking.server import check_server, resolve_uri
from components.tracking.tracker import Tracker
from pipelines.comparison import (
    Compared,
    Costs,
    as_metrics,
    compare_predictions,
    measure_costs,
    train_batches,
)
from pipelines.display import Display
from pipelines.evaluate import Evaluation, evaluate
from pipelines.folders import RunFolder, new_run_folder, shown
from pipelines.provenance import git_commit, versions
from pipelines.recipe import Recipe
from pipelines.run import Timings, evaluated_splits, log_inputs, open_run
from pipelines.shards import PreparedData, Progress

Evaluations = Mapping[Split, Evaluation]


@dataclass(frozen=True)
class Taken:
    """A step that was taken.

    Attributes:
        step: Its settings.
        package: What it made, saved; the next step began with what loading that gives.
        summary: What was done, in a few words.
    """

    step: AnyStep
    package: Path
    summary: str


def compress(
    recipe: Recipe, resources: ResourcePlan, base: Path, data: PreparedData, display: Display
) -> dict[str, Any]:
    """Do the recipe's steps to a package and measure both; returns what `--json` prints.

    Args:
        recipe: With steps in `compression`.
        resources: What may be used; Ray is not up yet, or somebody else's.
        base: Folder of the package, which stays as it is.
        data: The prepared data set that it was trained on.
        display: Told how far the work is.

    Raises:
        HeadraceError: A step does not suit the model; nothing is written then. Or something failed
            later, in words; MLflow says FAILED or KILLED.
    """
    timings = Timings()
    require_order(base, recipe.compression)
    check_server(resolve_uri(None, Path(recipe.output)))
    with TemporaryDirectory() as work:
        with timings.stage("compress"):
            taken = take_steps(base, recipe.compression, data, Path(work), display.progress)
        folder = new_run_folder(Path(recipe.output), recipe.name)
        tags = {"headrace.base": shown(base), "headrace.base_sha256": package_sha256(base)}
        with open_run(recipe, data, folder, tags=tags) as tracker:
            log_inputs(tracker, recipe, resources, data, folder)
            taken = _moved(taken, folder)
            with timings.stage("evaluate"), ray_session(resources, folder.logs):
                judge = partial(_evaluated, data, resources, display.progress)
                on_the_way = [
                    judge(one.package, ["val"], Path(work), f"step {number}")
                    for number, one in enumerate(taken[:-1])
                ]
                before = judge(base, evaluated_splits(data), folder.predictions / "base", "base")
                after = judge(
                    folder.package, evaluated_splits(data), folder.predictions, "compressed"
                )
            _write_metrics(folder.package, [*on_the_way, after])
            # Ray has gone by now, so that it does not slow down what is timed.
            with timings.stage("measure"):
                costs = measure_costs(base, folder.package, _float_twin(base, taken), data)
            return _conclude(
                recipe, base, data, folder, tracker, taken, costs, before, after, timings
            )


def require_order(base: Path, steps: Sequence[AnyStep]) -> None:
    """Refuse steps that cannot follow what a package has behind it.

    Raises:
        RecipeError: In words.
        DataError: There is no package.
    """
    behind = [step_name(s.kind, s.settings) for s in load_package(base).compression.lineage]
    asked = [step_name(step.kind, step.model_dump()) for step in steps]
    for problem in misplaced([*behind, *asked]):
        if problem.later >= len(behind):
            raise RecipeError(
                f"compression.{problem.later - len(behind)}: {problem.reason}, which "
                f"{shown(base)} has behind it; name another package with --package"
            )


def take_steps(
    base: Path, steps: Sequence[AnyStep], data: PreparedData, work: Path, progress: Progress
) -> list[Taken]:
    """Do the steps one after the other; each begins with what loading the last one gives.

    Args:
        base: Folder of the package to begin with.
        steps: What is done.
        data: The prepared data set, for calibration.
        work: Folder to write to: a package for each step.
        progress: Told how far they are.

    Raises:
        RecipeError, DataError: A step does not suit the model; its place in the recipe is named.
    """
    taken: list[Taken] = []
    current = base
    for number, step in enumerate(steps):
        package = load_package(current)
        batches = partial(train_batches, package.task, data)
        try:
            outcome = apply_step(package, step, batches, base_sha256=package_sha256(current))
        except (RecipeError, DataError) as error:
            raise type(error)(f"compression.{number}: {error}") from error
        current = save_package(work / f"{number}-{step.kind}", outcome.package)
        taken.append(Taken(step, current, outcome.summary))
        progress("compress", number + 1, len(steps))
    return taken


def _moved(taken: Sequence[Taken], folder: RunFolder) -> list[Taken]:
    """Bring the packages into the run's folder, which all nodes of a cluster see."""
    targets = [folder.steps / one.package.name for one in taken[:-1]] + [folder.package]
    with storage_errors(str(folder.path)):
        for one, target in zip(taken, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(one.package, target)
    return [replace(one, package=target) for one, target in zip(taken, targets, strict=True)]


def _float_twin(base: Path, taken: Sequence[Taken]) -> Path:
    """The last package that computes in float; what is quantized does the same operations."""
    packages = [base, *(one.package for one in taken)]
    return [path for path in packages if not load_package(path).compression.int8.layers][-1]


def _evaluated(
    data: PreparedData,
    resources: ResourcePlan,
    progress: Progress,
    package: Path,
    splits: Sequence[Split],
    predictions: Path,
    name: str,
) -> Evaluations:
    def told(stage: str, done: int, total: int) -> None:
        progress(f"{stage}, {name}", done, total)

    return {
        split: evaluate(
            package, data.folder, split, predictions / f"{split}.parquet", resources, told
        )
        for split in splits
        if data.manifest.num_records(split)
    }


def _write_metrics(folder: Path, by_step: Sequence[Evaluations]) -> None:
    """Write what was measured into the package; its weights stay as they are, to the bit."""
    package = load_package(folder)
    lineage = list(package.compression.lineage)
    first = len(lineage) - len(by_step)
    for number, evaluations in enumerate(by_step, start=first):
        metrics = {
            f"{split}_{name}": value if math.isfinite(value) else None
            for split, evaluation in evaluations.items()
            for name, value in evaluation.metrics.items()
        }
        lineage[number] = lineage[number].model_copy(update={"metrics": metrics})
    measured = replace(
        package,
        metrics={split: evaluation.metrics for split, evaluation in by_step[-1].items()},
        git_commit=git_commit(),
        versions=versions(),
        compression=package.compression.model_copy(update={"lineage": tuple(lineage)}),
    )
    save_package(folder, measured)


def _conclude(
    recipe: Recipe,
    base: Path,
    data: PreparedData,
    folder: RunFolder,
    tracker: Tracker,
    taken: Sequence[Taken],
    costs: Mapping[str, Costs],
    before: Evaluations,
    after: Evaluations,
    timings: Timings,
) -> dict[str, Any]:
    compared = {
        split: compare_predictions(
            before[split].predictions, after[split].predictions, seed=recipe.seed
        )
        for split in after
    }
    _log(tracker, costs, {"base": before, "final": after}, compared)
    lineage = load_package(folder.package).compression.lineage[-len(taken) :]
    result: dict[str, Any] = {
        "mlflow_run_id": tracker.run_id,
        "run": shown(folder.path),
        "dataset": shown(data.folder),
        "base": shown(base),
        "package": shown(folder.package),
        "steps": [
            {
                "kind": one.step.kind,
                "settings": done.settings,
                "summary": one.summary,
                "package": shown(one.package),
                "package_bytes": artifact_bytes(one.package),
                "metrics": done.metrics,
            }
            for one, done in zip(taken, lineage, strict=True)
        ],
        "metrics": {split: evaluation.metrics for split, evaluation in after.items()},
        "base_metrics": {split: evaluation.metrics for split, evaluation in before.items()},
        "compared": {split: _as_dict(one) for split, one in compared.items()},
        "costs": {name: asdict(one) for name, one in costs.items()},
        "timings_s": {name: round(value, 3) for name, value in timings.total().items()},
    }
    write_text(folder.comparison, json.dumps(result, indent=1) + "\n")
    tracker.log_artifact(folder.package)
    tracker.log_artifact(folder.comparison)
    return result


def _as_dict(compared: Compared) -> dict[str, Any]:
    intervals = ("base", "compressed", "difference")
    return asdict(compared) | {name: getattr(compared, name)._asdict() for name in intervals}


def _log(
    tracker: Tracker,
    costs: Mapping[str, Costs],
    evaluations: Mapping[str, Evaluations],
    compared: Mapping[Split, Compared],
) -> None:
    told = {f"base/{k}": v for k, v in as_metrics(costs["base"]).items()}
    told |= {f"final/{k}": v for k, v in as_metrics(costs["compressed"]).items()}
    for name, by_split in evaluations.items():
        for split, evaluation in by_split.items():
            told |= {f"{name}/{split}_{k}": v for k, v in evaluation.metrics.items()}
    for split, one in compared.items():
        for end, value in one.difference._asdict().items():
            told[f"difference/{split}_{one.score}_{end}"] = value
    tracker.log_metrics(told, step=0)
